"""What a run was started with, and how another differs from it: a run goes on as it was begun, or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset
from torch import nn
from transformers import Seq2SeqTrainingArguments

from hfdistill.models.dispatched import Weights, is_fixed
from hfdistill.models.fingerprints import hash_of, hash_of_tensors
from hfdistill.teachers import ENSEMBLE_LOGITS, TEACHER_LOGITS, Teacher

if TYPE_CHECKING:
    from hfdistill.training.arguments import DistillationTrainingArguments

#: `Trainer`'s own arguments that make another student. What is logged, saved or evaluated when, and on how many
#: processes or in which parts a step's examples are computed, makes none.
_LENGTH = ("num_train_epochs", "max_steps")
_ARGUMENTS = (
    *_LENGTH,
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "max_grad_norm", "weight_decay"),
    *("optim", "optim_args", "optim_target_modules", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("label_smoothing_factor", "neftune_noise_alpha", "bf16", "fp16", "seed", "data_seed"),
    *("train_sampling_strategy", "length_column_name", "dataloader_drop_last"),
    *("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
)
#: Those that make another student only where they make another objective.
_OF_THE_OBJECTIVE = (
    *("temperature", "temperature_end", "temperature_schedule", "alpha", "alpha_end", "alpha_schedule"),
    *("label_weight", "soft_target_weight", "divergence", "js_beta", "standardize_logits", "terms"),
    *("layer_map", "decoder_layer_map", "hidden_state_loss", "projection_init", "relation_heads", "teacher_layer"),
    "label_smoothing_factor",
)
_OF_TEACHERS = ("teacher_dtype", "teacher_combination", "teacher_weights")
_NO_SETTING = ("teacher_at_eval", *_OF_TEACHERS)

#: Of a model's config: what says nothing of what it computes, or is settled when training begins.
_NOISE = (
    *("transformers_version", "dtype", "torch_dtype", "architectures", "problem_type", "label2id"),
    *("use_cache", "output_hidden_states", "output_attentions", "return_dict", "attn_implementation"),
)

#: What is compared and says nothing to a reader.
_TOLD_BY_NAME = ("the texts or labels of the training rows", "the teacher's weights", "the teacher's logits")
SAMPLED_ROWS = 64
#: Up to this size a tensor of the teacher is looked at: biases, norms and the head.
_SMALL = 4096


def run_settings(
    args: DistillationTrainingArguments,
    objective: Sequence[Mapping[str, Any]],
    student: nn.Module,
    train_dataset: Any,
    teachers: Iterable[Teacher],
) -> dict[str, Any]:
    """What makes the student of a run, by name, as JSON keeps it; no path is among it.

    Args:
        args: The training arguments.
        objective: What `Stages.describe` says of it.
        student: As it is trained, without wrappers.
        train_dataset: The training rows.
        teachers: Those who are run in every step; none where the objective needs none.
    """
    settings = {name: getattr(args, name) for name in (*_ARGUMENTS, *_own_arguments(args))}
    settings["examples a step"] = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    settings["objective"] = objective
    config: Any = getattr(student, "config", None)
    settings["student class"] = type(student).__name__
    settings["student parameters"] = sum(parameter.numel() for parameter in student.parameters())
    settings |= {f"student {name}": value for name, value in _config(config).items()}
    settings |= _of_rows(train_dataset, args.needs_teacher)
    if args.needs_teacher:
        settings |= {name: getattr(args, name) for name in _OF_TEACHERS}
        # One that learns from the student is another after every step, and has a state of its own in checkpoints.
        frozen = [model for one in teachers if one.callback is None for model in [getattr(one, "model", None)] if model]
        settings |= {"the teacher's weights": [_fingerprint(model) for model in frozen]} if frozen else {}
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return plain


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between the settings of a checkpoint and those at hand, in words; empty where the run may go on.

    A longer run goes on where the shorter one is its beginning: with a learning rate, temperature and weights that do
    not depend on how long it is.
    """
    alike = {"the teacher's logits": _alike}
    names = [name for name in {**there, **now} if not alike.get(name, _same)(there.get(name), now.get(name))]
    if "objective" not in names:
        names = [name for name in names if name not in _OF_THE_OBJECTIVE]
    elif set(names) & set(_OF_THE_OBJECTIVE):
        names.remove("objective")
    # A teacher may be asked where its stored predictions were, and the other way round.
    names = [name for name in names if name not in _TOLD_BY_NAME or (name in there and name in now)]
    if set(names) <= set(_LENGTH) and _is_beginning(there, now):
        return []
    return [
        name if name in _TOLD_BY_NAME else f"{name} ({there.get(name)} there, {now.get(name)} now)" for name in names
    ]


def _is_beginning(there: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    warms_up_for_a_share = now["lr_scheduler_type"] == "constant_with_warmup" and 0 < now["warmup_steps"] < 1
    constant = now["lr_scheduler_type"] in ("constant", "constant_with_warmup") and not warms_up_for_a_share
    scheduled = now.get("stages") or "Schedule(" in json.dumps(now["objective"])
    counted_in_steps = {each["max_steps"] > 0 for each in (there, now)}
    longer = all(now[name] >= there[name] for name in _LENGTH)
    return constant and not scheduled and len(counted_in_steps) == 1 and longer


def _own_arguments(args: DistillationTrainingArguments) -> list[str]:
    """The arguments of distillation, without those that a subclass of somebody else's adds."""
    ours = [kind for kind in type(args).__mro__ if kind.__module__.partition(".")[0] == "hfdistill"]
    stock = {field.name for field in fields(Seq2SeqTrainingArguments)}
    names = {field.name for kind in ours for field in fields(kind)}
    return sorted(names - stock - set(_NO_SETTING))


def _config(config: Any) -> dict[str, Any]:
    """A model's config, without what says nothing of what it computes."""
    return {} if config is None else _without_noise(json.loads(config.to_json_string(use_diff=False)))


def _without_noise(config: dict[str, Any]) -> dict[str, Any]:
    kept = {
        name: value
        for name, value in config.items()
        if name not in _NOISE and not name.startswith("_") and not name.endswith(("_token_id", "_token_ids"))
    }
    return {name: _without_noise(value) if isinstance(value, dict) else value for name, value in kept.items()}


def _of_rows(dataset: Any, needs_teacher: bool) -> dict[str, Any]:
    """How many training rows there are, and what is in some of them; of a stream nothing is known."""
    settings: dict[str, Any] = {"training rows": len(dataset) if hasattr(dataset, "__len__") else None}
    if not isinstance(dataset, Dataset) or not len(dataset):
        return settings
    rows = range(0, len(dataset), -(-len(dataset) // SAMPLED_ROWS))
    sample = dataset.with_format(None).select(rows)  # without transforms, which may be random
    read = [name for name in ("input_ids", "labels", "label") if name in sample.column_names]
    settings["the texts or labels of the training rows"] = hash_of([sample[name][:] for name in read])
    answered = [name for name in (TEACHER_LOGITS, ENSEMBLE_LOGITS) if needs_teacher and name in sample.column_names]
    if answered:
        settings["the teacher's logits"] = sample.select(range(min(8, len(sample))))[answered[0]][:]
    return settings


def _fingerprint(model: nn.Module) -> str:
    small = {name: one for name, one in model.named_parameters() if one.numel() <= _SMALL}
    if is_fixed(model):  # what is at hand is empty, or packed otherwise once it was run
        weights = Weights(model)
        small = {name: weights[name] for name in small}
    return hash_of_tensors(small)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one setting; numbers that were computed may be rounded otherwise on another machine."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) or isinstance(other, float):
        numbers = all(isinstance(value, (int, float)) for value in (one, other))
        return numbers and math.isclose(one, other, rel_tol=1e-4)
    return bool(one == other)


def _alike(one: Any, other: Any) -> bool:
    """Whether two lists of logits are of one teacher, asked in another dtype or on another machine at most."""
    if one is None or other is None:
        return False
    # Row by row: by token they are of unequal lengths.
    first, second = (np.concatenate([np.ravel(row) for row in rows]).astype(float) for rows in (one, other))
    return first.shape == second.shape and bool(np.abs(first - second).mean() <= 0.1 * np.abs(first).mean())

"""What a distillation trainer refuses, and what to do instead."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow.compute as pc
from accelerate import Accelerator
from accelerate.utils import DistributedType, parse_flag_from_env
from datasets import Dataset, Value
from torch import Tensor, nn
from transformers.utils import logging

from hfdistill.models.causal_lm import predicts_next_token
from hfdistill.models.inputs import check_token_ids
from hfdistill.models.wrappers import token_table_size, without_adapters
from hfdistill.teachers import SOFT_TARGETS, ModelTeacher, Teacher, TeacherSignal
from hfdistill.training.arguments import DistillationTrainingArguments
from hfdistill.training.objective import Objective

logger = logging.get_logger(__name__)

#: Rows whose tokens are looked at together.
_ROWS_AT_ONCE = 10_000


def check_signal(signal: TeacherSignal | None, objective: Objective) -> None:
    """Refuses to train on an objective whose teacher says nothing, or too little.

    Raises:
        ValueError: saying what is missing.
    """
    if signal is None:
        raise ValueError(
            "the objective weighs soft targets, and there is neither a teacher nor a column teacher_logits in the "
            "batch: pass teacher=..., make the column with soft_targets(...) (of target tokens: teacher_tokens with "
            "token_soft_targets(...)), or set alpha=0 to learn from labels."
        )
    if missing := objective.outputs - signal.available:
        raise ValueError(
            f"the objective compares {', '.join(sorted(missing))}, which stored soft targets do not have: pass the "
            "model as teacher=..., to be run in every step."
        )


def check_problem_types(teacher: str | None, student: str | None) -> None:
    """Refuses a teacher of another kind of question than the student's, where both say which.

    Raises:
        ValueError: naming both.
    """
    if teacher is not None and student is not None and teacher != student:
        raise ValueError(
            f"the teacher's problem_type is {teacher} and the student's {student}: both must answer the same kind of "
            "question; correct config.problem_type, or take another teacher."
        )


def check_predictions(teacher: Teacher | None, next_token: bool) -> None:
    """Refuses a teacher that predicts the next token beside a student that does not, or the other way round.

    Raises:
        ValueError: naming the teacher's class.
    """
    for member in () if teacher is None else teacher.members:
        if not isinstance(member, ModelTeacher) or predicts_next_token(member.model) == next_token:
            continue
        name = type(member.model).__name__
        if next_token:
            raise ValueError(
                f"the student predicts the next token of a text, and the teacher, a {name}, does not: pass "
                "teacher=LanguageModelTeacher.from_pretrained(...), a causal language model of the same vocabulary."
            )
        raise ValueError(
            f"the teacher, a {name}, predicts the next token of a text, and the student does not: take a teacher with "
            "the student's kind of head."
        )


def refuse_stored_answers(name: str, dataset: Any) -> None:
    """Refuses rows, or a dict of them, with stored predictions, beside a causal language model.

    Raises:
        ValueError: naming the dataset and the columns.
    """
    for split in dataset.values() if isinstance(dataset, dict) else [dataset]:
        stored = {*SOFT_TARGETS} & {*(getattr(split, "column_names", None) or ())}
        if stored:
            raise ValueError(
                f"{name} carries {', '.join(sorted(stored))}, and stored soft targets of a causal language model are "
                f"not supported: remove them, and pass the model as teacher=..., to be run in every step."
            )


def check_tokens(name: str, dataset: Any, model: Any, tokenizer: Any) -> None:
    """Refuses rows, or a dict of them, of which the usual collator could make no batch of tokens.

    Raises:
        ValueError: for rows without tokens, with tokens that the model does not know, or of unequal lengths where there
            is no tokenizer to pad them.
    """
    if isinstance(dataset, dict):
        for split, rows in dataset.items():
            check_tokens(f"{name}[{split!r}]", rows, model, tokenizer)
    reads_tokens = getattr(model, "main_input_name", None) == "input_ids"
    if not (reads_tokens and isinstance(dataset, Dataset) and len(dataset)) or dataset.format["type"] == "custom":
        return
    columns = dataset.column_names
    if not {"input_ids", "inputs_embeds"} & set(columns):
        texts = [column for column in columns if dataset.features[column] == Value("string")]
        raise ValueError(
            f"{name} has no input_ids, only {', '.join(columns)}: tokenize it first, as in dataset.map(lambda rows: "
            f"tokenizer(rows[{texts[0] if texts else 'text'!r}], truncation=True), batched=True)."
        )
    if "input_ids" in columns and (table := token_table_size(model)) is not None:
        _check_known_tokens(name, dataset, table)
    if tokenizer is None and "input_ids" in columns:
        tokens = dataset.select_columns("input_ids").with_format("arrow")[:]["input_ids"]
        lengths = pc.min_max(pc.list_value_length(tokens)).as_py()
        if lengths["min"] != lengths["max"]:
            raise ValueError(
                f"the rows of {name} have {lengths['min']} to {lengths['max']} tokens, and there is nothing to pad "
                "them: pass processing_class=tokenizer."
            )


def _check_known_tokens(name: str, dataset: Dataset, table: int) -> None:
    """Refuses the tokens of another tokenizer, such as those of the teacher for a student of fewer."""
    done = 0
    for batch in dataset.select_columns("input_ids").with_format("arrow").iter(_ROWS_AT_ONCE):
        largest = pc.max(pc.list_flatten(batch["input_ids"])).as_py()
        if largest is not None and largest >= table:
            rows = range(done, done + len(batch))
            check_token_ids(batch["input_ids"].to_pylist(), table, "student", rows, name)
        done += len(batch)


def warn_of_idle_terms(objective: Objective, counts: Tensor, step: int) -> None:
    """Warns of terms that count nothing in the first step in which they could teach.

    Args:
        objective: Whose active terms are looked at, each in one step alone: reading a count makes an accelerator wait.
        counts: The items of each active term in this step.
        step: How many optimizer steps came before it with this objective.
    """
    for (name, term), count in zip(objective.named_terms(active_only=True), counts, strict=True):
        if step == term.idle_steps and count == 0:
            logger.warning(
                "The term %r found nothing to count in its first step: do the rows have what it needs, %s? Rows "
                "without it teach nothing here.",
                name,
                term.needs,
            )


def nothing_to_learn(dataset: Any) -> ValueError:
    """What to raise where every term of the objective reads labels, and there are none."""
    columns = getattr(dataset, "column_names", None) or []
    found = f"no row of train_dataset has one, which has the columns {', '.join(columns)}" if columns else "none came"
    return ValueError(
        f"there is nothing to learn from: without a teacher all is learned from labels, and {found}: give them in a "
        "column labels (dataset.rename_column), or pass a teacher."
    )


def refuse_what_cannot_work(
    model: Any, args: DistillationTrainingArguments, teacher: Any, kwargs: Mapping[str, Callable[..., Any] | Any]
) -> None:
    """Refuses what a `Trainer` takes and distillation cannot honor.

    Raises:
        ValueError: naming the argument.
        TypeError: for arguments of another trainer.
    """
    if not isinstance(args, DistillationTrainingArguments):
        raise TypeError(
            f"args must be DistillationTrainingArguments here, got {type(args).__name__}: they also say what is "
            "learned from the teacher."
        )
    if args.n_gpu > 1:
        raise ValueError(
            f"{args.n_gpu} GPUs are visible to one process, and DataParallel is not supported: start one process for "
            "each with `accelerate launch your_script.py`, or show one with CUDA_VISIBLE_DEVICES=0."
        )
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched > 1 and args.world_size == 1:
        raise ValueError(
            f"{launched} processes were started and each would train a student of its own: on a machine without an "
            "accelerator they find each other with use_cpu=True (--use_cpu true)."
        )
    if args.fsdp and launched == 1:
        raise ValueError("fsdp shards a model over several processes, and here is one: start more, or leave it out.")
    if cut := [name for name in ("cp_size", "sp_size") if _parallelism(args, name) > 1]:
        raise ValueError(
            f"{' and '.join(cut)} above 1 cuts a text over processes, and a teacher reads a whole one: leave "
            f"{'them' if len(cut) > 1 else 'it'} at 1 (parallelism_config, or the configuration of accelerate launch)."
        )
    if kwargs.get("compute_loss_func") is not None:
        raise ValueError("compute_loss_func would be ignored: give its formula as a term of objective=Objective(...).")
    objective: Any = kwargs.get("objective")
    if objective is not None and args.label_smoothing_factor and not _smooths(objective):
        raise ValueError(
            "label_smoothing_factor would be ignored beside objective=...: give it to the term, as in "
            f"Labels(label_smoothing={args.label_smoothing_factor})."
        )
    _refuse_two_orders(args, kwargs.get("train_dataset"))
    given = teacher if isinstance(teacher, (list, tuple)) else [teacher]
    asked = [member for one in given for member in (one.members if isinstance(one, Teacher) else [one])]
    models = [getattr(one, "model", None) if isinstance(one, Teacher) else one for one in asked]
    inner = [without_adapters(one) for one in (model, *models) if isinstance(one, nn.Module)]
    if isinstance(model, nn.Module) and any(inner[0] is one for one in inner[1:]):
        raise ValueError("teacher and student are the same object: train a copy, such as make_student(teacher, ...).")


def _refuse_two_orders(args: DistillationTrainingArguments, train_dataset: Any) -> None:
    """Refuses more than one say on which rows make a batch, or any on those of a stream."""
    orders = [name for name in ("labeled_share", "max_tokens_per_batch") if getattr(args, name) is not None]
    if orders and not hasattr(train_dataset, "__len__"):
        raise ValueError(f"{orders[0]} mixes the rows of a Dataset, and this is a stream, whose order is its own.")
    if len(orders) > 1:
        raise ValueError("labeled_share and max_tokens_per_batch both say which rows make a batch: leave one out.")
    if args.max_tokens_per_batch is not None and args.auto_find_batch_size:
        raise ValueError("auto_find_batch_size counts rows, and max_tokens_per_batch tokens: leave one out.")
    if args.max_tokens_per_batch is not None and args.dataloader_drop_last:
        raise ValueError("max_tokens_per_batch leaves no row out, and dataloader_drop_last would: leave one out.")


def _parallelism(args: DistillationTrainingArguments, name: str) -> int:
    """A size of `parallelism_config`, as given, or as `accelerate launch` says."""
    if args.parallelism_config is not None:
        return int(getattr(args.parallelism_config, name, 1))
    launched = os.environ.get("ACCELERATE_USE_PARALLELISM_CONFIG", "false").lower() == "true"
    return int(os.environ.get(f"PARALLELISM_CONFIG_{name.upper()}", 1)) if launched else 1


def warn_of_ignored_sharding(args: DistillationTrainingArguments, accelerator: Accelerator) -> None:
    """Says that FSDP was asked for and each process holds the whole model, as on processors Accelerate has it."""
    asked = args.fsdp or parse_flag_from_env("ACCELERATE_USE_FSDP")
    if asked and accelerator.distributed_type != DistributedType.FSDP and args.process_index == 0:
        logger.warning(
            "FSDP was asked for (--fsdp, or Accelerate's configuration), and Accelerate does not shard on %s with %d "
            "process(es): each of them trains the whole model.",
            accelerator.device.type,
            args.world_size,
        )


def _smooths(objective: Objective) -> bool:
    return any(getattr(term, "label_smoothing", 0) for _, term in objective.named_terms())

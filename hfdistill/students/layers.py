"""Students with some of their teacher's layers, every weight copied from the teacher.

Starting from the teacher's own layers rather than from scratch is what DistilBERT
(https://huggingface.co/papers/1910.01108) and "shrink and fine-tune"
(https://huggingface.co/papers/2010.13002) do.
"""

from __future__ import annotations

import copy
import logging
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from hfdistill.models.families import layer_stack, no_layer_stack, side_config, size_field, size_in
from hfdistill.students.widths import Widths, narrow_weights, set_widths

logger = logging.getLogger(__name__)

# Each takes (teacher layers, student layers) and returns the teacher layers to keep, lowest first.
_RULES: dict[str, Callable[[int, int], list[int]]] = {
    "uniform": lambda teacher, student: [(i + 1) * teacher // student - 1 for i in range(student)],
    "last": lambda teacher, student: list(range(teacher - student, teacher)),
    "first": lambda teacher, student: list(range(student)),
    "alternating": lambda teacher, student: [i * (teacher - 1) // max(1, student - 1) for i in range(student)],
}


def choose_layers(
    num_teacher_layers: int, num_student_layers: int | None = None, how: str | Sequence[int] = "uniform", side: str = ""
) -> list[int]:
    """Choose which teacher layers a student of fewer layers takes.

    Args:
        num_teacher_layers: how many layers there are to choose from, `L`.
        num_student_layers: how many to choose, `K`, from 1 to `L`; may be left out when `how` is a list.
        how: one of
            `"uniform"`: evenly spaced, the last one included: for `i = 0 ... K-1` the teacher layer
            `floor((i + 1) * L / K) - 1`, so 6 -> 3 gives `[1, 3, 5]` and 12 -> 5 gives `[1, 3, 6, 8, 11]`;
            `"last"`: the `K` layers next to the head;
            `"first"`: the `K` layers next to the embeddings;
            `"alternating"`: evenly spaced from the first to the last one, the first alone for `K = 1`: 6 -> 3 gives
            `[0, 2, 5]` and 12 -> 6 gives `[0, 2, 4, 6, 8, 11]` (Shleifer & Rush 2020);
            a list of teacher layer indices, taken in the order given; `-1` is the last layer.
        side: `encoder` or `decoder`, for errors that name the arguments of `make_student`.

    Returns:
        `K` teacher layer indices, each from 0 to `L - 1`: entry `i` is the source of student layer `i`.

    Raises:
        ValueError: no count and no list, a count outside 1 ... `L`, an index that the teacher lacks, a list
            whose length is not the count, or an unknown word.
    """
    names = (f"num_{side or 'hidden'}_layers", f"{side}_layers" if side else "layers")
    if not isinstance(how, str):
        return _check_list(num_teacher_layers, num_student_layers, how, *names)
    if how not in _RULES:
        raise ValueError(f"{names[1]}={how!r} is unknown: use {', '.join(_RULES)}, or a list of indices.")
    if num_student_layers is None:
        raise ValueError(f"Give the student's number of layers ({names[0]}), or list them ({names[1]}).")
    _check_count(num_teacher_layers, num_student_layers, names[0])
    return _RULES[how](num_teacher_layers, num_student_layers)


def cut_layers(
    teacher: PreTrainedModel,
    wanted: Mapping[str, tuple[int | None, str | Sequence[int]]],
    widths: Widths | None = None,
    importance_batch: Mapping[str, Tensor] | None = None,
) -> PreTrainedModel:
    """A student of some of a teacher's layers, with all its other weights.

    Where the first layer is built unlike the others (T5's holds the position biases of all), the words of `layers` keep
    it first.

    Args:
        teacher: The model.
        wanted: For its one stack of layers (`""`), or for each side of an encoder-decoder, how many layers and which,
            as for `choose_layers`.
        widths: Those of a narrower student of one stack; see `narrow_weights`, as for `importance_batch`.

    Raises:
        ValueError: the layers cannot be chosen so, or the teacher cannot be cut.
    """
    stacks = {side: layer_stack(teacher, side) for side in wanted}
    totals = {side: int(size_in(teacher.config, "layers", side) or 0) for side in wanted}
    chosen = {side: choose_layers(totals[side], *layers, side) for side, layers in wanted.items()}
    student = _build(teacher, chosen, widths)
    by_word = [side for side, (_, how) in wanted.items() if isinstance(how, str)]
    unlike = [side for side in by_word if _only_layer_zero_fits_first(teacher, student, stacks[side], chosen[side])]
    if unlike:
        chosen |= {side: [0, *chosen[side][1:]] for side in unlike}
        student = _build(teacher, chosen, widths)
    for side, stack in stacks.items():
        _check_fit(teacher, student, stack, chosen[side])
    if widths is None:
        _copy_weights(teacher, student, {stack: chosen[side] for side, stack in stacks.items()})
    else:
        narrow_weights(teacher, student, chosen[""], importance_batch)
    if teacher.config.is_encoder_decoder:
        _check_ties(teacher, student)
    if teacher.can_generate():
        student.generation_config = copy.deepcopy(teacher.generation_config)
        _keep_alignment_heads(student.generation_config, chosen.get("decoder"))
    for side, layers in chosen.items():
        logger.info(
            "The student's %d layers are the teacher's%s layers %s.", len(layers), f" {side}" * bool(side), layers
        )
    return student


def _keep_alignment_heads(settings: Any, decoder_layers: Sequence[int] | None) -> None:
    """Of the heads that tell when each word of a Whisper is said, the ones in layers that are kept; or none."""
    heads = getattr(settings, "alignment_heads", None)
    if heads is None or decoder_layers is None:
        return
    kept = [[place, head] for place, layer in enumerate(decoder_layers) for own, head in heads if own == layer]
    if kept:
        settings.alignment_heads = kept
    else:
        del settings.alignment_heads  # and `transformers` says that there are no times of words


def _check_count(num_teacher_layers: int, num_student_layers: Any, name: str) -> None:
    if num_student_layers not in range(1, num_teacher_layers + 1):
        raise ValueError(
            f"{name}={num_student_layers!r} is not possible: the teacher has {num_teacher_layers} layers, so give a "
            f"number from 1 to {num_teacher_layers}."
        )


def _check_list(
    num_teacher_layers: int, num_student_layers: int | None, indices: Sequence[int], count_name: str, name: str
) -> list[int]:
    if num_student_layers not in (None, len(indices)):
        raise ValueError(
            f"{name}={list(indices)} has {len(indices)} entries, but {count_name}={num_student_layers}: make them "
            f"agree, or leave {count_name} out."
        )
    _check_count(num_teacher_layers, len(indices), count_name)
    for index in indices:
        if not -num_teacher_layers <= index < num_teacher_layers:
            raise ValueError(
                f"{name}={list(indices)} names layer {index}, but the teacher's {num_teacher_layers} layers are "
                f"numbered 0 to {num_teacher_layers - 1} (or -{num_teacher_layers} to -1, from the end)."
            )
    return [index % num_teacher_layers for index in indices]


def _build(teacher: PreTrainedModel, chosen: Mapping[str, list[int]], widths: Widths | None) -> PreTrainedModel:
    config = smaller_config(teacher.config, chosen, widths)
    config.architectures = [type(teacher).__name__]
    # float(), as torch's default dtype may be another one; copying into it converts the teacher's weights.
    student = type(teacher)(config).float()
    if getattr(teacher, "pooler", student) is None:  # such as the encoder within a masked language model
        student.pooler = None
    return student


def smaller_config(
    teacher: PreTrainedConfig, chosen: Mapping[str, list[int]], widths: Widths | None = None
) -> PreTrainedConfig:
    """A student's config: its teacher's, of the layers chosen for each side (`""` for one stack), and these widths."""
    config = copy.deepcopy(teacher)
    for side, layers in chosen.items():
        own, field = side_config(config, side), size_field(config, "layers", side)
        assert field is not None
        total = getattr(own, field)
        for name, value in list(vars(own).items()):
            one_a_layer = isinstance(value, (list, tuple)) and len(value) == total
            if one_a_layer and _has_one_a_layer(name, side if own is config else ""):
                setattr(own, name, [value[index] for index in layers])
        setattr(own, field, len(layers))
    if widths is not None:
        set_widths(config, widths)
    config.dtype = torch.float32
    # A model card would otherwise call the student a fine-tuned version of what the teacher was loaded from.
    config.name_or_path = ""
    return config


def _has_one_a_layer(name: str, side: str) -> bool:
    """Whether a config's list of this name has one entry a layer (`layer_types`, LED's `attention_window`).

    Length alone is not enough: `pos_att_type` may be as long by accident.
    """
    of_windows = name == "attention_window" and side != "decoder"
    return of_windows or ("layer" in name and side in name)


def _weight_names(model: PreTrainedModel, stack: str, index: int) -> set[str]:
    return set(model.get_submodule(f"{stack}.{index}").state_dict())


def _only_layer_zero_fits_first(
    teacher: PreTrainedModel, student: PreTrainedModel, stack: str, chosen: list[int]
) -> bool:
    """Whether the first layer is built unlike the others, and another one was chosen for its place."""
    wanted = _weight_names(student, stack, 0)
    return wanted != _weight_names(teacher, stack, chosen[0]) and wanted == _weight_names(teacher, stack, 0)


def _check_fit(teacher: PreTrainedModel, student: PreTrainedModel, stack: str, chosen: list[int]) -> None:
    """Refuses layers whose weights have other names than those of the places they are chosen for.

    Raises:
        ValueError: naming the layer, the place and the weights.
    """
    if len(list(student.get_submodule(stack).children())) != len(chosen):
        raise no_layer_stack(teacher)
    for position, index in enumerate(chosen):
        differ = _weight_names(student, stack, position) ^ _weight_names(teacher, stack, index)
        if differ:
            raise ValueError(
                f"Teacher layer {index} cannot be layer {position} of a {type(teacher).__name__}: only one "
                f"of the two has {', '.join(sorted(differ))}; choose another layer for that place."
            )


def _copy_weights(teacher: PreTrainedModel, student: PreTrainedModel, stacks: Mapping[str, list[int]]) -> None:
    """Copies every weight, of the layers those that were chosen for each of the `stacks`."""
    prefixes = tuple(f"{stack}." for stack in stacks)
    weights = {name: tensor for name, tensor in teacher.state_dict().items() if not name.startswith(prefixes)}
    for stack, chosen in stacks.items():
        for position, index in enumerate(chosen):
            weights |= teacher.get_submodule(f"{stack}.{index}").state_dict(prefix=f"{stack}.{position}.")
    try:
        # Strict: not one weight of the student may be left as it was initialized.
        student.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"The teacher's weights do not fit a plain {type(teacher).__name__} (are there adapters to "
            f"merge, or quantized weights?): {textwrap.shorten(str(error), 300)}"
        ) from error


def _check_ties(teacher: PreTrainedModel, student: PreTrainedModel) -> None:
    """Weights that the student's config ties must be equal in the teacher: of two, one would have been lost."""
    weights = teacher.state_dict()
    embeddings = [name for name in weights if name.endswith(("embed_tokens.weight", "shared.weight", "lm_head.weight"))]
    own = student.state_dict()
    for name in embeddings:
        if not torch.equal(own[name].cpu(), weights[name].float().cpu()):
            raise ValueError(
                f"the teacher's {name} differs from the weight that its config ties it to: set tie_word_embeddings to "
                "False in its config, or tie them."
            )

"""Students cut from their teacher: the same model with fewer or narrower layers, every weight copied from the teacher.

Starting from the teacher's own layers rather than from scratch is what DistilBERT
(https://huggingface.co/papers/1910.01108) and "shrink and fine-tune"
(https://huggingface.co/papers/2010.13002) do.
"""

from __future__ import annotations

import copy
import logging
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel

from hfdistill.models.families import layer_stack, no_layer_stack
from hfdistill.models.hub import hub_errors
from hfdistill.models.wrappers import is_quantized, unwrapped
from hfdistill.students.low_rank_embeddings import with_low_rank_embeddings
from hfdistill.students.widths import Widths, choose_widths, narrow_weights, set_widths

logger = logging.getLogger(__name__)

# Each takes (teacher layers, student layers) and returns the teacher layers to keep, lowest first.
_RULES: dict[str, Callable[[int, int], list[int]]] = {
    "uniform": lambda teacher, student: [(i + 1) * teacher // student - 1 for i in range(student)],
    "last": lambda teacher, student: list(range(teacher - student, teacher)),
    "first": lambda teacher, student: list(range(student)),
    "alternating": lambda teacher, student: [i * (teacher - 1) // max(1, student - 1) for i in range(student)],
}

# How transformers names the config lists that have one entry per layer (`layer_types`, `mlp_layer_types`,
# Longformer's `attention_window`). Length alone does not tell: `pos_att_type` may be as long by accident.
_PER_LAYER_NAMES = ("layer", "attention_window")


def choose_layers(
    num_teacher_layers: int, num_student_layers: int | None = None, how: str | Sequence[int] = "uniform"
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

    Returns:
        `K` teacher layer indices, each from 0 to `L - 1`: entry `i` is the source of student layer `i`.

    Raises:
        ValueError: no count and no list, a count outside 1 ... `L`, an index that the teacher lacks, a list
            whose length is not the count, or an unknown word.
    """
    if not isinstance(how, str):
        return _check_list(num_teacher_layers, num_student_layers, how)
    if how not in _RULES:
        raise ValueError(f"layers={how!r} is unknown: use {', '.join(_RULES)}, or a list of indices.")
    if num_student_layers is None:
        raise ValueError("Give the student's number of layers (num_hidden_layers), or list them (layers).")
    _check_count(num_teacher_layers, num_student_layers)
    return _RULES[how](num_teacher_layers, num_student_layers)


def make_student(
    teacher: PreTrainedModel | str | os.PathLike[str],
    num_hidden_layers: int | None = None,
    layers: str | Sequence[int] = "uniform",
    *,
    num_encoder_layers: int | None = None,
    num_decoder_layers: int | None = None,
    encoder_layers: str | Sequence[int] = "alternating",
    decoder_layers: str | Sequence[int] = "alternating",
    hidden_size: int | None = None,
    intermediate_size: int | None = None,
    num_attention_heads: int | None = None,
    importance_batch: Mapping[str, Tensor] | None = None,
    embedding_size: int | None = None,
) -> PreTrainedModel:
    """Make a student with fewer layers, or narrower ones, out of its teacher.

    Embeddings, pooler and head are copied too, so every weight of the student comes from the teacher, and a
    student with all the layers gives the teacher's own logits. A narrower student keeps some of the hidden
    dimensions, neurons and heads: it starts from what they were, and has to be trained before it predictions well.

    A model whose first layer is built unlike the others can only start with that one (ModernBERT's has no
    attention norm). There, the words of `layers` keep teacher layer 0 as the student's first layer, in place
    of the one that `choose_layers` names, and a list that begins with another layer is refused.

    Args:
        teacher: any `PreTrainedModel`, compiled or not, that keeps its layers in one list, or an encoder-decoder that
            keeps them in two, left as it is; or the name or path of a sequence classification model, which is then
            loaded.
        num_hidden_layers: the student's number of layers, from 1 to the teacher's; may be left out when
            `layers` is a list.
        layers: which teacher layers the student takes: `"uniform"`, `"last"`, `"first"`, or a list of indices
            (see `choose_layers`).
        num_encoder_layers, num_decoder_layers: for an encoder-decoder, in place of `num_hidden_layers`: the layers of
            each side, all of the teacher's by default. A decoder works once for each word it writes and an encoder
            once for each text, so speed is gained by a shallow decoder.
        encoder_layers, decoder_layers: likewise, in place of `layers`.
        hidden_size: the student's hidden dimensions; by default the teacher's.
        intermediate_size: neurons between the two maps of a layer; by default in the teacher's proportion.
        num_attention_heads: by default as many heads as leave them about as wide as the teacher's.
        importance_batch: tokenized text, a few hundred examples, on which it is measured which dimensions,
            neurons and heads matter (see `hfdistill.students.widths`); without it the first ones are kept.
        embedding_size: columns of the tables of words, positions and token types, fewer than `hidden_size`, with a map
            from there (see `hfdistill.students.low_rank_embeddings`): for BERT, ELECTRA and DeBERTa. A BERT becomes an
            ELECTRA, whose head for sequences BERT's fits only nearly.

    Returns:
        A plain transformers model of the teacher's class (of ELECTRA's, for a BERT with an `embedding_size`) that
        shares no tensor with it: in float32 whatever the teacher's dtype, on the default device, in train mode, not
        frozen.

    Raises:
        TypeError: `teacher` is not a transformers model.
        ValueError: the layers cannot be chosen so (see `choose_layers`), or the teacher cannot be cut: layers
            that share their weights (ALBERT), unmerged adapters, quantized weights; or the widths are not possible,
            or its parts are not understood well enough to make them narrower.

    References:
        DistilBERT, section 3: https://huggingface.co/papers/1910.01108.
        Shrink and fine-tune: https://huggingface.co/papers/2010.13002.
    """
    teacher = _as_model(teacher)
    if teacher.config.is_encoder_decoder:
        from hfdistill.students.encoder_decoders import make_seq2seq_student  # it builds on this module

        if (num_hidden_layers, layers) != (None, "uniform"):
            raise ValueError(
                f"{type(teacher).__name__} has an encoder and a decoder: give num_encoder_layers and "
                "num_decoder_layers (or encoder_layers and decoder_layers) in place of num_hidden_layers and layers."
            )
        sizes = (hidden_size, intermediate_size, num_attention_heads, embedding_size)
        if importance_batch is not None or any(size is not None for size in sizes):
            raise ValueError(
                f"a student of {type(teacher).__name__} can have fewer layers here, not narrower ones: train a narrow "
                "one from its own config, on the teacher's translations (pseudo_translations)."
            )
        return make_seq2seq_student(teacher, num_encoder_layers, num_decoder_layers, encoder_layers, decoder_layers)
    if (num_encoder_layers, num_decoder_layers) != (None, None):
        raise ValueError(f"{type(teacher).__name__} has one stack of layers: give num_hidden_layers.")
    narrower = (hidden_size, intermediate_size, num_attention_heads) != (None, None, None)
    if importance_batch is not None and not narrower:
        raise ValueError("importance_batch is for narrower students: give hidden_size or intermediate_size too.")
    if (narrower or embedding_size is not None) and isinstance(layers, str) and num_hidden_layers is None:
        num_hidden_layers = teacher.config.num_hidden_layers
    widths = choose_widths(teacher.config, hidden_size, intermediate_size, num_attention_heads) if narrower else None
    student = _cut(teacher, num_hidden_layers, layers, widths, importance_batch)
    return student if embedding_size is None else with_low_rank_embeddings(student, embedding_size)


def _cut(
    teacher: PreTrainedModel,
    num_hidden_layers: int | None,
    layers: str | Sequence[int],
    widths: Widths | None = None,
    importance_batch: Mapping[str, Tensor] | None = None,
) -> PreTrainedModel:
    """A student out of a teacher of one stack of layers."""
    stack = layer_stack(teacher)
    chosen = choose_layers(teacher.config.num_hidden_layers, num_hidden_layers, layers)
    student = _build(teacher, chosen, widths)
    if isinstance(layers, str) and only_layer_zero_fits_first(teacher, student, stack, chosen):
        chosen = [0, *chosen[1:]]
        student = _build(teacher, chosen, widths)
    check_fit(teacher, student, stack, chosen)
    if widths is None:
        copy_weights(teacher, student, {stack: chosen})
    else:
        narrow_weights(teacher, student, chosen, importance_batch)
    if teacher.can_generate():
        student.generation_config = copy.deepcopy(teacher.generation_config)
    logger.info("The student's %d layers are the teacher's layers %s.", len(chosen), chosen)
    return student


def _check_count(num_teacher_layers: int, num_student_layers: int) -> None:
    if not 1 <= num_student_layers <= num_teacher_layers:
        raise ValueError(
            f"num_hidden_layers={num_student_layers} is not possible: the teacher has {num_teacher_layers} "
            f"layers, so give a number from 1 to {num_teacher_layers}."
        )


def _check_list(num_teacher_layers: int, num_student_layers: int | None, indices: Sequence[int]) -> list[int]:
    if num_student_layers not in (None, len(indices)):
        raise ValueError(
            f"layers={list(indices)} has {len(indices)} entries, but num_hidden_layers={num_student_layers}: "
            "make them agree, or leave num_hidden_layers out."
        )
    _check_count(num_teacher_layers, len(indices))
    for index in indices:
        if not -num_teacher_layers <= index < num_teacher_layers:
            raise ValueError(
                f"layers={list(indices)} names layer {index}, but the teacher's {num_teacher_layers} layers "
                f"are numbered 0 to {num_teacher_layers - 1} (or -{num_teacher_layers} to -1, from the end)."
            )
    return [index % num_teacher_layers for index in indices]


def _as_model(teacher: PreTrainedModel | str | os.PathLike[str]) -> PreTrainedModel:
    if isinstance(teacher, (str, os.PathLike)):
        with hub_errors(os.fspath(teacher)):
            return AutoModelForSequenceClassification.from_pretrained(teacher, trust_remote_code=False)
    teacher = unwrapped(teacher)
    if not isinstance(teacher, PreTrainedModel):
        raise TypeError(
            f"teacher is a {type(teacher).__name__}, not a transformers PreTrainedModel or a name or path: "
            "take what is within it, or merge its adapters, first."
        )
    if is_quantized(teacher):
        raise ValueError(
            f"the teacher is a quantized {type(teacher).__name__}, whose weights are integers that no student can be "
            "trained from: load it as it was before (in float32 or bfloat16) and make the student of that."
        )
    return teacher


def _build(teacher: PreTrainedModel, chosen: list[int], widths: Widths | None) -> PreTrainedModel:
    # float(), as torch's default dtype may be another one; copying into it converts the teacher's weights.
    config = _student_config(teacher, chosen)
    if widths is not None:
        set_widths(config, widths)
    return type(teacher)(config).float()


def _student_config(teacher: PreTrainedModel, chosen: list[int]) -> PreTrainedConfig:
    config = copy.deepcopy(teacher.config)
    for name, value in vars(teacher.config).items():
        per_layer = isinstance(value, (list, tuple)) and len(value) == teacher.config.num_hidden_layers
        if per_layer and any(part in name for part in _PER_LAYER_NAMES):
            setattr(config, name, [value[index] for index in chosen])
    config.num_hidden_layers = len(chosen)
    config.architectures = [type(teacher).__name__]
    config.dtype = torch.float32
    # A model card would otherwise call the student a fine-tuned version of what the teacher was loaded from.
    config.name_or_path = ""
    return config


def _weight_names(model: PreTrainedModel, stack: str, index: int) -> set[str]:
    return set(model.get_submodule(f"{stack}.{index}").state_dict())


def only_layer_zero_fits_first(
    teacher: PreTrainedModel, student: PreTrainedModel, stack: str, chosen: list[int]
) -> bool:
    """Whether the first layer is built unlike the others, and another one was chosen for its place."""
    wanted = _weight_names(student, stack, 0)
    return wanted != _weight_names(teacher, stack, chosen[0]) and wanted == _weight_names(teacher, stack, 0)


def check_fit(teacher: PreTrainedModel, student: PreTrainedModel, stack: str, chosen: list[int]) -> None:
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


def copy_weights(teacher: PreTrainedModel, student: PreTrainedModel, stacks: Mapping[str, list[int]]) -> None:
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

"""Students cut from an encoder-decoder: its layers chosen on either side, all else copied ("shrink and fine-tune")."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from hfdistill.students.layers import check_fit, choose_layers, copy_weights, only_layer_zero_fits_first

logger = logging.getLogger(__name__)

#: How configs call the number of encoder and of decoder layers: BART's family, and T5's.
_COUNTS = (("encoder_layers", "decoder_layers"), ("num_layers", "num_decoder_layers"))


def make_seq2seq_student(
    teacher: PreTrainedModel,
    num_encoder_layers: int | None = None,
    num_decoder_layers: int | None = None,
    encoder_layers: str | Sequence[int] = "alternating",
    decoder_layers: str | Sequence[int] = "alternating",
) -> PreTrainedModel:
    """Make a student with fewer layers out of an encoder-decoder; see `make_student`, which calls it.

    T5's first layer of either side holds the position biases of all, so it stays first, as with the other models
    whose first layer is unlike the rest.

    Raises:
        ValueError: the layers cannot be chosen so (see `choose_layers`), or the teacher cannot be cut.

    References: Shleifer & Rush 2020, https://huggingface.co/papers/2010.13002.
    """
    fields = count_fields(teacher)
    totals = [getattr(teacher.config, field) for field in fields]
    stacks = [_layers_of(teacher, part, total) for part, total in zip(("encoder", "decoder"), totals, strict=True)]
    chosen = [
        _choose(side, total, count, how)
        for side, total, count, how in (
            ("encoder", totals[0], num_encoder_layers, encoder_layers),
            ("decoder", totals[1], num_decoder_layers, decoder_layers),
        )
    ]
    student = type(teacher)(_student_config(teacher, fields, chosen)).float()
    for side, how in enumerate((encoder_layers, decoder_layers)):
        if isinstance(how, str) and only_layer_zero_fits_first(teacher, student, stacks[side], chosen[side]):
            chosen[side] = [0, *chosen[side][1:]]
        check_fit(teacher, student, stacks[side], chosen[side])
    copy_weights(teacher, student, dict(zip(stacks, chosen, strict=True)))
    _check_ties(teacher, student)
    if teacher.can_generate():
        student.generation_config = copy.deepcopy(teacher.generation_config)
    logger.info("The student's encoder has the teacher's layers %s, its decoder %s.", *chosen)
    return student


def count_fields(teacher: PreTrainedModel) -> tuple[str, str]:
    """How a model's config calls the number of its encoder's and of its decoder's layers."""
    for fields in _COUNTS:
        if all(isinstance(getattr(teacher.config, field, None), int) for field in fields):
            return fields
    raise _cannot_be_cut(teacher)


def _layers_of(teacher: PreTrainedModel, part: str, count: int) -> str:
    """The name of the list of layers in the encoder or the decoder, such as `model.decoder.layers`."""
    found = [
        name
        for name, module in teacher.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count and name.split(".")[-2:-1] == [part]
    ]
    if len(found) != 1:
        raise _cannot_be_cut(teacher)
    return found[0]


def _cannot_be_cut(teacher: PreTrainedModel) -> ValueError:
    return ValueError(
        f"{type(teacher).__name__} does not keep the layers of its encoder and decoder in one list each, so there is "
        "nothing to choose from; Marian, T5, BART, mBART and M2M100 do."
    )


def _choose(side: str, total: int, count: int | None, how: str | Sequence[int]) -> list[int]:
    if count is None and isinstance(how, str):
        count = total
    try:
        return choose_layers(total, count, how)
    except ValueError as error:
        # It speaks of num_hidden_layers and layers, which are called otherwise here.
        told = re.sub(r"\blayers=", f"{side}_layers=", str(error)).replace("num_hidden_layers", f"num_{side}_layers")
        raise ValueError(f"{side}: {told}") from None


def _student_config(teacher: PreTrainedModel, fields: tuple[str, str], chosen: list[list[int]]) -> PreTrainedConfig:
    config = copy.deepcopy(teacher.config)
    for side, (field, layers) in enumerate(zip(fields, chosen, strict=True)):
        for name, value in vars(teacher.config).items():
            one_a_layer = isinstance(value, (list, tuple)) and len(value) == getattr(teacher.config, field)
            if one_a_layer and _side_of_list(name) == side:
                setattr(config, name, [value[index] for index in layers])
        setattr(config, field, len(layers))
    config.architectures = [type(teacher).__name__]
    config.dtype = torch.float32
    config.name_or_path = ""
    return config


def _side_of_list(name: str) -> int | None:
    """On which side a config's list of this name has one entry a layer; `None` where it has none."""
    if name == "attention_window":  # LED's, of its encoder
        return 0
    return next(
        (number for number, side in enumerate(("encoder", "decoder")) if side in name and "layer" in name), None
    )


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

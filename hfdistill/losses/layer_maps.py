"""Which teacher layer a student's layer learns from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hfdistill.students import choose_layers

#: The words that `layer_map` takes beside a list of teacher layers.
LAYER_MAPS = ("uniform", "last", "first", "learned")


class FixedLayerMap(nn.Module):
    """Each student layer learns from one teacher layer.

    Args:
        layers: For each student layer, lowest first, the number of its teacher layer, from 0.
    """

    def __init__(self, layers: Sequence[int]) -> None:
        super().__init__()
        self.layers = list(layers)

    def forward(self, teacher_layers: Sequence[Tensor]) -> list[Tensor]:
        """The target of each student layer, out of what the teacher's layers gave."""
        return [teacher_layers[index] for index in self.layers]


class LearnedLayerMap(nn.Module):
    """Each student layer learns from a mixture of all teacher layers: `Σ_l softmax(a_k)_l · h_l`.

    The weights `a` are learned with the student, one for each pair of layers; at first half of each mixture is the
    teacher layer that the uniform map names. Unlike the attention of ALP-KD, they are the same for every text.

    Args:
        student_layers: How many layers the student has, K.
        teacher_layers: How many the teacher has, L.

    References: ALP-KD, Passban et al. 2021, https://huggingface.co/papers/2012.14022.
    """

    def __init__(self, student_layers: int, teacher_layers: int) -> None:
        super().__init__()
        weights = torch.zeros(student_layers, teacher_layers)
        for student, teacher in enumerate(choose_layers(teacher_layers, student_layers)):
            weights[student, teacher] = math.log(max(1, teacher_layers - 1))
        self.weights = nn.Parameter(weights)

    def forward(self, teacher_layers: Sequence[Tensor]) -> list[Tensor]:
        """The target of each student layer, out of what the teacher's layers gave."""
        stacked = torch.stack(list(teacher_layers)).to(self.weights.dtype)
        return [torch.einsum("l,l...->...", mixture, stacked) for mixture in self.weights.softmax(-1)]


def make_layer_map(how: str | Sequence[int], student_layers: int, teacher_layers: int) -> nn.Module:
    """The layer map that a word or a list names.

    Args:
        how: `uniform`, `last` or `first` (as the layers of `make_student`), `learned`, or for each student layer the
            number of a teacher layer, from 0; -1 is the last.
        student_layers: How many layers the student has.
        teacher_layers: How many the teacher has.

    Raises:
        ValueError: for an unknown word, a list of another length than the student's, a layer that the teacher lacks,
            or a student with more layers than the teacher has to choose from.
    """
    if isinstance(how, str) and how not in LAYER_MAPS:
        raise ValueError(f"layer_map {how!r} is unknown: use {', '.join(LAYER_MAPS)}, or a list of teacher layers.")
    if not isinstance(how, str):
        return FixedLayerMap(_checked(how, student_layers, teacher_layers))
    if student_layers > teacher_layers:
        raise ValueError(
            f"layer_map {how!r} needs a teacher of at least the student's {student_layers} layers, and it has "
            f"{teacher_layers}: list a teacher layer for each student layer, as in 0 0 1 1."
        )
    if how == "learned":
        return LearnedLayerMap(student_layers, teacher_layers)
    return FixedLayerMap(choose_layers(teacher_layers, student_layers, how))


def _checked(layers: Sequence[int], student_layers: int, teacher_layers: int) -> list[int]:
    if len(layers) != student_layers:
        raise ValueError(
            f"layer_map {list(layers)} names {len(layers)} teacher layers, and the student has {student_layers} layers "
            "to teach: name one for each."
        )
    for layer in layers:
        if not -teacher_layers <= layer < teacher_layers:
            raise ValueError(
                f"layer_map {list(layers)} names layer {layer}, and the teacher's layers are 0 to {teacher_layers - 1}."
            )
    return [layer % teacher_layers for layer in layers]


def parse_layer_map(words: str | Sequence[str | int]) -> str | list[int]:
    """Reads `uniform` or `["1", "3"]`.

    Raises:
        ValueError: for a word that is neither a map nor a number.
    """
    words = [words] if isinstance(words, str) else list(words)
    if len(words) == 1 and words[0] in LAYER_MAPS:
        return str(words[0])
    try:
        return [int(word) for word in words]
    except ValueError:
        raise ValueError(
            f"layer_map {' '.join(map(str, words))!r} is unknown: use {', '.join(LAYER_MAPS)}, or the number of a "
            "teacher layer for each student layer, as in 1 3 5."
        ) from None

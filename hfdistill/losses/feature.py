"""Terms on hidden states: what lies between a model's input and its answer, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional as F

from hfdistill.losses.base import Batch, StudentOutput, Term, attended, check_same_tokens
from hfdistill.losses.divergences import at_least_float32
from hfdistill.losses.layer_maps import make_layer_map, parse_layer_map

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hfdistill.teachers import TeacherSignal
    from hfdistill.training_args import DistillationTrainingArguments


def hidden_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """`mean over the width of (s − t)²`, one value for each vector of `(..., width)`."""
    return (student - teacher).square().mean(-1)


def hidden_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """`1 − cos(s, t)`: the direction alone. It is half of the squared distance between the normalised vectors."""
    return 1 - F.cosine_similarity(student, teacher, dim=-1)


HIDDEN_STATE_LOSSES = {"mse": hidden_mse, "cosine": hidden_cosine}


class HiddenStates(Term):
    """The teacher's hidden states after each layer as targets: `mean over layers of d(W h_s, h_t)`.

    An item is an attended token. `W` is there when the widths differ: one linear projection for all layers, learnt
    with the student and no part of it.

    Args:
        layer_map: Which teacher layer each student layer learns from: `uniform`, `last`, `first`, `learned`, or a
            list of one for each student layer.
        distance: d: `mse` (mean over the width), or `cosine` (1 − cos, the direction alone).

    Raises:
        ValueError: for an unknown distance.

    References: TinyBERT, Jiao et al. 2020, equation 8, https://huggingface.co/papers/1909.10351; the cosine is that
        of DistilBERT, Sanh et al. 2019, https://huggingface.co/papers/1910.01108, which takes the last layer alone.
    """

    name = "hidden_states"
    outputs = frozenset({"hidden_states"})
    token_wise = True
    citation = "https://huggingface.co/papers/1909.10351"

    def __init__(self, layer_map: str | Sequence[int] = "uniform", distance: str = "mse") -> None:
        super().__init__()
        if distance not in HIDDEN_STATE_LOSSES:
            raise ValueError(f"hidden_state_loss {distance!r} is unknown: use {', '.join(HIDDEN_STATE_LOSSES)}.")
        self.layer_map = layer_map
        self.distance = distance

    @classmethod
    def from_args(cls, args: DistillationTrainingArguments, problem_type: str | None) -> HiddenStates:
        return cls(parse_layer_map(args.layer_map), args.hidden_state_loss)

    def bind(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        sizes = (model.config.num_hidden_layers for model in (student, teacher))
        self.map = make_layer_map(self.layer_map, *sizes)
        self.projection = make_projection(student, teacher)

    def valid(self, batch: Batch) -> Tensor:
        return attended(batch)

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        mine, theirs = hidden_pair(student, teacher)
        check_same_tokens(self.name, mine[0], theirs[0])
        return self.compare(mine[1:], self.map(theirs[1:]))

    def compare(self, mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
        """The distance of each vector in `(batch, ..., width)`, averaged over the layers."""
        distance = HIDDEN_STATE_LOSSES[self.distance]
        pairs = zip(mine, theirs, strict=True)
        losses = [distance(self.projection(at_least_float32(s)), at_least_float32(t)) for s, t in pairs]
        return sum(losses[1:], losses[0]) / len(losses)

    def config(self) -> dict[str, Any]:
        return {"layer_map": self.layer_map, "distance": self.distance}


class Embeddings(HiddenStates):
    """The teacher's embeddings as targets, before any layer: `d(W e_s, e_t)`.

    An item is an attended token; W as in `HiddenStates`.

    References: TinyBERT, Jiao et al. 2020, equation 9, https://huggingface.co/papers/1909.10351.
    """

    name = "embeddings"

    def __init__(self, distance: str = "mse") -> None:
        super().__init__(distance=distance)

    @classmethod
    def from_args(cls, args: DistillationTrainingArguments, problem_type: str | None) -> Embeddings:
        return cls(args.hidden_state_loss)

    def bind(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        self.projection = make_projection(student, teacher)

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        mine, theirs = hidden_pair(student, teacher)
        check_same_tokens(self.name, mine[0], theirs[0])
        return self.compare(mine[:1], theirs[:1])

    def config(self) -> dict[str, Any]:
        return {"distance": self.distance}


class Patient(HiddenStates):
    """Patient knowledge distillation: the first token's normalised hidden state after each layer but the last.

    `mean over layers of ‖W h_s / ‖W h_s‖ − h_t / ‖h_t‖‖²`, where an item is an example. The last layer is left to
    the terms on answers, as in the paper, unless the student has no other.

    References: Sun et al. 2019, equation 7, https://huggingface.co/papers/1908.09355.
    """

    name = "patient"
    token_wise = False
    citation = "https://huggingface.co/papers/1908.09355"

    def __init__(self, layer_map: str | Sequence[int] = "uniform") -> None:
        super().__init__(layer_map, "cosine")

    @classmethod
    def from_args(cls, args: DistillationTrainingArguments, problem_type: str | None) -> Patient:
        return cls(parse_layer_map(args.layer_map))

    def valid(self, batch: Batch) -> Tensor:
        return Term.valid(self, batch)

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        mine, theirs = hidden_pair(student, teacher)
        firsts = [states[:, 0] for states in mine[1:]]
        targets = self.map([states[:, 0] for states in theirs[1:]])
        matched = max(1, len(firsts) - 1)
        return 2 * self.compare(firsts[:matched], targets[:matched])

    def config(self) -> dict[str, Any]:
        return {"layer_map": self.layer_map}


def make_projection(student: PreTrainedModel, teacher: PreTrainedModel) -> nn.Module:
    """From the student's width to the teacher's; nothing to learn where they are the same."""
    widths = (student.config.hidden_size, teacher.config.hidden_size)
    return nn.Identity() if widths[0] == widths[1] else nn.Linear(*widths, bias=False)


def hidden_pair(student: Any, teacher: TeacherSignal | None) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """The hidden states of both: the embeddings, and what each layer gave."""
    assert teacher is not None and teacher.hidden_states is not None
    return student.hidden_states, teacher.hidden_states

"""Terms on hidden states: intermediate representations, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfdistill.losses.base import Batch, StudentOutput, Term, attended, check_same_tokens
from hfdistill.losses.divergences import at_least_float32
from hfdistill.losses.layer_maps import make_layer_map
from hfdistill.losses.signal import TeacherSignal

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def hidden_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """`mean over the width of (s − t)²`, one value for each vector of `(..., width)`."""
    return (student - teacher).square().mean(-1)


def hidden_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """`1 − cos(s, t)`: the direction alone. It is half of the squared distance between the normalized vectors."""
    return 1 - F.cosine_similarity(student, teacher, dim=-1)


HIDDEN_STATE_LOSSES = {"mse": hidden_mse, "cosine": hidden_cosine}
PROJECTION_INITS = ("random", "least_squares")

#: Eigenvalues of `Σ s sᵀ` below this share of the largest are rounding of float32 states: a norm leaves one direction
#: empty, and dividing by what is left there would make a projection of noise.
_NEGLIGIBLE = 1e-10


class HiddenStates(Term):
    """The teacher's hidden states after each layer as targets: `mean over layers of d(W h_s, h_t)`.

    An item is an attended token. `W` is there when the widths differ: one linear projection for all layers, learned
    with the student and no part of it. It starts at random, or where the first step's items are matched best:
    `argmin_W Σ ‖W h_s − h_t‖²` over those of all ranks.

    On SST-2 it gained nothing beside labels and soft targets: −0.08 ± 0.43 points of accuracy.

    Args:
        layer_map: Which teacher layer each student layer learns from: `uniform`, `last`, `first`, `learned`, or a
            list of one for each student layer.
        distance: d: `mse` (mean over the width), or `cosine` (1 − cos, the direction alone).
        projection_init: Where W starts: `random` or `least_squares`.

    Returns: One loss for each token, shape `(batch, tokens)`.

    Raises:
        ValueError: for an unknown distance or start.

    References: TinyBERT, Jiao et al. 2020, equation 8, https://huggingface.co/papers/1909.10351; the cosine is that
        of DistilBERT, Sanh et al. 2019, https://huggingface.co/papers/1910.01108, which takes the last layer alone.

    Relations: `Patient` compares first tokens alone, `Embeddings` what comes before the layers.

    Example:
        >>> HiddenStates("last", distance="cosine").config()
        {'layer_map': 'last', 'distance': 'cosine'}
    """

    name = "hidden_states"
    outputs = frozenset({"hidden_states"})
    token_wise = True
    citation = "https://huggingface.co/papers/1909.10351"
    settings = {"layer_map": "layer_map", "distance": "hidden_state_loss", "projection_init": "projection_init"}

    def __init__(
        self, layer_map: str | Sequence[int] = "uniform", distance: str = "mse", projection_init: str = "random"
    ) -> None:
        super().__init__()
        if distance not in HIDDEN_STATE_LOSSES:
            raise ValueError(f"hidden_state_loss {distance!r} is unknown: use {', '.join(HIDDEN_STATE_LOSSES)}.")
        if projection_init not in PROJECTION_INITS:
            raise ValueError(f"projection_init {projection_init!r} is unknown: use {', '.join(PROJECTION_INITS)}.")
        self.layer_map = layer_map
        self.distance = distance
        self.projection_init = projection_init

    def bind(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        sizes = (model.config.num_hidden_layers for model in (student, teacher))
        self.map = make_layer_map(self.layer_map, *sizes)
        self.bind_projection(student, teacher)

    def bind_projection(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        """Makes W, where there has to be one."""
        self.projection = make_projection(student, teacher)
        self.starts_from_data = self.projection_init == "least_squares" and isinstance(self.projection, nn.Linear)

    def valid(self, batch: Batch) -> Tensor:
        return attended(batch)

    def matched(
        self, student: StudentOutput, teacher: TeacherSignal | None
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The vectors `(items ..., width)` of the student in each layer, and those they are compared with."""
        student_states, teacher_states = hidden_pair(student, teacher)
        check_same_tokens(self.name, student_states[0], teacher_states[0])
        return student_states[1:], self.map(teacher_states[1:])

    def statistics(self, student: StudentOutput, teacher: TeacherSignal | None, valid: Tensor) -> Tensor:
        """`Σ s [s, t]ᵀ`, all that least squares need."""
        s, t = (torch.cat([x[valid].double() for x in layers]) for layers in self.matched(student, teacher))
        return s.T @ torch.cat([s, t], dim=-1)

    @torch.no_grad()
    def start(self, statistics: Tensor) -> None:
        """W by least squares; the smallest such W, where the items leave it open."""
        squares, products = statistics.split([len(statistics), statistics.shape[1] - len(statistics)], dim=1)
        solution = torch.linalg.pinv(squares, rtol=_NEGLIGIBLE, hermitian=True) @ products
        weight: Any = self.projection.weight
        weight.copy_(solution.T)

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        return self.compare(*self.matched(student, teacher))

    def compare(self, student_states: Sequence[Tensor], teacher_states: Sequence[Tensor]) -> Tensor:
        """The distance of each vector in `(batch, ..., width)`, averaged over the layers."""
        distance = HIDDEN_STATE_LOSSES[self.distance]
        pairs = zip(student_states, teacher_states, strict=True)
        losses = [distance(self.projection(at_least_float32(s)), at_least_float32(t)) for s, t in pairs]
        return sum(losses[1:], losses[0]) / len(losses)

    def config(self) -> dict[str, Any]:
        return {"layer_map": self.layer_map, "distance": self.distance, **self._start_config()}

    def _start_config(self) -> dict[str, Any]:
        return {} if self.projection_init == "random" else {"projection_init": self.projection_init}


class Embeddings(HiddenStates):
    """The teacher's embeddings as targets, before any layer: `d(W e_s, e_t)`.

    An item is an attended token; W as in `HiddenStates`.

    Returns: One loss for each token, shape `(batch, tokens)`.

    References: TinyBERT, Jiao et al. 2020, equation 9, https://huggingface.co/papers/1909.10351.

    Relations: `HiddenStates` before any layer; TinyBERT trains on both.

    Example:
        >>> Embeddings().config()
        {'distance': 'mse'}
    """

    name = "embeddings"
    settings = {"distance": "hidden_state_loss", "projection_init": "projection_init"}

    def __init__(self, distance: str = "mse", projection_init: str = "random") -> None:
        super().__init__(distance=distance, projection_init=projection_init)

    def bind(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        self.bind_projection(student, teacher)

    def matched(
        self, student: StudentOutput, teacher: TeacherSignal | None
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        student_states, teacher_states = hidden_pair(student, teacher)
        check_same_tokens(self.name, student_states[0], teacher_states[0])
        return student_states[:1], teacher_states[:1]

    def config(self) -> dict[str, Any]:
        return {"distance": self.distance, **self._start_config()}


class Patient(HiddenStates):
    """Patient knowledge distillation: the first token's normalized hidden state after each layer but the last.

    `mean over layers of ‖W h_s / ‖W h_s‖ − h_t / ‖h_t‖‖²`, where an item is an example. The last layer is left to
    the terms on predictions, as in the paper, unless the student has no other.

    Returns: One loss for each example, shape `(batch,)`.

    References: Sun et al. 2019, equation 7, https://huggingface.co/papers/1908.09355.

    Relations: `HiddenStates` with the cosine, of first tokens, times 2.

    Example:
        >>> Patient("last").config()
        {'layer_map': 'last'}
    """

    name = "patient"
    token_wise = False
    reads_first_token = True
    citation = "https://huggingface.co/papers/1908.09355"
    settings = {"layer_map": "layer_map", "projection_init": "projection_init"}

    def __init__(self, layer_map: str | Sequence[int] = "uniform", projection_init: str = "random") -> None:
        super().__init__(layer_map, "cosine", projection_init)

    def valid(self, batch: Batch) -> Tensor:
        return Term.valid(self, batch)

    def matched(
        self, student: StudentOutput, teacher: TeacherSignal | None
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        student_states, teacher_states = hidden_pair(student, teacher)
        firsts = [states[:, 0] for states in student_states[1:]]
        targets = self.map([states[:, 0] for states in teacher_states[1:]])
        count = max(1, len(firsts) - 1)
        return firsts[:count], targets[:count]

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        return 2 * super().forward(student, teacher, batch)

    def config(self) -> dict[str, Any]:
        return {"layer_map": self.layer_map, **self._start_config()}


def make_projection(student: PreTrainedModel, teacher: PreTrainedModel) -> nn.Module:
    """From the student's width to the teacher's; nothing to learn where they are the same."""
    widths = (student.config.hidden_size, teacher.config.hidden_size)
    return nn.Identity() if widths[0] == widths[1] else nn.Linear(*widths, bias=False)


def hidden_pair(student: Any, teacher: TeacherSignal | None) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """The hidden states of both: the embeddings, and what each layer gave."""
    assert teacher is not None and teacher.hidden_states is not None
    return student.hidden_states, teacher.hidden_states

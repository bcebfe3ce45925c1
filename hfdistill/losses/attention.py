"""Terms on attention: which token attends to which, from queries, keys and values, under every implementation.

The scores here are those of content alone, `q · k / √d`. In models that add positions to them later on (rotary as in
ModernBERT, relative as in DeBERTa) the part of the positions is left out, on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from hfdistill.losses.base import Batch, StudentOutput, Term, attended, attended_together, check_same_tokens, related
from hfdistill.losses.divergences import at_least_float32, kl
from hfdistill.losses.layer_maps import make_layer_map
from hfdistill.losses.signal import TeacherSignal

if TYPE_CHECKING:
    from transformers import PreTrainedModel


#: A score low enough for a softmax to give 0, and finite, so that 0 times its logarithm is 0.
_NEVER = -1e9
_TWO_TOKENS = "such as texts of two tokens or more"


def scores(rows: Tensor, columns: Tensor, heads: int) -> Tensor:
    """`rows · columns / √(width / heads)` within each head, in float32 at least.

    Args:
        rows: Shape `(batch, tokens, width)`.
        columns: The same shape.
        heads: How many parts the width is split into.

    Returns:
        Shape `(batch, heads, tokens, tokens)`.
    """
    rows, columns = (at_least_float32(x).unflatten(-1, (heads, -1)).transpose(1, 2) for x in (rows, columns))
    return rows @ columns.transpose(-1, -2) / math.sqrt(rows.shape[-1])


def relation_kl(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """`KL(softmax(teacher) ‖ softmax(student))` of each row of scores over the attended columns, averaged over heads.

    Args:
        student: Scores `(batch, heads, tokens, tokens)`.
        teacher: The same shape.
        mask: Which columns each row of scores is over, `(batch, 1, tokens)` or `(batch, tokens, tokens)`.

    Returns:
        Shape `(batch, tokens)`.
    """
    log_q, log_p = (x.masked_fill(~mask[:, None], _NEVER).log_softmax(-1) for x in (student, teacher))
    return kl(log_p, log_q).mean(1)


def same_heads(name: str, student: Any, teacher: Any) -> int:
    """The number of attention heads of two configurations, for a term that compares head by head.

    Raises:
        ValueError: when they differ.
    """
    if student.num_attention_heads != teacher.num_attention_heads:
        raise ValueError(
            f"the term {name!r} compares head by head, and the student has {student.num_attention_heads} attention "
            f"heads and the teacher {teacher.num_attention_heads}: use minilm, which splits both alike, or give the "
            "student as many heads."
        )
    return int(teacher.num_attention_heads)


class AttentionScores(Term):
    """The teacher's attention scores as targets, before their softmax: `mean over layers and heads of (a_s − a_t)²`.

    An item is an attended token: its row of scores, averaged over the attended tokens. Works under any attention
    implementation; teacher and student need the same number of heads.

    Args:
        layer_map: As in `HiddenStates`.

    Returns: One loss for each token, shape `(batch, tokens)`.

    References: TinyBERT, Jiao et al. 2020, equation 7, https://huggingface.co/papers/1909.10351.

    Relations: `Attentions` compares the same scores after their softmax.

    Example:
        >>> student, teacher = torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3)  # (batch, heads, tokens, tokens)
        >>> AttentionScores().compare(student, teacher, torch.ones(1, 1, 3, dtype=torch.bool))
        tensor([[1., 1., 1.]])
    """

    name = "attention_scores"
    outputs = frozenset({"queries", "keys"})
    token_wise = True
    citation = "https://huggingface.co/papers/1909.10351"
    settings = {"layer_map": "layer_map"}

    def __init__(self, layer_map: str | Sequence[int] = "uniform") -> None:
        super().__init__()
        self.layer_map = layer_map

    def bind(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        self.heads = same_heads(self.name, student.config, teacher.config)
        sizes = (model.config.num_hidden_layers for model in (student, teacher))
        self.map = make_layer_map(self.layer_map, *sizes)

    def valid(self, batch: Batch) -> Tensor:
        return attended(batch)

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        student_scores, teacher_scores = (_attention_scores(model, self.heads) for model in (student, teacher))
        check_same_tokens(self.name, student_scores[0].transpose(1, 2), teacher_scores[0].transpose(1, 2))
        losses = [
            self.compare(s, t, related(batch)) for s, t in zip(student_scores, self.map(teacher_scores), strict=True)
        ]
        return sum(losses[1:], losses[0]) / len(losses)

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """The loss of each row of scores, averaged over the heads.

        Args:
            student: Scores `(batch, heads, tokens, tokens)`.
            teacher: The same shape.
            mask: As for `relation_kl`.
        """
        squares = (student - teacher).square().mean(1) * mask
        return squares.sum(-1) / mask.sum(-1).clamp_min(1)

    def config(self) -> dict[str, Any]:
        return {"layer_map": self.layer_map}


class Attentions(AttentionScores):
    """The teacher's attention as a distribution to follow: `mean over layers and heads of KL(A_t ‖ A_s)`.

    A is the softmax of a row of scores; an item is an attended token and what it attends to, in texts of two tokens
    or more. As `AttentionScores` otherwise.

    Returns: One loss for each token, shape `(batch, tokens)`.

    References: MiniLM, Wang et al. 2020, section 3, https://huggingface.co/papers/2002.10957, there for the last
        layer alone.

    Relations: the first half of `MiniLMv1`, in all layers.

    Example:
        >>> student, teacher = torch.zeros(1, 2, 3, 3), torch.eye(3).expand(1, 2, 3, 3)
        >>> Attentions().compare(student, teacher, torch.ones(1, 1, 3, dtype=torch.bool)).round(decimals=4)
        tensor([[0.1233, 0.1233, 0.1233]])
    """

    name = "attentions"
    citation = "https://huggingface.co/papers/2002.10957"

    @property
    def needs(self) -> str:
        return _TWO_TOKENS

    def valid(self, batch: Batch) -> Tensor:
        return attended_together(batch)

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        return relation_kl(student, teacher, mask)


def _attention_scores(model: Any, heads: int) -> list[Tensor]:
    return [scores(queries, keys, heads) for queries, keys in zip(model.queries, model.keys, strict=True)]


class MiniLM(Term):
    """How each token's query relates to the other tokens' queries, keys to keys, values to values (MiniLMv2).

    `Σ over the three of mean over relation heads of KL(softmax(x_t x_tᵀ / √d) ‖ softmax(x_s x_sᵀ / √d))`, at the
    student's last layer. The vectors of all heads are put side by side and split anew into `relation_heads`, so that
    widths and heads may differ, and nothing need be learned beside the student. An item is an attended token of a text
    of two or more.

    Args:
        relation_heads: Into how many parts both widths are split; `None` takes the largest number up to the teacher's
            heads that divides both. More, smaller heads give finer relations.
        teacher_layer: The number of the teacher's layer, from 0; -1 is the last. The paper takes the 21st of 24.

    Returns: One loss for each token, shape `(batch, tokens)`.

    References: MiniLMv2, Wang et al. 2021, section 3, https://huggingface.co/papers/2012.15828.

    Relations: `MiniLMv1` relates queries to keys, and needs equal numbers of heads.

    Example:
        >>> MiniLM(relation_heads=12, teacher_layer=20).config()
        {'relation_heads': 12, 'teacher_layer': 20}
    """

    name = "minilm"
    outputs = frozenset({"queries", "keys", "values"})
    token_wise = True
    citation = "https://huggingface.co/papers/2012.15828"
    settings = {"relation_heads": "relation_heads", "teacher_layer": "teacher_layer"}

    #: What is related to what.
    relations: ClassVar[tuple[tuple[str, str], ...]] = (("queries", "queries"), ("keys", "keys"), ("values", "values"))

    def __init__(self, relation_heads: int | None = None, teacher_layer: int = -1) -> None:
        super().__init__()
        self.relation_heads = relation_heads
        self.teacher_layer = teacher_layer

    def bind(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        layers = teacher.config.num_hidden_layers
        if not -layers <= self.teacher_layer < layers:
            raise ValueError(
                f"teacher_layer {self.teacher_layer}: the teacher's layers are 0 to {layers - 1} for the term "
                f"{self.name!r}; -1 is the last."
            )
        self.heads = self.choose_heads(student.config, teacher.config)

    def choose_heads(self, student: Any, teacher: Any) -> int:
        """Into how many parts the widths of these two configurations are split."""
        common = math.gcd(student.hidden_size, teacher.hidden_size)
        divisors = [heads for heads in range(1, common + 1) if common % heads == 0]
        if self.relation_heads is None:
            return max(heads for heads in divisors if heads <= teacher.num_attention_heads)
        if self.relation_heads not in divisors:
            raise ValueError(
                f"relation_heads {self.relation_heads} must divide the student's width {student.hidden_size} and the "
                f"teacher's {teacher.hidden_size}: choose one of {', '.join(map(str, divisors))}."
            )
        return self.relation_heads

    @property
    def needs(self) -> str:
        return _TWO_TOKENS

    def valid(self, batch: Batch) -> Tensor:
        return attended_together(batch)

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        prediction: Any = student
        check_same_tokens(self.name, prediction.values[-1], _vectors(teacher, "values")[-1])
        losses = [self._relation(student, teacher, pair, related(batch)) for pair in self.relations]
        return sum(losses[1:], losses[0])

    def _relation(self, student: Any, teacher: Any, pair: tuple[str, str], mask: Tensor) -> Tensor:
        rows, columns = pair
        student_scores, teacher_scores = (
            scores(_vectors(model, rows)[layer], _vectors(model, columns)[layer], self.heads)
            for model, layer in ((student, -1), (teacher, self.teacher_layer))
        )
        return relation_kl(student_scores, teacher_scores, mask)

    def config(self) -> dict[str, Any]:
        shown = {"relation_heads": self.relation_heads, "teacher_layer": self.teacher_layer}
        return {name: value for name, value in shown.items() if value not in (None, -1)}


class MiniLMv1(MiniLM):
    """The last layer's attention, and how the tokens' values relate to one another (MiniLM).

    `mean over heads of KL(A_t ‖ A_s) + mean over heads of KL(V_t ‖ V_s)`, with `A = softmax(q kᵀ / √d)` and
    `V = softmax(v vᵀ / √d)`. Teacher and student need the same number of heads. An item is an attended token.

    Returns: One loss for each token, shape `(batch, tokens)`.

    References: MiniLM, Wang et al. 2020, section 3, https://huggingface.co/papers/2002.10957.

    Relations: `Attentions` of the last layer, and the values' part of `MiniLM`.

    Example:
        >>> MiniLMv1(teacher_layer=20).config()
        {'teacher_layer': 20}
    """

    name = "minilm_v1"
    citation = "https://huggingface.co/papers/2002.10957"
    relations = (("queries", "keys"), ("values", "values"))
    settings = {"teacher_layer": "teacher_layer"}

    def __init__(self, teacher_layer: int = -1) -> None:
        super().__init__(teacher_layer=teacher_layer)

    def choose_heads(self, student: Any, teacher: Any) -> int:
        return same_heads(self.name, student, teacher)


def _vectors(model: Any, name: str) -> Sequence[Tensor]:
    return getattr(model, name)

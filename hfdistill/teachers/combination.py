"""How the predictions of several teachers become one target."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hfdistill.losses.signal import TeacherSignal

COMBINATIONS = ("probabilities", "logits", "confidence", "sample")


@dataclass(frozen=True)
class Combination:
    """How the predictions `t_k` of several teachers become one, with weights `w_k` that sum to 1.

    | method | target at temperature T |
    |---|---|
    | `probabilities` | `Σ w_k softmax(t_k / T)` (Hinton et al. 2015, section 1: the arithmetic mean) |
    | `logits` | `softmax(Σ w_k t_k / T)` (there too: the geometric mean of the probabilities) |
    | `confidence` | `Σ c_k softmax(t_k / T)`, with `c_k ∝ w_k · exp(−H(softmax(t_k)))` for each item |
    | `sample` | `softmax(t_k / T)` of one teacher a step, sampled with probability `w_k` |

    `confidence` is confidence-weighted: a teacher torn between two classes counts half as much as one that is sure.
    Outside of training `sample` is `probabilities`. With several labels at once each is a distribution over yes and no,
    `sigmoid(z) = softmax((z, 0))`. The outputs of a regression are averaged.

    Args:
        method: One of the above.
        weights: A positive weight for each teacher, in proportion; equal when left out.
        seed: Of `sample`, whose choice depends on nothing but it and the step: all ranks and micro-batches of a step,
            and a resumed run, use the same teacher.

    Raises:
        ValueError: for an unknown method or a weight that is not above 0.

    References: Hinton et al. 2015, https://huggingface.co/papers/1503.02531; one teacher a step, Fukuda et al. 2017,
        https://www.isca-archive.org/interspeech_2017/fukuda17_interspeech.html.
    """

    method: str = "probabilities"
    weights: Sequence[float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in COMBINATIONS:
            raise ValueError(f"teacher_combination must be one of {', '.join(COMBINATIONS)}; got {self.method!r}.")
        if any(not 0 < weight < float("inf") for weight in self.weights or ()):
            raise ValueError(f"teacher_weights must be finite numbers above 0; got {list(self.weights or ())}.")

    def check_number(self, teachers: int) -> None:
        """Refuses weights of another number than there are teachers.

        Raises:
            ValueError: naming both numbers.
        """
        if self.weights is not None and len(self.weights) != teachers:
            raise ValueError(f"teacher_weights has {len(self.weights)} entries and there are {teachers} teachers.")

    def drawn(self, step: int | None, teachers: int) -> int | None:
        """Which teacher is used in a step; `None` when all are."""
        if self.method != "sample" or step is None:
            return None
        return random.Random(f"{self.seed} {step}").choices(range(teachers), self.weights)[0]

    def __call__(self, predictions: Tensor, problem_type: str | None = None, step: int | None = None) -> TeacherSignal:
        """The signal of several teachers.

        Args:
            predictions: Their logits, shape `(teachers, batch, ..., classes)`.
            problem_type: As in `config.problem_type`; `None` means single label, or regression for a single output.
            step: The optimizer step, `None` outside of training.
        """
        self.check_number(len(predictions))
        drawn = self.drawn(step, len(predictions))
        if drawn is not None:
            return TeacherSignal(logits=predictions[drawn])
        weights = (
            predictions.new_ones(len(predictions))
            if self.weights is None
            else predictions.new_tensor(list(self.weights))
        )
        return self.mix(predictions, weights / weights.sum(), problem_type)

    def mix(self, predictions: Tensor, weights: Tensor, problem_type: str | None = None) -> TeacherSignal:
        """The signal of all teachers under other weights, shape `(teachers,)`, summing to 1; they may be learned."""
        predictions = predictions if predictions.dtype == torch.float64 else predictions.float()
        weights = weights.view(-1, *[1] * (predictions.dim() - 1))
        many = problem_type == "multi_label_classification"
        values = problem_type == "regression" or (predictions.shape[-1] == 1 and not many)
        if values and self.method == "confidence":
            raise ValueError(
                "the combination 'confidence' weighs teachers by their entropy, and a regression has none."
            )
        if values or self.method == "logits":
            return TeacherSignal(logits=(weights * predictions).sum(0))
        if self.method == "confidence":
            weights = weights * (-_entropy(predictions, many)).exp()
            weights = weights / weights.sum(0)
        return MixtureSignal.of(predictions, weights, many)


def disagreement(predictions: Tensor, problem_type: str | None = None) -> Tensor:
    """How far apart several teachers are on each item: the Jensen-Shannon divergence of their distributions.

    `H(1/K Σ_k p_k) − 1/K Σ_k H(p_k)` in nats, with `p_k` the softmax of teacher `k`'s logits: 0 where all say the same,
    at most `log K`, where each is sure of another label. Of several labels at once it is the mean over the labels of
    that between yes and no; of a regression, the standard deviation of its outputs over the teachers.

    Args:
        predictions: Their logits, shape `(teachers, ..., classes)`.
        problem_type: As in `config.problem_type`; `None` means single label, or regression for a single output.

    Returns:
        Shape `(...)`, float32 at least.

    References: Lin 1991, Divergence Measures Based on the Shannon Entropy, https://doi.org/10.1109/18.61115.

    Example:
        >>> sure = torch.tensor([[[20.0, -20.0]], [[-20.0, 20.0]]])
        >>> disagreement(sure), disagreement(sure[:1].expand(2, -1, -1))
        (tensor([0.6931]), tensor([0.]))
    """
    predictions = predictions if predictions.dtype == torch.float64 else predictions.float()
    many = problem_type == "multi_label_classification"
    if problem_type == "regression" or (predictions.shape[-1] == 1 and not many):
        return predictions.std(0, correction=0).mean(-1)
    weights = predictions.new_full((len(predictions), *[1] * (predictions.dim() - 1)), 1 / len(predictions))
    mixed = _mixture(predictions, weights, many, 1.0)
    divergence = _entropy(mixed, many) - _entropy(predictions, many).mean(0)
    return divergence.mean(-1).clamp_min(0.0)


@dataclass
class MixtureSignal(TeacherSignal):
    """A weighted mean of several teachers' distributions, which is another one at each temperature.

    Args:
        logits: The mixture at temperature 1.
        predictions: The teachers' logits, shape `(teachers, batch, ..., classes)`.
        weights: What each counts for, broadcastable to `predictions`, summing to 1 over the teachers.
        many: Whether each label is a distribution of its own, over yes and no.
    """

    predictions: Tensor | None = None
    weights: Tensor | None = None
    many: bool = False

    @classmethod
    def of(cls, predictions: Tensor, weights: Tensor, many: bool = False) -> MixtureSignal:
        """The signal of these predictions."""
        return cls(
            logits=_mixture(predictions, weights, many, 1.0), predictions=predictions, weights=weights, many=many
        )

    def logits_at(self, temperature: float) -> Tensor:
        """`z` such that `softmax(z / T) = Σ w_k softmax(t_k / T)`."""
        assert self.predictions is not None and self.weights is not None
        return _mixture(self.predictions, self.weights, self.many, temperature)


def _mixture(predictions: Tensor, weights: Tensor, many: bool, temperature: float) -> Tensor:
    scaled, log_weights = predictions / temperature, weights.log()
    if many:
        yes = (log_weights + F.logsigmoid(scaled)).logsumexp(0)
        return temperature * (yes - (log_weights + F.logsigmoid(-scaled)).logsumexp(0))
    mixed = temperature * (log_weights + scaled.log_softmax(-1)).logsumexp(0)
    # A softmax does not see a shift, squared errors on logits do: with this one the mixture of equal teachers is them.
    return mixed + ((weights * predictions).sum(0) - mixed).mean(-1, keepdim=True)


def _entropy(predictions: Tensor, many: bool) -> Tensor:
    """Of each distribution, shape `(teachers, batch, ..., 1)`, or of each label's own, shape that of `predictions`."""
    if many:
        yes, no = F.logsigmoid(predictions), F.logsigmoid(-predictions)
        return -(yes.exp() * yes + no.exp() * no)
    log_p = predictions.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1, keepdim=True)

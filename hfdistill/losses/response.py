"""Terms on logits: the hard labels, and the teacher's soft targets."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hfdistill.losses.base import Batch, StudentOutput, Term
from hfdistill.losses.divergences import (
    DIVERGENCES,
    TEMPERATURE,
    Divergence,
    at_least_float32,
    jensen_shannon,
    kl,
    log_probabilities,
)
from hfdistill.losses.schedules import Schedule
from hfdistill.losses.signal import TeacherSignal
from hfdistill.models.heads import ITEM_MASK

if TYPE_CHECKING:
    from hfdistill.losses.sparse_distributions import SparseDistribution

IGNORED = -100

#: The divergences that are a sum over the teacher's likely tokens, so that a part of its distribution suffices.
SPARSE_DIVERGENCES = ("forward_kl", "ce")


class Labels(Term):
    """The hard labels' loss: cross-entropy `−log softmax(s)_y`, one binary cross-entropy a label, or squared error.

    An item is an example with one label (`labels` of shape `(batch,)`), one of the labels or targets of an example
    (`(batch, labels)`), or a token with a label (`(batch, tokens)`, logits `(batch, tokens, classes)`). Items whose
    label is -100, and batches without labels, count for nothing.

    Args:
        problem_type: `single_label_classification`, `multi_label_classification` or `regression`, as in
            `config.problem_type`; `None` infers it as transformers does: one output is a regression, whole-number
            labels are classes, others are many labels at once.
        label_smoothing: The share of probability given to all classes alike, in [0, 1); single label only.

    Returns: One loss for each label, in the shape of `labels`; 0 for each row where the batch has none.

    References: Hinton et al. 2015, section 2, https://huggingface.co/papers/1503.02531.

    Relations: `SoftTargets` with the labels' one-hot distribution for a teacher and T = 1.

    Example:
        >>> student = TeacherSignal(logits=torch.zeros(2, 3))
        >>> Labels()(student, None, {"labels": torch.tensor([2, -100])}).round(decimals=4)
        tensor([1.0986, 0.0000])
    """

    name = "labels"
    log_name = "label_loss"
    uses_teacher = False
    logits_only = True
    citation = "https://huggingface.co/papers/1503.02531"
    settings = {"problem_type": "problem_type", "label_smoothing": "label_smoothing_factor"}

    def __init__(self, problem_type: str | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.problem_type = problem_type
        self.label_smoothing = label_smoothing

    def valid(self, batch: Batch) -> Tensor:
        return labeled(batch["labels"]) if "labels" in batch else ~super().valid(batch)

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        logits = at_least_float32(student.logits)
        if "labels" not in batch:
            return _nothing(logits)
        labels = batch["labels"]
        problem_type = self.problem_type or infer_problem_type(logits.shape[-1], labels)
        if problem_type == "single_label_classification":
            classes = _classes(labels, IGNORED)
            losses = F.cross_entropy(
                logits.flatten(0, -2),
                classes.flatten(),
                reduction="none",
                ignore_index=IGNORED,
                label_smoothing=self.label_smoothing,
            )
            return losses.view(classes.shape)
        if self.label_smoothing:
            raise ValueError(f"label_smoothing_factor is for single-label classification, not for {problem_type}.")
        # Ignored targets get a harmless value: NaN times a mask of 0 would still be NaN in the gradient.
        targets = labels.masked_fill(~labeled(labels), 0).to(logits.dtype).view(labels.shape)
        if problem_type == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return (logits.view(labels.shape) - targets).square()

    def config(self) -> dict[str, Any]:
        return {"label_smoothing": self.label_smoothing} if self.label_smoothing else {}


def labeled(labels: Tensor) -> Tensor:
    """Which labels there are: not -100, and not NaN, as a hole in a column of scores becomes."""
    given = labels != IGNORED
    return given & ~labels.isnan() if labels.is_floating_point() else given


def has_token_labels(batch: Batch, problem_type: str | None = None) -> bool:
    """Whether each token of a row has a class of its own, as in translation: `labels` of shape `(batch, tokens)`."""
    labels = batch.get("labels")
    one_class = problem_type in (None, "single_label_classification")
    return labels is not None and labels.dim() > 1 and not labels.is_floating_point() and one_class


def decided_items(batch: Batch, problem_type: str | None = None) -> Tensor | None:
    """Of rows with several items, which are decided on, shape `(batch, items)`; `None` where a row is one item."""
    mask = batch.get(ITEM_MASK)
    if mask is not None:
        return mask.bool()
    return labeled(batch["labels"]) if has_token_labels(batch, problem_type) else None


def _classes(labels: Tensor, ignored: int) -> Tensor:
    """Labels as class indices, `ignored` where there is none; a column with holes comes as floats and NaN."""
    if ignored == IGNORED and labels.dtype == torch.int64:
        return labels
    return labels.masked_fill(~labeled(labels), ignored).long()


def _nothing(logits: Tensor) -> Tensor:
    """A loss of 0 for each row that still has a graph, so that a batch without labels can be stepped on."""
    return 0.0 * at_least_float32(logits).flatten(1).sum(1)


def infer_problem_type(num_outputs: int, labels: Tensor) -> str:
    """What transformers takes labels to mean where `config.problem_type` is not set."""
    if num_outputs == 1:
        return "regression"
    return "multi_label_classification" if labels.is_floating_point() else "single_label_classification"


class SoftTargets(Term):
    """The teacher's prediction as the target: `D(softmax(t/T), softmax(s/T)) · T²` for a divergence D.

    An item is an example; labels are not needed. Where each token has a label of its own an item is a token, and
    those of label -100 count for nothing, unless the batch has an `item_mask`, which says of each token whether it
    counts. Where an answer begins is one item, and where it ends another, each a distribution over the tokens. With
    many labels at once each label is a distribution of its own over yes and no, `sigmoid(z) = softmax((z, 0))`, and
    their divergences are averaged; a regression has no
    distribution, so its outputs are compared by squared error whatever the divergence.

    Args:
        temperature: T > 0, or a `Schedule` of it; higher is softer.
        divergence: The name of D in `DIVERGENCES`.
        beta: The weight of the teacher's side in `js`, in (0, 1).
        standardize_logits: Compare the z-scores of the logits, so that the student need not copy the teacher's
            magnitude (Sun et al. 2024). Needs three classes: the z-scores of two are always −1 and 1.
        problem_type: As in `Labels`; `None` means single label, or regression for a single output.

    Returns: One loss for each row, shape `(batch,)`, or for each token, `(batch, tokens)`.

    Raises:
        ValueError: for an unknown divergence, or `standardize_logits` where it would silently teach nothing.

    References: Hinton et al. 2015, https://huggingface.co/papers/1503.02531; logit standardization,
        Sun et al. 2024, https://huggingface.co/papers/2403.01427.

    Relations: as T grows `forward_kl` tends to half of `mse` on centered logits; `DecoupledSoftTargets` weighs its two
        parts apart.

    Example:
        >>> student = TeacherSignal(logits=torch.zeros(2, 3))
        >>> teacher = TeacherSignal(logits=torch.eye(3)[:2])
        >>> SoftTargets(temperature=2.0)(student, teacher, {"input_ids": torch.ones(2, 1)}).round(decimals=4)
        tensor([0.1207, 0.1207])
    """

    name = "soft_targets"
    log_name = "soft_target_loss"
    logits_only = True
    citation = "https://huggingface.co/papers/1503.02531"
    settings = {
        **{name: name for name in ("temperature", "divergence", "standardize_logits", "problem_type")},
        "beta": "js_beta",
    }

    def __init__(
        self,
        temperature: float | Schedule = TEMPERATURE,
        divergence: str = "forward_kl",
        beta: float = 0.5,
        standardize_logits: bool = False,
        problem_type: str | None = None,
    ) -> None:
        super().__init__()
        if divergence not in DIVERGENCES:
            raise ValueError(f"divergence {divergence!r} is unknown; choose from {', '.join(DIVERGENCES)}.")
        self.temperature = temperature
        self.divergence = divergence
        self.beta = beta
        self.standardize_logits = standardize_logits
        self.problem_type = problem_type

    def valid(self, batch: Batch) -> Tensor:
        decided = decided_items(batch, self.problem_type)
        return super().valid(batch) if decided is None else decided

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        if teacher is not None and teacher.sparse is not None and self.divergence in SPARSE_DIVERGENCES:
            return self._from_sparse(student.logits, teacher.sparse)
        temperature, divergence = self.scheduled(self.temperature), self._divergence()
        on_logits = self.standardize_logits or self.divergence == "mse"
        student_logits, teacher_logits = _logit_pair(student, teacher, 1.0 if on_logits else temperature)
        many = self.problem_type == "multi_label_classification"
        if self.problem_type == "regression" or (student_logits.shape[-1] == 1 and not many):
            return DIVERGENCES["mse"](student_logits, teacher_logits, 1.0)
        if self.standardize_logits:
            student_logits, teacher_logits = _z_scores(student_logits), _z_scores(teacher_logits)
        if not many or self.divergence == "mse":  # mse is on the logits: the added zeros of `_yes_no` would halve it
            return divergence(student_logits, teacher_logits, temperature)
        return divergence(_yes_no(student_logits), _yes_no(teacher_logits), temperature).mean(-1)

    def _from_sparse(self, logits: Tensor, part: SparseDistribution) -> Tensor:
        """The divergence from the stored part of the teacher's distribution."""
        temperature, stored = self.temperature, part.temperature
        if (
            self.standardize_logits
            or isinstance(temperature, Schedule)
            or not math.isclose(temperature, stored, rel_tol=1e-6)
        ):
            raise ValueError(
                f"the stored token soft targets are of temperature {stored:g} and say nothing of another, and here "
                f"soft_targets has {self.config()}: train at that temperature, or make them with temperature=..."
            )
        losses = part.cross_entropy(log_probabilities(logits, temperature))
        if self.divergence == "forward_kl":
            losses = losses + part.negative_entropy
        return temperature**2 * losses

    def _divergence(self) -> Divergence:
        if self.divergence == "js":
            return functools.partial(jensen_shannon, beta=self.beta)
        return DIVERGENCES[self.divergence]

    def config(self) -> dict[str, Any]:
        if self.problem_type == "regression":
            return {"divergence": "squared error"}
        shown: dict[str, Any] = {"divergence": self.divergence}
        if self.divergence != "mse":
            shown["temperature"] = self.temperature
        if self.divergence == "js":
            shown["beta"] = self.beta
        if self.standardize_logits:
            shown["standardize_logits"] = True
        return shown


def _logit_pair(student: StudentOutput, teacher: TeacherSignal | None, temperature: float) -> tuple[Tensor, Tensor]:
    # Several teachers' mean is another distribution at each temperature.
    logits = None if teacher is None else teacher.logits_at(temperature)
    if teacher is not None and teacher.sparse is not None:
        raise ValueError(
            "stored token soft targets are a part of the teacher's distribution, of which soft_targets can be computed "
            f"with the divergences {' and '.join(SPARSE_DIVERGENCES)} alone: take one of these, or pass the model as "
            "teacher=..."
        )
    if logits is None:
        raise ValueError("a term on soft targets needs the teacher's logits, and this batch has none.")
    if student.logits.shape != logits.shape:
        raise ValueError(
            f"the student's logits have shape {tuple(student.logits.shape)}, the teacher's "
            f"{tuple(logits.shape)}: they must solve the same task about the same rows."
        )
    return student.logits, logits


def _yes_no(logits: Tensor) -> Tensor:
    return torch.stack([logits, torch.zeros_like(logits)], dim=-1)


def _z_scores(logits: Tensor) -> Tensor:
    if logits.shape[-1] < 3:
        raise ValueError(
            "standardize_logits needs at least 3 classes: the z-scores of two logits are always -1 and 1, so that "
            "nothing would be learned; leave it off."
        )
    logits = at_least_float32(logits)
    # The floor is for constant logits, whose z-scores are 0.
    deviation = logits.std(-1, keepdim=True, unbiased=False).clamp_min(1e-7)
    return (logits - logits.mean(-1, keepdim=True)) / deviation


class DecoupledSoftTargets(Term):
    """Decoupled knowledge distillation: `T² · (target_weight · TCKD + non_target_weight · NCKD)`.

    With label y, TCKD is the KL divergence between the teacher's and the student's `(p_y, 1 − p_y)`, and NCKD the
    KL divergence between their distributions over the classes other than y; plain distillation would couple the
    second to the first by the factor `1 − p_y`. An item is a labeled example, or a labeled token.

    Args:
        temperature: T > 0, or a `Schedule` of it.
        target_weight: α of the paper, 1 there.
        non_target_weight: β of the paper, 8 in most of its tables.

    Returns: One loss for each label, in the shape of `labels`.

    References: Zhao et al. 2022, equation 7, https://huggingface.co/papers/2203.08679.

    Relations: `SoftTargets` is TCKD + (1 − p_y) NCKD, by the teacher's p_y of each item.

    Example:
        >>> student = TeacherSignal(logits=torch.zeros(2, 3))
        >>> teacher = TeacherSignal(logits=torch.eye(3)[:2])
        >>> DecoupledSoftTargets()(student, teacher, {"labels": torch.tensor([0, 1])}).round(decimals=4)
        tensor([0.1207, 0.1207])
    """

    name = "decoupled"
    logits_only = True
    citation = "https://huggingface.co/papers/2203.08679"
    settings = {"temperature": "temperature"}

    def __init__(
        self, temperature: float | Schedule = TEMPERATURE, target_weight: float = 1.0, non_target_weight: float = 8.0
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.target_weight = target_weight
        self.non_target_weight = non_target_weight

    def valid(self, batch: Batch) -> Tensor:
        return labeled(batch["labels"]) if "labels" in batch else ~super().valid(batch)

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        temperature = self.scheduled(self.temperature)
        student_logits, teacher_logits = _logit_pair(student, teacher, temperature)
        if student_logits.shape[-1] < 3:
            raise ValueError(
                "the term 'decoupled' needs at least 3 classes: with 2 its non-target part is always 0; "
                "use soft_targets."
            )
        if "labels" not in batch:
            return _nothing(student_logits)
        if batch["labels"].dim() != student_logits.dim() - 1:
            raise ValueError("the term 'decoupled' sets one class apart, and these rows have many labels at once.")
        labels = _classes(batch["labels"], 0).flatten()
        log_q = log_probabilities(student_logits.flatten(0, -2), temperature)
        log_p = log_probabilities(teacher_logits.flatten(0, -2), temperature)
        target = kl(_target_and_rest(log_p, labels), _target_and_rest(log_q, labels))
        rest = kl(_renormalized_rest(log_p, labels), _renormalized_rest(log_q, labels))
        losses = temperature**2 * (self.target_weight * target + self.non_target_weight * rest)
        return losses.view(batch["labels"].shape)

    def config(self) -> dict[str, Any]:
        return {
            "temperature": self.temperature,
            "target_weight": self.target_weight,
            "non_target_weight": self.non_target_weight,
        }


def _is_target(log_p: Tensor, labels: Tensor) -> Tensor:
    return torch.arange(log_p.shape[-1], device=log_p.device) == labels[:, None]


def _target_and_rest(log_p: Tensor, labels: Tensor) -> Tensor:
    # log(1 - p_y) summed from the other classes: accurate also where p_y is nearly 1.
    rest = log_p.masked_fill(_is_target(log_p, labels), -math.inf).logsumexp(-1)
    return torch.stack([log_p.gather(-1, labels[:, None])[:, 0], rest], dim=-1)


def _renormalized_rest(log_p: Tensor, labels: Tensor) -> Tensor:
    """The log probabilities among the classes other than the label's, which gets 0: it adds nothing to a divergence."""
    target = _is_target(log_p, labels)
    return log_p.masked_fill(target, -math.inf).log_softmax(-1).masked_fill(target, 0.0)

"""The student where it is sure, the teacher for the rest: quality against the share of rows that are passed on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import log_expit, softmax
from transformers import EvalPrediction

from hfdistill.report.quality import MULTI, REGRESSION, Metrics, bootstrap, labeled_rows, problem_of

#: How far below its teacher's the main metric may be, where nothing else is said.
TOLERANCE = 0.005
#: And the most that may be passed on.
LIMITS = (TOLERANCE, 1.0)
#: The curve is measured at each per cent of the rows.
STEPS = 100
#: Digits of a threshold: as many as a model in float32 has.
DIGITS = 6


@dataclass(frozen=True)
class RoutingPoint:
    """What comes of one threshold.

    Args:
        threshold: Rows of which the student is less sure than this are passed on to the teacher; infinite for all.
        share: The share of rows that are passed on.
        metric: The main metric of the answers of both.
    """

    threshold: float
    share: float
    metric: float


@dataclass(frozen=True)
class RoutingChoice:
    """A threshold that was chosen on some rows, and what came of it on others.

    Args:
        chosen: What it gave where it was chosen.
        measured: What it gives on the compared rows.
        interval: The 95 % interval of that metric over resampled rows.
        tolerance: How far below the teacher's the metric was allowed to be.
        max_share: The most that was to be passed on.
        kept: Whether the metric was so where it was chosen; otherwise it is the best within `max_share`.
    """

    chosen: RoutingPoint
    measured: RoutingPoint
    interval: tuple[float, float] | None
    tolerance: float
    max_share: float
    kept: bool


@dataclass(frozen=True)
class Routing:
    """Student and teacher together on the compared rows.

    Args:
        metric: The name of the main metric.
        curve: From nothing that is passed on to everything.
        choice: The threshold, where there were other rows to choose it on.
    """

    metric: str
    curve: tuple[RoutingPoint, ...]
    choice: RoutingChoice | None = None

    def at(self, share: float) -> RoutingPoint:
        """The point of the curve that is nearest to a share."""
        return min(self.curve, key=lambda point: abs(point.share - share))


def confidences(logits: np.ndarray, problem_type: str | None = None) -> np.ndarray:
    """How likely a model is to be right by its own account, shape `(rows,)`.

    The largest probability (Hendrycks and Gimpel 2017, https://huggingface.co/papers/1610.02136); of many labels, that
    all decisions are right: `Π_k max(p_k, 1 − p_k)`.

    Args:
        logits: Shape `(rows, classes)`.
        problem_type: As in `config.problem_type`.

    Raises:
        ValueError: for a regression, which is never sure.
    """
    problem = problem_of(problem_type, logits)
    if problem == REGRESSION:
        raise ValueError("a regression gives scores and no probabilities: it cannot tell of which rows it is sure.")
    logits = logits.astype(float)
    return np.exp(log_expit(np.abs(logits)).sum(-1)) if problem == MULTI else softmax(logits, -1).max(-1)


def routing_curve(
    student_logits: np.ndarray,
    teacher_logits: np.ndarray,
    labels: np.ndarray,
    compute_metrics: Metrics,
    problem_type: str | None = None,
) -> Routing:
    """The main metric against the share of rows that the student, less sure of them, passes on to its teacher.

    Args:
        student_logits: Shape `(rows, classes)`.
        teacher_logits: Likewise, the labels in the same order.
        labels: As `compute_metrics` takes them, shape `(rows,)`, or of many labels `(rows, classes)`.
        compute_metrics: As for `Trainer`; the first metric is the main one.
        problem_type: As in `config.problem_type`.

    Raises:
        ValueError: for a regression.

    Example:
        >>> curve = routing_curve(student_logits, teacher_logits, labels, classification_metrics())  # doctest: +SKIP
        >>> choose_threshold(curve, tolerance=0.01).threshold  # doctest: +SKIP
        0.913742
    """
    return RoutedRows(student_logits, teacher_logits, labels, compute_metrics, problem_type).curve()


@dataclass(frozen=True)
class RoutedRows:
    """Both models' predictions for the same rows; see `routing_curve`."""

    student_logits: np.ndarray
    teacher_logits: np.ndarray
    labels: np.ndarray
    compute_metrics: Metrics
    problem_type: str | None = None

    @cached_property
    def sure(self) -> np.ndarray:
        """How sure the student is of each row."""
        return confidences(self.student_logits, self.problem_type)

    def answers(self, threshold: float) -> np.ndarray:
        """The teacher's logits of the rows that are passed on, the student's of the others."""
        return np.where((self.sure < threshold)[:, None], self.teacher_logits, self.student_logits)

    def point(self, threshold: float) -> RoutingPoint:
        """What comes of a threshold."""
        value = next(iter(self._metrics(threshold).values()))
        return RoutingPoint(threshold, float((self.sure < threshold).mean()), float(value))

    def curve(self) -> Routing:
        """From nothing that is passed on to everything."""
        ordered = np.sort(self.sure)
        counts = sorted({round(step * len(ordered) / STEPS) for step in range(STEPS + 1)})
        points = tuple(self.point(_threshold(ordered, count)) for count in counts)
        return Routing(next(iter(self._metrics(0.0))), points)

    def curve_with_choice(self, held_out: Routing, tolerance: float, max_share: float) -> Routing:
        """The curve, with the threshold that is chosen on other rows, see `choose_threshold`, measured on these."""
        curve, chosen = self.curve(), choose_threshold(held_out, tolerance, max_share)
        labeled = labeled_rows(self.labels)
        answers = self.answers(chosen.threshold)[labeled]
        interval = bootstrap(answers, self.labels[labeled], self.compute_metrics).get(curve.metric)
        kept = keeps(chosen, held_out, tolerance)
        choice = RoutingChoice(chosen, self.point(chosen.threshold), interval, tolerance, max_share, kept)
        return replace(curve, choice=choice)

    def _metrics(self, threshold: float) -> dict[str, float]:
        return self.compute_metrics(EvalPrediction(predictions=self.answers(threshold), label_ids=self.labels))


def choose_threshold(curve: Routing, tolerance: float = TOLERANCE, max_share: float = 1.0) -> RoutingPoint:
    """The smallest share passed on that keeps the metric; or where `max_share` is too little for that, the best.

    Choose it on rows that it is not measured on, such as those of validation.

    Args:
        curve: Of those rows.
        tolerance: How far below the teacher's the metric may be.
        max_share: The most that may be passed on.

    Raises:
        ValueError: for a tolerance or a share that is none.
    """
    check_limits(tolerance, max_share)
    within = [point for point in curve.curve if point.share <= max_share]
    good = [point for point in within if keeps(point, curve, tolerance)]
    return good[0] if good else max(within, key=lambda point: point.metric)


def check_limits(tolerance: float, max_share: float) -> None:
    """Refuses a tolerance or a share that is none.

    Raises:
        ValueError: naming both.
    """
    if not (0 <= tolerance < 1 and 0 <= max_share <= 1):
        raise ValueError(
            f"tolerance is a difference of the main metric, such as 0.005, and max_share a share from 0 to 1; got "
            f"{tolerance:g} and {max_share:g}."
        )


def keeps(point: RoutingPoint, curve: Routing, tolerance: float) -> bool:
    """Whether its metric is within the tolerance of the teacher's."""
    return point.metric >= curve.curve[-1].metric - tolerance - 1e-12


def _threshold(ordered: np.ndarray, count: int) -> float:
    """One that so many rows are below, or with equal rows fewer."""
    if count == 0:
        return 0.0
    if count == len(ordered):
        return math.inf
    return round(float(ordered[count - 1] + ordered[count]) / 2, DIGITS)

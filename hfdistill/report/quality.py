"""How good predictions are, from logits and labels alone: intervals, agreement, calibration, where models differ."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest
from transformers import EvalPrediction

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
#: The metric that stands for all others: the first of a report, its plot, and what a search looks for.
MAIN_METRICS = {SINGLE: "accuracy", MULTI: "accuracy", REGRESSION: "pearson"}
IGNORED = -100
#: How often the rows are resampled; 200 times place the end of a 95 % interval to about a tenth of its width.
BOOTSTRAP_DRAWS = 200
PERMUTATIONS = 10_000
CALIBRATION_BINS = 15
LENGTH_GROUPS = 4

Metrics = Callable[[EvalPrediction], dict[str, float]]


@dataclass(frozen=True)
class PairedTest:
    """Student against baseline on the same rows.

    Args:
        better: On how many rows the student scores higher; `None` for a metric that rows have no scores of, as BLEU.
        worse: On how many rows it scores lower, likewise.
        p_value: Two-sided, of a difference this large if the two were equally good: McNemar's exact test for right
            and wrong predictions, a sign permutation test for other scores, paired bootstrap for BLEU.
    """

    better: int | None
    worse: int | None
    p_value: float


@dataclass(frozen=True)
class Calibration:
    """Whether a model is right as often as it is sure.

    Args:
        error: The expected calibration error, Σ share of rows in a bin · |accuracy − confidence| over equal bins of
            confidence (https://huggingface.co/papers/1706.04599).
        scaled_error: The same after temperature scaling, each half of the rows with the temperature of the other.
        temperature: What the logits are best divided by, found on all rows; above 1 the model is too sure.
        confidence: Mean confidence of each bin that holds rows.
        accuracy: Share of correct predictions in each of these bins.
        share: Share of the rows in each of these bins.
    """

    error: float
    scaled_error: float
    temperature: float
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    share: tuple[float, ...]


@dataclass(frozen=True)
class Slice:
    """Some of the rows, and each model's mean score on them.

    Args:
        name: What these rows have in common.
        rows: Their number.
        scores: By role: the share of correct predictions.
    """

    name: str
    rows: int
    scores: dict[str, float]


def problem_of(problem_type: str | None, logits: np.ndarray) -> str:
    """The problem type as a word, where a config leaves it open."""
    return problem_type or (REGRESSION if logits.shape[-1] == 1 else SINGLE)


def agreement(student: np.ndarray, teacher: np.ndarray, problem_type: str | None) -> float | None:
    """The share of equal decisions of two models, `None` for a regression; logits of shape `(rows, classes)`."""
    problem = problem_of(problem_type, student)
    if problem == REGRESSION or student.shape[-1] == 1:
        return None
    if problem == MULTI:
        return float(((student > 0) == (teacher > 0)).mean())
    return float((student.argmax(-1) == teacher.argmax(-1)).mean())


def divergence(student: np.ndarray, teacher: np.ndarray, problem_type: str | None) -> np.ndarray | None:
    """KL(teacher ‖ student) of each row in nats, shape `(rows,)`, summed over labels that do not exclude one another.

    `None` for a regression, whose output is no distribution.
    """
    problem = problem_of(problem_type, student)
    if problem == REGRESSION:
        return None
    if problem == MULTI:  # each label is a distribution over yes and no
        student, teacher = (np.stack([logits, np.zeros_like(logits)], -1) for logits in (student, teacher))
    teacher, student = (log_softmax(logits.astype(float), -1) for logits in (teacher, student))
    rows = (np.exp(teacher) * (teacher - student)).sum(-1)
    return rows if rows.ndim == 1 else rows.sum(-1)


def labeled_rows(labels: np.ndarray) -> np.ndarray:
    """Which rows have a label, shape `(rows,)`, bool."""
    missing = (labels == IGNORED) | np.isnan(labels.astype(float))
    return ~missing.reshape(len(labels), -1).any(1)


def row_scores(logits: np.ndarray, labels: np.ndarray, problem_type: str | None) -> np.ndarray:
    """The score of each labeled row, shape `(rows,)`, higher is better.

    Right or wrong for a single label, the share of right labels for many, minus the squared error for a regression.
    """
    problem = problem_of(problem_type, logits)
    if problem == REGRESSION:
        return -((logits.reshape(len(labels), -1) - labels.reshape(len(labels), -1)) ** 2).mean(1)
    if problem == MULTI:
        return ((logits > 0) == (labels > 0.5)).mean(1)
    return (logits.argmax(-1) == labels).astype(float)


def bootstrap(
    logits: np.ndarray, labels: np.ndarray, metrics: Metrics, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each metric over rows resampled with replacement (percentile bootstrap).

    The same seed takes the same rows for every model, so that their intervals can be compared.
    """
    random = np.random.default_rng(seed)
    samples: dict[str, list[float]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a sample of equal labels has no correlation: it is NaN, and left out
        for _ in range(BOOTSTRAP_DRAWS):
            rows = random.integers(len(labels), size=len(labels))
            for name, value in metrics(EvalPrediction(predictions=logits[rows], label_ids=labels[rows])).items():
                samples.setdefault(name, []).append(value)
    finite = {name: [value for value in values if math.isfinite(value)] for name, values in samples.items()}
    return {
        name: (float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5)))
        for name, values in finite.items()
        if values
    }


def paired_test(student: np.ndarray, baseline: np.ndarray, seed: int = 0) -> PairedTest:
    """Tests whether two models' scores of the same rows differ, see `PairedTest`; scores of shape `(rows,)`."""
    difference = student - baseline
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    if better + worse == 0:
        return PairedTest(0, 0, 1.0)
    if set(np.unique(difference)) <= {-1.0, 0.0, 1.0}:
        return PairedTest(better, worse, float(binomtest(better, better + worse).pvalue))
    changed = difference[difference != 0]
    random = np.random.default_rng(seed)
    sums = np.array([(random.choice((-1, 1), len(changed)) * changed).sum() for _ in range(PERMUTATIONS)])
    return PairedTest(better, worse, float((1 + (abs(sums) >= abs(changed.sum()) - 1e-12).sum()) / (1 + PERMUTATIONS)))


def calibration(logits: np.ndarray, labels: np.ndarray, problem_type: str | None) -> Calibration | None:
    """How well the confidence of labeled rows is founded; `None` where a prediction has no confidence over classes."""
    if problem_of(problem_type, logits) != SINGLE or len(labels) < 2:
        return None
    halves = np.arange(len(labels)) % 2 == 0
    scaled = logits.astype(float).copy()
    for part in (halves, ~halves):
        scaled[part] = logits[part] / best_temperature(logits[~part], labels[~part])
    confidence, accuracy, share = _bins(logits, labels)
    return Calibration(
        error=_calibration_error(logits, labels),
        scaled_error=_calibration_error(scaled, labels),
        temperature=best_temperature(logits, labels),
        confidence=tuple(confidence),
        accuracy=tuple(accuracy),
        share=tuple(share),
    )


def best_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T in [0.05, 20] whose softmax(logits / T) gives the labels the highest likelihood."""

    def loss(log_temperature: float) -> float:
        chances = log_softmax(logits.astype(float) / math.exp(log_temperature), -1)
        return float(-chances[np.arange(len(labels)), labels].mean())

    return math.exp(minimize_scalar(loss, bounds=(math.log(0.05), math.log(20)), method="bounded").x)


def _calibration_error(logits: np.ndarray, labels: np.ndarray) -> float:
    confidence, accuracy, share = _bins(logits, labels)
    return float((share * np.abs(confidence - accuracy)).sum())


def _bins(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, accuracy and share of the rows, of each bin that holds some."""
    confidence = softmax(logits.astype(float), -1).max(-1)
    right = logits.argmax(-1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    held = counts > 0
    means = [np.bincount(bins, values, CALIBRATION_BINS)[held] / counts[held] for values in (confidence, right)]
    return means[0], means[1], counts[held] / len(labels)


def by_class(scores: Mapping[str, np.ndarray], labels: np.ndarray, names: Sequence[str]) -> list[Slice]:
    """The share of correct predictions among the rows of each class, by role."""
    return [_slice(names[label], labels == label, scores) for label in range(len(names)) if (labels == label).any()]


def by_length(scores: Mapping[str, np.ndarray], lengths: np.ndarray) -> list[Slice]:
    """The mean score of short to long texts, in groups of about as many rows; lengths in tokens, shape `(rows,)`."""
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, LENGTH_GROUPS + 1), method="lower"))
    if len(edges) == 1:
        return []
    slices, first = [], int(edges[0])
    for last in map(int, edges[1:]):
        name = f"{first} tokens" if first == last else f"{first} to {last} tokens"
        slices.append(_slice(name, (lengths >= first) & (lengths <= last), scores))
        first = last + 1
    return [part for part in slices if part.rows]


def _slice(name: str, chosen: np.ndarray, scores: Mapping[str, np.ndarray]) -> Slice:
    means = {role: float(values[chosen].mean()) for role, values in scores.items()} if chosen.any() else {}
    return Slice(name, int(chosen.sum()), means)


def confusion(student: np.ndarray, teacher: np.ndarray, problem_type: str | None) -> np.ndarray | None:
    """How often the teacher decides for a class (row) and the student for another (column), for single labels."""
    if problem_of(problem_type, student) != SINGLE:
        return None
    classes = student.shape[-1]
    pairs = teacher.argmax(-1) * classes + student.argmax(-1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

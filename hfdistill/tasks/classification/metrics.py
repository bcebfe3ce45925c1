"""Metrics that need no network: `evaluate.Metric` modules over scikit-learn and SciPy, and `compute_metrics`.

`evaluate.load("accuracy")` fetches a script from the Hub; `load_metric("accuracy")` gives the same interface
(`add_batch`, `compute`) from this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import evaluate
import numpy as np
from datasets import Features, Value
from datasets import Sequence as ListOf
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from transformers import EvalPrediction

from hfdistill.models.labels import NO_CLASS, NO_LABEL
from hfdistill.report.quality import MAIN_METRICS


class _LabelMetric(evaluate.Metric):
    """A metric of predicted and true class ids; for many labels at once, of rows of zeros and ones."""

    def _info(self) -> evaluate.MetricInfo:
        one, many = Value("int64"), ListOf(Value("int64"))
        features = [Features({"predictions": kind, "references": kind}) for kind in (one, many)]
        return evaluate.MetricInfo(description=str(self.__doc__), citation="", features=features)


class Accuracy(_LabelMetric):
    """Share of predictions that are right; with many labels at once, of rows that are right throughout."""

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class F1(_LabelMetric):
    """F1 of class 1 against class 0; 0 when class 1 is neither predicted nor present."""

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        if np.ndim(references) != 1 or not set(references) | set(predictions) <= {0, 1}:
            raise ValueError("f1 is for the two classes 0 and 1; use f1_macro or f1_micro for more.")
        return {"f1": float(f1_score(references, predictions, zero_division=0))}


class F1Macro(_LabelMetric):
    """Mean of the F1 of each class (or label) that occurs; 0 for a class that is never predicted rightly."""

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        return {"f1_macro": float(f1_score(references, predictions, average="macro", zero_division=0))}


class F1Micro(_LabelMetric):
    """F1 over all decisions together; for single-label classification the same number as accuracy."""

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        return {"f1_micro": float(f1_score(references, predictions, average="micro", zero_division=0))}


class MatthewsCorrelation(_LabelMetric):
    """Correlation of predicted and true class, in [-1, 1]; 0 when either side is constant."""

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        return {"matthews_correlation": float(matthews_corrcoef(references, predictions))}


class _ScoreMetric(evaluate.Metric):
    """A metric of predicted and true real numbers."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value("float64"), "references": Value("float64")})
        return evaluate.MetricInfo(description=str(self.__doc__), citation="", features=features)


class Pearson(_ScoreMetric):
    """Linear correlation; NaN (with SciPy's warning) when either side is constant."""

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        return {"pearson": _correlation(stats.pearsonr, predictions, references)}


class Spearmanr(_ScoreMetric):
    """Rank correlation; NaN (with SciPy's warning) when either side is constant."""

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        return {"spearmanr": _correlation(stats.spearmanr, predictions, references)}


class MeanSquaredError(_ScoreMetric):
    """Mean of the squared differences; the lower the better."""

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        return {"mse": float(np.square(np.subtract(predictions, references)).mean())}


METRICS: dict[str, type[evaluate.Metric]] = {
    "accuracy": Accuracy,
    "f1": F1,
    "f1_macro": F1Macro,
    "f1_micro": F1Micro,
    "matthews_correlation": MatthewsCorrelation,
    "pearson": Pearson,
    "spearmanr": Spearmanr,
    "mse": MeanSquaredError,
}


def load_metric(name: str) -> evaluate.Metric:
    """`evaluate.load(name)` without the network, for one of `METRICS`.

    Predictions are kept in memory, so any number of instances and processes can work at once: there is no
    shared cache file whose lock they would have to wait for.

    Raises:
        ValueError: If no metric has that name.
    """
    if name not in METRICS:
        raise ValueError(f"Unknown metric {name!r}; the metrics are {', '.join(METRICS)}.")
    return METRICS[name](keep_in_memory=True)


def classification_metrics(
    names: Sequence[str] | None = None, problem_type: str = "single_label_classification"
) -> Callable[[EvalPrediction], dict[str, float]]:
    """Make a `compute_metrics` for `Trainer` out of metric names.

    It takes logits and labels, leaves out the items (for many labels at once, the rows) that hold a -100 (among
    classes also those of -1), and decides: the largest logit for a single label, logits above 0 for many labels, the
    output itself for a regression.

    Args:
        names: Names from `METRICS`; the result has one key for each. By default accuracy, f1 and
            matthews_correlation for two classes, accuracy and f1_macro for more, accuracy (of whole rows),
            f1_micro and f1_macro for many labels at once, pearson, spearmanr and mse for a regression.
        problem_type: As in `config.problem_type`: `single_label_classification`,
            `multi_label_classification` or `regression`.

    Raises:
        ValueError: If a name or the problem type is unknown. The function returned raises it for NaN logits,
            for logits and labels that do not fit together, and when no item is labeled.
    """
    if problem_type not in _DECISIONS:
        raise ValueError(f"Unknown problem_type {problem_type!r}; it must be one of {', '.join(_DECISIONS)}.")
    metrics = {name: load_metric(name) for name in names or METRICS}

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        logits, labels = _logits_and_labels(prediction)
        predictions, references = (part.tolist() for part in _DECISIONS[problem_type](logits, labels))
        if not len(references):
            raise ValueError(f"Nothing to measure: none of the {len(labels)} evaluation rows has a label.")
        results: dict[str, float] = {}
        for name in names or _default_names(problem_type, logits.shape[-1]):
            # Not `compute`, which makes and fingerprints a dataset each time: a bootstrap would take minutes.
            results |= metrics[name]._compute(predictions, references)
        return results

    return compute_metrics


def _default_names(problem_type: str, num_labels: int) -> list[str]:
    usual = {
        "single_label_classification": ["f1", "matthews_correlation"] if num_labels == 2 else ["f1_macro"],
        "multi_label_classification": ["f1_micro", "f1_macro"],
        "regression": ["spearmanr", "mse"],
    }
    return [MAIN_METRICS[problem_type], *usual[problem_type]]


def _logits_and_labels(prediction: EvalPrediction) -> tuple[np.ndarray, np.ndarray]:
    logits = prediction.predictions
    # With hidden states or attentions in the output, Trainer hands over a tuple; the logits come first.
    logits = np.asarray(logits[0] if isinstance(logits, tuple) else logits)
    if prediction.label_ids is None:
        raise ValueError("Nothing to measure: the evaluation dataset has no label column.")
    undefined = np.isnan(logits).reshape(len(logits), -1).any(axis=1)
    if undefined.any():
        raise ValueError(
            f"The prediction for row {undefined.argmax()} (counted from 0) is NaN, as are {undefined.sum()} "
            f"of {len(logits)}: the model has diverged; lower the learning rate or train without fp16."
        )
    return logits, np.asarray(prediction.label_ids)


def _single_label(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if logits.shape[:-1] != labels.shape or logits.shape[-1] < 2:
        raise ValueError(_misfit("single_label_classification", "(..., classes) and (...)", logits, labels))
    labeled = ~np.isin(labels, NO_CLASS)
    beyond = labeled & ((labels < 0) | (labels >= logits.shape[-1]))
    if beyond.any():
        row = int(np.argwhere(beyond)[0][0])
        raise ValueError(
            f"The label of row {row} (counted from 0), {labels[beyond][0]}, is no class of the model, which has "
            f"{logits.shape[-1]}, 0 to {logits.shape[-1] - 1}; number the rows as its id2label does."
        )
    return logits.argmax(axis=-1)[labeled], labels[labeled]


def _multi_label(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if logits.shape != labels.shape or logits.ndim != 2:
        raise ValueError(_misfit("multi_label_classification", "twice (rows, labels)", logits, labels))
    labeled = (labels != NO_LABEL).all(axis=1)
    return (logits[labeled] > 0).astype(int), labels[labeled].astype(int)


def _regression(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if logits.size != labels.size:
        raise ValueError(_misfit("regression", "(rows, 1) and (rows,)", logits, labels))
    scores, targets = logits.reshape(-1), labels.reshape(-1)
    labeled = (targets != NO_LABEL) & ~np.isnan(targets)
    return scores[labeled], targets[labeled]


_DECISIONS = {
    "single_label_classification": _single_label,
    "multi_label_classification": _multi_label,
    "regression": _regression,
}


def _misfit(problem_type: str, expected: str, logits: np.ndarray, labels: np.ndarray) -> str:
    return (
        f"Logits of shape {logits.shape} and labels of shape {labels.shape} do not fit {problem_type}, which "
        f"takes {expected}; check num_labels and problem_type of the model."
    )


def _correlation(function: Callable[..., Any], predictions: list[float], references: list[float]) -> float:
    if len(references) < 2:  # SciPy refuses; one point has no direction.
        return float("nan")
    return float(function(predictions, references).statistic)

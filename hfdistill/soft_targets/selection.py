"""Which of the texts that a teacher has labeled a student is trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from datasets import Dataset
from scipy.special import entr, softmax

from hfdistill.data.few_labels import labeled_mask
from hfdistill.models.labels import MULTI, REGRESSION
from hfdistill.teachers import ENSEMBLE_LOGITS, TEACHER_LOGITS


def keep_unlabeled(
    dataset: Dataset,
    fraction: float,
    by: str = "random",
    *,
    label_column: str = "labels",
    problem_type: str | None = None,
    seed: int = 0,
) -> Dataset:
    """The labeled rows, and of those without a label the share that is worth most by what their teacher says of them.

    Args:
        dataset: Rows with `label_column` and soft targets, as `soft_targets` adds them; of several teachers their mean
            logits count.
        fraction: The share of the rows without a label to keep, in (0, 1].
        by: `random`; `confidence`, the rows whose likeliest label has the highest probability; `entropy`, those the
            teacher is least sure of; `balance`, as many rows as can be had of each class that the teacher predicts,
            drawn at random.
        label_column: The column of labels, -100 where there is none.
        problem_type: As in `config.problem_type`; several labels at once have no classes to balance, and scores no
            probabilities.
        seed: Draws the rows, and decides between equals.

    Returns:
        The rows that are kept, in their order.

    Raises:
        ValueError: for a fraction out of range, an unknown or unfit `by`, or rows without soft targets.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1], got {fraction}.")
    if by not in CHOICES:
        raise ValueError(f"by is one of {', '.join(CHOICES)}, not {by!r}.")
    if by != "random" and problem_type == REGRESSION or (by == "balance" and problem_type == MULTI):
        raise ValueError(f"by={by!r} reads the likeliest class of a row, and {problem_type} has none: take 'random'.")
    unlabeled = np.flatnonzero(~labeled_mask(dataset, label_column))
    count = round(fraction * len(unlabeled))
    worth = CHOICES[by](_probabilities(dataset, unlabeled, problem_type), np.random.default_rng(seed))
    dropped = unlabeled[np.argsort(-worth, kind="stable")[count:]]
    return dataset.select(np.setdiff1d(np.arange(len(dataset)), dropped))


def _probabilities(dataset: Dataset, rows: np.ndarray, problem_type: str | None) -> np.ndarray:
    """What the teacher says of these rows, `(rows, classes)`; of several labels at once two classes each."""
    column = next((name for name in (TEACHER_LOGITS, ENSEMBLE_LOGITS) if name in dataset.column_names), None)
    if column is None:
        raise ValueError("these rows have no soft targets: add them first with soft_targets(teacher, dataset, ...).")
    logits = np.asarray(dataset.select_columns(column).with_format("numpy")[:][column], dtype=np.float64)[rows]
    if column == ENSEMBLE_LOGITS:
        logits = logits.mean(1)
    if problem_type == MULTI:
        logits = np.stack([logits, np.zeros_like(logits)], axis=-1)
    return softmax(logits, axis=-1)


def _random(probabilities: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return generator.permutation(len(probabilities))


def _confidence(probabilities: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return _by_row(probabilities.max(-1))


def _entropy(probabilities: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return _by_row(entr(probabilities).sum(-1))


def _balance(probabilities: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The first of each class before the second of any: whatever the number that is kept, it is spread evenly."""
    predicted = probabilities.argmax(-1)
    order = generator.permutation(len(predicted))
    by_class = order[np.argsort(predicted[order], kind="stable")]
    first = np.searchsorted(predicted[by_class], predicted[by_class])
    turn = np.empty(len(predicted))
    turn[by_class] = np.arange(len(predicted)) - first
    return -turn


def _by_row(values: np.ndarray) -> np.ndarray:
    """One value a row, the mean over its labels where it has several."""
    return values.reshape(len(values), -1).mean(1)


#: How much each row is worth, the highest first.
CHOICES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "random": _random,
    "confidence": _confidence,
    "entropy": _entropy,
    "balance": _balance,
}

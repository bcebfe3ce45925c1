"""How often the right choice is the first, and how high it is ranked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from transformers import EvalPrediction

from hfdistill.report.counted import check_finite

#: The numbers of a row: whether the right choice is first, the reciprocal of its rank, and whether there is one.
COUNTS = ("right", "reciprocal_rank", "rows")


def choice_counts(scores: Any, label: int) -> np.ndarray:
    """The `COUNTS` of one row; equal scores count against the right choice.

    Args:
        scores: Shape `(choices,)`.
        label: The number of the right choice; −100 for none.
    """
    if label < 0:
        return np.zeros(len(COUNTS))
    scores = np.asarray(scores)
    rank = 1 + int((np.delete(scores, label) >= scores[label]).sum())
    return np.array([rank == 1, 1 / rank, 1.0])


def choice_metrics(sums: np.ndarray) -> dict[str, float]:
    """`accuracy`, and `mrr`, the mean reciprocal rank of the right choice, of summed `COUNTS`."""
    right, reciprocal, rows = sums
    if not rows:
        return {"accuracy": math.nan, "mrr": math.nan}
    return {"accuracy": float(right / rows), "mrr": float(reciprocal / rows)}


def multiple_choice_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """As `compute_metrics` of a `Trainer`.

    Raises:
        ValueError: when a score is NaN.
    """
    scores, labels = prediction.predictions, prediction.label_ids
    check_finite(np.asarray(scores))
    return choice_metrics(np.array([choice_counts(*row) for row in zip(scores, labels, strict=True)]).sum(0))

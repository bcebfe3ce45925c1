"""How good labels are, from predictions alone: confident learning, and scores of the quality of a label.

The predictions must be of models that did not learn these very labels: one that did repeats their errors. Probabilities
have the shape `(rows, classes)`, labels `(rows,)`, -100 where a row has none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import xlogy

from hfdistill.report.quality import IGNORED

#: What a probability of 0 counts as where something is divided by it.
SMALLEST = 1e-100


def class_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How sure of a class predictions are where it is the label: `t_j = mean of p_j over the rows labeled j`.

    Returns: Shape `(classes,)`; infinity for a class that no row is labeled with, which nothing can reach.

    References: Northcutt, Jiang and Chuang 2021, equation 2, https://huggingface.co/papers/1911.00068.
    """
    classes = probabilities.shape[1]
    known = labels != IGNORED
    own = labels[known].astype(int)
    counts = np.bincount(own, minlength=classes)
    sums = np.bincount(own, probabilities[known, own], minlength=classes)
    return np.divide(sums, counts, out=np.full(classes, np.inf), where=counts > 0)


def confident_classes(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The likeliest of the classes whose probability reaches its threshold, shape `(rows,)`; -100 where none does."""
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    return np.where(reached.max(1) >= 0, reached.argmax(1), IGNORED)


def confident_joint(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How often rows of a label (row) are confidently of a class (column); what is off the diagonal is in doubt.

    Returns: Counts of shape `(classes, classes)`. Rows without a label or a confident class are not counted.

    References: Northcutt, Jiang and Chuang 2021, equation 1, https://huggingface.co/papers/1911.00068.
    """
    classes = probabilities.shape[1]
    confident = confident_classes(probabilities, class_thresholds(probabilities, labels))
    counted = (labels != IGNORED) & (confident != IGNORED)
    pairs = labels[counted].astype(int) * classes + confident[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def estimated_joint(joint: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The share of rows of each label (row) that are truly of each class (column): one minus its trace is wrong.

    `Q_ij = C_ij / Σ_j C_ij · (rows labeled i) / (labeled rows)`; a label none of whose rows are confident is taken for
    right.

    Args:
        joint: The confident joint `C`, shape `(classes, classes)`.
        labels: The labels that it was counted of.

    References: Northcutt, Jiang and Chuang 2021, equation 3, https://huggingface.co/papers/1911.00068.
    """
    counts = np.bincount(labels[labels != IGNORED].astype(int), minlength=len(joint))
    totals = joint.sum(1, keepdims=True)
    shares = np.divide(joint, totals, out=np.eye(len(joint)), where=totals > 0)
    return shares * counts[:, None] / max(counts.sum(), 1)


# ---- The quality of each label, from 0 (surely wrong) to 1; NaN where there is none ----


def self_confidence(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`p_label`: the probability of the label that a row has, shape `(rows,)`.

    References: Northcutt, Jiang and Chuang 2021, https://huggingface.co/papers/1911.00068.
    """
    known = labels != IGNORED
    quality = np.full(len(labels), np.nan)
    quality[known] = probabilities[known, labels[known].astype(int)]
    return quality


def normalized_margin(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`(1 + p_label − max_(j ≠ label) p_j) / 2`, shape `(rows,)`.

    References: Northcutt, Jiang and Chuang 2021, section 3.2, https://huggingface.co/papers/1911.00068, there from -1
        to 1.
    """
    known = labels != IGNORED
    others = probabilities[known].copy()
    others[np.arange(len(others)), labels[known].astype(int)] = -np.inf
    quality = self_confidence(probabilities, labels)
    quality[known] = (1 + quality[known] - others.max(1)) / 2
    return quality


def confidence_weighted_entropy(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`log(1 + x) / x` of `x = H(p) / (log classes · p_label)`, shape `(rows,)`: low where the label is not expected.

    The entropy over the label's probability grows from 0 without bound; the logarithm puts it between 1 and 0.

    References: Kuan and Mueller 2022, Model-agnostic label quality scoring to detect real-world label errors.
    """
    above = np.maximum(probabilities, SMALLEST)
    entropy = -xlogy(above, above).sum(1) / np.log(above.shape[1])
    weighted = entropy / self_confidence(above, labels)
    return np.log1p(weighted) / weighted


LABEL_QUALITY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "self_confidence": self_confidence,
    "normalized_margin": normalized_margin,
    "confidence_weighted_entropy": confidence_weighted_entropy,
}


def disagreement(probabilities: np.ndarray) -> np.ndarray:
    """How far apart models are on each row, from 0 to 1, shape `(rows,)`: their Jensen-Shannon divergence.

    `(H(mean of p) − mean of H(p)) / log min(models, classes)`, which is the most that it can be.

    Args:
        probabilities: Shape `(models, rows, classes)`; of one model it is 0.

    References: Lin 1991, https://doi.org/10.1109/18.61115.
    """
    models, _, classes = probabilities.shape
    if min(models, classes) < 2:
        return np.zeros(probabilities.shape[1])
    mean = probabilities.mean(0)
    apart = xlogy(probabilities, probabilities).sum(-1).mean(0) - xlogy(mean, mean).sum(-1)
    return np.clip(apart / np.log(min(models, classes)), 0, 1)

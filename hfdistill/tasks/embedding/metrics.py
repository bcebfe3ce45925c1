"""How well cosines of embeddings follow the similarities that people give, and find the other text of a pair."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

#: Of a pair: 1, x, y, x², y² and xy, of the rank x of its cosine and the rank y of its similarity.
COUNTS = 6


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each number from 1, the mean of ranks where some are equal."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def pair_counts(cosines: np.ndarray, similarities: np.ndarray) -> np.ndarray:
    """The `COUNTS` of each pair, shape `(pairs, 6)`, from which `spearman` follows."""
    x, y = ranks(cosines) / len(cosines), ranks(similarities) / len(similarities)
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def retrieval_counts(cosines: np.ndarray, partners: Sequence[str]) -> np.ndarray:
    """Of each text whether its partner is the nearest of all, the reciprocal of its rank, and 1; shape `(texts, 3)`.

    Args:
        cosines: Of each text with each partner, its own on the diagonal; equal ones count against it.
        partners: Their texts; one that occurs several times is found in each of these places.
    """
    own, names = np.diag(cosines), np.asarray(partners)
    rank = 1 + ((cosines >= own[:, None]) & (names[:, None] != names)).sum(1)
    return np.stack([rank == 1, 1 / rank, np.ones(len(own))], axis=1).astype(float)


def spearman(sums: np.ndarray) -> float:
    """Spearman's rank correlation of summed pair counts: Pearson's of the ranks."""
    n, x, y, xx, yy, xy = sums
    if not n:
        return math.nan
    spread = math.sqrt(max(0.0, (xx / n - (x / n) ** 2) * (yy / n - (y / n) ** 2)))
    return float((xy / n - x * y / n**2) / spread) if spread else math.nan


def embedding_metrics(sums: np.ndarray) -> dict[str, float]:
    """`spearman` over pairs, `accuracy` and `mrr` of finding partners, of summed counts, as far as there are rows."""
    pairs, (right, reciprocal, texts) = sums[:COUNTS], sums[COUNTS:]
    found = {"spearman": spearman(pairs)} if pairs[0] else {}
    return found | ({"accuracy": float(right / texts), "mrr": float(reciprocal / texts)} if texts else {})

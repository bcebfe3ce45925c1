"""The translation among several that is most like all of them: minimum Bayes risk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hfdistill.tasks.translation.metrics import sentence_chrf


def expected_utilities(texts: Sequence[str], scores: Sequence[float | None]) -> np.ndarray:
    """How like the others each of some translations is: the mean of its chrF against all of them, from 0 to 100.

    `sum over y of p(y) chrF(x, y)`, where `p` is the teacher's distribution over these translations alone, or the same
    for each where a score is missing; what was sampled twice counts once, as its probability is known. Takes
    `n (n - 1)` sentence scores, of an eighth of a millisecond each.

    Args:
        texts: The translations of one text.
        scores: Their log-probabilities, in nats.

    Returns:
        Shape `(translations,)`; the risk is least where it is greatest.

    References: Kumar & Byrne 2004, https://aclanthology.org/N04-1022; chrF as utility, Eikema & Aziz 2020,
    https://aclanthology.org/2020.coling-main.398.
    """
    known = np.array([np.nan if score is None else score for score in scores], float)
    weights = np.ones(len(texts))
    if np.isfinite(known).all():
        alike = list(zip(texts, known.round(3), strict=True))  # but for rounding
        weights = np.exp(known - known.max()) / [alike.count(one) for one in alike]
    utility = np.array([[100.0 if one == other else sentence_chrf(one, other) for other in texts] for one in texts])
    expected: np.ndarray = utility @ weights / weights.sum()
    return expected

"""How long a translation is for its source: what is usual in a corpus, and how unusual a pair is.

References: Gale & Church 1993, A Program for Aligning Sentences in Bilingual Corpora,
https://aclanthology.org/J93-1004.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Of fewer pairs the faulty ones themselves would decide what is usual.
ENOUGH = 100
#: The standard deviation of a translation's length in units of the root of its length, from Gale & Church's 6.8.
_USUAL_SPREAD = 6.8**0.5
#: A median of absolute deviations of a normal distribution, times this, is its standard deviation.
_MAD = 1.4826


class UsualLengths(NamedTuple):
    """What is usual of a pair of languages.

    Attributes:
        ratio: Characters of the target for each of the source.
        spread: The standard deviation of the difference, in units of the root of the length.
    """

    ratio: float = 1.0
    spread: float = _USUAL_SPREAD

    @classmethod
    def of(cls, source_lengths: np.ndarray, target_lengths: np.ndarray) -> UsualLengths:
        """Estimated from a corpus by medians, which a few faulty pairs do not move; shapes `(pairs,)`, in characters.

        Of fewer pairs than `ENOUGH`, what Gale & Church found for English, French and German.
        """
        there = (source_lengths > 0) & (target_lengths > 0)
        if there.sum() < ENOUGH:
            return cls()
        source, target = source_lengths[there], target_lengths[there]
        ratio = float(np.median(target / source))
        spread = _MAD * float(np.median(np.abs(cls(ratio, 1.0).deviations(source, target))))
        return cls(ratio, max(spread, 1.0))  # at least a character or so, where all are alike

    def deviations(self, source_lengths: np.ndarray, target_lengths: np.ndarray) -> np.ndarray:
        """How many standard deviations a target is longer than usual, shorter where negative; shape `(pairs,)`.

        `(l_t − c l_s) / (s √((c l_s + l_t) / 2))`, with the ratio c and the spread s.
        """
        expected = self.ratio * np.asarray(source_lengths, float)
        middle = np.maximum((expected + target_lengths) / 2, 1.0)
        return (target_lengths - expected) / (self.spread * np.sqrt(middle))

"""Blocks of a corpus whose lines are shifted against one another, as from where a line is missing in one file.

What two texts have in common is scored in two ways: how usual their lengths are together (Gale & Church 1993), and
which numbers, names and marks stand in both, rare ones counting more (as cognates do for Simard, Foster & Isabelle
1992, https://aclanthology.org/1992.tmi-1.7). How much more likely a score is of translations than of any two texts is
learned from the corpus itself, by comparing each source with its own target and with one far away. The likeliest
sequence of shifts is then that of a hidden Markov model, whose states are the shifts from `-LARGEST` to `LARGEST` and
one in which nothing belongs together.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xxhash
from scipy import sparse

from hfdistill.tasks.translation.cleaning.lengths import UsualLengths

#: By so many lines the sides may be shifted, either way.
LARGEST = 10
#: The shortest passage in which shifts can be told from chance.
ENOUGH = 50
#: What the evidence of a block must outweigh, in nats: that a passage begins to be shifted, or ends, is rare.
_RARE = 15.0
#: What one pair can say for or against a shift, in nats: some pairs are odd in any corpus.
_MOST_EVIDENCE = 3.0
#: Targets this far away are no translations, and yet of the same subject.
_FAR = (37, 53)
#: Rows whose likeliest sequence is found at once, in a few megabytes.
_ROWS_AT_ONCE = 200_000
#: By so many standard errors must all rows agree on another shift than none. Of two columns in which nothing can be
#: compared, chance says less.
_CLEAR = 10.0
_BINS = 20
_BUCKETS = 2**20
#: What may stand in a text and its translation alike: numbers, words, and marks other than commas and full stops.
_ANCHOR = re.compile(r"\d+|[^\W\d_]{4,}|[^\w\s.,'’-]")


class Block(NamedTuple):
    """A passage whose sides do not belong together as they stand.

    Attributes:
        first: Its first row.
        last: Its last.
        shift: By how many rows the target stands below where it belongs, negative above; `None` where no shift fits.
    """

    first: int
    last: int
    shift: int | None


def said_of(block: Block, where: Callable[[int], str]) -> str:
    """A block in words."""
    place = f"from {where(block.first)} to {where(block.last)}"
    if block.shift is None:
        return f"{place} the sides do not belong together"
    lines = "one row" if abs(block.shift) == 1 else f"{abs(block.shift)} rows"
    return f"{place} the target texts stand {lines} {'below' if block.shift > 0 else 'above'} their sources"


def anchors_of(text: str) -> list[int]:
    """What of a text may stand in its translation, too: numbers, the beginnings of words, marks; as numbers.

    Cognates begin alike more often than they are spelled alike.
    """
    found = _ANCHOR.findall(unicodedata.normalize("NFKC", text).casefold())
    beginnings = {one[:5] if one[0].isalpha() else one for one in found}
    return [xxhash.xxh32_intdigest(one.encode()) % _BUCKETS for one in beginnings]


class ShiftFinder:
    """Finds shifted blocks in pairs that are added in the order of their corpus, in memory that does not grow."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._begun = 0
        self._pairs = _Pairs()

    def add(self, source: str, target: str) -> None:
        """Adds a pair, of texts without white space at their ends."""
        self._pairs.add(source, target)
        if len(self._pairs) == _ROWS_AT_ONCE:
            self.finish()

    def finish(self) -> list[Block]:
        """All blocks, once every pair was added; see the module."""
        if len(self._pairs) >= ENOUGH + max(_FAR):
            found = _blocks(_likeliest(_Scores(self._pairs).evidence()))
            self.blocks += [Block(first + self._begun, last + self._begun, shift) for first, last, shift in found]
        self._begun += len(self._pairs)
        self._pairs = _Pairs()
        return self.blocks


class _Pairs:
    """Lengths and anchors of pairs, in few bytes each."""

    def __init__(self) -> None:
        self.lengths = array("i"), array("i")
        self._anchors = array("i"), array("i")
        self._ends = array("q", [0]), array("q", [0])

    def __len__(self) -> int:
        return len(self.lengths[0])

    def add(self, *texts: str) -> None:
        for side, text in enumerate(texts):
            self.lengths[side].append(len(text))
            self._anchors[side].extend(anchors_of(text))
            self._ends[side].append(len(self._anchors[side]))

    def matrix(self, side: int) -> sparse.csr_matrix:
        """Shape `(pairs, buckets)`, a one for each anchor of a text."""
        columns = np.frombuffer(self._anchors[side], np.int32) if self._anchors[side] else np.zeros(0, np.int32)
        values = np.ones(len(columns), np.float32)
        return sparse.csr_matrix((values, columns, np.frombuffer(self._ends[side], np.int64)), (len(self), _BUCKETS))


class _Scores:
    """What each source and the target some rows further down have in common."""

    def __init__(self, pairs: _Pairs) -> None:
        self.lengths = np.array(pairs.lengths[0]), np.array(pairs.lengths[1])
        self.usual = UsualLengths.of(*self.lengths)
        ones, others = pairs.matrix(0), pairs.matrix(1)
        counts = np.asarray((ones + others).sum(axis=0)).ravel()
        weights = sparse.diags(np.log((2 * len(pairs) + 1) / (counts + 1)).astype(np.float32))
        self.source, self.target = (_unit(matrix @ weights) for matrix in (ones, others))

    def of_shift(self, shift: int) -> np.ndarray:
        """Both scores of each source with the target so many rows below; shape `(2, rows)`, NaN where there is none."""
        rows = len(self.lengths[0])
        scores = np.full((2, rows), np.nan)
        here, there = _overlap(rows, shift)
        scores[0, here] = np.abs(self.usual.deviations(self.lengths[0][here], self.lengths[1][there]))
        scores[1, here] = np.asarray(self.source[here].multiply(self.target[there]).sum(axis=1)).ravel()
        return scores

    def evidence(self) -> np.ndarray:
        """How much more likely each pair is a translation with a shift than without any, in nats.

        Returns: Shape `(rows, 2 LARGEST + 1)`, for the shifts in ascending order.
        """
        shifts = range(-LARGEST, LARGEST + 1)
        scores = [self.of_shift(shift) for shift in shifts]
        far = np.concatenate([self.of_shift(sign * rows) for rows in _FAR for sign in (1, -1)], axis=1)
        # Lines may be missing from the very top: where translations stand is what most rows agree on.
        agreements = [_agreement(one, scores[LARGEST]) for one in scores]
        best = int(np.argmax(agreements)) if max(agreements) > _CLEAR else LARGEST
        evidence = np.zeros((len(self.lengths[0]), len(scores)), np.float32)
        for kind in range(2):
            ratio = _LikelihoodRatio(scores[best][kind], far[kind])
            evidence += np.stack([ratio(one[kind]) for one in scores], axis=1)
        return np.clip(evidence, -_MOST_EVIDENCE, _MOST_EVIDENCE)


class _LikelihoodRatio:
    """How much likelier a score is of translations than of other pairs, by histograms of both."""

    def __init__(self, own: np.ndarray, other: np.ndarray) -> None:
        own, other = own[~np.isnan(own)], other[~np.isnan(other)]
        self.edges = np.unique(np.quantile(np.concatenate([own, other]), np.linspace(0, 1, _BINS + 1)[1:-1]))
        counts = [np.bincount(self._bins(scores), minlength=len(self.edges) + 1) for scores in (own, other)]
        shares = [(count + 1) / (count + 1).sum() for count in counts]
        self.logs = np.log(shares[0] / shares[1]).astype(np.float32)

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(scores), np.float32(0), self.logs[self._bins(np.nan_to_num(scores))])

    def _bins(self, scores: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.edges, scores, side="right")


def _agreement(scores: np.ndarray, others: np.ndarray) -> float:
    """By how many standard errors pairs have more in common than others, in both scores; each of shape `(2, rows)`."""
    more = np.stack([others[0] - scores[0], scores[1] - others[1]])
    more = more[:, ~np.isnan(more).any(axis=0)]
    return float((more.mean(axis=1) / np.maximum(more.std(axis=1), 1e-9)).sum() * more.shape[1] ** 0.5)


def _likeliest(evidence: np.ndarray) -> np.ndarray:
    """The likeliest state of each row (Viterbi 1967): a place among the shifts, or behind them where none fits."""
    gains = np.hstack([evidence, np.zeros((len(evidence), 1), np.float32)])
    rows, states = gains.shape
    came_from = np.zeros((rows, states), np.int8)
    stay = np.arange(states, dtype=np.int8)
    total = gains[0].astype(float)
    total[np.arange(states) != LARGEST] -= _RARE
    for row in range(1, rows):
        best = int(total.argmax())
        changed = total < total[best] - _RARE
        came_from[row] = np.where(changed, best, stay)
        total = np.maximum(total, total[best] - _RARE) + gains[row]
    path = np.empty(rows, np.int8)
    path[-1] = total.argmax()
    for row in range(rows - 1, 0, -1):
        path[row - 1] = came_from[row, path[row]]
    return path


def _blocks(path: np.ndarray) -> list[Block]:
    starts = np.flatnonzero(np.diff(path, prepend=-1))
    ends = np.append(starts[1:], len(path)) - 1
    each = [(int(first), int(last), int(path[first]) - LARGEST) for first, last in zip(starts, ends, strict=True)]
    return [Block(first, last, None if shift > LARGEST else shift) for first, last, shift in each if shift]


def _overlap(rows: int, shift: int) -> tuple[slice, slice]:
    """The rows that have a row so many below them, and those rows."""
    return slice(max(0, -shift), rows - max(0, shift)), slice(max(0, shift), rows + min(0, shift))


def _unit(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1))).ravel()
    return (sparse.diags(1 / np.maximum(lengths, 1e-9)) @ matrix).tocsr()

"""The rules by which pairs of texts are dropped, asked one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import xxhash
from datasets import Dataset

from hfdistill.data.parallel import SCORE
from hfdistill.data.splits import are_held_out, are_near_copies
from hfdistill.tasks.translation.cleaning.cross_entropy import Translators, adequacies
from hfdistill.tasks.translation.cleaning.identification import PairLanguages
from hfdistill.tasks.translation.cleaning.lengths import UsualLengths
from hfdistill.tasks.translation.cleaning.misalignment import Block, ShiftFinder, said_of
from hfdistill.tasks.translation.cleaning.text_rules import faults_of_pair
from hfdistill.tasks.translation.reading import text_tuples

#: The rules in the order in which they are asked: a pair counts for the first that it breaks.
RULES = (
    *("empty", "encoding", "not text", "markup", "too long", "misaligned", "copy", "length", "swapped"),
    *("wrong language", "score", "held out", "duplicate", "duplicate source", "adequacy"),
)
#: How many standard deviations a length may be unusual. On Europarl and Multi30k nearly all that is beyond is no
#: translation of the whole; see docs/results.md.
MAX_DEVIATION = 5.0
#: A pair is held out where so many of its runs of words are in one text or another that is. In parliament one run alone
#: ("on behalf of the Group of the European People's Party") says little.
SHARED = 0.5
#: From this share of faulty pairs on, the corpus as a whole is: no rule on single pairs mends that.
WHOLE = 0.5


@dataclass(frozen=True)
class Settings:
    """What pairs are judged by; see `clean_pairs`."""

    languages: tuple[str, str]
    skip: tuple[str, ...]
    min_letters: float
    max_words: int
    max_deviation: float
    min_score: float | None
    unique_sources: bool
    min_adequacy: float


@dataclass
class Work:
    """A corpus, and what its pairs are judged by."""

    dataset: Dataset
    source: str
    target: str
    settings: Settings
    held_out: Mapping[str, Dataset]
    translators: Translators | None
    where: Callable[[int], str]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        #: Of each row which rule drops it, counted from 1; 0 where none does.
        self.reasons = np.zeros(len(self.dataset), np.uint8)

    def asks(self, rule: str) -> bool:
        """Whether a rule is asked: not where it is skipped, or what it needs is not given."""
        given = {
            "score": self.settings.min_score is not None,
            "held out": bool(self.held_out),
            "duplicate source": self.settings.unique_sources,
            "adequacy": self.translators is not None,
        }
        return rule not in self.settings.skip and given.get(rule, True)

    @property
    def names(self) -> tuple[str, str]:
        return self.source, self.target

    def drop(self, rule: str, rows: np.ndarray) -> None:
        """Rows by their numbers, or as a mask, of which those count that nothing has dropped before."""
        if self.asks(rule):
            chosen = np.zeros(len(self.reasons), bool)
            chosen[rows] = True
            self.reasons[chosen & (self.reasons == 0)] = RULES.index(rule) + 1

    @property
    def left(self) -> np.ndarray:
        return np.flatnonzero(self.reasons == 0)


def decide(work: Work) -> None:
    """Asks all rules, the cheap ones first."""
    pairs = _Looks(work)
    for rule, rows in pairs.faults.items():
        if rule == "copy":  # which a shifted block may hold, too
            _drop_blocks(work, pairs.shifts.finish())
        work.drop(rule, np.array(rows, int))
    usual = UsualLengths.of(*pairs.lengths)
    unusual = np.abs(usual.deviations(*pairs.lengths)) > work.settings.max_deviation
    work.drop("length", unusual)
    work.notes.append(f"A target has {usual.ratio:.2f} characters for one of its source.")
    if work.asks("swapped") or work.asks("wrong language"):
        _drop_by_language(work)
    if work.asks("score"):
        # Not `<`: NaN is below no limit.
        work.drop("score", ~(np.asarray(work.dataset[SCORE][:], float) >= work.settings.min_score))
    if work.asks("held out"):
        _drop_held_out(work)
    _drop_repeated(work, "duplicate", pairs.hashes)
    _drop_repeated(work, "duplicate source", pairs.source_hashes)
    if work.translators and work.asks("adequacy"):
        _drop_inadequate(work, work.translators)


class _Looks:
    """What one pass over the pairs tells: faults of each by itself, lengths, hashes, shifts."""

    def __init__(self, work: Work) -> None:
        settings, rows, looks_for_shifts = work.settings, len(work.dataset), work.asks("misaligned")
        rules = ("empty", "encoding", "not text", "markup", "too long", "copy")
        self.faults: dict[str, list[int]] = {rule: [] for rule in rules}
        self.lengths = np.zeros((2, rows), np.int32)
        self.hashes, self.source_hashes = np.zeros(rows, np.uint64), np.zeros(rows, np.uint64)
        self.shifts = ShiftFinder()
        for row, pair in enumerate(text_tuples(work.dataset, work.names)):
            source, target = map(str.strip, pair)
            for rule in faults_of_pair(source, target, settings.min_letters, settings.max_words):
                self.faults[rule].append(row)
            self.lengths[:, row] = len(source), len(target)
            self.hashes[row] = xxhash.xxh3_64_intdigest(f"{source}\n\t{target}".encode())
            self.source_hashes[row] = xxhash.xxh3_64_intdigest(source.encode())
            if looks_for_shifts:
                self.shifts.add(source, target)


def _drop_blocks(work: Work, blocks: Sequence[Block]) -> None:
    rows = np.concatenate([np.arange(block.first, block.last + 1) for block in blocks] or [np.zeros(0, int)])
    if len(rows) > WHOLE * len(work.dataset):
        raise ValueError(f"most pairs do not belong together: {said_of(blocks[0], work.where)}; mend the files first.")
    work.notes += [f"Dropped as a block: {said_of(block, work.where)}." for block in blocks]
    work.drop("misaligned", rows)


def _drop_by_language(work: Work) -> None:
    languages, found = PairLanguages(*work.settings.languages), Counter[str]()
    faults: dict[str, list[int]] = {"swapped": [], "wrong language": []}
    undecided = work.reasons == 0
    for row, (source, target) in enumerate(text_tuples(work.dataset, work.names)):
        judgment = languages.judge(source.strip(), target.strip()) if undecided[row] else None
        if judgment:
            faults[judgment.rule].append(row)
            found[judgment.found] += judgment.rule == "wrong language"
    if len(faults["swapped"]) > WHOLE * undecided.sum():
        one, other = work.settings.languages
        raise ValueError(
            f"the columns are exchanged: most texts of {work.source!r} are {other}, and of {work.target!r} {one}; name "
            "them the other way round with source_lang and target_lang, or exchange the two files."
        )
    languages_found = ", ".join(f"{name} {count:,}" for name, count in found.most_common(8) if count)
    if len(faults["wrong language"]) > WHOLE * undecided.sum():
        raise ValueError(
            f"most pairs are not in {' and '.join(work.settings.languages)}, but have texts in other languages "
            f"({languages_found}); name the languages with source_lang and target_lang."
        )
    for rule, rows in faults.items():
        work.drop(rule, np.array(rows, int))
    if languages_found:
        work.notes.append(f"Texts in another language: {languages_found}.")


def _drop_held_out(work: Work) -> None:
    for name in work.names:
        work.drop("held out", are_held_out(work.dataset, work.held_out, (name,), SHARED))
    # Of one side alone a changed word says little: "Three dogs are running in the snow" is no copy of "are playing".
    work.drop("held out", np.all([are_near_copies(work.dataset, work.held_out, name) for name in work.names], axis=0))


def _drop_repeated(work: Work, rule: str, hashes: np.ndarray) -> None:
    """All but the first of those that are left and alike."""
    left = work.left
    first = np.unique(hashes[left], return_index=True)[1]
    work.drop(rule, np.delete(left, first))


def _drop_inadequate(work: Work, translators: Translators) -> None:
    left = work.left
    rows = work.dataset.select(left)
    found = adequacies(rows[work.source][:], rows[work.target][:], translators)
    work.drop("adequacy", left[~(found >= work.settings.min_adequacy)])
    shares = np.quantile(found, [0.05, 0.5, 0.95]) if len(found) else np.zeros(3)
    work.notes.append(f"Adequacy: median {shares[1]:.3f}, of nine in ten from {shares[0]:.3f} to {shares[2]:.3f}.")

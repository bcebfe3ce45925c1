"""Dropping pairs of texts that are no translations, by rules whose effect is counted."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from datasets import Dataset
from huggingface_hub.utils import WeakFileLock

from hfdistill.data.parallel import SCORE
from hfdistill.data.splits import are_held_out
from hfdistill.models.fingerprints import hash_of, hash_of_tensors
from hfdistill.soft_targets import store
from hfdistill.soft_targets.part_files import write_whole
from hfdistill.tasks.translation.cleaning.cross_entropy import Translators, adequacies
from hfdistill.tasks.translation.cleaning.identification import PairLanguages
from hfdistill.tasks.translation.cleaning.lengths import UsualLengths
from hfdistill.tasks.translation.cleaning.misalignment import Block, ShiftFinder, said_of
from hfdistill.tasks.translation.cleaning.report import SAMPLED, CleaningReport, DroppedPair
from hfdistill.tasks.translation.cleaning.text_rules import MAX_WORDS, MIN_LETTERS, faults_of_pair
from hfdistill.tasks.translation.reading import text_tuples

#: The rules in the order in which they are asked: a pair counts for the first that it breaks.
RULES = (
    *("empty", "not text", "markup", "too long", "misaligned", "copy", "length", "swapped", "wrong language", "score"),
    *("held out", "duplicate", "duplicate source", "adequacy"),
)
#: How many standard deviations a length may be unusual. On Europarl and Multi30k nearly all that is beyond is no
#: translation of the whole; see docs/results.md.
MAX_DEVIATION = 5.0
#: A pair is held out where so many of its runs of words are in one text or another that is. In parliament one run alone
#: ("on behalf of the Group of the European People's Party") says little.
SHARED = 0.5
#: From this share of faulty pairs on, the corpus as a whole is: no rule on single pairs mends that.
WHOLE = 0.5
#: Raised when the same rules decide otherwise, so that no earlier decision is taken for theirs.
_VERSION = 1


@dataclass(frozen=True)
class _Settings:
    languages: tuple[str, str]
    skip: tuple[str, ...]
    min_letters: float
    max_words: int
    max_deviation: float
    min_score: float | None
    unique_sources: bool
    min_adequacy: float


def clean_pairs(
    dataset: Dataset,
    source: str = "en",
    target: str = "de",
    *,
    languages: tuple[str, str] | None = None,
    skip: Sequence[str] = (),
    min_letters: float = MIN_LETTERS,
    max_words: int = MAX_WORDS,
    max_deviation: float = MAX_DEVIATION,
    min_score: float | None = None,
    unique_sources: bool = False,
    held_out: Mapping[str, Dataset] | None = None,
    translators: Translators | None = None,
    min_adequacy: float = 0.0,
    where: Callable[[int], str] | None = None,
) -> tuple[Dataset, CleaningReport]:
    """Drop pairs of texts that are no translations of one another, each rule with its count.

    In this order; a pair counts for the first rule that it breaks:

    - `empty`: a side without text.
    - `not text`: less than `min_letters` of a side's characters are letters; web and mail addresses are none.
    - `markup`: a side with tags, such as `<br>`.
    - `too long`: more than `max_words` words, or 2,000 characters.
    - `misaligned`: in a block of rows whose sides are shifted against one another, as from where a line is missing, or
      do not belong together; by lengths and by what both have in common. The rows must be in the order of the corpus.
    - `copy`: the same words on both sides (Khayrallah & Koehn 2018, https://huggingface.co/papers/1805.12282, on why).
    - `length`: a target more than `max_deviation` standard deviations longer or shorter than is usual for its source in
      this corpus, as Gale & Church (1993) measure it, https://aclanthology.org/J93-1004, in characters; what is usual
      is estimated by medians.
    - `swapped`: the source is in the target language and the other way round.
    - `wrong language`: a side in another language. Texts of fewer than 20 characters are not judged.
    - `score`: in the column `score`, less than `min_score`.
    - `held out`: a side that is a text of `held_out`, or half of whose runs of eight words are in such texts.
    - `duplicate`: a pair that was there before, and with `unique_sources` a source (`duplicate source`).
    - `adequacy`: with `translators`, less than `min_adequacy` by dual conditional cross-entropy; see `adequacies`.

    All rules but `misaligned`, `duplicate` and `length`, which compare a pair with others, decide on each pair alone.
    Decisions are kept in the cache, so that of several processes the first decides for all.

    Args:
        dataset: Columns of source and target texts.
        source: The column of the source texts.
        target: The column of the target texts.
        languages: The languages of both; default the names of the columns.
        skip: Rules that are not asked.
        min_letters: See `not text`.
        max_words: See `too long`.
        max_deviation: See `length`.
        min_score: See `score`.
        unique_sources: Whether a source may be there once only.
        held_out: The splits that models are measured on, `validation` and `test`.
        translators: A translator for each direction; see `adequacy`.
        min_adequacy: From 0 to 1; clean pairs of good translators have 0.1 and more.
        where: What the report calls the place of a row; default its number.

    Returns:
        The rows that are left, and what was dropped.

    Raises:
        ImportError: without py3langid, unless `swapped` and `wrong language` are skipped.
        ValueError: for a language that it does not know, an unknown rule, a missing column; when most pairs are swapped
            or shifted, so that the corpus as a whole is to be mended; when nothing is left.
    """
    unknown = [rule for rule in skip if rule not in RULES]
    if unknown:
        raise ValueError(f"there is no rule {unknown[0]!r}; the rules are {', '.join(RULES)}.")
    needed = [source, target, *([SCORE] if min_score is not None else [])]
    missing = [name for name in needed if name not in dataset.column_names]
    if missing:
        raise ValueError(f"cleaning needs a column {missing[0]!r}; there are {', '.join(dataset.column_names)}.")
    limits = (min_letters, max_words, max_deviation, min_score, unique_sources, min_adequacy)
    settings = _Settings(languages or (source, target), tuple(sorted(skip)), *limits)
    work = _Work(
        dataset, source, target, settings, held_out or {}, translators, where or (lambda row: f"Row {row + 1}")
    )
    reasons, notes = _decided_once(work)
    numbers = {rule: number for number, rule in enumerate(RULES, start=1) if work.asks(rule)}
    rows = {rule: np.flatnonzero(reasons == number) for rule, number in numbers.items()}
    report = CleaningReport(len(dataset), rows, notes, _samples(work, rows))
    kept = np.flatnonzero(reasons == 0)
    if not len(kept):
        raise ValueError(f"no pair is left after cleaning: {report}")
    return dataset if len(kept) == len(dataset) else dataset.select(kept), report


@dataclass
class _Work:
    """A corpus, and what its pairs are judged by."""

    dataset: Dataset
    source: str
    target: str
    settings: _Settings
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


def _decided_once(work: _Work) -> tuple[np.ndarray, list[str]]:
    """The decisions on all rows, and what was found; from the cache, where they were made before."""
    place = Path(store.HF_HOME) / "hfdistill" / "cleaning"
    folder = place / hash_of({"version": _VERSION, **_fingerprint(work)})
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "decisions.npz"
    with WeakFileLock(folder / "lock"):
        if not file.exists():
            _decide(work)
            content = io.BytesIO()
            np.savez_compressed(content, reasons=work.reasons, notes=np.array(json.dumps(work.notes)))
            write_whole(file, content.getvalue())
        with np.load(file) as kept:
            return kept["reasons"], json.loads(str(kept["notes"]))


def _fingerprint(work: _Work) -> dict[str, Any]:
    """What the decisions depend on."""
    texts = xxhash.xxh3_128()
    for rows in (work.dataset, *(work.held_out[name] for name in sorted(work.held_out))):
        for pair in text_tuples(rows, work.names):
            texts.update("\n\t".join(pair).encode())
        texts.update(b"\n\n")
    if work.settings.min_score is not None:
        texts.update(np.asarray(work.dataset[SCORE][:], float).tobytes())
    models = [hash_of_tensors(model.state_dict(), quick=True) for _, model in work.translators or ()]
    return {"texts": texts.hexdigest(), "place": work.where(0), "translators": models, **asdict(work.settings)}


def _decide(work: _Work) -> None:
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
        work.drop("score", np.asarray(work.dataset[SCORE][:], float) < work.settings.min_score)
    for name in work.names if work.asks("held out") else ():
        work.drop("held out", are_held_out(work.dataset, work.held_out, (name,), SHARED))
    _drop_repeated(work, "duplicate", pairs.hashes)
    _drop_repeated(work, "duplicate source", pairs.source_hashes)
    if work.translators and work.asks("adequacy"):
        _drop_inadequate(work, work.translators)


class _Looks:
    """What one pass over the pairs tells: faults of each by itself, lengths, hashes, shifts."""

    def __init__(self, work: _Work) -> None:
        settings, rows, looks_for_shifts = work.settings, len(work.dataset), work.asks("misaligned")
        self.faults: dict[str, list[int]] = {rule: [] for rule in ("empty", "not text", "markup", "too long", "copy")}
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


def _drop_blocks(work: _Work, blocks: Sequence[Block]) -> None:
    rows = np.concatenate([np.arange(block.first, block.last + 1) for block in blocks] or [np.zeros(0, int)])
    if len(rows) > WHOLE * len(work.dataset):
        raise ValueError(f"most pairs do not belong together: {said_of(blocks[0], work.where)}; mend the files first.")
    work.notes += [f"Dropped as a block: {said_of(block, work.where)}." for block in blocks]
    work.drop("misaligned", rows)


def _drop_by_language(work: _Work) -> None:
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


def _drop_repeated(work: _Work, rule: str, hashes: np.ndarray) -> None:
    """All but the first of those that are left and alike."""
    left = work.left
    first = np.unique(hashes[left], return_index=True)[1]
    work.drop(rule, np.delete(left, first))


def _drop_inadequate(work: _Work, translators: Translators) -> None:
    left = work.left
    rows = work.dataset.select(left)
    found = adequacies(rows[work.source][:], rows[work.target][:], translators)
    work.drop("adequacy", left[found < work.settings.min_adequacy])
    shares = np.quantile(found, [0.05, 0.5, 0.95]) if len(found) else np.zeros(3)
    work.notes.append(f"Adequacy: median {shares[1]:.3f}, of nine in ten from {shares[0]:.3f} to {shares[2]:.3f}.")


def _samples(work: _Work, dropped: Mapping[str, np.ndarray]) -> list[DroppedPair]:
    """Some pairs of each rule, from all over the corpus."""
    chosen: list[DroppedPair] = []
    for rule, rows in dropped.items():
        for row in rows[np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).astype(int)].tolist():
            pair = work.dataset[row]
            chosen.append(DroppedPair(rule, work.where(row), pair[work.source], pair[work.target]))
    return chosen

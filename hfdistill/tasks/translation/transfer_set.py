"""Which of a teacher's translations a student learns from: rows to train on, and what was dropped."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset

from hfdistill.tasks.translation.metrics import sentence_bleu
from hfdistill.tasks.translation.minimum_risk import expected_utilities
from hfdistill.tasks.translation.pseudo_translations import TRANSLATIONS
from hfdistill.tasks.translation.quality_estimation import QUALITY

CHOICES = ("best", "closest", "mbr", "quality", "all")

#: Of fewer translations the faulty ones themselves would decide what is usual.
ENOUGH_FOR_A_MEDIAN = 10

#: Up to 30 characters that come four times in a row, or more.
_RUN = re.compile(r"(.{1,30})\1{3,}", re.DOTALL)


@dataclass
class TransferReport:
    """What became of the teacher's translations.

    Args:
        rows: The rows that were translated.
        pairs: The training pairs that were made of them.
        lost: The rows none of whose candidates was fit to learn from.
        dropped: The candidates that were dropped, by reason.
    """

    rows: int = 0
    pairs: int = 0
    lost: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.dropped.items()))
        return (
            f"{self.pairs:,} pairs from {self.rows:,} translated texts; {self.lost:,} texts lost; "
            f"candidates dropped: {reasons or 'none'}."
        )


def transfer_set(
    dataset: Dataset, source_column: str, target_column: str, choose: str = "best", max_length_ratio: float = 3.0
) -> tuple[Dataset, TransferReport]:
    """Training rows of a teacher's translations: its degenerate ones dropped, one or all of the others chosen.

    Dropped are translations that are

    - empty, not finished, or a copy of a source of three words or more;
    - repeating themselves where their source does not: one to four words four times in a row; or, as not all scripts
      have spaces, up to 30 characters four times in a row that make at least 12 characters and a quarter of the text;
    - much longer or shorter than is usual here. Chinese takes a fourth of the characters of English, so the usual is
      the median of all finished translations, each divided by its source: let the rows be of one pair of languages.
      Of fewer than 10 translations the usual is taken to be as long as the source.

    Args:
        dataset: Rows as from `pseudo_translations`.
        source_column: The column of the source texts.
        target_column: Where the translations go; it may hold reference translations.
        choose: `best` takes the likeliest candidate (Kim & Rush 2016, section 3.2); `closest` the one most like the
            reference in `target_column`, by sentence BLEU (sequence-level interpolation, section 3.3); `mbr` the one
            most like all candidates, by chrF (minimum Bayes risk, see `expected_utilities`); `quality` the one that
            `quality_scores` puts first; `all` makes a row of each.
        max_length_ratio: How many times longer or shorter than usual a translation may be; 20 characters of the
            language that takes more of them are always allowed.

    Returns:
        The rows, without the candidates, and what was dropped.

    Raises:
        ValueError: for an unknown choice, a missing column, `closest` where a row has no reference, or when nothing is
            left.
    """
    if choose not in CHOICES:
        raise ValueError(f"choose must be one of {', '.join(CHOICES)}, got {choose!r}.")
    needed = (source_column, TRANSLATIONS, *{"closest": (target_column,), "quality": (QUALITY,)}.get(choose, ()))
    missing = [name for name in needed if name not in dataset.column_names]
    if missing:
        hint = " quality_scores makes it." if QUALITY in missing else ""
        raise ValueError(
            f"a transfer set needs the columns {', '.join(missing)}; there are {dataset.column_names}.{hint}"
        )
    if choose == "closest":
        _check_references(dataset, target_column)
    report = TransferReport(rows=len(dataset))
    usual = _usual_ratio(dataset, source_column)
    kept = _Chosen(source_column, target_column, choose, max_length_ratio, usual, report)
    numbers, texts = [], []
    for number, row in enumerate(dataset):
        for text in kept.of_row(row):
            numbers.append(number)
            texts.append(text)
    if not texts:
        raise ValueError(f"none of the teacher's translations can be learned from: {report}")
    report.pairs = len(texts)
    gone = [name for name in (TRANSLATIONS, QUALITY, target_column) if name in dataset.column_names]
    rows = dataset.select(numbers).remove_columns(gone).add_column(target_column, texts)
    return rows, report


def _check_references(dataset: Dataset, target_column: str) -> None:
    without = [row for row, text in enumerate(dataset[target_column][:]) if not isinstance(text, str)]
    if without:
        raise ValueError(
            f"row {without[0]} of column {target_column!r} has no reference to come close to, and {len(without) - 1} "
            "more: filter such rows out, or choose='best'."
        )


def _usual_ratio(dataset: Dataset, source_column: str) -> float:
    """The median of how many characters a translation has for each of its source's."""
    ratios = [
        len(candidate["text"].strip()) / max(1, len(row[source_column].strip()))
        for row in dataset.select_columns([source_column, TRANSLATIONS])
        for candidate in row[TRANSLATIONS]
        if candidate["finished"] and candidate["text"].strip()
    ]
    return statistics.median(ratios) if len(ratios) >= ENOUGH_FOR_A_MEDIAN else 1.0


@dataclass(frozen=True)
class _Chosen:
    source_column: str
    target_column: str
    choose: str
    max_length_ratio: float
    usual_ratio: float
    report: TransferReport

    def of_row(self, row: dict[str, Any]) -> list[str]:
        candidates = row[TRANSLATIONS]
        if self.choose == "quality":
            candidates = [one | {"quality": score} for one, score in zip(candidates, row[QUALITY], strict=True)]
        fit = list(self._fit(row[self.source_column], candidates))
        self.report.lost += not fit
        texts = [candidate["text"] for candidate in fit]
        # Of equal ones the first, which is the likeliest.
        if self.choose == "closest" and fit:
            return [max(texts, key=lambda text: sentence_bleu(text, row[self.target_column]))]
        if self.choose == "mbr" and fit:
            scores = [candidate.get("score") for candidate in fit]
            return [texts[int(expected_utilities(texts, scores).argmax())]]
        if self.choose == "quality" and fit:
            return [max(fit, key=lambda candidate: candidate["quality"])["text"]]
        return texts[:1] if self.choose == "best" else list(dict.fromkeys(texts))

    def _fit(self, source: str, candidates: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for candidate in candidates:
            fault = self._fault(source.strip(), candidate["text"].strip(), candidate["finished"])
            if fault is None:
                yield candidate
            else:
                self.report.dropped[fault] += 1

    def _fault(self, source: str, text: str, finished: bool) -> str | None:
        """Why a translation is not fit to learn from, or `None`."""
        if not text:
            return "empty"
        if not finished:
            return "not finished"
        if text.casefold() == source.casefold() and len(source.split()) > 2:
            return "a copy of the source"
        if _repeats_itself(text) and not _repeats_itself(source):
            return "repeating itself"
        # Both as long as in the language that takes more characters, so that 20 are little either way.
        usual = self.usual_ratio
        shorter, longer = sorted((len(source) * max(1.0, usual), len(text) / min(1.0, usual)))
        if longer > self.max_length_ratio * shorter + 20:
            return "too long or too short"
        return None


def _repeats_itself(text: str) -> bool:
    # A short run of characters is no fault: dots, zeros, laughter.
    least = max(12, len(text) / 4)
    return _repeats_words(text) or any(len(run[0]) >= least for run in _RUN.finditer(text))


def _repeats_words(text: str, times: int = 4, most_words: int = 4) -> bool:
    """Whether one to four words come four times in a row."""
    words = text.split()
    for period in range(1, most_words + 1):
        run = 0
        for earlier, later in zip(words, words[period:], strict=False):
            run = run + 1 if earlier == later else 0
            if run >= (times - 1) * period:
                return True
    return False

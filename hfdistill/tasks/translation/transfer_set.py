"""Which of a teacher's translations a student learns from: rows to train on, and what was dropped."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value

from hfdistill.data.streamed import row_tuples, streamed_dataset, with_columns
from hfdistill.tasks.translation.metrics import sentence_bleu
from hfdistill.tasks.translation.minimum_risk import expected_utilities
from hfdistill.tasks.translation.pseudo_translations import TRANSLATIONS
from hfdistill.tasks.translation.quality_estimation import QUALITY

CHOICES = ("best", "closest", "mbr", "quality", "all")

#: Of fewer translations the faulty ones themselves would decide what is usual.
ENOUGH_FOR_A_MEDIAN = 10

#: Of each row the texts that are learned from, and why others were dropped.
_CHOSEN = Features({"texts": List(Value("string")), "faults": List(Value("string"))})
#: Raised when rows are chosen otherwise, so that none that were chosen before are taken for them.
_VERSION = 1
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
        ValueError: for an unknown choice, a missing column, one column for both, a ratio below 1, `closest` where a row
            has no reference, or when nothing is left.
    """
    if choose not in CHOICES:
        raise ValueError(f"choose must be one of {', '.join(CHOICES)}, got {choose!r}.")
    if source_column == target_column:
        raise ValueError(f"source_column and target_column are both {source_column!r}: translations would replace it.")
    if max_length_ratio < 1:
        raise ValueError(f"max_length_ratio must be at least 1, as long as usual; got {max_length_ratio}.")
    needed = (source_column, TRANSLATIONS, *{"closest": (target_column,), "quality": (QUALITY,)}.get(choose, ()))
    missing = [name for name in needed if name not in dataset.column_names]
    if missing:
        makers = {TRANSLATIONS: " pseudo_translations makes it.", QUALITY: " quality_scores makes it."}
        hint = next((makers[name] for name in missing if name in makers), "")
        raise ValueError(
            f"a transfer set needs the columns {', '.join(missing)}; there are {dataset.column_names}.{hint}"
        )
    if choose == "closest":
        _check_references(dataset, target_column)
    how: dict[str, Any] = {"columns": [*needed], "choose": choose, "max_length_ratio": max_length_ratio}
    depends_on = {"transfer set of": dataset._fingerprint, "version": _VERSION, **how}
    chosen = streamed_dataset(lambda: _chosen(dataset, **how), _CHOSEN, depends_on)
    report, counts = TransferReport(rows=len(dataset)), []
    for texts, faults in row_tuples(chosen, [*_CHOSEN]):
        counts.append(len(texts))
        report.dropped.update(faults)
    report.pairs, report.lost = sum(counts), counts.count(0)
    if not report.pairs:
        raise ValueError(f"none of the teacher's translations can be learned from: {report}")
    targets = streamed_dataset(
        lambda: ((text,) for (texts,) in row_tuples(chosen, ["texts"]) for text in texts),
        Features({target_column: Value("string")}),
        depends_on,
    )
    gone = [name for name in (TRANSLATIONS, QUALITY, target_column) if name in dataset.column_names]
    rows = dataset.remove_columns(gone).select(np.repeat(np.arange(len(counts)), counts))
    return with_columns(rows, targets), report


def _check_references(dataset: Dataset, target_column: str) -> None:
    references = row_tuples(dataset, [target_column])
    without = [row for row, (text,) in enumerate(references) if not isinstance(text, str)]
    if without:
        raise ValueError(
            f"row {without[0]} of column {target_column!r} has no reference to come close to, and {len(without) - 1} "
            "more: filter such rows out, or choose='best'."
        )


def _usual_ratio(dataset: Dataset, source_column: str) -> float:
    """The median of how many characters a translation has for each of its source's."""
    ratios = [
        len(candidate["text"].strip()) / max(1, len(source.strip()))
        for source, candidates in row_tuples(dataset, [source_column, TRANSLATIONS])
        for candidate in candidates
        if candidate["finished"] and candidate["text"].strip()
    ]
    return statistics.median(ratios) if len(ratios) >= ENOUGH_FOR_A_MEDIAN else 1.0


def _chosen(
    dataset: Dataset, columns: Sequence[str], choose: str, max_length_ratio: float
) -> Iterator[tuple[list[str], list[str]]]:
    """Of each row the texts to learn from, and why the others were dropped."""
    choice = _Choice(choose, max_length_ratio, _usual_ratio(dataset, columns[0]))
    return (choice.of_row(*values) for values in row_tuples(dataset, columns))


@dataclass(frozen=True)
class _Choice:
    choose: str
    max_length_ratio: float
    usual_ratio: float

    def of_row(self, source: str, candidates: list[dict[str, Any]], guide: Any = None) -> tuple[list[str], list[str]]:
        """What to learn from and why others are dropped; the guide is a reference, or how good each candidate is."""
        if self.choose == "quality":
            candidates = [one | {"quality": score} for one, score in zip(candidates, guide, strict=True)]
        faults = [self._fault(source.strip(), one["text"].strip(), one["finished"]) for one in candidates]
        fit = [candidate for candidate, fault in zip(candidates, faults, strict=True) if fault is None]
        return self._of_fit(fit, guide), [fault for fault in faults if fault is not None]

    def _of_fit(self, fit: list[dict[str, Any]], reference: Any) -> list[str]:
        texts = [candidate["text"] for candidate in fit]
        # Of equal ones the first, which is the likeliest.
        if self.choose == "closest" and fit:
            return [max(texts, key=lambda text: sentence_bleu(text, reference))]
        if self.choose == "mbr" and fit:
            scores = [candidate.get("score") for candidate in fit]
            return [texts[int(expected_utilities(texts, scores).argmax())]]
        if self.choose == "quality" and fit:
            return [max(fit, key=lambda candidate: candidate["quality"])["text"]]
        return texts[:1] if self.choose == "best" else list(dict.fromkeys(texts))

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

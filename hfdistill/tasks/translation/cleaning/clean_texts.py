"""Dropping texts of one language that a teacher had better not translate, by rules whose effect is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xxhash
from datasets import Dataset

from hfdistill.data.splits import are_held_out
from hfdistill.tasks.translation.cleaning.decisions import WHOLE
from hfdistill.tasks.translation.cleaning.given import check_given
from hfdistill.tasks.translation.cleaning.identification import known_language, other_language
from hfdistill.tasks.translation.cleaning.report import SAMPLED, CleaningReport, DroppedPair
from hfdistill.tasks.translation.cleaning.text_rules import MAX_WORDS, MIN_LETTERS, faults_of_texts
from hfdistill.tasks.translation.reading import text_tuples

#: The rules in the order in which they are asked: a text counts for the first that it breaks.
TEXT_RULES = ("empty", "encoding", "not text", "markup", "too long", "wrong language", "held out", "duplicate")


def clean_texts(
    dataset: Dataset,
    column: str = "en",
    *,
    language: str | None = None,
    skip: Sequence[str] = (),
    trained: Dataset | None = None,
    held_out: Mapping[str, Dataset] | None = None,
) -> tuple[Dataset, CleaningReport]:
    """Drop monolingual texts that a teacher had better not translate, each rule with its count.

    The rules are those of `clean_pairs` that need one side alone: `empty`, `encoding`, `not text`, `markup`, `too
    long`, `wrong language`; `held out`: a text that is one of `held_out`, or has eight words in a row of one;
    `duplicate`: one that was there before, or is in `trained`.

    Args:
        dataset: A column of texts.
        column: Its name.
        language: Their language; default the name of the column.
        skip: Rules that are not asked.
        trained: The pairs whose sources the teacher translates anyway.
        held_out: The splits that models are measured on, `validation` and `test`.

    Returns:
        The rows that are left, and what was dropped.

    Raises:
        ImportError: without py3langid, unless `wrong language` is skipped.
        TypeError: for anything but a `Dataset` and a list of rules, or a dataset as `held_out`, in place of splits.
        ValueError: for a language that it does not know, an unknown rule or split, a missing column; when most texts
            are in another language; when nothing is left.
    """
    check_given(dataset, TEXT_RULES, skip, held_out)
    if column not in dataset.column_names:
        has = ", ".join(dataset.column_names)
        raise ValueError(f"cleaning needs a column {column!r}; there are {has}; name yours with column.")
    asked = [rule for rule in TEXT_RULES if rule not in skip]
    expected = known_language(language or column) if "wrong language" in asked else ""
    kept_out = are_held_out(dataset, held_out or {}, (column,))
    seen, languages = {_hash(text) for (text,) in text_tuples(trained, (column,))} if trained else set(), Counter[str]()
    rows: dict[str, list[int]] = {rule: [] for rule in asked}
    kept: list[int] = []

    def faults(row: int, text: str) -> Iterator[str]:
        yield from faults_of_texts([text], MIN_LETTERS, MAX_WORDS)
        if expected and (found := other_language(text, expected)):
            languages[found] += 1
            yield "wrong language"
        if kept_out[row]:
            yield "held out"
        if (number := _hash(text)) in seen:
            yield "duplicate"
        seen.add(number)

    for row, (text,) in enumerate(text_tuples(dataset, (column,))):
        rows.get(next((fault for fault in faults(row, text.strip()) if fault in rows), ""), kept).append(row)
    said = ", ".join(f"{name} {count:,}" for name, count in languages.most_common(8))
    if sum(languages.values()) > WHOLE * len(dataset):
        raise ValueError(f"most texts are not in {language or column}, but in other languages ({said}): name theirs.")
    notes = [f"Texts in another language: {said}."] if said else []
    numbers = {rule: np.array(found, int) for rule, found in rows.items()}
    report = CleaningReport(len(dataset), numbers, notes, _samples(dataset, column, rows), "unlabeled texts")
    if not kept:
        raise ValueError(f"no text is left after cleaning: {report}")
    return dataset.select(kept), report


def _samples(dataset: Dataset, column: str, dropped: Mapping[str, Sequence[int]]) -> list[DroppedPair]:
    """Some texts of each rule, from all over the corpus."""
    chosen: list[DroppedPair] = []
    for rule, rows in dropped.items():
        for place in np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).astype(int).tolist():
            chosen.append(DroppedPair(rule, f"Row {rows[place] + 1}", dataset[rows[place]][column], ""))
    return chosen


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.strip().encode())

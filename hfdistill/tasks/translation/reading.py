"""Pairs of texts from files, loaded datasets and named corpora, and where each of them stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from datasets import Dataset
from transformers.utils import logging

from hfdistill.data.files import ending_of, named_source, recognized_pairs, recognized_texts
from hfdistill.data.named_corpora import fetched
from hfdistill.data.parallel import LINE, SCORE, has_header, lines_dataset, pairs_dataset
from hfdistill.data.shortening import cut, shortened
from hfdistill.data.tables import Table, open_table

logger = logging.get_logger(__name__)

#: The column in which the Hub's parallel sets keep both texts: `{"translation": {"en": ..., "de": ...}}`.
PAIR_COLUMN = "translation"
#: One file, the two of a corpus, the name of a corpus, or a loaded dataset.
Texts: TypeAlias = str | Path | Sequence[str | Path] | Dataset

_ROWS_A_LOOK = 10_000


@dataclass(frozen=True)
class TextRows:
    """Rows as they were read.

    Attributes:
        dataset: A column for each language, and `score` where there is one.
        source: What messages call where they come from.
        where: Where a row stands, such as `Line 17 of pairs.tsv`.
    """

    dataset: Dataset
    source: str
    where: Callable[[int], str]


def read_pairs(given: Texts, split: str, names: tuple[str, str], score_column: str | None = None) -> TextRows:
    """Pairs of texts, those with an empty side included.

    Args:
        given: What they are read from.
        split: What messages call a loaded dataset.
        names: The columns of source and target, and their languages.
        score_column: The column of a score, where a table has one that is wanted.
    """
    if isinstance(given, Dataset):
        return _of_table(open_table(given, split), names, score_column)
    files = [given] if isinstance(given, (str, Path)) else list(given)
    kind = recognized_pairs(files)
    what = " and ".join(map(str, files))
    if kind == "table" and not (ending_of(files[0]) == "tsv" and not has_header(Path(files[0]), names)):
        return _of_table(open_table(files[0], split), names, score_column)
    if named_source(files[0]):
        files = list(fetched(str(files[0]), *names, for_training=split == "train"))
    rows = pairs_dataset(files, *names)
    unit = "Unit" if kind == "tmx" else "Line"
    return _of_corpus(rows, what, unit)


def read_texts(path: str | Path | Dataset, split: str, name: str) -> TextRows:
    """Texts of one language, empty ones included."""
    if isinstance(path, Dataset) or recognized_texts(path) == "table":
        return _of_table(open_table(path, split), (name,))
    return _of_corpus(lines_dataset(path, name), str(path), "Line")


def empty_rows(rows: Dataset, names: Sequence[str]) -> np.ndarray:
    """The numbers of the rows of which a text is empty, in order."""
    empty = [not all(map(str.strip, texts)) for texts in text_tuples(rows, names)]
    return np.flatnonzero(empty)


def without_empty(rows: TextRows, names: Sequence[str], skip_empty: bool = True) -> Dataset:
    """The rows with text on all sides; a warning counts the others.

    Raises:
        ValueError: If nothing is left, or, unless `skip_empty`, a side is empty.
    """
    empty = empty_rows(rows.dataset, names)
    if len(empty) and not skip_empty:
        raise ValueError(
            f"{rows.where(empty[0])}: a side of the pair is empty, as in {len(empty) - 1} more; mend them."
        )
    if len(empty):
        count, first = len(empty), rows.where(empty[0])
        logger.warning("%s: %d rows with an empty side are skipped, the first at %s.", rows.source, count, first)
    if len(empty) == len(rows.dataset):
        raise ValueError(f"{rows.source} has no row with text in {' and '.join(names)}.")
    if not len(empty):
        return rows.dataset
    return rows.dataset.select(np.setdiff1d(np.arange(len(rows.dataset)), empty))


def text_tuples(rows: Dataset, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The texts of each row, read a few at a time."""
    for batch in rows.select_columns(list(names)).with_format(None).iter(_ROWS_A_LOOK):
        yield from zip(*(batch[name] for name in names), strict=True)


def _of_corpus(rows: Dataset, source: str, unit: str) -> TextRows:
    return TextRows(rows.remove_columns(LINE), source, lambda row: f"{unit} {rows[int(row)][LINE]} of {source}")


def _of_table(table: Table, names: Sequence[str], score_column: str | None = None) -> TextRows:
    columns: dict[str, list[Any]] = {name: _texts(table, name) for name in names}
    if score_column is not None:
        columns[SCORE] = _scores(table, score_column)
    return TextRows(Dataset.from_dict(columns), table.source, lambda row: table.where(int(row)))


def _texts(table: Table, name: str) -> list[str]:
    if name not in table.columns and PAIR_COLUMN not in table.columns:
        raise ValueError(
            f"{table.source} has no column {name!r}; its columns are {table.names()}; name yours with source_lang "
            "and target_lang."
        )
    if name in table.columns:
        values = list(table.columns[name][:])
    else:
        values = [_text_of(pair, name, table.where(row)) for row, pair in enumerate(table.columns[PAIR_COLUMN][:])]
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{table.where(row)}: {name!r} holds {shortened(value)}; expected text.")
    return [value or "" for value in values]


def _text_of(pair: Any, language: str, where: str) -> Any:
    if not isinstance(pair, dict):
        raise ValueError(
            f"{where}: {PAIR_COLUMN!r} holds {shortened(pair)}; expected an object of a text for each language."
        )
    if language not in pair:
        raise ValueError(f"{where}: {PAIR_COLUMN!r} has the languages {cut(', '.join(pair))} and not {language!r}.")
    return pair[language]


def _scores(table: Table, name: str) -> list[float]:
    if name not in table.columns:
        raise ValueError(
            f"{table.source} has no column {name!r} for min_score; its columns are {table.names()}; name yours with "
            "score_column, or leave min_score out."
        )
    scores = []
    for row, value in enumerate(table.columns[name][:]):
        try:
            scores.append(float(value))
        except (TypeError, ValueError):
            raise ValueError(f"{table.where(row)}: {name!r} holds {shortened(value)}; expected a number.") from None
    return scores

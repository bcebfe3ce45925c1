"""Pairs of texts from files, loaded datasets and named corpora, and where each of them stands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from datasets import Dataset
from transformers.utils import logging

from hfdistill.data.files import ending_of, named_source, recognized_pairs, recognized_texts
from hfdistill.data.named_corpora import fetched
from hfdistill.data.parallel import LINE, SCORE, has_header, lines_dataset, pairs_dataset, streamed_rows
from hfdistill.data.shortening import cut, shortened
from hfdistill.data.streamed import row_tuples
from hfdistill.data.tables import place, table_rows

logger = logging.get_logger(__name__)

#: The column in which the Hub's parallel sets keep both texts: `{"translation": {"en": ..., "de": ...}}`.
PAIR_COLUMN = "translation"
#: One file, the two of a corpus, the name of a corpus, or a loaded dataset.
Texts: TypeAlias = str | Path | Sequence[str | Path] | Dataset


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

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If it cannot be read, a column is missing, or the two names are one.
    """
    if names[0] == names[1]:
        raise ValueError(f"source and target are both {names[0]!r}: name two columns or languages.")
    if isinstance(given, Dataset):
        return _of_dataset(given, split, names, score_column)
    files = [given] if isinstance(given, (str, Path)) else list(given)
    kind = kind_of_pairs(files, names)
    what = " and ".join(map(str, files))
    if kind == "table":
        return _of_file(files[0], names, score_column)
    if named_source(files[0]):
        files = list(fetched(str(files[0]), *names, for_training=split == "train"))
    rows = pairs_dataset(files, *names)
    if score_column is not None and SCORE not in rows.column_names:
        raise ValueError(
            f"{what}: there is no score for min_score; give a table with a column for it (score_column), a text file "
            "of source, target and score with tabs between, or leave min_score out."
        )
    unit = "Unit" if kind == "tmx" else "Line"
    return _of_corpus(rows, what, unit)


def kind_of_pairs(files: Sequence[str | Path], names: Sequence[str]) -> str:
    """As `recognized_pairs`, which only sees the names of files: a tsv without a header has `columns`."""
    kind = recognized_pairs(files)
    headless = kind == "table" and ending_of(files[0]) == "tsv" and not has_header(Path(files[0]), names)
    return "columns" if headless else kind


def read_texts(path: str | Path | Dataset, split: str, name: str) -> TextRows:
    """Texts of one language, empty ones included."""
    if isinstance(path, Dataset):
        return _of_dataset(path, split, (name,))
    if recognized_texts(path) == "table":
        return _of_file(path, (name,))
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
    what, without = ("a side of the pair", "with an empty side") if len(names) > 1 else ("the text", "without text")
    if len(empty) and not skip_empty:
        raise ValueError(f"{rows.where(empty[0])}: {what} is empty, as in {len(empty) - 1} more; mend them.")
    if len(empty):
        count, first = len(empty), rows.where(empty[0])
        logger.warning("%s: %d rows %s are skipped, the first at %s.", rows.source, count, without, first)
    if len(empty) == len(rows.dataset):
        raise ValueError(f"{rows.source} has no row with text in {' and '.join(names)}.")
    if not len(empty):
        return rows.dataset
    return rows.dataset.select(np.setdiff1d(np.arange(len(rows.dataset)), empty))


def text_tuples(rows: Dataset, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The texts of each row, read a few at a time."""
    return row_tuples(rows, names)


def _of_corpus(rows: Dataset, source: str, unit: str) -> TextRows:
    return TextRows(rows.remove_columns(LINE), source, lambda row: f"{unit} {rows[int(row)][LINE]} of {source}")


def _of_file(path: str | Path, names: Sequence[str], score_column: str | None = None) -> TextRows:
    """A table's texts, which go to disk as they are read: memory does not grow with it."""

    def rows() -> Iterator[tuple[int | str | float, ...]]:
        seen: dict[str, None] = {}
        for row, (line, cells) in enumerate(table_rows(path)):
            seen |= dict.fromkeys(cells)
            # Of a source without lines the row, below zero.
            yield line or -1 - row, *_checked(cells, place(line, row, path), seen, names, score_column)
        _check_columns(seen, str(path), names, score_column)

    found = streamed_rows(rows, [Path(path)], names, score_column is not None, score_column=score_column)

    def where(row: int) -> str:
        line = found[int(row)][LINE]
        return place(line if line > 0 else None, -1 - line, path)

    return TextRows(found.remove_columns(LINE), str(path), where)


def _of_dataset(given: Dataset, split: str, names: Sequence[str], score_column: str | None = None) -> TextRows:
    """A loaded dataset's texts, which go to disk as they are read, too."""
    source = f"the {split} split"
    _check_columns(given.column_names, source, names, score_column)
    kept = [name for name in (*names, PAIR_COLUMN, score_column) if name and name in given.column_names]
    plain = given.select_columns(kept).with_format(None)

    def rows() -> Iterator[tuple[int | str | float, ...]]:
        for row, values in enumerate(row_tuples(plain, kept)):
            cells = dict(zip(kept, values, strict=True))
            yield row, *_checked(cells, place(None, row, source), kept, names, score_column)

    found = streamed_rows(rows, plain, names, score_column is not None, score_column=score_column)
    return TextRows(found.remove_columns(LINE), source, lambda row: place(None, int(row), source))


def _check_columns(columns: Collection[str], source: str, names: Sequence[str], score_column: str | None) -> None:
    has = f"its columns are {cut(', '.join(map(repr, columns)))}"
    for name in names:
        if name not in columns and PAIR_COLUMN not in columns:
            way = "name yours with source_lang and target_lang"
            if ending_of(source) == "tsv":
                content = "source, target and perhaps a score" if len(names) > 1 else "a sentence a line"
                way += f", or, if its first line is no header, have the name of the file end in .txt ({content})"
            raise ValueError(f"{source} has no column {name!r}; {has}; {way}.")
    if score_column is not None and score_column not in columns:
        raise ValueError(
            f"{source} has no column {score_column!r} for min_score; {has}; name yours with score_column, or leave "
            "min_score out."
        )


def _checked(
    cells: Mapping[str, Any], where: str, columns: Collection[str], names: Sequence[str], score_column: str | None
) -> tuple[Any, ...]:
    """The texts of a row, and its score where one is wanted; `columns` are those that are known of the table."""
    texts = [_text(cells, name, where, columns) for name in names]
    if score_column is None:
        return (*texts,)
    _check_columns(columns, where, (), score_column)
    return (*texts, _score(cells.get(score_column), score_column, where))


def _text(cells: Mapping[str, Any], name: str, where: str, columns: Collection[str]) -> str:
    value = cells.get(name)
    if name not in columns and PAIR_COLUMN in columns:
        pair = cells.get(PAIR_COLUMN)
        if not isinstance(pair, dict):
            raise ValueError(
                f"{where}: {PAIR_COLUMN!r} holds {shortened(pair)}; expected an object of a text for each language."
            )
        if name not in pair:
            raise ValueError(f"{where}: {PAIR_COLUMN!r} has the languages {cut(', '.join(pair))} and not {name!r}.")
        value = pair[name]
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{where}: {name!r} holds {shortened(value)}; expected text.")
    return value or ""


def _score(value: Any, name: str, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: {name!r} holds {shortened(value)}; expected a number.") from None

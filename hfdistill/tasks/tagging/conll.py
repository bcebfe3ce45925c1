"""Files of tagged words as people have them: a word a line (CoNLL), a word a row (csv), or a sentence a row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from hfdistill.data.files import ending_of
from hfdistill.data.lines import decoded_lines
from hfdistill.data.tables import Table, TableRow, open_table, table_of_rows
from hfdistill.data.unlabeled import RowSource, row_source

#: Endings of files with a word a line, its tag last, and an empty line between sentences.
CONLL = (".conll", ".iob", ".iob2", ".bio", ".txt")
WORD_COLUMNS = ("tokens", "words", "token", "word")
TEXT_COLUMNS = ("text", "sentence")
TAG_COLUMNS = ("ner_tags", "labels", "tags", "label", "tag", "ner")
SENTENCE_COLUMNS = ("sentence_id", "sentence", "Sentence #", "sentence_number", "sent_id")
#: A word of raw text: it begins and ends with a letter or digit, or is a single other character.
_WORD = re.compile(r"[@#]?\w(?:\S*\w)?|\S")


def open_tagged(file: str | Path | Dataset, split: str) -> Table:
    """A file or dataset as a table of a sentence a row, each with a list of words, or a text, and a list of tags.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or it has a word a row and no column says of which sentence.
    """
    if _is_conll(file):
        return table_of_rows(str(file), _conll_rows(Path(file)))
    table = open_table(file, split)
    if not _has_a_word_a_row(table):
        return table
    return replace(table_of_rows(table.source, _sentences(table.rows(), table)), class_names=table.class_names)


def sentence_source(file: str | Path | Dataset) -> RowSource:
    """The same of sentences without tags, which are read one after the other; raises as `open_tagged`."""
    if _is_conll(file):
        return RowSource.of_file(_existing(Path(file)), _conll_rows)
    source = row_source(file)
    first = source.first()
    return replace(source, rows=lambda: _sentences(source.rows(), first)) if _has_a_word_a_row(first) else source


def words_of_text(text: str) -> list[str]:
    """The words of a raw text, marks of punctuation apart: of unlabeled texts, which nobody has split."""
    return _WORD.findall(text)


def _is_conll(file: Any) -> bool:
    return not isinstance(file, Dataset) and f".{ending_of(file)}" in CONLL


def _conll_rows(path: Path) -> Iterator[TableRow]:
    width = 0
    for number, cells in _conll_sentences(_existing(path)):
        width = width or len(cells[0])
        for place, word in enumerate(cells):
            if len(word) != width:
                raise ValueError(
                    f"Line {number + place} of {path} has {len(word)} columns, and the first word {width}: write a "
                    "word and its tag on each line, and an empty line between sentences; texts that nobody has split "
                    f"belong in a table with a column {TEXT_COLUMNS[0]}."
                )
        words = {"tokens": [word[0] for word in cells]}
        yield number, words | ({"ner_tags": [word[-1] for word in cells]} if width > 1 else {})
    if not width:
        raise ValueError(f"{path} is empty; expected a word and its tag on each line.")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path} (looked in {Path.cwd()}).")
    return path


def _conll_sentences(path: Path) -> Iterator[tuple[int, list[list[str]]]]:
    """Each sentence's first line and the columns of its words, which tabs separate, or else spaces."""
    sentence: list[list[str]] = []
    for number, line in enumerate(decoded_lines(path), start=1):
        line = line.rstrip("\r\n")
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
        if any(cells) and cells[0] != "-DOCSTART-":
            sentence.append(cells)
        elif sentence:
            yield number - len(sentence), sentence
            sentence = []
    if sentence:
        yield number - len(sentence) + 1, sentence


def _has_a_word_a_row(table: Table) -> bool:
    words, tags = column_of(table, WORD_COLUMNS), column_of(table, TAG_COLUMNS)
    named = tags or column_of(table, SENTENCE_COLUMNS)  # of words that nobody has tagged
    return bool(words and named) and all(isinstance(table.columns[name][0], str) for name in (words, tags) if name)


def column_of(table: Table, names: Sequence[str]) -> str | None:
    """The first of these names that a table has a column of."""
    return next((name for name in names if name in table.columns), None)


def _sentences(rows: Iterator[TableRow], table: Table) -> Iterator[TableRow]:
    """Rows of a word as rows of a sentence, which may be named at its first word alone.

    Args:
        rows: Those of a word.
        table: The first of them, or all.
    """
    sentence = column_of(table, SENTENCE_COLUMNS)
    if sentence is None:
        raise ValueError(
            f"{table.source} has a word in each row, and no column says of which sentence: add one called "
            f"{SENTENCE_COLUMNS[0]}; its columns are {table.names()}."
        )
    columns = [name for name in (column_of(table, WORD_COLUMNS), column_of(table, TAG_COLUMNS)) if name]
    begun: TableRow | None = None
    before = None
    for line, cells in rows:
        name = cells.get(sentence)
        if name not in ("", None) and name != before:
            if begun:
                yield begun
            begun, before = (line, {column: [] for column in columns}), name
        if begun is None:
            raise ValueError(f"{table.where(0)}: column {sentence!r} is empty; name the sentence of the first word.")
        for column, words in begun[1].items():
            words.append(cells.get(column))
    if begun:
        yield begun

"""Files of tagged words as people have them: a word a line (CoNLL), a word a row (csv), or a sentence a row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from hfdistill.data.lines import decoded_lines
from hfdistill.data.tables import Table, open_table

#: Endings of files with a word a line, its tag last, and an empty line between sentences.
CONLL = (".conll", ".iob", ".iob2", ".bio", ".txt")
WORD_COLUMNS = ("tokens", "words", "token", "word")
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
    if not isinstance(file, Dataset) and str(file).lower().removesuffix(".gz").endswith(CONLL):
        return _read_conll(Path(file))
    table = open_table(file, split)
    return _sentences(table) if _has_a_word_a_row(table) else table


def words_of_text(text: str) -> list[str]:
    """The words of a raw text, marks of punctuation apart: of unlabeled texts, which nobody has split."""
    return _WORD.findall(text)


def _read_conll(path: Path) -> Table:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path} (looked in {Path.cwd()}).")
    rows, lines, width = [], [], 0
    for number, cells in _conll_sentences(path):
        width = width or len(cells[0])
        for place, word in enumerate(cells):
            if len(word) != width:
                raise ValueError(
                    f"Line {number + place} of {path} has {len(word)} columns, and the first word {width}: write a "
                    "word and its tag on each line, and an empty line between sentences."
                )
        lines.append(number)
        rows.append(cells)
    if not rows:
        raise ValueError(f"{path} is empty; expected a word and its tag on each line.")
    columns = {"tokens": [[word[0] for word in cells] for cells in rows]}
    if width > 1:
        columns["ner_tags"] = [[word[-1] for word in cells] for cells in rows]
    return Table(columns, str(path), lines)


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
    return bool(words and tags) and all(isinstance(table.columns[name][0], str) for name in (words, tags) if name)


def column_of(table: Table, names: Sequence[str]) -> str | None:
    """The first of these names that a table has a column of."""
    return next((name for name in names if name in table.columns), None)


def _sentences(table: Table) -> Table:
    """A table of a word a row as one of a sentence a row; a sentence may be named at its first word alone."""
    sentence = column_of(table, SENTENCE_COLUMNS)
    if sentence is None:
        raise ValueError(
            f"{table.source} has a word in each row, and no column says of which sentence: add one called "
            f"{SENTENCE_COLUMNS[0]}; its columns are {table.names()}."
        )
    starts, before = [], None
    for row, name in enumerate(table.columns[sentence]):
        if name not in ("", None) and name != before:
            starts.append(row)
            before = name
    if not starts or starts[0] > 0:
        raise ValueError(f"{table.where(0)}: column {sentence!r} is empty; name the sentence of the first word.")
    ends = [*starts[1:], len(table.columns[sentence])]
    columns: dict[str, Any] = {}
    for name in filter(None, (column_of(table, WORD_COLUMNS), column_of(table, TAG_COLUMNS))):
        columns[name] = [list(table.columns[name][start:end]) for start, end in zip(starts, ends, strict=True)]
    lines = None if table.lines is None else [table.lines[start] for start in starts]
    return replace(table, columns=columns, lines=lines)

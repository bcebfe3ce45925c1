"""What `hfdistill export` runs a translator on: texts of its source language, with translations where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hfdistill.data.files import ending_of, recognized_texts_or_pairs
from hfdistill.data.lines import decoded_lines
from hfdistill.data.tables import table_rows
from hfdistill.tasks.classification.data import plain_texts
from hfdistill.tasks.translation.reading import (
    PAIR_COLUMN,
    TextRows,
    kind_of_pairs,
    read_pairs,
    read_texts,
    without_empty,
)


def texts_to_translate(
    files: Sequence[str], source: str | None, target: str | None
) -> tuple[list[str], list[str] | None]:
    """The source texts of what `hfdistill translate` can read, and their translations.

    A table has translations where `target` names them, and a file with a sentence a line has none.

    Args:
        files: One file, the two of a corpus, or the name of one.
        source: The column of the source texts, or their language.
        target: Likewise of the target texts.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or languages have to be named.
    """
    rows, names = _rows(files, source, target)
    texts = without_empty(rows, names)
    return texts[names[0]][:], texts[names[1]][:] if len(names) > 1 else None


def _rows(files: Sequence[str], source: str | None, target: str | None) -> tuple[TextRows, tuple[str, ...]]:
    """The rows, and their columns: the source, and where there are translations the target."""
    column, other = _names(_kind(files, source, target), files, source, target)
    if other is None:
        return read_texts(files[0], "texts", column), (column,)
    return read_pairs(files, "texts", (column, other)), (column, other)


def _kind(files: Sequence[str], source: str | None, target: str | None) -> str:
    """As `kind_of_pairs`, or `lines`: a side of a corpus, or a .txt file whose first line has no tab."""
    if target is None and recognized_texts_or_pairs(files) == "lines":
        if ending_of(files[0]) != "txt" or "\t" not in next(filter(str.strip, decoded_lines(Path(files[0]))), ""):
            return "lines"
    return kind_of_pairs(files, [name for name in (source, target) if name])


def _names(kind: str, files: Sequence[str], source: str | None, target: str | None) -> tuple[str, str | None]:
    """The columns to read; of files without names of their own any will do."""
    if kind == "lines":
        return source or "text", None
    if kind == "table":
        return source or _only_column_of_texts(files[0]), target
    if source and target:
        return source, target
    if source or target or kind not in ("two files", "columns"):
        raise ValueError(_name_both(" and ".join(files), "two languages or more"))
    return "source", "target"


def _only_column_of_texts(file: str) -> str:
    _, cells = next(table_rows(file), (None, {}))
    if isinstance(pair := cells.get(PAIR_COLUMN), dict):
        raise ValueError(_name_both(file, " and ".join(pair)))
    return plain_texts(file)[1][0]


def _name_both(what: str, languages: str) -> str:
    return (
        f"the texts of {what} are in {languages}: name the translator's own, --text_column its source language and "
        "--text_pair_column its target language."
    )

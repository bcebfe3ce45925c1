"""Texts without labels, for a teacher to label: read to disk, as there may be more of them than memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Features

from hfdistill.data.columns import no_text
from hfdistill.data.files import recognized_texts
from hfdistill.data.lines import text_lines
from hfdistill.data.shortening import cut
from hfdistill.data.streamed import row_tuples, stamps, streamed_dataset
from hfdistill.data.tables import TableRow, place, table_rows

#: Raised when rows are read otherwise, so that none that were read before are taken for them.
_VERSION = 1


def unlabeled_rows(given: str | Path | Dataset, names: Sequence[str], features: Features, label: Any) -> Dataset:
    """Texts as rows without a label on disk, in the cache of `datasets`; memory does not grow with them.

    Args:
        given: A table (see `read_table`), a `.txt` file with a text a line, or a loaded dataset. Labels are not read.
        names: The columns of the text.
        features: These columns, and behind them the label's.
        label: What stands there for none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read in full, or has no text in a column; names file and line.
    """
    if isinstance(given, Dataset):
        return _on_disk(_rows_of(given, names), "the unlabeled split", stamps(given), names, features, label)
    path = Path(given)
    if recognized_texts(path) == "table":
        return _on_disk(table_rows(path), str(path), stamps([path]), names, features, label)
    if len(names) > 1:
        raise ValueError(
            f"{path} has one text a line, and the texts here are pairs ({', '.join(names)}): give a table, such as "
            "tsv, with these columns."
        )
    lines: Iterator[TableRow] = ((line, {names[0]: text}) for line, text in enumerate(text_lines(path), start=1))
    return _on_disk(lines, str(path), stamps([path]), names, features, label)


def _on_disk(
    rows: Iterator[TableRow], source: str, stamp: Any, names: Sequence[str], features: Features, label: Any
) -> Dataset:
    def checked() -> Iterator[tuple[Any, ...]]:
        for row, (line, cells) in enumerate(rows):
            for name in names:
                if not isinstance(cells.get(name), str):
                    raise _fault(cells, name, place(line, row, source))
            yield *(cells[name] for name in names), label

    return streamed_dataset(checked, features, {"files": stamp, "label": label, "version": _VERSION})


def _fault(cells: Mapping[str, Any], name: str, where: str) -> ValueError:
    if name in cells:
        return no_text(cells[name], name, where)
    has = cut(", ".join(map(repr, cells)))
    return ValueError(
        f"{where} has no column {name!r}; its columns are {has}: call the text's as in the training texts."
    )


def _rows_of(dataset: Dataset, names: Sequence[str]) -> Iterator[TableRow]:
    """A loaded dataset's rows, read a few at a time; with all columns where one is missing, to name them."""
    kept = list(names) if {*names} <= {*dataset.column_names} else dataset.column_names
    return ((None, dict(zip(kept, values, strict=True))) for values in row_tuples(dataset, kept))

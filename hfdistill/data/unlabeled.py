"""Texts without labels, for a teacher to label: read to disk, as there may be more of them than memory holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, Features

from hfdistill.data.columns import no_text
from hfdistill.data.files import recognized_texts
from hfdistill.data.lines import text_lines
from hfdistill.data.shortening import cut
from hfdistill.data.splits import without_blank, without_held_out
from hfdistill.data.streamed import row_tuples, stamps, streamed_dataset
from hfdistill.data.tables import Table, TableRow, place, table_of_rows, table_rows

#: Raised when rows are read otherwise, so that none that were read before are taken for them.
_VERSION = 1
#: So many rows show what the columns hold.
_ROWS_A_LOOK = 1000


@dataclass(frozen=True)
class RowSource:
    """Rows that are read one after the other.

    Attributes:
        rows: Begins to read them.
        name: What messages call where they are from.
        stamp: What changes with the rows, for JSON.
    """

    rows: Callable[[], Iterator[TableRow]]
    name: str
    stamp: Any

    @classmethod
    def of_file(cls, path: str | Path, rows: Callable[[Path], Iterator[TableRow]]) -> RowSource:
        """A file that `rows` reads."""
        path = Path(path)
        return cls(lambda: rows(path), str(path), stamps([path]))

    def first(self) -> Table:
        """Enough of the rows to see what their columns hold; no more is read."""
        return table_of_rows(self.name, islice(self.rows(), _ROWS_A_LOOK))


def row_source(given: str | Path | Dataset, names: Sequence[str] = ()) -> RowSource:
    """Texts without a label as rows.

    Args:
        given: A table (see `read_table`), a `.txt` file with a text a line, or a loaded dataset.
        names: The columns that will be read; by default all of a table.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of a kind that cannot be read.
    """
    if isinstance(given, Dataset):
        return RowSource(lambda: _rows_of(given, names), "the unlabeled split", stamps(given))
    if recognized_texts(given) == "table":
        return RowSource.of_file(given, table_rows)
    if len(names) > 1:
        raise ValueError(
            f"{given} has one text a line, and the texts here are pairs ({', '.join(names)}): give a table, such as "
            "tsv, with these columns."
        )
    column = names[0] if names else "text"
    return RowSource.of_file(
        given, lambda path: ((line, {column: text}) for line, text in enumerate(text_lines(path), start=1))
    )


def rows_on_disk(
    source: RowSource,
    read: Callable[[Mapping[str, Any], str], tuple[Any, ...]],
    features: Features,
    **depends_on: Any,
) -> Dataset:
    """Rows on disk, in the cache of `datasets`; memory does not grow with them.

    Args:
        source: The rows.
        read: Of the cells of a row, and of where it stands, a value for every feature.
        features: The columns.
        **depends_on: What else the values depend on, for JSON.

    Raises:
        ValueError: If they cannot be read in full; names file and line.
    """

    def every() -> Iterator[tuple[Any, ...]]:
        for row, (line, cells) in enumerate(source.rows()):
            yield read(cells, place(line, row, source.name))

    return streamed_dataset(every, features, {"files": source.stamp, "version": _VERSION, **depends_on})


def unlabeled_rows(source: RowSource, names: Sequence[str], features: Features, label: Any) -> Dataset:
    """Texts as rows without a label on disk; see `rows_on_disk`.

    Args:
        source: The texts. Labels are not read.
        names: The columns of the text.
        features: These columns, and behind them the label's.
        label: What stands there for none.

    Raises:
        ValueError: If they cannot be read in full, or there is no text in a column; names file and line.
    """

    def read(cells: Mapping[str, Any], where: str) -> tuple[Any, ...]:
        for name in names:
            if not isinstance(cells.get(name), str):
                raise _fault(cells, name, where)
        return *(cells[name] for name in names), label

    return rows_on_disk(source, read, features, label=label)


def texts_to_label(
    unlabeled: Dataset,
    splits: DatasetDict,
    text_columns: Sequence[str],
    most: int | None = None,
    seed: int = 42,
    blank: Callable[[Iterable[bool]], bool] = all,
) -> Dataset:
    """The texts that a teacher labels: as many as asked for, but for blank ones and those that models are measured on.

    Args:
        unlabeled: The texts.
        splits: The splits, `validation` and `test` among them where there are such.
        text_columns: The columns whose texts together are one example's.
        most: How many are drawn at random where there are more; by default all are taken.
        seed: Chooses them.
        blank: Whether `all` of an example's texts must be blank for it to be left out, or `any`.
    """
    if most is not None and most < len(unlabeled):
        unlabeled = unlabeled.shuffle(seed, keep_in_memory=True).select(range(most))  # in memory: the order alone
    return without_held_out(without_blank(unlabeled, text_columns, blank), splits, text_columns)


def _fault(cells: Mapping[str, Any], name: str, where: str) -> ValueError:
    if name in cells:
        return no_text(cells[name], name, where)
    has = cut(", ".join(map(repr, cells)))
    return ValueError(
        f"{where} has no column {name!r}; its columns are {has}: call the text's as in the training texts."
    )


def _rows_of(dataset: Dataset, names: Sequence[str]) -> Iterator[TableRow]:
    """A loaded dataset's rows, read a few at a time; with all columns where one is missing, to name them."""
    kept = list(names) if names and {*names} <= {*dataset.column_names} else dataset.column_names
    return ((None, dict(zip(kept, values, strict=True))) for values in row_tuples(dataset, kept))

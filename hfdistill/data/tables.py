"""Reading one file of a user, with complaints that name the file and the line."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from hfdistill.data.files import recognized
from hfdistill.data.lines import decoded_lines
from hfdistill.data.shortening import cut, shortened
from hfdistill.models.labels import class_names

#: The line of a row, where its source has lines, and its cells by the names of their columns.
TableRow: TypeAlias = tuple[int | None, dict[str, Any]]

#: So many rows of a Parquet file are in memory at once.
_ROWS_A_LOOK = 1000
#: How deep lists and objects of a JSON value may lie in one another: Arrow takes little more.
MOST_NESTED = 50


@dataclass(frozen=True)
class Table:
    """Columns as they were read, and where each row stands in its source."""

    columns: Mapping[str, Sequence[Any]]
    source: str
    lines: Sequence[int] | None = None
    class_names: Mapping[str, list[str]] = field(default_factory=dict)

    def where(self, row: int) -> str:
        """`Line 17 of reviews.tsv`; the rows of sources without lines are counted from 1."""
        return place(None if self.lines is None else self.lines[row], row, self.source)

    def rows(self) -> Iterator[TableRow]:
        """The rows one after the other."""
        cells = zip(*self.columns.values(), strict=True)
        lines = repeat(None) if self.lines is None else self.lines
        return ((line, dict(zip(self.columns, row, strict=True))) for line, row in zip(lines, cells, strict=False))

    def names(self) -> str:
        return cut(", ".join(map(repr, self.columns)))


def place(line: int | None, row: int, source: str | Path) -> str:
    """`Line 17 of reviews.tsv`, or of a source without lines `Row 3 of reviews.json`, where `row` is 2."""
    return f"{f'Row {row + 1}' if line is None else f'Line {line}'} of {source}"


def read_table(path: str | Path) -> Dataset:
    """Read one file of the user's.

    - `.csv`: a header line, cells separated by commas, standard quoting.
    - `.tsv`: a header line, cells separated by one tab, **no quoting**: a `"` is a character like any other.
    - `.jsonl`, `.json`: one JSON object a line, or one array of objects.
    - `.parquet`.

    All but Parquet may be compressed (`.tsv.gz`, `.tsv.zst`) and must be UTF-8. Blank lines are skipped. The cells of
    csv and tsv stay text, as written: `NA`, `nan` and `007` are not touched.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read in full; names the line.
    """
    path, extension = recognized(path)
    if extension == "parquet":
        return _read_parquet(path)
    table = table_of_rows(str(path), _TEXT_READERS[extension](path))
    columns = {name: _arrow_column(table, name) for name in table.columns}
    return _as_dataset(path, pa.table(columns))


def open_table(path: str | Path | Dataset, split: str) -> Table:
    if isinstance(path, Dataset):
        return _table_of(path, f"the {split} split")
    path, extension = recognized(path)
    if extension == "parquet":
        return _table_of(_read_parquet(path), str(path))
    return table_of_rows(str(path), _TEXT_READERS[extension](path))


def table_rows(path: str | Path) -> Iterator[TableRow]:
    """The rows of a file, read as they are asked for."""
    path, extension = recognized(path)
    return _parquet_rows(path) if extension == "parquet" else _TEXT_READERS[extension](path)


def first_rows(path: str | Path, most: int = _ROWS_A_LOOK) -> Table:
    """The first rows of a file, enough to see what its columns hold; no more is read."""
    return table_of_rows(str(path), islice(table_rows(path), most))


def _table_of(dataset: Dataset, source: str) -> Table:
    named = {name: class_names(dataset.features, name) for name in dataset.column_names}
    classes = {name: names for name, names in named.items() if names is not None}
    plain = dataset.with_format(None)
    return Table({name: plain[name] for name in plain.column_names}, source, class_names=classes)


def _read_parquet(path: Path) -> Dataset:
    with _opened_parquet(path) as file:
        table = file.read()
        _check_columns(path, table)
    return _as_dataset(path, table)


def _parquet_rows(path: Path) -> Iterator[TableRow]:
    with _opened_parquet(path) as file:
        if not file.metadata.num_rows:
            raise ValueError(f"{path} has columns but no rows.")
        for batch in file.iter_batches(_ROWS_A_LOOK):
            _check_columns(path, batch)
            yield from ((None, cells) for cells in batch.to_pylist())


@contextmanager
def _opened_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            _check_names(path, file.schema_arrow.names)
            yield file
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise ValueError(f"{path} is not a whole Parquet file: {_reason(error)}") from None


def _check_columns(path: Path, table: pa.Table | pa.RecordBatch) -> None:
    for name, column in zip(table.schema.names, table.columns, strict=True):
        _check_column(path, name, column)


def _check_column(path: Path, name: str, column: pa.ChunkedArray | pa.Array) -> None:
    """Refuses what Arrow takes on trust, such as a text that is not UTF-8."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise ValueError(f"Column {name!r} of {path} is damaged: {_reason(error)}") from None


def _as_dataset(path: Path, table: pa.Table) -> Dataset:
    try:
        return Dataset(table)
    except Exception as error:  # of features that are declared wrongly, or of a kind that `datasets` does not know
        raise ValueError(f"{path} is no table that datasets can hold: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    return cut(str(error).partition("\n")[0] or type(error).__name__)


def _arrow_column(table: Table, name: str) -> pa.Array:
    try:
        return pa.array(table.columns[name])
    except (pa.ArrowException, OverflowError, TypeError):
        kinds = Counter(type(value).__name__ for value in table.columns[name])
        found = ", ".join(f"{kind} {count} times" for kind, count in kinds.most_common())
        raise ValueError(f"Column {name!r} of {table.source} mixes types: {found}; write one type.") from None


def _tsv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(decoded_lines(path), start=1):
        if line.strip("\r\n"):
            yield number, line.removesuffix("\n").removesuffix("\r").split("\t")


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(decoded_lines(path), strict=True)
    limit = csv.field_size_limit(2**31 - 1)  # The default refuses cells above 128 KiB: long documents.
    try:
        number = 1
        for row in reader:
            if row:
                yield number, row
            number = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"Line {reader.line_num} of {path} is not CSV: {error}; check its quotes.") from None
    finally:
        csv.field_size_limit(limit)


def _named(path: Path, rows: Iterator[tuple[int, list[str]]], advice: str) -> Iterator[TableRow]:
    """The rows behind a header."""
    _, header = next(rows, (0, []))
    if not header:
        raise ValueError(f"{path} is empty; expected a header line with the names of the columns.")
    _check_names(path, header)
    number = 0
    for number, row in rows:
        if len(row) != len(header):
            raise ValueError(
                f"Line {number} of {path} has {len(row)} columns, expected {len(header)} as in the header "
                f"({cut(', '.join(header))}); {advice}."
            )
        yield number, dict(zip(header, row, strict=True))
    if not number:
        raise ValueError(f"{path} has a header but no rows.")


def _check_names(path: Path, names: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"The header of {path} has the column {shortened(repeated[0])} twice; rename one.")
    broken = [number for number, name in enumerate(names, start=1) if "\0" in name]
    if broken:
        raise ValueError(
            f"The header of {path} has NUL in the name of column {broken[0]}, as UTF-16 has it; save the file as UTF-8."
        )


def _read_csv(path: Path) -> Iterator[TableRow]:
    return _named(path, _csv_rows(path), "quote the cells that hold commas")


def _read_tsv(path: Path) -> Iterator[TableRow]:
    return _named(path, _tsv_rows(path), "a .tsv file has one tab between cells and none within")


def _read_json(path: Path) -> Iterator[TableRow]:
    row, names = -1, dict[str, None]()
    for row, (line, content) in enumerate(_json_values(path)):
        where = place(line, row, path)
        if not isinstance(content, dict):
            raise ValueError(f"{where} holds a {type(content).__name__}; expected a JSON object.")
        for name, value in content.items():
            if fault := _fault(name) or _fault(value):
                raise ValueError(f"{where}: column {shortened(name)} {fault}.")
        if not content.keys() <= names.keys():
            names |= dict.fromkeys(content)
            _check_names(path, list(names))
        yield line, content
    if row < 0:
        raise ValueError(f"{path} is empty; expected one JSON object a line.")


def _json_values(path: Path) -> Iterator[tuple[int | None, Any]]:
    """What stands on the lines, or in one array."""
    numbered = enumerate(decoded_lines(path), start=1)
    begun, first = next(((number, line) for number, line in numbered if line.strip()), (1, ""))
    lines = chain([(begun, first)], numbered)
    if first.lstrip().startswith("["):
        whole = "\n" * (begun - 1) + "".join(line for _, line in lines)  # so that what is no JSON stands on its line
        return ((None, value) for value in _parsed(whole, str(path)))
    return ((n, _parsed(line, f"Line {n} of {path}")) for n, line in lines if line.strip())


def _parsed(text: str, what: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{what} is not JSON: {error}; write one object a line.") from None
    except _NoValue as error:
        raise ValueError(f"{what} {error}") from None
    except ValueError:  # Python's own limit
        raise ValueError(f"{what} holds a number of thousands of digits; write it in quotes.") from None


class _NoValue(ValueError):
    """JSON that Python would read, and a table cannot hold."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        repeated = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise _NoValue(f"has {shortened(repeated)} twice in one object; keep one.")
    return names


def _constant(name: str) -> float:
    if name == "NaN":  # as other writers say that there is nothing
        return math.nan
    raise _NoValue(f"holds {name}, which is no number.")


def table_of_rows(source: str, rows: Iterable[TableRow]) -> Table:
    """By columns from the start: an object for each of a million rows would take gigabytes."""
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []
    for row, (line, cells) in enumerate(rows):
        for name, value in cells.items():
            if name not in columns:
                columns[name] = [None] * row
            columns[name].append(value)
        for column in columns.values():
            if len(column) == row:
                column.append(None)
        if line is not None:
            lines.append(line)
    return Table(columns, source, lines or None)


def _fault(value: Any, depth: int = 0) -> str:
    """Why JSON's value is none of a table's; empty when it is one."""
    if isinstance(value, str):
        if value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value):
            return ""
        return f"holds half of a character, such as an emoji cut in two: {shortened(value)}"
    if isinstance(value, int):
        return "" if -(2**63) <= value < 2**63 else f"holds {shortened(value)}, a number beyond 64 bits"
    if isinstance(value, (dict, list)):
        if depth == MOST_NESTED:
            return f"is nested more than {MOST_NESTED} deep"
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return next(filter(None, (_fault(one, depth + 1) for one in inner)), "")
    return ""


_TEXT_READERS: dict[str, Callable[[Path], Iterator[TableRow]]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "json": _read_json,
    "jsonl": _read_json,
}

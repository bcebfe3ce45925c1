"""Columns of rows of unequal lengths as flat arrays: read and padded without a Python object for each number."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """The numbers of some rows.

    Args:
        values: Those of all rows, one row after the other, shape `(entries, ...)`.
        lengths: How many entries each row has.
    """

    values: np.ndarray
    lengths: np.ndarray

    @property
    def ends(self) -> np.ndarray:
        """Where each row ends in `values`."""
        return np.cumsum(self.lengths)

    @property
    def places(self) -> np.ndarray:
        """The place of each entry in its row, from 0."""
        return np.arange(len(self.values)) - np.repeat(self.ends - self.lengths, self.lengths)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.lengths)

    @classmethod
    def joined(cls, parts: Sequence[Ragged]) -> Ragged:
        """The rows of several, one after the other."""
        return cls(np.concatenate([one.values for one in parts]), np.concatenate([one.lengths for one in parts]))

    @classmethod
    def of_padded(cls, batch: np.ndarray, lengths: np.ndarray) -> Ragged:
        """The beginning of each row of a batch, shape `(rows, width, ...)`, of these lengths."""
        return cls(batch[np.arange(batch.shape[1]) < lengths[:, None]], lengths)

    def taken(self, places: np.ndarray) -> Ragged:
        """The rows at these places."""
        lengths = self.lengths[places]
        begins = np.repeat((self.ends - self.lengths)[places], lengths)
        return Ragged(self.values[begins + Ragged(begins, lengths).places], lengths)

    def split(self) -> list[np.ndarray]:
        """Each row by itself."""
        return np.split(self.values, self.ends[:-1]) if len(self) else []

    def kept(self, wanted: np.ndarray) -> Ragged:
        """The entries that are `wanted`, one boolean each."""
        before = np.append(0, np.cumsum(wanted))
        return Ragged(self.values[wanted], before[self.ends] - before[self.ends - self.lengths])

    def tolist(self) -> list[list[Any]]:
        """The rows as Python lists."""
        flat, ends = self.values.tolist(), self.ends.tolist()
        return [flat[end - length : end] for end, length in zip(ends, self.lengths.tolist(), strict=True)]

    def padded(self, width: int, padding: float = 0, side: str = "right") -> np.ndarray:
        """One row below the other, shape `(rows, width, ...)`, filled up with `padding` at one side."""
        places = np.arange(width) if side == "right" else np.arange(width)[::-1]
        batch = np.full((len(self.lengths), width, *self.values.shape[1:]), padding, self.values.dtype)
        batch[places < self.lengths[:, None]] = self.values
        return batch


#: A column in memory: of numbers, or of other things, and then as Python objects.
Column = Ragged | list[Any]


def list_of(column: Column) -> list[Any]:
    """The rows as Python objects."""
    return column.tolist() if isinstance(column, Ragged) else column


def read_column(column: pa.ChunkedArray | pa.Array) -> Column:
    """A column as flat numbers (integers as int64); other things as Python objects."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    numbers, lengths = _flat(column)
    if numbers is None:
        return column.to_pylist()
    return Ragged(numbers, lengths)


def ragged_of(rows: Sequence[Any]) -> Column:
    """The same of rows that are Python lists or arrays."""
    try:
        if all(isinstance(row, (np.ndarray, Tensor)) for row in rows):
            numbers = _whole(np.concatenate([np.asarray(row) for row in rows if len(row)]))
            return Ragged(numbers, np.array([len(row) for row in rows]))
        flat = np.asarray(list(itertools.chain.from_iterable(rows))) if all(type(row) is list for row in rows) else None
        if flat is not None and flat.ndim == 1 and flat.dtype in (np.int64, np.float64):  # as most are, and quicker
            return Ragged(flat, np.array([len(row) for row in rows]))
        return read_column(pa.array(rows))
    except (pa.ArrowException, TypeError, ValueError):
        return list(rows)


def _whole(numbers: np.ndarray) -> np.ndarray:
    """Integers of any size as int64, others as they are."""
    return numbers.astype(np.int64, copy=False) if numbers.dtype.kind in "iu" else numbers


def _flat(column: pa.Array) -> tuple[np.ndarray | None, np.ndarray]:
    """All numbers of lists, of lists of as many numbers, ..., and each row's length; `None` for other things."""
    if not _is_list(column.type) or column.null_count:
        return None, np.empty(0)
    lengths, shape, values = pc.list_value_length(column).to_numpy(zero_copy_only=False), [], column.flatten()
    while _is_list(values.type) and not values.null_count:
        inner = pc.list_value_length(values).to_numpy(zero_copy_only=False)
        shape.append(int(inner[0]) if len(inner) else 0)
        if (inner != shape[-1]).any():
            return None, lengths
        values = values.flatten()
    kind = values.type
    if values.null_count or not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return (np.empty(0, np.int64) if pa.types.is_null(kind) and not len(values) else None), lengths
    numbers = _whole(values.to_numpy(zero_copy_only=False))
    return numbers.reshape(-1, *shape), lengths.astype(np.int64)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)

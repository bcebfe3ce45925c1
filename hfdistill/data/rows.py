"""Rows in whatever they come in, as a dataset."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset
from torch import Tensor

from hfdistill.models.labels import NO_LABEL


def as_dataset(rows: Any) -> Any:
    """The rows as a `Dataset`: those of a list or of a torch `Dataset` in their order, each a dict of columns.

    A `Dataset`, an `IterableDataset` of `datasets`, or a dict of splits is returned as it is.

    Raises:
        ValueError: for rows that cannot be counted, that are not dicts, or whose columns differ, naming the row.
    """
    if isinstance(rows, (Dataset, IterableDataset, dict)):
        return rows
    if not (hasattr(rows, "__len__") and hasattr(rows, "__getitem__")) or isinstance(rows, (str, bytes)):
        raise ValueError(
            f"rows are a datasets.Dataset, a torch Dataset with a length, or a list of dicts, not a "
            f"{type(rows).__name__}: of a stream make an IterableDataset of `datasets`."
        )
    plain: list[dict[str, Any]] = []
    for number in range(len(rows)):
        row = rows[number]
        if not isinstance(row, Mapping):
            raise ValueError(f"row {number} is a {type(row).__name__}, not a dict of columns such as input_ids.")
        if plain and row.keys() != plain[0].keys():
            raise ValueError(
                f"row {number} has the columns {', '.join(map(str, row))} and row 0 {', '.join(map(str, plain[0]))}: "
                "all rows need the same."
            )
        plain.append({name: _plain(value) for name, value in row.items()})
    return Dataset.from_list(plain)


def as_split(rows: Any) -> Dataset:
    """The rows of one split as a `Dataset`, as `as_dataset` makes it.

    Raises:
        ValueError: for several splits, for a stream, and as `as_dataset`.
    """
    if isinstance(rows, dict):
        raise ValueError(f"these are splits ({', '.join(map(str, rows))}): give the rows of one, as dataset['test'].")
    if isinstance(rows, IterableDataset):
        raise ValueError("these rows are a stream: load them, or give some of them, such as list(rows.take(1000)).")
    found: Dataset = as_dataset(rows)
    return found


def without_padding(rows: Dataset, names: Sequence[str]) -> Dataset:
    """Columns of tokens without those that an `attention_mask` says are padding, on either side.

    Args:
        rows: Tokenized rows, which may have been padded to one length.
        names: The columns, of as many values in a row as it has tokens.
    """
    plain = rows.with_format(None)
    if "attention_mask" not in rows.column_names:
        return plain.select_columns(list(names))
    masks = plain["attention_mask"][:]
    columns = {
        name: [list(itertools.compress(*pair)) for pair in zip(plain[name], masks, strict=True)] for name in names
    }
    return Dataset.from_dict(columns)


def has_target(labels: Sequence[int] | None) -> bool:
    """Whether somebody wrote a text for a row: its tokens, which may be none, and are not -100 throughout."""
    return labels is not None and (len(labels) == 0 or any(label != NO_LABEL for label in labels))


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (Tensor, np.ndarray, np.generic)) else value

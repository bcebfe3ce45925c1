"""What labels mean: which class is class 0, how many there are, and which rows have one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: What stands where a row has no label. The Hub writes -1, as in SNLI and GLUE's test sets; scores may be -1.
NO_LABEL = -100
NO_CLASS = (-1, NO_LABEL)


def has_label(column: pa.Array, missing: Sequence[int] = NO_CLASS) -> np.ndarray:
    """Which rows have a label, bool of shape `(rows,)`: one that is not empty, NaN or `missing`; of many, any is."""
    if is_list(column.type):
        found = np.zeros(len(column), dtype=bool)
        rows = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
        found[rows[has_label(pc.list_flatten(column), missing)]] = True
        return found
    there = pc.is_valid(column).to_numpy(zero_copy_only=False)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)
        there &= (values == values) & ~np.isin(values, missing)
    return there


def is_list(kind: pa.DataType) -> bool:
    """Whether a row of this type holds several values."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)

"""`DataCollatorWithPadding` by arrays: the same batch in a fraction of its time.

A tokenizer's `pad` goes through Python lists token by token, some milliseconds for 64 texts, for which an accelerator
waits in every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DataCollatorWithPadding

from hfdistill.models.inputs import TOKEN_COLUMNS, pad_batch, usual_paddings
from hfdistill.models.ragged import Column, Ragged, ragged_of

_AS_LABELS = {"label": "labels", "label_ids": "labels"}


class QuickPadding:
    """`DataCollatorWithPadding`: the same tensors for rows of Python numbers; any others are left to it.

    Args:
        collator: One that pads to the longest row, with a tokenizer whose `pad` is that of `transformers`.
    """

    def __init__(self, collator: DataCollatorWithPadding) -> None:
        self.collator = collator

    @classmethod
    def of(cls, collator: Any) -> Callable[[list[dict[str, Any]]], Any]:
        """The quick form of a collator, or the collator itself where there is none."""
        if type(collator) is not DataCollatorWithPadding or usual_paddings(collator.tokenizer) is None:
            return collator
        longest = collator.padding in (True, "longest") and collator.return_tensors == "pt"
        return cls(collator) if longest else collator

    def __call__(self, features: list[dict[str, Any]]) -> Any:
        """A batch of rows of token columns, labels, and whatever else has as many numbers in each row."""
        try:
            return self._batch(features)
        except (KeyError, TypeError, ValueError, OverflowError):
            return self.collator(features)  # which says what is wrong

    def _batch(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        columns = {name: [row[name] for row in features] for name in features[0]}
        lengths = [len(ids) for ids in columns["input_ids"]]
        tokens = {name: ragged_of(columns.pop(name)) for name in TOKEN_COLUMNS if name in columns}
        if not all(_is_of_tokens(one, lengths) for one in tokens.values()):
            raise ValueError("not a whole number for each token")
        batch = pad_batch(self.collator.tokenizer, tokens, multiple=self.collator.pad_to_multiple_of or 1)
        return batch | {_AS_LABELS.get(name, name): _stacked(values) for name, values in columns.items()}


def _is_of_tokens(column: Column, lengths: list[int]) -> bool:
    return isinstance(column, Ragged) and column.values.dtype == np.int64 and column.lengths.tolist() == lengths


def _stacked(values: list[Any]) -> Tensor:
    """One number, or as many numbers, of each row.

    Raises:
        ValueError: for tensors, arrays, and lists of unequal lengths.
    """
    if not isinstance(values[0], (int, float, list)):
        raise ValueError("neither a number nor a list")
    return torch.tensor(values)

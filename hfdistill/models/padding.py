"""Padding a batch by arrays: the batch of `DataCollatorWithPadding`, in a fraction of its time.

A tokenizer's `pad` goes through Python lists token by token, some milliseconds for 64 texts, for which an accelerator
waits in every step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

_AS_LABELS = {"label": "labels", "label_ids": "labels"}


class QuickPadding:
    """`DataCollatorWithPadding`: the same tensors for rows of Python numbers; any others are left to it.

    Args:
        collator: One that pads to the longest row, with a tokenizer whose `pad` is that of `transformers`.
    """

    def __init__(self, collator: DataCollatorWithPadding) -> None:
        self.collator = collator
        tokenizer = collator.tokenizer
        self.fills = {
            tokenizer.model_input_names[0]: tokenizer.pad_token_id,
            "attention_mask": 0,
            "token_type_ids": tokenizer.pad_token_type_id,
            "special_tokens_mask": 1,
        }

    @classmethod
    def of(cls, collator: Any) -> Callable[[list[dict[str, Any]]], Any]:
        """The quick form of a collator, or the collator itself where there is none."""
        if type(collator) is not DataCollatorWithPadding:
            return collator
        kind = type(collator.tokenizer)
        plain = isinstance(collator.tokenizer, PreTrainedTokenizerBase) and all(
            getattr(kind, name) is getattr(PreTrainedTokenizerBase, name) for name in ("pad", "_pad")
        )
        longest = collator.padding in (True, "longest") and collator.return_tensors == "pt"
        return cls(collator) if plain and longest and collator.tokenizer.pad_token_id is not None else collator

    def __call__(self, features: list[dict[str, Any]]) -> Any:
        """A batch of rows of token columns, labels, and whatever else has as many numbers in each row."""
        try:
            return self._batch(features)
        except (KeyError, TypeError, ValueError, OverflowError):
            return self.collator(features)  # which says what is wrong

    def _batch(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        tokenizer = self.collator.tokenizer
        main = tokenizer.model_input_names[0]
        lengths = np.fromiter((len(row[main]) for row in features), np.int64, len(features))
        multiple = self.collator.pad_to_multiple_of or 1
        width = -(-int(lengths.max()) // multiple) * multiple
        tokens = np.arange(width) < lengths[:, None]
        if tokenizer.padding_side == "left":
            tokens = tokens[:, ::-1]
        columns = {name: [row[name] for row in features] for name in features[0]}
        batch = {
            _AS_LABELS.get(name, name): _padded(values, tokens, self.fills[name])
            if name in self.fills
            else _stacked(values)
            for name, values in columns.items()
        }
        if "attention_mask" not in columns and "attention_mask" in tokenizer.model_input_names:
            batch["attention_mask"] = torch.from_numpy(tokens.astype(np.int64))
        return batch


def _padded(rows: Sequence[Sequence[int]], tokens: np.ndarray, fill: int) -> Tensor:
    """Rows of whole numbers as `(rows, width)`, with `fill` where there is no token.

    Raises:
        ValueError: for a row of another length, or of something else than Python's whole numbers.
    """
    values = list(itertools.chain.from_iterable(rows))
    lengths = tokens.sum(1).tolist()
    if [len(row) for row in rows] != lengths or not all(type(row) is list for row in rows):
        raise ValueError("not as long as the token ids, or no list")
    flat = np.asarray(values) if values else np.zeros(0, np.int64)
    if flat.dtype != np.int64:
        raise ValueError("not whole numbers")
    padded = np.full(tokens.shape, fill, np.int64)
    padded[tokens] = flat
    return torch.from_numpy(padded)


def _stacked(values: list[Any]) -> Tensor:
    """One number, or as many numbers, of each row.

    Raises:
        ValueError: for tensors, arrays, and lists of unequal lengths.
    """
    if not isinstance(values[0], (int, float, list)):
        raise ValueError("neither a number nor a list")
    return torch.tensor(values)

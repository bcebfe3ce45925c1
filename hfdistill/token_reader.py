"""What a model reads of a dataset row: its own tokens of the text, or the tokens that the row brings."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: The columns of a tokenized row that a model reads; anything else (labels, ids, text) is not for the teacher.
TOKEN_COLUMNS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class TokenReader:
    """What a model reads of dataset rows: token columns without padding, cut to the length it has positions for.

    Apart from the model itself, so that `datasets` need not hash its weights to name the result.

    Args:
        processing_class: The model's tokenizer.
        text_columns: The columns of raw text to tokenize; when empty the rows bring `input_ids` of its vocabulary.
        inputs: The token columns that the model takes.
        max_length: The most tokens it can read.
    """

    processing_class: PreTrainedTokenizerBase
    text_columns: tuple[str, ...]
    inputs: tuple[str, ...]
    max_length: int

    def __call__(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The token columns, and `cut`: whether a row was longer than the model can read."""
        columns, cut = self._tokenized(rows) if self.text_columns else self._shared(rows)
        return {**columns, "cut": cut}

    def _tokenized(self, rows: Mapping[str, Sequence[Any]]) -> tuple[dict[str, list[Any]], list[bool]]:
        texts = (list(rows[column]) for column in self.text_columns)
        encoding = self.processing_class(*texts, truncation=True, max_length=self.max_length)
        if encoding.encodings is None:  # tokenizers without a Rust core do not tell
            cut = [len(ids) == self.max_length for ids in encoding["input_ids"]]
        else:
            cut = [bool(one.overflowing) for one in encoding.encodings]
        return {name: encoding[name] for name in self._names(encoding)}, cut

    def _shared(self, rows: Mapping[str, Sequence[Any]]) -> tuple[dict[str, list[Any]], list[bool]]:
        has_mask = "attention_mask" in rows
        masks = rows["attention_mask"] if has_mask else [[1] * len(ids) for ids in rows["input_ids"]]
        columns = {
            name: [list(itertools.compress(row, mask)) for row, mask in zip(rows[name], masks, strict=True)]
            for name in self._names(rows)
        }
        cut = [len(ids) > self.max_length for ids in columns["input_ids"]]
        # The last token closes a text ([SEP]) for the models that have one: it stays.
        shortened = {
            name: [
                row[: self.max_length - 1] + row[-1:] if long else row for row, long in zip(values, cut, strict=True)
            ]
            for name, values in columns.items()
        }
        return shortened, cut

    def _names(self, rows: Mapping[str, Any]) -> list[str]:
        # No attention mask: without padding it says nothing, and the tokenizer's `pad` makes it.
        return [name for name in self.inputs if name != "attention_mask" and name in rows]


def token_inputs(model: PreTrainedModel) -> tuple[str, ...]:
    """The token columns that a model's `forward` takes."""
    return taken_inputs(model, TOKEN_COLUMNS)


def taken_inputs(model: PreTrainedModel, names: Sequence[str]) -> tuple[str, ...]:
    """Those of `names` that a model's `forward` takes."""
    return tuple(name for name in names if name in inspect.signature(model.forward).parameters)


def max_positions(model: PreTrainedModel, processing_class: PreTrainedTokenizerBase | None = None) -> int:
    """How many tokens of a text a model can read: its positions, or what its tokenizer allows if that is less."""
    limits = [
        sys.maxsize,
        getattr(model.config, "max_position_embeddings", None),
        getattr(processing_class, "model_max_length", None),
    ]
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            # RoBERTa's positions begin after the padding index, so that many are never used.
            limits.append(module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1))
    return min(int(limit) for limit in limits if limit is not None and limit > 0)

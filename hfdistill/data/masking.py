"""Masked tokens for masked language models, the same ones however a batch is cut and wherever a run goes on."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hfdistill.models.inputs import pad_rows
from hfdistill.models.packed_texts import SEGMENT_IDS

#: What marks a token without a label.
IGNORED = -100
#: Of the chosen tokens, how many become the mask, and how many any other token; the rest stay as they are.
MASKED, REPLACED = 0.8, 0.1


class MaskedTextCollator:
    """Pads rows of token ids to a batch in which some tokens are masked; `labels` are what they were, else -100.

    Of each text's tokens `mlm_probability` are chosen; of these 80 % become the mask token, 10 % any token and 10 %
    stay (Devlin et al. 2019, section 3.1, https://huggingface.co/papers/1810.04805). Which ones follows from the text,
    the seed and the epoch alone: a batch that is cut otherwise, other processes, and a run that is continued have the
    same. Rows that bring `labels` are padded as they are.

    Args:
        tokenizer: The student's; it needs a mask token, unless nothing is masked.
        mlm_probability: The share of tokens to choose, in [0, 1). With 0 nothing is masked, for terms on layers alone.
        seed: Another seed chooses others.
        pad_to_multiple_of: Of how many tokens the width of a batch is a multiple.

    Raises:
        ValueError: for a tokenizer without a mask token, or a share that is none.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        mlm_probability: float = 0.15,
        seed: int = 0,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        if not 0 <= mlm_probability < 1:
            raise ValueError(f"mlm_probability must be at least 0 and less than 1; got {mlm_probability}.")
        if mlm_probability and tokenizer.mask_token_id is None:
            raise ValueError(
                "the tokenizer has no mask token, and so its models were not trained to fill one in: learn from layers "
                "alone (terms such as minilm), with --mlm_probability 0."
            )
        self.tokenizer = tokenizer
        self.mlm_probability = mlm_probability
        self.seed = seed
        self.pad_to_multiple_of = pad_to_multiple_of
        self.epoch = 0
        self._fixed = sorted({*tokenizer.all_special_ids} - {tokenizer.unk_token_id})
        self._ordinary = np.setdiff1d(np.arange(len(tokenizer)), self._fixed)

    def set_epoch(self, epoch: int) -> None:
        """Chooses other tokens in each epoch; the trainer calls it."""
        self.epoch = epoch

    def masked(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row with some tokens masked, and `labels`: as for `dataset.map`, to have the same ones in all epochs."""
        if not self.mlm_probability:
            return {**row, "labels": [IGNORED] * len(row["input_ids"])}
        ids = np.array(row["input_ids"], dtype=np.int64)
        random = np.random.default_rng([self.seed, self.epoch, zlib.crc32(ids.tobytes())])
        chosen = (random.random(len(ids)) < self.mlm_probability) & ~np.isin(ids, self._fixed)
        labels = np.where(chosen, ids, IGNORED)
        what, others = random.random(len(ids)), random.choice(self._ordinary, len(ids))
        ids = np.where(chosen & (what < MASKED), self.tokenizer.mask_token_id, ids)
        ids = np.where(chosen & (what >= 1 - REPLACED), others, ids)
        return {**row, "input_ids": ids.tolist(), "labels": labels.tolist()}

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The batch."""
        rows = [row if "labels" in row else self.masked(row) for row in features]
        # Columns are filled up with zeros, and the label of padding is -100.
        shifted = [{**row, "labels": [label - IGNORED for label in row["labels"]]} for row in rows]
        batch = pad_rows(self.tokenizer, shifted, pad_to_multiple_of=self.pad_to_multiple_of)
        batch["labels"] += IGNORED
        return batch


def packed_rows(rows: Mapping[str, Sequence[Sequence[int]]], max_length: int) -> dict[str, list[list[int]]]:
    """Texts one after the other in rows of at most `max_length` tokens, and `segment_ids`: which text a token is of.

    Args:
        rows: `input_ids` of texts, none longer than a row, and other columns of tokens, as `dataset.map` with
            `batched=True` and `remove_columns` gives them.
        max_length: The most tokens of a row.
    """
    names = [*rows, SEGMENT_IDS]
    packed: dict[str, list[list[int]]] = {name: [] for name in names}
    for values in zip(*rows.values(), strict=True):
        text = dict(zip(rows, values, strict=True))
        length = len(text["input_ids"])
        if not packed[SEGMENT_IDS] or len(packed[SEGMENT_IDS][-1]) + length > max_length:
            for name in names:
                packed[name].append([])
        last = packed[SEGMENT_IDS][-1][-1:] or [0]
        text[SEGMENT_IDS] = [last[0] + 1] * length
        for name in names:
            packed[name][-1].extend(text[name])
    return packed

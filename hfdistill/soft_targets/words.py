"""Soft targets of a token classifier that reads words with its own tokenizer, beside the student's tokens of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from hfdistill.models.heads import ITEM_MASK
from hfdistill.models.ragged import Ragged, ragged_of, read_column
from hfdistill.soft_targets.precompute import KnownRows, SoftTargetMaker


class WordTargetMaker(SoftTargetMaker):
    """A token classifier with words to read, and the store of its predictions at the first token of each.

    The dataset has the words in the teacher's text column, and the student's tokens of them with `ITEM_MASK`, which
    says where each word begins.
    """

    def of_dataset(self, dataset: Dataset) -> Ragged:
        """The predictions beside the student's tokens: at the first one of each word, and 0 elsewhere.

        Raises:
            ValueError: where the rows do not say where words begin, or the student reads words that the teacher cuts.
        """
        self._check_mask(dataset.column_names)
        mask = dataset.select_columns(ITEM_MASK).with_format("arrow")[:][ITEM_MASK]
        return _beside_tokens(super().of_dataset(dataset), read_column(mask))

    def of_window(self, rows: Mapping[str, Sequence[Any]]) -> Ragged:
        self._check_mask(list(rows))
        return _beside_tokens(super().of_window(rows), ragged_of(rows[ITEM_MASK]))

    def _check_mask(self, columns: Sequence[str]) -> None:
        if ITEM_MASK not in columns:
            raise ValueError(
                f"the teacher decides on words, and the rows lack the student's tokens with a column {ITEM_MASK}, true "
                f"at the first token of each word; they have {', '.join(columns)}: tokenize them for the student "
                "first, as token_classification_data(...).tokenized(tokenizer) does."
            )

    def manifest(self) -> dict[str, Any]:
        return {**super().manifest(), "decides on": "words"}

    def inputs(self, rows: KnownRows, some: np.ndarray) -> dict[str, Any]:
        return {name: one for name, one in super().inputs(rows, some).items() if name != ITEM_MASK}

    def kept(self, rows: KnownRows, some: np.ndarray, predictions: Any) -> Ragged:
        columns, _ = self.columns(rows.tokens[some])
        return super().kept(rows, some, predictions).kept(columns[ITEM_MASK].values != 0)


def _beside_tokens(words: Ragged, mask: Any) -> Ragged:
    begins = mask.values != 0
    wanted = mask.kept(begins).lengths
    if (wanted > words.lengths).any():
        row = int((wanted > words.lengths).argmax())
        raise ValueError(
            f"row {row} has {wanted[row]} words for the student, and the teacher, which reads fewer tokens, decides on "
            f"{words.lengths[row]} of them: tokenize for the student with a smaller max_length, or split long rows."
        )
    logits = np.zeros((len(begins), *words.values.shape[1:]), np.float32)
    logits[begins] = words.kept(words.places < np.repeat(wanted, words.lengths)).values
    return Ragged(logits, mask.lengths)

"""Noise in texts to read, for a model that is to write their clean counterparts."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from hfdistill.data.augmentation.augmenters import Augmenter, LocalShuffle, Masking, WordDropout
from hfdistill.data.augmentation.rows import check_changeable


def noised(
    dataset: Dataset,
    column: str,
    *,
    drop: float = 0.1,
    mask: float = 0.1,
    mask_token: str | None = None,
    distance: int = 3,
    seed: int = 0,
) -> Dataset:
    """The rows with noise in a column of texts: words left out, masked and moved, such as in synthetic sources.

    Words are what stands between spaces. What becomes of a text depends on its row's number and the seed alone.

    Args:
        dataset: Rows with text. What else was made of it (tokens) is of the old text: add it afterwards.
        column: The column of the texts to change, the source of pairs.
        drop: The probability of each word to be left out, in [0, 1); one at least stays.
        mask: The probability of each word to become `mask_token`, in [0, 1).
        mask_token: A token that the tokenizer has, such as `tokenizer.unk_token`; without one no word is masked.
        distance: The most places that a word moves; 0 keeps their order.
        seed: Fixes them all.

    Raises:
        ValueError: for a probability that is none, a distance below 0, or a column that is missing.

    References: Lample et al. 2018, section 2.3, https://huggingface.co/papers/1711.00043 (word dropout and shuffle);
        Edunov et al. 2018, section 3.1, https://huggingface.co/papers/1808.09381 (in back-translation, with a filler).
    """
    for name, value in {"drop": drop, "mask": mask}.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} is the probability of each word, in [0, 1); got {value}.")
    if distance < 0:
        raise ValueError(f"distance is how many places a word may move, 0 or more; got {distance}.")
    check_changeable(dataset, (column,))
    masking = [] if mask_token is None else [Masking(mask_token, mask)]
    noise = _Noise(column, (WordDropout(drop), *masking, LocalShuffle(distance)), seed)
    return dataset.map(noise, batched=True, with_indices=True, desc="Adding noise")


@dataclass(frozen=True)
class _Noise:
    """Rows with their text changed, for `Dataset.map`."""

    column: str
    augmenters: tuple[Augmenter, ...]
    seed: int

    def __call__(self, rows: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, Any]:
        rngs = [random.Random(f"{self.seed} {index}") for index in indices]
        texts = list(rows[self.column])
        for augmenter in self.augmenters:
            texts = augmenter(texts, rngs)
        return {self.column: texts}

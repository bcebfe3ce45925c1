"""Batches of as many rows of like length as fit into a budget of tokens, padding included.

A short text costs an accelerator as much as a long one where the batch is small: its time goes into launches. With a
budget a batch holds few long rows or many short ones, and hardly any padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, List
from transformers.trainer_pt_utils import BatchRebalanceSampler


class TokenBudgetSampler(BatchRebalanceSampler):
    """Batches of rows for one rank; `Trainer` takes a `BatchRebalanceSampler` for one that is rank-aware.

    Rows of equal length are shuffled among one another, and then the batches: how many there are, and of what
    lengths, is the same in each epoch. A row longer than the budget is a batch of its own.

    Args:
        lengths: The tokens of each row.
        budget: The most tokens of a batch, every row counted with the padding up to the longest.
        ranks: How many ranks share a step.
        rank: Which of them this is.
        accumulation: The batches of a rank in a step.
        seed: Of the shuffles.
        epoch: Says which epoch begins; the order depends on nothing else, so that a resumed run sees the same.

    Raises:
        ValueError: for fewer rows than there are batches in a step.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        budget: int,
        ranks: int,
        rank: int,
        accumulation: int,
        seed: int,
        epoch: Callable[[], int],
    ) -> None:
        self._lengths = np.asarray(lengths, dtype=np.int64)
        self._ranks, self._rank, self._accumulation = ranks, rank, accumulation
        self._seed, self._epoch = seed, epoch
        self._sizes = _evened(_sizes(np.sort(self._lengths)[::-1], budget), ranks * accumulation)

    def __len__(self) -> int:
        return len(self._sizes) // self._ranks

    def set_epoch(self, epoch: int) -> None:
        """Nothing: the epoch is what `Trainer` says that it is."""

    def __iter__(self) -> Iterator[list[int]]:
        chance = np.random.default_rng((self._seed, self._epoch()))
        rows = np.lexsort((chance.random(len(self._lengths)), -self._lengths))
        batches = np.split(rows, np.cumsum(self._sizes)[:-1])
        steps = len(batches) // (self._ranks * self._accumulation)
        # The batches of a step have like lengths on all ranks, so that none waits for another.
        for step in chance.permutation(steps):
            for turn in range(self._accumulation):
                yield batches[(step * self._accumulation + turn) * self._ranks + self._rank].tolist()


def _sizes(lengths: np.ndarray, budget: int) -> list[int]:
    """How many rows each batch has, of rows with these lengths, the longest first."""
    sizes, start = [], 0
    while start < len(lengths):
        sizes.append(min(max(1, budget // max(1, int(lengths[start]))), len(lengths) - start))
        start += sizes[-1]
    return sizes


def _evened(sizes: list[int], at_once: int) -> list[int]:
    """The same rows in a multiple of `at_once` batches: the largest are halved."""
    while len(sizes) % at_once:
        largest = max(range(len(sizes)), key=sizes.__getitem__)
        if sizes[largest] < 2:
            raise ValueError(
                f"max_tokens_per_batch: {sum(sizes)} rows cannot fill steps of {at_once} batches (ranks x "
                "gradient_accumulation_steps): take fewer of these, a larger budget, or more rows."
            )
        sizes[largest : largest + 1] = [sizes[largest] - sizes[largest] // 2, sizes[largest] // 2]
    return sizes


def row_lengths(dataset: Any, length_column: str) -> list[int]:
    """The tokens of each row: of a column of lengths where there is one, else of `input_ids` or of a longer target.

    Of rows of sound what they are made of is counted, samples (`input_values`) or frames (`input_features`).

    Raises:
        ValueError: for a dataset that has none of these, or rows of one shape, as of pictures and of a Whisper.
    """
    columns = dataset.column_names if isinstance(dataset, Dataset) else []
    if length_column in columns:
        return list(dataset.with_format(None)[length_column])
    counted = next((name for name in ("input_ids", "input_values", "input_features") if name in columns), None)
    if counted is None:
        raise ValueError(
            "max_tokens_per_batch counts the input_ids of a datasets.Dataset, or samples or frames of sound, and the "
            "training rows have none: tokenize them first, or leave it out."
        )
    targets = ["labels"] if isinstance(dataset.features.get("labels"), List) else []
    table = dataset.select_columns([counted, *targets]).with_format("arrow")[:]
    lengths = [pc.list_value_length(column).to_numpy() for column in table.columns]
    if counted != "input_ids" and len(lengths[0]) > 1 and (lengths[0] == lengths[0][0]).all():
        raise ValueError(
            f"max_tokens_per_batch puts rows of like length together, and all {counted} are of one length: leave it "
            "out, and say per_device_train_batch_size."
        )
    return np.max(lengths, axis=0).tolist()

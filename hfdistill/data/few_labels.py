"""Few labels and many texts: unlabeled rows that have soft targets alone, and how they mix with the rest.

A row whose label is -100, or among classes -1, has none. It counts for the soft targets and not for the labels' loss.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from datasets import Dataset, DatasetDict, IterableDataset, concatenate_datasets
from torch.utils.data import Sampler

from hfdistill.models.labels import LABEL_COLUMNS, NO_LABEL, has_label, unknown_like


class WeighedByAlpha(Protocol):
    """What `settle_alpha` reads of training arguments, and the one thing that it sets."""

    alpha: float | None
    labeled_share: float | None

    @property
    def alpha_is_given(self) -> bool: ...

    @property
    def weighs_by_alpha(self) -> bool: ...

    def settle_alpha(self, labeled: float) -> None: ...


def keep_labels(dataset: Dataset, fraction: float, label_column: str = "labels", seed: int = 0) -> Dataset:
    """The rows in their order, with the labels of a stratified fraction of them; the other labels become -100.

    Each class keeps its share, rounded, and one label at least, so the classes' proportions stay. A larger fraction
    with the same seed keeps the labels of a smaller one, so that curves over fractions are of nested sets.

    Args:
        dataset: Rows with one whole-number label each; rows of -100 and -1 stay without.
        fraction: The share of labels to keep, in (0, 1].
        label_column: Their column.
        seed: Chooses them.

    Raises:
        ValueError: for a fraction out of range, or labels that are not classes.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"label_fraction must be in (0, 1], got {fraction}.")
    labels, has = list(dataset[label_column]), labeled_mask(dataset, label_column)
    if not all(isinstance(label, int) for label, there in zip(labels, has, strict=True) if there):
        raise ValueError(f"label_fraction keeps a share of each class, and {label_column} holds no classes.")
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        if has[row]:
            rows_of[label].append(row)
    kept: set[int] = set()
    for label, rows in sorted(rows_of.items()):
        random.Random(f"{seed} {label}").shuffle(rows)
        kept.update(rows[: max(1, round(fraction * len(rows)))])
    fewer = [label if row in kept else NO_LABEL for row, label in enumerate(labels)]
    feature = dataset.features[label_column]
    return dataset.remove_columns(label_column).add_column(label_column, fewer, feature=feature)


def labeled_rows(dataset: Dataset, label_column: str = "labels", length: int | None = None) -> Dataset:
    """The rows that have a label, again and again until they are `length` many where that is given.

    For a teacher or a baseline that learns from labels alone: rows without one would fill its batches and teach
    nothing, and with `length` it trains for as many steps as a student on all rows does.

    Raises:
        ValueError: when no row has a label.
    """
    labeled = np.flatnonzero(labeled_mask(dataset, label_column)).tolist()
    if not labeled:
        raise ValueError(f"no row has a label in {label_column}: there is nothing to learn from without a teacher.")
    count = len(labeled) if length is None else length
    return dataset.select([labeled[index % len(labeled)] for index in range(count)])


def labels_only(dataset: DatasetDict, label_column: str = "labels") -> DatasetDict:
    """Splits for a teacher or a baseline: only training rows with a label, repeated to as many rows as there were.

    So an epoch has as many steps as one of a student that also learns from unlabeled texts.

    Args:
        dataset: The splits.
        label_column: The column of their labels; `start_positions` where answers are.

    Raises:
        ValueError: when no training row has a label.
    """
    rows = dataset["train"]
    return DatasetDict({**dataset, "train": labeled_rows(rows, label_column, length=len(rows))})


def share_of_labels(
    dataset: Any, label_column: str | None = None, missing: Sequence[int] | None = None
) -> float | None:
    """The share of rows that have a label, of many labels at once any; `None` where only their batches would show.

    Args:
        dataset: The rows; of anything but a `Dataset`, and of what a transform makes, it is not known.
        label_column: Their column; by default `labels` or `label`. Without one a collator may still make labels.
        missing: The numbers that are no label; see `has_label`.
    """
    if not isinstance(dataset, Dataset) or not len(dataset) or dataset.format["type"] == "custom":
        return None
    column = label_column or next((name for name in LABEL_COLUMNS if name in dataset.column_names), None)
    if column is None:
        return None
    return float(labeled_mask(dataset, column, missing).mean())


def settle_alpha(
    args: WeighedByAlpha, dataset: Any, label_column: str | None = None, missing: Sequence[int] | None = None
) -> str | None:
    """Where `args.alpha` is not given: lets a label weigh as much as the soft targets of one row; a note if not 0.5.

    Args:
        args: Their `alpha` is set.
        dataset: The rows to train on.
        label_column: As in `share_of_labels`, as is `missing`.
    """
    if args.alpha_is_given or not args.weighs_by_alpha:
        return None
    share = args.labeled_share or share_of_labels(dataset, label_column, missing)
    args.settle_alpha(1.0 if share is None else share)
    if share is None and isinstance(dataset, IterableDataset):
        return (
            f"How many of these rows have a label is not known before they are read, so alpha is {args.alpha:g}: give "
            "another where few have one, such as 0.9 for a tenth."
        )
    if share in (1, None):
        return None
    rows = "rows of a batch" if args.labeled_share else "training rows"
    return (
        f"{100 * share:.2g} % of the {rows} have a label, so alpha, which is not given, is {args.alpha:.3g}: one label "
        "weighs as much as the soft targets of one row."
    )


def mix(labeled: Dataset, unlabeled: Dataset, label_column: str = "labels") -> Dataset:
    """One dataset of both: the rows of the first with their labels, those of the second without.

    Args:
        labeled: Rows with `label_column`.
        unlabeled: Rows with the same columns; a label column of their own, if any, is not read.
        label_column: The column of the labels.

    Raises:
        ValueError: naming the columns that only one of the two has.
    """
    differ = set(labeled.column_names) ^ ({*unlabeled.column_names} | {label_column})
    if differ:
        raise ValueError(f"labeled and unlabeled rows must have the same columns; only one has {', '.join(differ)}.")
    bare = unlabeled.remove_columns(label_column) if label_column in unlabeled.column_names else unlabeled
    unknown = [unknown_like(labeled[0][label_column] if len(labeled) else NO_LABEL)] * len(bare)
    without = bare.add_column(label_column, unknown, feature=labeled.features[label_column])
    return concatenate_datasets([labeled, without.cast(labeled.features)])


class LabeledShareSampler(Sampler[int]):
    """Rows in an order where any stretch of them, however long, has the chosen share of labeled rows.

    So has every batch, up to rounding, on any number of ranks and in batches of any size. Each kind goes through a
    shuffle of its own, which goes on where the last epoch ended: the rarer kind is seen more often, no row of a kind
    twice before all of it once. An epoch is as many rows as there are.

    Args:
        labeled: For each row, whether it has a label.
        share: The share of labeled rows, strictly between 0 and 1.
        seed: Of the shuffles.
        epoch: Says which epoch begins; the order depends on nothing else, so that a resumed run sees the same.

    Raises:
        ValueError: for a share out of range, or rows of one kind alone.
    """

    def __init__(self, labeled: Sequence[bool], share: float | None, seed: int, epoch: Callable[[], int]) -> None:
        if share is None or not 0 < share < 1:
            raise ValueError(f"labeled_share must lie strictly between 0 and 1, got {share}.")
        self._kinds = [[row for row, has in enumerate(labeled) if has is wanted] for wanted in (False, True)]
        if not all(self._kinds):
            missing = "with" if self._kinds[0] else "without"
            raise ValueError(
                f"labeled_share mixes rows with and without a label, and none {missing} is there: leave it out."
            )
        self._share = Fraction(share).limit_denominator(10**6)
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        return sum(map(len, self._kinds))

    def __iter__(self) -> Iterator[int]:
        first = self._epoch() * len(self)
        shuffled: dict[tuple[bool, int], list[int]] = {}
        for place in range(first, first + len(self)):
            # How many labeled rows stand before this place; where the next has one more, here is one.
            before = int(place * self._share)
            labeled = int((place + 1) * self._share) > before
            kind = self._kinds[labeled]
            turn, index = divmod(before if labeled else place - before, len(kind))
            if (labeled, turn) not in shuffled:
                shuffled[labeled, turn] = random.Random(f"{self._seed} {labeled} {turn}").sample(kind, len(kind))
            yield shuffled[labeled, turn][index]


def labeled_share_sampler(dataset: Dataset, share: float, seed: int, epoch: Callable[[], int]) -> LabeledShareSampler:
    """A `LabeledShareSampler` of the dataset's column of labels.

    Raises:
        ValueError: for rows without a column of labels.
    """
    column = next((name for name in LABEL_COLUMNS if name in dataset.column_names), None)
    if column is None:
        raise ValueError("labeled_share needs a column labels, -100 where there is none.")
    return LabeledShareSampler(labeled_mask(dataset, column).tolist(), share, seed, epoch)


def labeled_mask(dataset: Dataset, column: str, missing: Sequence[int] | None = None) -> np.ndarray:
    """Which rows have a label, of many labels at once any; see `has_label`."""
    values = dataset.select_columns(column).with_format("arrow")[:][column]
    return np.concatenate([np.zeros(0, dtype=bool), *(has_label(chunk, missing) for chunk in values.chunks)])

"""The rows that augmentation adds to a dataset, and how often the teacher's label of them differs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset, Features, Value, concatenate_datasets

from hfdistill.data.augmentation.augmenters import Augmenter
from hfdistill.models.labels import MULTI, REGRESSION, unknown_like
from hfdistill.teachers import ENSEMBLE_LOGITS, TEACHER_LOGITS

#: The column that names the row a made text comes from; -1 in the rows that were there.
SOURCE = "augmented_from"


def augment(
    dataset: Dataset,
    augmenters: Sequence[Augmenter],
    text_columns: str | Sequence[str],
    label_column: str | None = "labels",
    copies: int = 1,
    seed: int = 0,
) -> Dataset:
    """The rows, and after them texts made of theirs, without labels: the teacher is to label them.

    Made texts that are empty, or equal to a text that is there already, are left out.

    Args:
        dataset: Rows with text. What else they hold (tokens, soft targets) is of the old text: add it afterwards.
        augmenters: Applied in turns: copy k of a row is made by augmenter `k % len(augmenters)`.
        text_columns: The column of text, or a pair; of a pair one text, chosen at random, is changed.
        label_column: The column that becomes -100 in made rows; `None` when there is none.
        copies: How many texts are made of each row.
        seed: Fixes them all.

    Returns:
        The dataset, with a column `augmented_from`: the number of the row a text was made of, -1 in the old ones.

    Raises:
        TypeError: for anything but a list of augmenters, such as their names.
        ValueError: for no augmenter or no copy, or columns that belong to the old text.
    """
    text_columns = (text_columns,) if isinstance(text_columns, str) else tuple(text_columns)
    if copies < 1:
        raise ValueError(f"copies must be at least 1, got {copies}: how many texts to make of each row.")
    _check_augmentable(dataset, augmenters, text_columns, label_column)
    parts = []
    for copy in range(copies):
        made = dataset.map(
            _Made(augmenters[copy % len(augmenters)], text_columns, label_column, f"{seed} {copy}"),
            batched=True,
            with_indices=True,
            features=Features({**dataset.features, SOURCE: Value("int64")}),
            desc=f"Augmenting, copy {copy + 1} of {copies}",
        )
        parts.append(made)
    originals = dataset.add_column(SOURCE, [-1] * len(dataset), feature=Value("int64"))
    made = concatenate_datasets(parts)
    return concatenate_datasets([originals, made.select(_new_rows(dataset, made, text_columns))])


@dataclass(frozen=True)
class _Made:
    """Rows with their text changed, for `Dataset.map`."""

    augmenter: Augmenter
    text_columns: tuple[str, ...]
    label_column: str | None
    seed: str

    def __call__(self, rows: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, Any]:
        rngs = [random.Random(f"{self.seed} {index}") for index in indices]
        columns = [rng.choice(self.text_columns) for rng in rngs]
        made = self.augmenter([rows[column][row] for row, column in enumerate(columns)], rngs)
        changed: dict[str, Any] = {
            name: [made[row] if column == name else rows[name][row] for row, column in enumerate(columns)]
            for name in self.text_columns
        }
        if self.label_column is not None:
            changed[self.label_column] = [unknown_like(label) for label in rows[self.label_column]]
        return {**changed, SOURCE: list(indices)}


def _check_augmentable(
    dataset: Dataset, augmenters: Sequence[Augmenter], text_columns: Sequence[str], label_column: str | None
) -> None:
    if isinstance(augmenters, (str, Augmenter)) or not all(map(callable, augmenters)):
        raise TypeError(
            f"augment takes a list of augmenters, got {augmenters!r}: make them by Masking(...) and the like, or by "
            "their names with load_augmenter(...)."
        )
    if not augmenters:
        raise ValueError("augment needs an augmenter, such as Masking or NGrams.")
    check_changeable(dataset, text_columns)


def check_changeable(dataset: Dataset, text_columns: Sequence[str]) -> None:
    """Refuses to change texts that are not there, or that other columns were made of.

    Raises:
        ValueError: naming the columns.
    """
    missing = [column for column in text_columns if column not in dataset.column_names]
    if missing:
        raise ValueError(f"no column {', '.join(missing)} to change; the rows have {', '.join(dataset.column_names)}.")
    stale = {TEACHER_LOGITS, ENSEMBLE_LOGITS, "input_ids"} & set(dataset.column_names)
    if stale:
        raise ValueError(f"{', '.join(sorted(stale))} would be of the old text: change the texts first, then make it.")


def _new_rows(dataset: Dataset, made: Dataset, text_columns: Sequence[str]) -> list[int]:
    """The made rows whose text is not there already, each text once."""
    seen = set(zip(*(dataset[column][:] for column in text_columns), strict=True))
    new = []
    for row, texts in enumerate(zip(*(made[column][:] for column in text_columns), strict=True)):
        if texts not in seen and all(text.strip() for text in texts):
            seen.add(texts)
            new.append(row)
    return new


@dataclass(frozen=True)
class AugmentationReport:
    """What augmentation made.

    Args:
        rows: How many rows there were.
        made: How many were added.
        changed: How many of these the teacher labels otherwise than the row they were made of; `None` for scores.
    """

    rows: int
    made: int
    changed: int | None

    def __str__(self) -> str:
        if self.changed is None:
            return f"{self.made:,} texts were made of {self.rows:,}."
        share = 100 * self.changed / max(1, self.made)
        return (
            f"{self.made:,} texts were made of {self.rows:,}; the teacher decides {self.changed:,} of them "
            f"({share:.1f} %) otherwise than the text they were made of."
        )


def augmentation_report(dataset: Dataset, problem_type: str | None = None) -> AugmentationReport:
    """What was made, and how often the teacher's label changes, once `soft_targets` has labeled the rows.

    Several teachers decide by the mean of their logits.

    Args:
        dataset: All rows of `augment`, in their order.
        problem_type: As in `config.problem_type`. Of several labels at once one that changes is enough.

    Raises:
        ValueError: when the dataset lacks `augmented_from` or soft targets.
    """
    column = next((name for name in (TEACHER_LOGITS, ENSEMBLE_LOGITS) if name in dataset.column_names), None)
    if column is None or SOURCE not in dataset.column_names:
        raise ValueError(f"the report needs the columns {SOURCE} of augment() and {TEACHER_LOGITS} of soft_targets().")
    logits, sources = np.asarray(dataset[column][:]), np.asarray(dataset[SOURCE][:])
    logits = logits if column == TEACHER_LOGITS else logits.mean(1)
    decisions = logits > 0 if problem_type == MULTI else logits.argmax(-1)[:, None]
    made = sources >= 0
    changed = int((decisions[made] != decisions[~made][sources[made]]).any(-1).sum())
    decided = None if problem_type == REGRESSION else changed
    return AugmentationReport(rows=int((~made).sum()), made=int(made.sum()), changed=decided)

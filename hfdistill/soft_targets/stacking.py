"""Soft targets of several kinds of teachers in one dataset, kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from transformers.utils import logging

from hfdistill.models.labels import LabelSpace, class_names
from hfdistill.soft_targets.dataset import soft_target_features, with_soft_targets
from hfdistill.teachers import ENSEMBLE_LOGITS, SOFT_TARGETS, TEACHER_DISAGREEMENT, TEACHER_LABEL, TEACHER_LOGITS

logger = logging.get_logger(__name__)


def stack_soft_targets(datasets: Sequence[Any], problem_type: str | None = None) -> Any:
    """One dataset with the soft targets of several: of models, language models, votes and probabilities together.

    Each is the same rows after `soft_targets`, `from_probabilities` or the like. What they predict stays apart, in the
    column `ensemble_logits`, as if `soft_targets` had run them all: the trainer combines it (`teacher_combination`,
    `teacher_weights`), and `learned_weights` learns what each is worth. The column `teacher_disagreement` says how far
    apart they are on a row, as `disagreement` measures it.

    Args:
        datasets: Two or more datasets of the same rows in the same order, or dicts of the same splits. The first one's
            other columns and order of labels are kept; the others' labels are put into it by name.
        problem_type: As in `config.problem_type`, where it is not one label a row.

    Raises:
        ValueError: for fewer than two, no rows or others, rows without soft targets, with some that are not finite or
            with those of tokens, or labels that differ.

    Example:
        >>> from hfdistill import from_probabilities
        >>> rows = Dataset.from_dict({"text": ["fine"], "one": [[0.1, 0.9]], "other": [[0.3, 0.7]]})
        >>> stacked = stack_soft_targets([from_probabilities(rows, name, ["bad", "good"]) for name in ("one", "other")])
        >>> round(stacked["teacher_disagreement"][0], 4)
        0.0324
    """
    if len(datasets) < 2:
        raise ValueError(f"stack_soft_targets takes two datasets or more, got {len(datasets)}.")
    first = datasets[0]
    if isinstance(first, dict):
        if any(one.keys() != first.keys() for one in datasets):
            raise ValueError(f"the datasets have different splits; the first has {', '.join(first)}.")
        splits = {name: stack_soft_targets([one[name] for one in datasets], problem_type) for name in first}
        return type(first)(splits)
    names = class_names(first.features, TEACHER_LABEL)
    logits = []
    for place, one in enumerate(datasets):
        _check_rows(first, one, place)
        logits += _in_order(one, names, place)
    size = {each.shape[1] for each in logits}
    if len(size) > 1:
        raise ValueError(
            f"the soft targets are of {' and '.join(map(str, sorted(size)))} labels: stack those of one task."
        )
    features = soft_target_features(size.pop(), names, len(logits))
    return with_soft_targets(first, logits, features, problem_type)


def _check_rows(first: Dataset, other: Dataset, place: int) -> None:
    """Refuses other rows than the first dataset's: shuffled ones would be taught another row's soft targets."""
    if len(first) != len(other):
        raise ValueError(f"dataset {place + 1} has {len(other)} rows and the first {len(first)}: stack the same rows.")
    ours = {*SOFT_TARGETS, TEACHER_LABEL, TEACHER_DISAGREEMENT}
    for name in (name for name in first.column_names if name in other.column_names and name not in ours):
        one, another = (dataset.with_format(None)[name][:] for dataset in (first, other))
        differing = next((row for row, both in enumerate(zip(one, another, strict=True)) if both[0] != both[1]), None)
        if differing is not None:
            raise ValueError(
                f"row {differing} of dataset {place + 1} has another {name} than the first one's: stack the same rows "
                "in the same order."
            )


def _in_order(dataset: Dataset, names: Sequence[str] | None, place: int) -> list[np.ndarray]:
    """The logits of each teacher of a dataset, of shape `(rows, labels)`, in the order of the names."""
    column = next((name for name in (TEACHER_LOGITS, ENSEMBLE_LOGITS) if name in dataset.column_names), None)
    if column is None:
        raise ValueError(
            f"dataset {place + 1} has no teacher_logits: make them with soft_targets, from_probabilities or the like."
        )
    if not len(dataset):
        raise ValueError(f"dataset {place + 1} has no rows: there is nothing to stack.")
    try:
        logits = np.array(dataset.with_format(None)[column][:], dtype=np.float32)
    except ValueError:  # of unequal lengths
        logits = np.empty((0, 0, 0, 0), dtype=np.float32)
    if logits.ndim != (2 if column == TEACHER_LOGITS else 3):
        raise ValueError(
            f"dataset {place + 1} has soft targets of tokens, which are not stacked: pass several teachers."
        )
    if not np.isfinite(logits).all():
        row = int((~np.isfinite(logits)).reshape(len(logits), -1).any(1).argmax())
        raise ValueError(f"the soft targets of row {row} of dataset {place + 1} are not finite: leave such rows out.")
    own = class_names(dataset.features, TEACHER_LABEL)
    if (own is None) != (names is None):
        logger.warning(
            "Only some of the datasets name their labels (teacher_label), so those of dataset %d are taken to stand in "
            "the first one's order.",
            place + 1,
        )
    order = LabelSpace.of_names(names).order_in(LabelSpace.of_names(own), "soft targets") if names and own else None
    logits = logits if order is None else logits[..., order]
    return [logits] if column == TEACHER_LOGITS else [logits[:, one] for one in range(logits.shape[1])]

"""Rows of sound and what is said in it: whether a student that spreads letters over frames can learn them (CTC)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset

from hfdistill.models.ragged import Ragged, read_column
from hfdistill.models.sound import FrameLengths


def check_transcripts(name: str, dataset: Any, frames: FrameLengths | None, blank: int) -> None:
    """Refuses rows, or a dict of them, whose letters no student could tell from so few frames.

    Args:
        name: What to call the dataset.
        dataset: The rows; of a stream, or one with a transform, each batch is looked at instead.
        frames: How many frames the student makes; `None` where that is not known.
        blank: The id of the blank, which is no letter.

    Raises:
        ValueError: naming the first such row.
    """
    if isinstance(dataset, dict):
        for split, rows in dataset.items():
            check_transcripts(f"{name}[{split!r}]", rows, frames, blank)
    plain = isinstance(dataset, Dataset) and dataset.format["type"] != "custom"
    if not plain or frames is None or "input_values" not in dataset.column_names:
        return
    table = dataset.with_format("arrow")
    sounds = table.select_columns("input_values")[:]["input_values"]
    samples = pc.list_value_length(sounds).to_numpy()
    made = frames.of_lengths(samples)
    _refuse(made < 1, lambda row: f"row {row} of {name} has {samples[row]} samples of sound, too few for one frame")
    labels: Any = read_column(table.select_columns("labels")[:]["labels"]) if "labels" in dataset.column_names else None
    if not isinstance(labels, Ragged):
        return
    labels = labels.kept(labels.values != -100)
    rows = np.repeat(np.arange(len(labels)), labels.lengths)
    of_blank = np.bincount(rows[labels.values == blank], minlength=len(labels)) > 0
    _refuse(
        of_blank,
        lambda row: f"row {row} of {name} has the label {blank}, which is the blank and no letter (pad labels by -100)",
    )
    needed = labels.lengths + _repeats(labels)
    _refuse(
        needed > made,
        lambda row: (
            f"row {row} of {name} has {labels.lengths[row]} labels, which need {needed[row]} frames (equal ones next "
            f"to each other need a blank between them), and its {samples[row]} samples make {made[row]}"
        ),
    )


def _repeats(labels: Ragged) -> np.ndarray:
    """How many labels of each row are equal to the one before."""
    if not len(labels.values):
        return np.zeros(len(labels), int)
    same = np.append(False, labels.values[1:] == labels.values[:-1]) & (labels.places > 0)
    rows = np.repeat(np.arange(len(labels)), labels.lengths)
    return np.bincount(rows[same], minlength=len(labels))


def _refuse(found: np.ndarray, what: Any) -> None:
    if found.any():
        more = int(found.sum()) - 1
        others = f", and {more} more are like it" if more else ""
        raise ValueError(
            f"{what(int(found.argmax()))}{others}: leave such rows out with dataset.filter(...), or bring each "
            "recording with its own text."
        )

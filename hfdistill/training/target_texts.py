"""Rows of target texts: whether a decoder can read them, and a Whisper begins to write as they do."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from transformers.utils import logging

from hfdistill.models.inputs import decoder_positions, main_input
from hfdistill.models.ragged import Ragged, read_column
from hfdistill.models.speech_prompts import begins_as_labels
from hfdistill.teachers.seq2seq import check_label_starts

logger = logging.get_logger(__name__)


def check_target_texts(name: str, dataset: Any, model: Any) -> None:
    """Refuses rows, or a dict of them, whose labels a student's decoder cannot read, before anything is trained.

    Args:
        name: What to call the dataset.
        dataset: The rows; of a stream, or one with a transform, each batch is looked at instead.
        model: The student.

    Raises:
        ValueError: naming the first such row.
    """
    if isinstance(dataset, dict):
        for split, rows in dataset.items():
            check_target_texts(f"{name}[{split!r}]", rows, model)
    plain = isinstance(dataset, Dataset) and dataset.format["type"] != "custom"
    if not plain or "labels" not in dataset.column_names:
        return
    labels = read_column(dataset.with_format("arrow").select_columns("labels")[:]["labels"])
    if not isinstance(labels, Ragged) or not len(labels):
        return
    positions = decoder_positions(model.config)
    if positions is not None and (labels.lengths > positions).any():
        row = int((labels.lengths > positions).argmax())
        raise ValueError(
            f"the labels of row {row} of {name} are {labels.lengths[row]} tokens, more than the {positions} positions "
            f"of the {type(model).__name__}: leave such rows out with dataset.filter(...), or tokenize the target "
            f"texts with truncation=True and max_length={positions}."
        )
    if main_input(model) == "input_ids":
        return
    rows = labels.tolist()
    check_label_starts(rows, model.config.decoder_start_token_id)
    if not begins_as_labels(model.generation_config, rows[0]):
        logger.warning(
            "The labels of row 0 of %s begin otherwise than the student begins to write: name language and task for "
            "both with set_speech_task(student, processor, language=...), before the labels are made.",
            name,
        )

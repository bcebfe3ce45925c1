"""What a teacher reads beside the student's inputs: dataset columns named `teacher_…`, on their way to a batch."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from datasets import ClassLabel, Dataset, IterableDataset
from torch import Tensor, nn
from transformers.utils import logging

from hfdistill.teachers import PREFIX, SOFT_TARGETS, TEACHER_LABEL, ModelTeacher, Teacher
from hfdistill.token_reader import TokenReader

logger = logging.get_logger(__name__)

NO_HOLES = (
    "where a row has no label write -100, as in dataset.map(lambda row: {{'{column}': -100 if row['{column}'] is None "
    "else row['{column}']}})"
)


def add_teacher_columns(dataset: Any, teacher: Teacher | None) -> Any:
    """The dataset, or each of a dict of them, with the columns that a teacher with a tokenizer of its own reads.

    Rows that carry soft targets already are left as they are.

    Raises:
        ValueError: when some rows have soft targets or a label and others have none, or the teacher's text columns are
            missing.
    """
    if isinstance(dataset, dict):
        return type(dataset)({name: add_teacher_columns(split, teacher) for name, split in dataset.items()})
    if not isinstance(dataset, (Dataset, IterableDataset)):
        return dataset
    columns = dataset.column_names or []  # a stream may not know them before its first row
    _check_columns(dataset, columns, teacher)
    if not set(SOFT_TARGETS) & set(columns):
        for member in teacher.members if teacher else ():
            if isinstance(member, ModelTeacher) and not member.shares_tokens:
                if columns:
                    check_source_columns(member, columns)
                dataset = _with_tokens(dataset, member) if member.text_columns else dataset
    return dataset


def _with_tokens(dataset: Any, teacher: ModelTeacher) -> Any:
    read, cut = _Prefixed(teacher.reader, teacher.prefix), teacher.prefix + "cut"
    if isinstance(dataset, IterableDataset):
        return dataset.map(read, batched=True).remove_columns(cut)
    dataset = dataset.map(read, batched=True, desc="Tokenizing for the teacher")
    warn_of_cut_rows(sum(dataset[cut]), len(dataset), teacher.max_length)
    return dataset.remove_columns(cut)


@dataclass(frozen=True)
class _Prefixed:
    reader: TokenReader
    prefix: str

    def __call__(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        return {self.prefix + name: values for name, values in self.reader(rows).items()}


def check_source_columns(teacher: ModelTeacher, columns: Sequence[str]) -> None:
    """Refuses a dataset that lacks what the teacher reads.

    Raises:
        ValueError: naming the missing columns and those there are.
    """
    missing = [column for column in teacher.source_columns if column not in columns]
    if missing:
        way_out = " Name the columns of raw text with text_columns=[...]." if teacher.shares_tokens else ""
        raise ValueError(
            f"the teacher reads the columns {', '.join(missing)}, which the dataset lacks; it has {', '.join(columns)}."
            + way_out
        )


def warn_of_cut_rows(cut: int, rows: int, max_length: int) -> None:
    """Says how many rows the teacher reads only the beginning of."""
    if cut:
        logger.warning("%d of %d rows are longer than the teacher's %d tokens and were cut.", cut, rows, max_length)


def _check_columns(dataset: Any, columns: Sequence[str], teacher: Teacher | None) -> None:
    known = {*SOFT_TARGETS, TEACHER_LABEL, *(teacher.columns if teacher else ())}
    for column in columns:
        # transformers' heads swallow unknown arguments, so a misnamed column would be passed over in silence.
        if column.startswith(PREFIX) and column not in known and difflib.get_close_matches(column, known):
            close = difflib.get_close_matches(column, known)[0]
            logger.warning("The column %s is not read by the teacher; is %s meant?", column, close)
    if isinstance(dataset, Dataset):
        for column in set(SOFT_TARGETS) & set(columns):
            _refuse_empty(dataset, column, "run soft_targets over the whole dataset after putting its parts together")
        # In tensors a hole is NaN, which counts for no label; of lists of rows nobody could make a batch.
        for column in {"label", "labels"} & set(columns) if dataset.format["type"] is None else ():
            _refuse_empty(dataset, column, NO_HOLES.format(column=column))


def _refuse_empty(dataset: Dataset, column: str, way_out: str) -> None:
    missing = dataset.select_columns(column).with_format("arrow")[:][column].is_null()
    empty = [row for row, is_missing in enumerate(missing.to_pylist()) if is_missing]
    if empty:
        raise ValueError(f"row {empty[0]} and {len(empty) - 1} more have no {column} while others do: {way_out}.")


def stored_label_names(*datasets: Any) -> list[str] | None:
    """The order of labels in which the soft targets of these datasets, or dicts of them, stand; `None` if not known.

    Raises:
        ValueError: when they stand in different orders.
    """
    flat = [split for one in datasets for split in (one.values() if isinstance(one, dict) else [one])]
    known = [split.features or {} for split in flat if isinstance(split, (Dataset, IterableDataset))]
    answered = [features for features in known if set(SOFT_TARGETS) & set(features)]
    kinds = [features[TEACHER_LABEL] for features in answered if TEACHER_LABEL in features]
    orders = [list(kind.names) for kind in kinds if isinstance(kind, ClassLabel)]
    if len(orders) < len(kinds):
        logger.warning(
            "The column %s has lost its names, as in JSON and CSV, so the soft targets are taken to be in the "
            "student's order; tell theirs with dataset.cast_column(%r, ClassLabel(names=[...])).",
            TEACHER_LABEL,
            TEACHER_LABEL,
        )
    if any(order != orders[0] for order in orders):
        raise ValueError(
            "the soft targets of the datasets stand in different orders of labels, as their columns teacher_label say: "
            "make them with the same label_names=[...]."
        )
    if orders and len(orders) < len(answered):
        raise ValueError(
            "the soft targets of some datasets name their labels in a column teacher_label and those of others do not, "
            "so these may stand in another order: make them all with soft_targets, or remove that column from all."
        )
    return orders[0] if orders else None


class TeacherCollator:
    """Pads the teacher's own columns with its tokenizer, and leaves the rest to the student's collator."""

    def __init__(self, student_collator: Callable[[list[dict[str, Any]]], Any], teacher: Teacher) -> None:
        self.student_collator = student_collator
        self.teacher = teacher

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Tensor]:
        own = set(self.teacher.columns)
        student = [{name: value for name, value in feature.items() if name not in own} for feature in features]
        batch = dict(self.student_collator(student))
        if own & set(features[0]):
            batch.update(self.teacher.pad(features))
        return batch

    def __getstate__(self) -> dict[str, Any]:
        # For the workers of a data loader that are started afresh, as on macOS and Windows.
        return {**vars(self), "teacher": _that_only_pads(self.teacher)}


def _that_only_pads(teacher: Teacher) -> Teacher:
    """A copy without models and accelerator: they are large, and once it was asked cannot be pickled."""
    other = copy.copy(teacher)
    for name, value in vars(teacher).items():
        if isinstance(value, (nn.Module, Accelerator)):
            setattr(other, name, None)
        elif isinstance(value, tuple) and value and all(isinstance(one, Teacher) for one in value):
            setattr(other, name, tuple(map(_that_only_pads, value)))
    return other

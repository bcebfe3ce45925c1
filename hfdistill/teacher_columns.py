"""What a teacher reads beside the student's inputs: dataset columns named `teacher_…`, on their way to a batch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, IterableDataset
from torch import Tensor
from transformers.utils import logging

from hfdistill.teachers import PREFIX, SOFT_TARGETS, ModelTeacher, Teacher
from hfdistill.token_reader import TokenReader

logger = logging.get_logger(__name__)


def add_teacher_columns(dataset: Any, teacher: Teacher | None) -> Any:
    """The dataset, or each of a dict of them, with the columns that a teacher with a tokenizer of its own reads.

    Rows that carry soft targets already are left as they are.

    Raises:
        ValueError: when some rows have soft targets and others do not, or the teacher's text columns are missing.
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
    known = {*SOFT_TARGETS, *(teacher.columns if teacher else ())}
    for column in columns:
        # transformers' heads swallow unknown arguments, so a misnamed column would be passed over in silence.
        if column.startswith(PREFIX) and column not in known and difflib.get_close_matches(column, known):
            close = difflib.get_close_matches(column, known)[0]
            logger.warning("The column %s is not read by the teacher; is %s meant?", column, close)
    for column in set(SOFT_TARGETS) & set(columns) if isinstance(dataset, Dataset) else ():
        missing = dataset.select_columns(column).with_format("arrow")[:][column].is_null()
        empty = [row for row, is_missing in enumerate(missing.to_pylist()) if is_missing]
        if empty:
            raise ValueError(
                f"row {empty[0]} and {len(empty) - 1} more have no {column} while others do: run soft_targets over the "
                "whole dataset after putting its parts together."
            )


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

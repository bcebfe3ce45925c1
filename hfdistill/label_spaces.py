"""Whether teacher and student mean the same by class 0: label spaces are compared by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import ClassLabel
from transformers import PreTrainedConfig
from transformers.utils import logging

logger = logging.get_logger(__name__)


def label_names(config: PreTrainedConfig) -> list[str] | None:
    """The names of a model's outputs in their order, `None` where they are LABEL_0, LABEL_1, …"""
    id2label: Any = config.id2label
    names = [str(id2label[index]) for index in sorted(id2label)]
    return None if names == [f"LABEL_{index}" for index in range(len(names))] else names


def class_column(features: Mapping[str, Any] | None) -> tuple[str, list[str]] | None:
    """The column of a dataset's classes and their names in their order, `None` where they have none.

    It is the `ClassLabel` called `label` or `labels`. Names that are the numbers themselves, as `class_encode_column`
    makes them, name nothing.
    """
    columns = [name for name in ("label", "labels") if isinstance((features or {}).get(name), ClassLabel)]
    if features is None or len(columns) != 1:
        return None
    names = list(features[columns[0]].names)
    return None if names == [str(index) for index in range(len(names))] else (columns[0], names)


def same_labels(names: Sequence[str], others: Sequence[str], in_order: bool = True) -> bool:
    """Whether these are the same labels, whatever the case, and in the same order where that is asked for."""
    fold = str if set(names) == set(others) else str.casefold
    one, other = [fold(name) for name in names], [fold(name) for name in others]
    return one == other if in_order else sorted(one) == sorted(other)


def label_order(
    teacher_names: Sequence[str] | None, student_names: Sequence[str] | None, num_teacher: int, num_student: int
) -> list[int] | None:
    """Where among the teacher's outputs each of the student's labels is found, by name, whatever the case.

    Args:
        teacher_names: The teacher's label names in their order, `None` if it has none.
        student_names: The student's, likewise.
        num_teacher: The number of the teacher's outputs.
        num_student: The number of the student's.

    Returns:
        `order` such that `teacher_logits[..., order]` is in the student's order, or `None` when it is already, or
        when one of the two has no names to compare.

    Raises:
        ValueError: when the numbers or the names differ.
    """
    if num_teacher != num_student:
        raise ValueError(
            f"the teacher has {num_teacher} labels and the student {num_student}: both must answer the same question; "
            "give the student the teacher's id2label, or take a teacher trained on these labels."
        )
    if teacher_names is None or student_names is None:
        if (teacher_names is None) != (student_names is None):
            logger.warning(
                "Only one of teacher and student names its labels (%s), so their order is taken to be the same; set "
                "id2label in both configs to have it checked.",
                ", ".join(teacher_names or student_names or ()),
            )
        return None
    fold = str if set(teacher_names) == set(student_names) else str.casefold
    position = {fold(name): index for index, name in enumerate(teacher_names)}
    wanted = [fold(name) for name in student_names]
    if len(position) != num_teacher or set(position) != set(wanted):
        raise ValueError(
            f"teacher and student name their labels differently: {some_names(teacher_names)} against "
            f"{some_names(student_names)}; give both the same id2label, in any order."
        )
    order = [position[name] for name in wanted]
    return None if order == list(range(len(order))) else order


def some_names(names: Sequence[str]) -> str:
    """The names as an error shows them: the first ten."""
    return ", ".join(names[:10]) + (f", … ({len(names)} in all)" if len(names) > 10 else "")

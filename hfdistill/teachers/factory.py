"""Whatever a user names a teacher by."""

from __future__ import annotations

from typing import Any

from hfdistill.teachers.base import Teacher
from hfdistill.teachers.combination import Combination
from hfdistill.teachers.ensemble import EnsembleTeacher
from hfdistill.teachers.model import one_teacher


def as_teacher(teacher: Any, dtype: str | None = None, combination: Combination | None = None) -> Teacher | None:
    """A `Teacher` from whatever a user names one by: a `Teacher`, a model, a name or path, a list of them, or `None`.

    Args:
        teacher: What the user gave.
        dtype: The dtype to run it in; `None` and `"auto"` keep its own.
        combination: How the predictions of several become one.

    Raises:
        TypeError: for anything else.
    """
    if is_ensemble(teacher):
        return EnsembleTeacher([one_teacher(one, dtype) for one in teacher], combination)
    if isinstance(teacher, (list, tuple)) and teacher:
        return as_teacher(teacher[0], dtype)
    return None if teacher is None else one_teacher(teacher, dtype)


def is_ensemble(teacher: Any) -> bool:
    """Whether a user named several teachers, whose combination is the trainer's to choose."""
    return isinstance(teacher, (list, tuple)) and len(teacher) > 1

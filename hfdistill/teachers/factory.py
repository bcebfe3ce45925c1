"""Whatever a user names a teacher by."""

from __future__ import annotations

from typing import Any

from hfdistill.teachers.base import Teacher
from hfdistill.teachers.ensemble import EnsembleTeacher
from hfdistill.teachers.model import one_teacher


def as_teacher(teacher: Any, dtype: str | None = None) -> Teacher | None:
    """A `Teacher` from whatever a user names one by: a `Teacher`, a model, a name or path, a list of them, or `None`.

    Args:
        teacher: What the user gave.
        dtype: The dtype to run it in; `None` and `"auto"` keep its own.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(teacher, (list, tuple)) and len(teacher) > 1:
        return EnsembleTeacher([one_teacher(one, dtype) for one in teacher])
    if isinstance(teacher, (list, tuple)) and teacher:
        return as_teacher(teacher[0], dtype)
    return None if teacher is None else one_teacher(teacher, dtype)

"""A teacher that was asked earlier: the soft targets that the rows carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfdistill.sparse_distributions import SparseDistribution
from hfdistill.teachers.base import (
    ENSEMBLE_LOGITS,
    SOFT_TARGETS,
    TEACHER_LOGITS,
    TEACHER_TOKENS,
    Teacher,
    TeacherSignal,
)
from hfdistill.teachers.combination import Combination


class StoredTeacher(Teacher):
    """Reads the soft targets of a row: one teacher's in `teacher_logits`, or several teachers' in `ensemble_logits`.

    What one teacher said of each target token is in `teacher_tokens`. Several teachers' answers are kept apart, so that
    their mean can be taken at whatever temperature is asked for.

    Args:
        combination: How those of several become one.
    """

    def __init__(self, combination: Combination | None = None) -> None:
        self.combination = combination or Combination()
        self._student_config: Any = None

    @property
    def columns(self) -> tuple[str, ...]:
        return SOFT_TARGETS

    def answers(self, batch: Mapping[str, Any]) -> bool:
        """Whether the rows of the batch carry soft targets."""
        return any(column in batch for column in self.columns)

    def align(self, student_config: Any) -> None:
        self._student_config = student_config

    def __call__(self, batch: Mapping[str, Any], outputs: frozenset[str] = frozenset()) -> TeacherSignal:
        if TEACHER_LOGITS in batch:
            return TeacherSignal(logits=batch[TEACHER_LOGITS])
        if TEACHER_TOKENS in batch:
            return TeacherSignal(sparse=SparseDistribution.of_batch(batch[TEACHER_TOKENS]))
        problem_type = getattr(self._student_config, "problem_type", None)
        return self.combination(batch[ENSEMBLE_LOGITS].movedim(1, 0), problem_type, self.step)

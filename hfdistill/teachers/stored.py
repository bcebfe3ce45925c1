"""A teacher whose predictions are precomputed: the soft targets that the rows carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hfdistill.losses.sparse_distributions import SparseDistribution
from hfdistill.models.heads import Head
from hfdistill.models.labels import LabelSpace
from hfdistill.teachers.base import (
    ENSEMBLE_LOGITS,
    NO_CONTEXT,
    SOFT_TARGETS,
    TEACHER_LABEL,
    TEACHER_LOGITS,
    TEACHER_TOKENS,
    Teacher,
    TeacherContext,
    TeacherSignal,
)
from hfdistill.teachers.combination import Combination


class StoredTeacher(Teacher):
    """Reads the soft targets of a row: one teacher's in `teacher_logits`, or several teachers' in `ensemble_logits`.

    One teacher's distributions of target tokens are in `teacher_tokens`. Several teachers' predictions are stored
    apart, so that their mean can be taken at any temperature. `names` are the labels in the order of the predictions;
    where they are known the predictions are put into the student's order.
    """

    def __init__(self) -> None:
        #: What the student decides, and so the teacher.
        self.head = Head(None)
        #: The labels in the order of the predictions, `None` where it is not known.
        self.names: Sequence[str] | None = None
        self._student_config: Any = None
        self._order: list[int] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return (*SOFT_TARGETS, TEACHER_LABEL)

    def predictions(self, batch: Mapping[str, Any]) -> bool:
        """Whether the rows of the batch carry soft targets."""
        return any(column in batch for column in SOFT_TARGETS)

    def align(self, student_config: Any) -> None:
        self._student_config = student_config
        self._order = None
        if self.names is not None:
            self._order = LabelSpace.of_config(student_config).order_in(LabelSpace.of_names(self.names))

    def __call__(
        self, batch: Mapping[str, Any], outputs: frozenset[str] = frozenset(), context: TeacherContext = NO_CONTEXT
    ) -> TeacherSignal:
        if TEACHER_LOGITS not in batch and TEACHER_TOKENS in batch:
            return TeacherSignal(sparse=SparseDistribution.of_batch(batch[TEACHER_TOKENS]))
        column = TEACHER_LOGITS if TEACHER_LOGITS in batch else ENSEMBLE_LOGITS
        predictions = batch[column] if self._order is None else batch[column][..., self._order]
        if column == TEACHER_LOGITS:
            return TeacherSignal(logits=self.head.of_stored(predictions, batch))
        problem_type = self.head.problem_type or getattr(self._student_config, "problem_type", None)
        combination = context.combination or Combination()
        several = self.head.of_stored(predictions.movedim(-2, 0), batch)
        return combination(several, problem_type, context.step)

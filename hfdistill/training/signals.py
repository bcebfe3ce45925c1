"""Where a batch's teacher signal comes from: stored soft targets where they suffice, else a live teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfdistill.teachers import EnsembleTeacher, StoredTeacher, Teacher, TeacherContext, TeacherSignal
from hfdistill.teachers.columns import stored_label_names


class SignalSource:
    """The live teacher of a run, if any, and the soft targets that rows may carry.

    Args:
        live: The teacher that can be run on a batch.
        context: What several teachers are combined by at first.

    Raises:
        ValueError: for weights of another number than there are teachers.
    """

    def __init__(self, live: Teacher | None, context: TeacherContext) -> None:
        self.live = live
        self.stored = StoredTeacher()
        if isinstance(live, EnsembleTeacher) and live.combination is None and context.combination is not None:
            context.combination.check_number(len(live.members))

    @property
    def stored_columns(self) -> tuple[str, ...]:
        """The columns of a batch that hold soft targets."""
        return self.stored.columns

    def align(self, student_config: Any, *datasets: Any) -> None:
        """Puts stored soft targets into the student's order of labels, where a dataset names its own."""
        self.stored.names = stored_label_names(*datasets)
        self.stored.align(student_config)

    def __call__(
        self, batch: Mapping[str, Any], outputs: frozenset[str], context: TeacherContext, run_live: bool
    ) -> TeacherSignal | None:
        """The signal for a batch, `None` where there is none.

        Args:
            batch: The batch, with the teacher's columns.
            outputs: What the objective reads besides logits, which is never stored.
            context: As for `Teacher.__call__`.
            run_live: Whether the live teacher may be run.
        """
        live = self.live if run_live else None
        if self.stored.predictions(batch) and not (live is not None and outputs):
            return self.stored(batch, context=context)
        return None if live is None else live(batch, outputs, context)

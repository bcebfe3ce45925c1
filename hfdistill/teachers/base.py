"""What a teacher is, and the signal that comes back from one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hfdistill.losses.signal import TeacherSignal

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import TrainerCallback

    from hfdistill.teachers.combination import Combination

PREFIX = "teacher_"
TEACHER_LOGITS = "teacher_logits"
ENSEMBLE_LOGITS = "ensemble_logits"
TEACHER_TOKENS = "teacher_tokens"
#: The likeliest label of a stored prediction; the names of this column are the order of the logits.
TEACHER_LABEL = "teacher_label"
#: How far apart several teachers are on a row.
TEACHER_DISAGREEMENT = "teacher_disagreement"
#: The columns that hold precomputed predictions.
SOFT_TARGETS = (TEACHER_LOGITS, ENSEMBLE_LOGITS, TEACHER_TOKENS)


@dataclass(frozen=True)
class TeacherContext:
    """Where a batch stands in a run, for teachers whose signal depends on it.

    Args:
        step: The optimizer step that the batch belongs to; `None` outside of training.
        accelerator: The device and precision that a model is run in; `None` leaves it where it is.
        combination: How the predictions of several teachers become one, where they bring no combination of their own.
    """

    step: int | None = None
    accelerator: Accelerator | None = None
    combination: Combination | None = None


#: A batch by itself, as when soft targets are precomputed.
NO_CONTEXT = TeacherContext()


class Teacher(ABC):
    """Predictions for a batch. Frozen, in eval mode, without gradient, and never part of the student's checkpoint."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a batch, beside the student's own, that this teacher reads."""
        return ()

    @property
    def shared_columns(self) -> tuple[str, ...]:
        """The columns that it reads as the student does, as far as there are any; the student need not take all."""
        return ()

    @property
    def members(self) -> tuple[Teacher, ...]:
        """The teachers that are run: several in an ensemble."""
        return (self,)

    @property
    def name(self) -> str:
        """How a card calls it; empty when it has no name."""
        return ""

    @property
    def problem_type(self) -> str | None:
        """As in `config.problem_type`; `None` where that is not set."""
        return None

    @property
    def callback(self) -> TrainerCallback | None:
        """What a teacher that changes during training does meanwhile."""
        return None

    def align(self, student_config: Any) -> None:  # noqa: B027 (not every prediction is about named labels)
        """Puts the teacher's labels into the student's order, by name.

        Raises:
            ValueError: when the two solve different tasks.
        """

    def pad(self, features: Sequence[Mapping[str, Any]]) -> Mapping[str, Tensor]:
        """A batch of the teacher's own `columns`, padded."""
        columns = [name for name in self.columns if name in features[0]]
        return {name: torch.tensor([feature[name] for feature in features]) for name in columns}

    def save_state(self, checkpoint: Path) -> None:  # noqa: B027 (a frozen teacher has none)
        """Writes what a teacher that changes during training needs to go on into a checkpoint."""

    def load_state(self, checkpoint: Path) -> None:  # noqa: B027
        """Reads it again."""

    @abstractmethod
    def __call__(
        self, batch: Mapping[str, Any], outputs: frozenset[str] = frozenset(), context: TeacherContext = NO_CONTEXT
    ) -> TeacherSignal:
        """The signal for a batch.

        Args:
            batch: The columns of the batch, with the teacher's own.
            outputs: What is returned besides the logits, such as `"hidden_states"`.
            context: The optimizer step, the accelerator and the combination of several teachers.
        """


def check_finite(logits: Tensor) -> None:
    """Refuses a prediction that would turn the student's weights into NaN.

    Raises:
        ValueError: naming the first row of the batch that is not finite.
    """
    broken = (~logits.isfinite()).flatten(1).any(1).nonzero()
    if len(broken):
        row = int(broken[0])
        first = logits[row].flatten()[:8].tolist()
        raise ValueError(
            f"the teacher's logits for row {row} of the batch are not finite: {first}; "
            f"{advice_on_precision(logits.dtype, 'teacher_dtype')}"
        )


def advice_on_precision(dtype: torch.dtype, argument: str) -> str:
    """What to do about logits that are not finite.

    Args:
        dtype: In which the teacher is run.
        argument: What sets it.
    """
    if dtype == torch.float16:
        return f"float16 ends at 65,504, which its layers exceed: run it in bfloat16 or float32 ({argument})."
    return f"look at that text and at the teacher's weights, or run it in float32 ({argument})."

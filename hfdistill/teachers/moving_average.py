"""A teacher that is the moving average of its own student."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, TrainerCallback

from hfdistill.models.checksums import load_into, save_checked
from hfdistill.models.wrappers import unwrapped
from hfdistill.teachers.model import ModelTeacher


class MovingAverageTeacher(ModelTeacher):
    """Self-distillation from the student's own past: the exponential moving average of its weights.

    After optimizer step n, `θ_teacher ← d θ_teacher + (1 − d) θ_student` with `d = min(decay, 1 − 1 / (n + 1))`, in
    float32: at first the plain mean of all weights so far, so that the random initialization is soon forgotten.
    Checkpoints hold the average, so a resumed run goes on with it; the saved student is the student.

    Args:
        student: The model that is going to be trained. A copy of it is made.
        decay: Of the average, in (0, 1); 0.99 is about the mean over the last hundred steps.

    Raises:
        ValueError: for a decay out of range.

    References: Mean Teacher, Tarvainen & Valpola 2017, https://huggingface.co/papers/1703.01780.
    """

    def __init__(self, student: PreTrainedModel, decay: float = 0.99) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay must lie strictly between 0 and 1, got {decay}.")
        super().__init__(copy.deepcopy(student).float())
        self.decay = decay

    @property
    def name(self) -> str:
        return "the moving average of the student"

    @property
    def callback(self) -> TrainerCallback:
        return _Follow(self)

    @torch.no_grad()
    def follow(self, student: nn.Module, step: int) -> None:
        """Takes in the student's weights after an optimizer step, counted from 1."""
        decay = min(self.decay, 1 - 1 / (step + 1))
        student_weights = unwrapped(student).state_dict()
        for name, average in unwrapped(self.model).state_dict().items():
            student_weight = student_weights[name].to(device=average.device, dtype=average.dtype)
            if average.is_floating_point():
                average.lerp_(student_weight, 1 - decay)
            else:
                average.copy_(student_weight)

    def save_state(self, checkpoint: Path) -> None:
        save_checked(self._state, checkpoint / self._file)

    def load_state(self, checkpoint: Path) -> None:
        path = checkpoint / self._file
        if not path.exists():
            raise ValueError(
                f"{checkpoint} holds no {path.name}: it is of a run with another teacher; start a new one."
            )
        load_into(self._state, path, "the moving average of this student")

    @property
    def _state(self) -> dict[str, torch.Tensor]:
        # One copy of each: what is tied shares its memory, which the format refuses.
        return dict(unwrapped(self.model).named_parameters())

    @property
    def _file(self) -> str:
        return f"moving_average_{self.prefix.rstrip('_')}.safetensors"  # in an ensemble, each has its own


class _Follow(TrainerCallback):
    def __init__(self, teacher: MovingAverageTeacher) -> None:
        self.teacher = teacher

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.teacher.follow(kwargs["model"], state.global_step)

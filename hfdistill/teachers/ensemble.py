"""Several teachers that are run in every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hfdistill.teachers.base import NO_CONTEXT, PREFIX, Teacher, TeacherContext, TeacherSignal
from hfdistill.teachers.combination import Combination
from hfdistill.teachers.model import ModelTeacher, one_teacher


class EnsembleTeacher(Teacher):
    """Several teachers as one: of any sizes and families, each with its own tokenizer, text columns and label order.

    Each member that reads its own text gets columns of its own, `teacher_1_input_ids`, `teacher_2_input_ids`, ...; the
    others read the student's token ids.

    Args:
        teachers: Two or more teachers, models, names or paths; the members of an ensemble among them join.
        combination: How their predictions become one; by default as in the training arguments, and without any the
            mean of their probabilities.

    Raises:
        ValueError: for fewer than two teachers, another number of weights, or teachers of different problem types.
        TypeError: for what is no teacher.

    References: Hinton et al. 2015, section 3, https://huggingface.co/papers/1503.02531.
    """

    def __init__(self, teachers: Sequence[Any], combination: Combination | None = None) -> None:
        self._members = tuple(member for teacher in teachers for member in one_teacher(teacher).members)
        self.combination = combination
        if len(self._members) < 2:
            raise ValueError(f"an ensemble needs two teachers or more, got {len(self._members)}.")
        (combination or Combination()).check_number(len(self._members))
        for number, member in enumerate(self._members, start=1):
            if isinstance(member, ModelTeacher):
                member.prefix = f"{PREFIX}{number}_"
        self._problem_type = _common_problem_type(self._members)
        self._student_config: Any = None

    @property
    def members(self) -> tuple[Teacher, ...]:
        return self._members

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(column for member in self._members for column in member.columns))

    @property
    def shared_columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(column for member in self._members for column in member.shared_columns))

    @property
    def name(self) -> str:
        return ", ".join(member.name for member in self._members if member.name)

    @property
    def problem_type(self) -> str | None:
        return self._problem_type

    def align(self, student_config: Any) -> None:
        self._student_config = student_config
        for member in self._members:
            member.align(student_config)

    def pad(self, features: Sequence[Mapping[str, Any]]) -> Mapping[str, Tensor]:
        own = [member for member in self._members if set(member.columns) & set(features[0])]
        return {name: tensor for member in own for name, tensor in member.pad(features).items()}

    def __call__(
        self, batch: Mapping[str, Any], outputs: frozenset[str] = frozenset(), context: TeacherContext = NO_CONTEXT
    ) -> TeacherSignal:
        if outputs:
            raise ValueError(
                f"{', '.join(sorted(outputs))} of {len(self._members)} teachers have no common shape to learn from: "
                "give one teacher, or leave terms on hidden states and attentions out."
            )
        combination = self.combination or context.combination or Combination()
        combination.check_number(len(self._members))
        drawn = combination.drawn(context.step, len(self._members))
        if drawn is not None:
            return self._members[drawn](batch, context=context)
        problem_type = self.problem_type or getattr(self._student_config, "problem_type", None)
        return combination(torch.stack([_logits(member, batch, context) for member in self._members]), problem_type)


def _logits(member: Teacher, batch: Mapping[str, Any], context: TeacherContext) -> Tensor:
    logits = member(batch, context=context).logits
    assert logits is not None
    return logits.float()  # teachers of different dtypes meet here


def _common_problem_type(members: Sequence[Teacher]) -> str | None:
    types = {member.problem_type for member in members} - {None}
    if len(types) > 1:
        raise ValueError(
            f"the teachers' problem types differ ({', '.join(sorted(map(str, types)))}): all must solve the same kind "
            "of task; correct config.problem_type, or leave one out."
        )
    return next(iter(types), None)

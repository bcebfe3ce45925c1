"""Whether token 7 means the same to teacher and student, where they share their token ids."""

from __future__ import annotations

from typing import Any

from hfdistill.models.vocabularies import check_shared_tokens
from hfdistill.teachers import ModelTeacher, Teacher


def check_vocabularies(teacher: Teacher, student: Any, processing_class: Any) -> None:
    """Refuses a teacher that would read the student's token ids with another vocabulary.

    Tokenizers are compared token by token: those that are given, and otherwise those found by the models' names or
    paths. Where there is none, the sizes of the two models' vocabularies must be equal.

    Raises:
        ValueError: when they differ.
    """
    for member in teacher.members:
        if isinstance(member, ModelTeacher) and member.shares_tokens:
            own, given_as = member.processing_class, f"{type(member).__name__}(model, tokenizer)"
            check_shared_tokens(
                member.model, own, student, processing_class, member.other_vocabulary, given_as=given_as
            )

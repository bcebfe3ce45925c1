"""Whether token 7 means the same to teacher and student, where they share their token ids."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from hfdistill.models.shared_tokens import check_shared_tokens
from hfdistill.soft_targets.store import hash_of
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


def vocabulary_key(processing_class: PreTrainedTokenizerBase) -> bytes:
    """Eight bytes that are the same for tokenizers that give every token the same id."""
    return bytes.fromhex(hash_of(sorted(processing_class.get_vocab().items())))[:8]


def same_tokens(teacher: PreTrainedTokenizerBase, student: PreTrainedTokenizerBase) -> tuple[np.ndarray, np.ndarray]:
    """The ids of all tokens: the student's, rising, and the teacher's of the same names.

    Raises:
        ValueError: when the one knows tokens that the other does not.
    """
    theirs, ours = teacher.get_vocab(), student.get_vocab()
    if differing := sorted(theirs.keys() ^ ours.keys()):
        raise ValueError(
            f"of the teacher's {len(theirs)} tokens and the student's {len(ours)}, {len(differing)} are known to one "
            f"alone, such as {differing[0]!r}: token by token they must share a vocabulary, in any order; otherwise "
            "let the teacher translate the training texts (pseudo_translations)."
        )
    names = sorted(ours, key=ours.__getitem__)
    return np.array([ours[name] for name in names]), np.array([theirs[name] for name in names])

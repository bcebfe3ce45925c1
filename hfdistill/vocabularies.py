"""Whether token 7 means the same to teacher and student, where they share their token ids."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase

from hfdistill.teachers import ModelTeacher, Teacher

_WAY_OUT = (
    "give the teacher its own text: "
    "ModelTeacher.from_pretrained(name, text_columns=['sentence']), or make its soft targets first with "
    "soft_targets(teacher, dataset, text_columns=['sentence'])."
)


def check_vocabularies(teacher: Teacher, student: Any, processing_class: Any) -> None:
    """Refuses a teacher that would read the student's token ids with another vocabulary.

    Tokenizers are compared by name where both are known; otherwise the sizes of the two models' vocabularies.

    Raises:
        ValueError: when they differ.
    """
    for member in teacher.members:
        if isinstance(member, ModelTeacher) and not member.text_columns:
            _check_one(member, student, processing_class)


def _check_one(teacher: ModelTeacher, student: Any, processing_class: Any) -> None:
    if isinstance(teacher.processing_class, PreTrainedTokenizerBase) and isinstance(
        processing_class, PreTrainedTokenizerBase
    ):
        if teacher.processing_class.get_vocab() != processing_class.get_vocab():
            raise ValueError(f"teacher and student have different vocabularies and share token ids; {_WAY_OUT}")
        return
    sizes: list[Any] = [getattr(model.config, "vocab_size", None) for model in (teacher.model, student)]
    # A vocabulary may be padded to a round number: what counts is that every id the tokenizer gives is known to both.
    known = len(processing_class) if isinstance(processing_class, PreTrainedTokenizerBase) else None
    if None not in sizes and sizes[0] != sizes[1] and (known is None or min(sizes) < known):
        raise ValueError(
            f"the teacher's vocabulary has {sizes[0]} entries and the student's {sizes[1]}, and they share token ids; "
            + _WAY_OUT
        )

"""A causal language model as teacher: for each token of a text, which one it expects next."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.models.causal_lm import predicts_next_token
from hfdistill.teachers.model import ModelTeacher


class LanguageModelTeacher(ModelTeacher):
    """A causal language model, for its distribution of the next token at every token.

    It reads the student's token ids, so both share one vocabulary.

    Args:
        model: The teacher, such as a `GPT2LMHeadModel`.
        processing_class: Its tokenizer; where it is known the vocabularies are compared by name.
        text_columns: Not possible here: a teacher of another vocabulary has no logits for the student's tokens.
        dtype: The dtype to run in; `None` or `"auto"` keeps the model's own.

    Raises:
        ValueError: for a model that does not predict the next token, or `text_columns`.
    """

    auto_class = AutoModelForCausalLM
    other_vocabulary = "take one that shares the student's tokenizer, and leave text_columns out."

    def __init__(
        self,
        model: PreTrainedModel,
        processing_class: PreTrainedTokenizerBase | None = None,
        text_columns: Sequence[str] | None = None,
        dtype: str | None = None,
    ) -> None:
        if not predicts_next_token(model):
            raise ValueError(
                f"a {type(model).__name__} does not predict the next token, as the student does: load the teacher "
                "with AutoModelForCausalLM."
            )
        if text_columns:
            raise ValueError(
                f"a teacher with a vocabulary of its own predicts none of the student's tokens: {self.other_vocabulary}"
            )
        super().__init__(model, processing_class, dtype=dtype)

    def align(self, student_config: Any) -> None:
        """Nothing to put in order: the predictions are tokens, not named labels."""


def as_language_model_teacher(teacher: Any, dtype: str | None = None) -> Any:
    """What a user names a teacher by, with models, names and paths as causal language models; other teachers as given.

    Raises:
        ValueError: for a model that does not predict the next token.
    """
    if isinstance(teacher, (list, tuple)):
        return [as_language_model_teacher(one, dtype) for one in teacher]
    if isinstance(teacher, (str, os.PathLike)):
        return LanguageModelTeacher.from_pretrained(teacher, dtype=dtype)
    if isinstance(teacher, PreTrainedModel):
        return LanguageModelTeacher(teacher, dtype=dtype)
    if type(teacher) is ModelTeacher:
        return LanguageModelTeacher(teacher.model, teacher.processing_class, teacher.text_columns, dtype)
    return teacher

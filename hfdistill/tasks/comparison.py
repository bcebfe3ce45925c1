"""`compare`: teacher and student measured on the same rows, by the task that the student's head is for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel

from hfdistill.models.heads import (
    CandidateHead,
    ChoiceHead,
    CTCHead,
    EmbeddingHead,
    Head,
    NextTokenHead,
    RepresentationHead,
    SpanHead,
    TokenHead,
    VocabularyHead,
    head_of,
)
from hfdistill.models.inputs import main_input
from hfdistill.models.wrappers import config_of, unwrapped, without_adapters
from hfdistill.report.comparison import check_models
from hfdistill.report.figures import Comparison

#: The task, a folder, whose `report.compare` measures models of a head; of those not named here classification.
TASKS: dict[type[Head], str] = {
    **dict.fromkeys((VocabularyHead, NextTokenHead, RepresentationHead), "language_modeling"),
    EmbeddingHead: "embedding",
    SpanHead: "answering",
    TokenHead: "tagging",
    CTCHead: "speech",
    **dict.fromkeys((ChoiceHead, CandidateHead), "multiple_choice"),
}
_CLASSIFICATION = "classification"


def compare(
    teacher: PreTrainedModel, student: PreTrainedModel, dataset: Dataset, processing_class: Any = None, **settings: Any
) -> Comparison:
    """Measures models on the same rows: the task's metrics, agreement, size and speed.

    Speed is measured on the device each model is on, in turns, so that a machine whose speed drifts does not favor
    one of them; models that are one network, as student and baseline, are measured once and show one speed. Of
    classifiers calibration is measured, too. Encoder-decoders that read text are measured by ROUGE of what they write;
    translators are compared by `compare_translations`.

    Args:
        teacher: The teacher; its labels, as those of the other models and of the rows, are put into the student's
            order by name.
        student: The student.
        dataset: Rows with labels, and what the models read: text, or the columns that all models share.
        processing_class: The student's tokenizer.
        **settings: `baseline`, the same student trained without the teacher; `others`, more models that read as the
            student does, by role, such as its exports; `split`, what to call the rows. Of classifiers:
            `compute_metrics`, as for `Trainer`; `text_columns`, one or a pair, where the rows bring several;
            `teacher_processing_class`, the teacher's tokenizer, when it is another; `reuse_soft_targets`, whether the
            rows' `teacher_logits` are taken for its predictions; `validation`, other rows, to choose a threshold
            on by `tolerance` and `max_share` (see `choose_threshold`): below it the student passes a text on to its
            teacher. Of other tasks see their pages in the reference.

    Raises:
        TypeError: for a name or path in place of a model.
        ValueError: when there are no rows, they have no labels, none that fit the student or nothing to read, or the
            models or the rows solve different tasks or read the same token ids with different vocabularies.
    """
    task = TASKS.get(type(head_of(student)), _CLASSIFICATION) if isinstance(student, nn.Module) else _CLASSIFICATION
    if task == _CLASSIFICATION:
        task = _by_input(student)
    if task in TASKS.values():
        _check_heads(student, {"teacher": teacher, "baseline": settings.get("baseline")})
    measure = importlib.import_module(f"hfdistill.tasks.{task}.report").compare
    comparison: Comparison = measure(teacher, student, dataset, processing_class, **settings)
    return comparison


def _check_heads(student: Any, others: Mapping[str, Any]) -> None:
    """Refuses models of other tasks, whose outputs would be read as what the student decides."""
    own = head_of(student)
    for role, model in others.items():
        if model is None:
            continue
        check_models({role: model}, "AutoModel")
        head, config = head_of(model), config_of(model)
        # A cross-encoder need not say that what it scores are candidates.
        scores = isinstance(own, CandidateHead) and type(head) is Head and getattr(config, "num_labels", 0) == 1
        if head.decides != own.decides and not scores:
            raise ValueError(
                f"the {role}, a {type(unwrapped(model)).__name__}, decides {head.decides}, and the student, a "
                f"{type(unwrapped(student)).__name__}, {own.decides}: compare models of one task."
            )


def _by_input(student: Any) -> str:
    """The task of a model of whose head nothing else is known."""
    inner, config = without_adapters(unwrapped(student)), config_of(student)
    writes = bool(getattr(config, "is_encoder_decoder", False) and inner.can_generate())
    if main_input(student) != "input_ids":
        return "speech" if writes else "media"
    return "summarization" if writes else _CLASSIFICATION

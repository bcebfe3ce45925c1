"""What a student that writes down speech keeps of its teacher and what it costs: transcripts of the same recordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel

from hfdistill.data.rows import as_dataset
from hfdistill.models.sound import FrameLengths
from hfdistill.report.comparison import check_models
from hfdistill.report.counted import MeasuredHead, Outcome, compare_counted
from hfdistill.report.figures import Comparison, Shown
from hfdistill.tasks.media.report import check_rows, workload
from hfdistill.tasks.speech.metrics import error_counts, error_rates, references, transcripts


def compare(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    dataset: Dataset,
    processing_class: Any,
    *,
    baseline: PreTrainedModel | None = None,
    others: Mapping[str, Any] | None = None,
    shown: Callable[[int], Shown] | None = None,
    split: str = "test",
) -> Comparison:
    """Measures models that write down speech letter by letter (CTC): word and character error rates, size and speed.

    Agreement is the share of words that student and teacher write alike.

    Args:
        teacher: The teacher, of the student's letters.
        student: The student.
        dataset: Rows with `input_values` and `labels`.
        processing_class: The student's processor, or its tokenizer.
        baseline: The same student trained without the teacher.
        others: More models that read as the student does, by role.
        shown: How a person is shown the row of a number, for the transcripts side by side.
        split: What to call the rows.

    Raises:
        TypeError: for a name or path in place of a model.
        ValueError: when there are no rows, or they lack what a model reads.
    """
    trained = {"teacher": teacher, "student": student, **({} if baseline is None else {"baseline": baseline})}
    check_models(trained, "AutoModelForCTC")
    dataset = as_dataset(dataset)
    check_rows(trained, dataset)
    tokenizer = getattr(processing_class, "tokenizer", processing_class)
    said = references(dataset.with_format("numpy")["labels"][:], tokenizer)
    models = {role: workload(model, dataset) for role, model in {**trained, **(others or {})}.items()}
    frames = FrameLengths.of(student)
    outcomes = {role: _outcome(role, one, frames, tokenizer, said) for role, one in models.items()}
    names = [shown(row).name for row in range(len(said))] if shown else [f"row {row}" for row in range(len(said))]
    return compare_counted(models, outcomes, error_rates, texts=names, labels=said, split=split)


def _outcome(role: str, one: MeasuredHead, frames: FrameLengths | None, tokenizer: Any, said: list[str]) -> Outcome:
    heard = []
    for row, logits in zip(one.rows, one.predictions(role), strict=True):
        count = len(logits) if frames is None else int(frames.of_lengths(np.array([one.length(row)]))[0])
        heard += transcripts(logits[None, :count], tokenizer)
    return Outcome(error_counts(heard, said), [text.split() for text in heard], heard)

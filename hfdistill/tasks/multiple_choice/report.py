"""Models of multiple choice, or rerankers, compared on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from hfdistill.data.choices import ChoiceCollator, check_choice
from hfdistill.models.heads import head_of
from hfdistill.models.labels import NO_LABEL
from hfdistill.models.wrappers import unwrapped
from hfdistill.report.counted import MeasuredHead, Outcome, compare_counted
from hfdistill.report.figures import Comparison
from hfdistill.tasks.multiple_choice.metrics import choice_counts, choice_metrics


def compare(
    teacher: Any,
    student: Any,
    dataset: Dataset,
    processing_class: PreTrainedTokenizerBase,
    *,
    baseline: Any = None,
    others: Mapping[str, Any] | None = None,
    split: str = "test",
) -> Comparison:
    """Measures models by the choice that each finds right, and how high they rank the right one.

    Args:
        teacher: The teacher.
        student: The student.
        dataset: Rows as `tokenize_choices` makes them, with `labels` or `label`.
        processing_class: The tokenizer that all share.
        baseline: The same student trained without the teacher.
        others: More models, by role.
        split: What to call the rows.

    Raises:
        ValueError: when there are no rows, none has a label, or a label is none of the choices.
    """
    models = {"teacher": teacher, "student": student, **({"baseline": baseline} if baseline else {}), **(others or {})}
    column = next((name for name in ("labels", "label") if name in dataset.column_names), None)
    given = [] if column is None else dataset.with_format(None)[column][:]
    graded = [NO_LABEL if label is None or label != label else label for label in given]
    if not any(label >= 0 for label in graded):
        raise ValueError(f"no row says which choice is right: the columns are {', '.join(dataset.column_names)}.")
    for row, (label, count) in enumerate(zip(graded, map(len, dataset.with_format(None)["input_ids"]), strict=True)):
        check_choice(f"row {row}", label, count)
    labels = [int(label) for label in graded]
    rows = dataset.select_columns([name for name in dataset.column_names if name in processing_class.model_input_names])
    collator = ChoiceCollator(processing_class)
    head = head_of(student)
    measured = {role: MeasuredHead(unwrapped(model), rows, collator, head) for role, model in models.items()}
    texts = [
        " | ".join(str(processing_class.decode(choice, skip_special_tokens=True)) for choice in row)
        for row in rows.with_format(None)["input_ids"][:]
    ]
    outcomes = {role: outcome(one, labels) for role, one in measured.items()}
    shown = [f"choice {label}" if label >= 0 else "" for label in labels]
    return compare_counted(measured, outcomes, choice_metrics, texts=texts, labels=shown, split=split)


def outcome(model: MeasuredHead, labels: list[int]) -> Outcome:
    """The choice of each row, and its counts."""
    scores = [row[: len(own["input_ids"])] for row, own in zip(model.predictions(), model.rows, strict=True)]
    chosen = [int(row.argmax()) for row in scores]
    counts = np.array([choice_counts(row, label) for row, label in zip(scores, labels, strict=True)])
    return Outcome(counts, [[one] for one in chosen], [f"choice {one}" for one in chosen])

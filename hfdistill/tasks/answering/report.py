"""What a student that finds answers keeps of its teacher and what it costs: every model on the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.data.rows import as_split
from hfdistill.models.heads import head_of
from hfdistill.models.inputs import max_positions, token_inputs
from hfdistill.report.comparison import check_models
from hfdistill.report.counted import MeasuredHead, Outcome, compare_counted
from hfdistill.report.figures import Comparison
from hfdistill.report.quality import Slice
from hfdistill.tasks.answering.data import MAX_LENGTH, feature_reader, features_of
from hfdistill.tasks.answering.metrics import answer_scores
from hfdistill.tasks.answering.spans import Answer, answers_of

#: Characters of the context that are shown on either side of an answer.
_AROUND = 60
#: The counts of a question: F1 and exact match, one question; the same of those that have an answer.
_F1, _EXACT, _QUESTIONS, _ANSWERED_F1, _ANSWERED = range(5)


def compare(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    dataset: Dataset,
    processing_class: PreTrainedTokenizerBase,
    *,
    baseline: PreTrainedModel | None = None,
    others: Mapping[str, Any] | None = None,
    teacher_processing_class: PreTrainedTokenizerBase | None = None,
    max_length: int | None = None,
    split: str = "test",
) -> Comparison:
    """Measures models that find answers on the same questions: F1 and exact match, agreement, size and speed.

    A long context is read in several features; the answer is the likeliest span of all.

    Args:
        teacher: The teacher.
        student: The student.
        dataset: Rows of `question`, `context` and `answers` (lists `text` and `answer_start`; empty ones of a question
            without an answer). Questions that nobody has answered, `text` of `None`, are left out.
        processing_class: The student's tokenizer.
        baseline: The same student trained without the teacher.
        others: More models that read as the student does, by role, such as its exports.
        teacher_processing_class: The teacher's tokenizer, when it is another.
        max_length: Tokens of a feature.
        split: What to call the rows.

    Raises:
        TypeError: for a name or path in place of a model.
        ValueError: when there are no rows, or a column is missing.
    """
    trained = {"teacher": teacher, "student": student, **({} if baseline is None else {"baseline": baseline})}
    check_models(trained, "AutoModelForQuestionAnswering")
    rows = as_split(dataset)
    missing = [name for name in ("question", "context", "answers") if name not in rows.column_names]
    if missing or not len(rows):
        raise ValueError(
            f"compare needs rows of question, context and answers; the {len(rows)} rows have "
            f"{', '.join(rows.column_names)}."
        )
    known = [row for row, one in enumerate(rows["answers"]) if one is not None and one.get("text") is not None]
    if not known:
        raise ValueError("compare needs answers, and nobody has answered any of the questions.")
    rows = rows.select(known)
    right = [list(one["text"]) for one in rows["answers"]]
    may_have_none, models, outcomes = not all(right), {}, {}
    for role, model in {**trained, **(others or {})}.items():
        own = teacher_processing_class if role == "teacher" else None
        tokenizer, like = own or processing_class, model if role in trained else student
        limit = min(max_length or MAX_LENGTH, max_positions(like, tokenizer))
        features = features_of(rows, feature_reader(tokenizer, limit))
        names = [name for name in token_inputs(like) if name in features.column_names]
        read = features.select_columns(names)
        models[role] = MeasuredHead(model, list(read), DataCollatorWithPadding(tokenizer), head_of(student))
        logits = [_right(one, tokenizer) for one in models[role].predictions(role)]
        found = answers_of(list(features), logits, rows["context"][:], tokenizer, may_have_none)
        outcomes[role] = _outcome(found, right, rows["context"][:])
    return compare_counted(
        models,
        outcomes,
        _metrics,
        texts=rows["question"][:],
        labels=[" / ".join(dict.fromkeys(one)) or "(no answer)" for one in right],
        split=split,
        classes=_by_kind(outcomes, right) if may_have_none else [],
        score="F1",
        scored="questions",
    )


def _right(logits: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Logits of shape `(2, tokens)` with their padding on the right."""
    if tokenizer.padding_side == "right":
        return logits
    return np.roll(logits, -int((logits[0] <= -1e4).sum()), axis=1)


def _outcome(found: Sequence[Answer], right: Sequence[Sequence[str]], contexts: Sequence[str]) -> Outcome:
    counts = np.zeros((len(found), 5))
    for row, (answer, answers) in enumerate(zip(found, right, strict=True)):
        exact, f1 = answer_scores(answer.text, answers)
        counts[row] = f1, exact, 1, f1 * bool(answers), bool(answers)
    shown = [_shown(*pair) for pair in zip(found, contexts, strict=True)]
    return Outcome(counts, [[answer.text] for answer in found], shown)


def _metrics(sums: np.ndarray) -> dict[str, float]:
    questions = max(sums[_QUESTIONS], 1)
    return {"f1": float(sums[_F1] / questions), "exact_match": float(sums[_EXACT] / questions)}


def _by_kind(outcomes: Mapping[str, Outcome], right: Sequence[Sequence[str]]) -> list[Slice]:
    """The F1 of questions with an answer, and of those without."""
    sums = {role: one.counts.sum(0) for role, one in outcomes.items()}
    answered = int(sum(map(bool, right)))
    parts = [("with an answer", answered, {role: one[_ANSWERED_F1] for role, one in sums.items()})]
    parts += [
        ("without one", len(right) - answered, {role: one[_F1] - one[_ANSWERED_F1] for role, one in sums.items()})
    ]
    return [
        Slice(name, count, {role: float(value / count) for role, value in scores.items()})
        for name, count, scores in parts
        if count
    ]


def _shown(answer: Answer, context: str) -> str:
    """The answer marked within what stands around it."""
    if answer.start < 0:
        return "(no answer)"
    begin, end = answer.start, answer.start + len(answer.text)
    before, after = context[max(0, begin - _AROUND) : begin], context[end : end + _AROUND]
    return f"{'…' * (begin > _AROUND)}{before}[{answer.text}]{after}{'…' * (end + _AROUND < len(context))}"

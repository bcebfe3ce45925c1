"""What a student tagger keeps of its teacher and what it costs: the same words, tagged by every model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.data.rows import as_split
from hfdistill.models.heads import ITEM_MASK, head_of
from hfdistill.models.inputs import max_positions, token_inputs
from hfdistill.models.labels import NO_LABEL, LabelSpace, class_names, names_of, some_names
from hfdistill.models.words import tokenize_words
from hfdistill.models.wrappers import config_of
from hfdistill.report.comparison import check_models
from hfdistill.report.counted import MeasuredHead, Outcome, compare_counted
from hfdistill.report.figures import Comparison
from hfdistill.report.quality import Slice
from hfdistill.tasks.tagging.entities import OUTSIDE, entities, marked
from hfdistill.tasks.tagging.metrics import TagMetrics


def compare(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    dataset: Dataset,
    processing_class: PreTrainedTokenizerBase,
    *,
    baseline: PreTrainedModel | None = None,
    others: Mapping[str, Any] | None = None,
    teacher_processing_class: PreTrainedTokenizerBase | None = None,
    split: str = "test",
) -> Comparison:
    """Measures token classifiers on the same words: entity F1, agreement, size and speed.

    Every word counts: one that a model cuts off is outside of entities to it.

    Args:
        teacher: The teacher; its labels are compared with the student's by name.
        student: The student.
        dataset: Rows of `tokens`, lists of words, and `labels`, as many ids of the student's or of a `ClassLabel`;
            words of -100 are left out.
        processing_class: The student's tokenizer.
        baseline: The same student trained without the teacher.
        others: More models that read as the student does, by role, such as its exports.
        teacher_processing_class: The teacher's tokenizer, when it is another.
        split: What to call the rows.

    Raises:
        TypeError: for a name or path in place of a model.
        ValueError: when there are no rows, no word has a label, or the models have other labels.
    """
    trained = {"teacher": teacher, "student": student, **({} if baseline is None else {"baseline": baseline})}
    check_models(trained, "AutoModelForTokenClassification")
    space = LabelSpace.of_config(config_of(student))
    metrics = TagMetrics(names_of(config_of(student)))
    sentences = _sentences(as_split(dataset), space, metrics.names)
    words = [one for one, _ in sentences]
    tokenizers = {"teacher": teacher_processing_class or processing_class}
    models, outcomes = {}, {}
    for role, model in {**trained, **(others or {})}.items():
        tokenizer = tokenizers.get(role, processing_class)
        order = space.order_in(LabelSpace.of_config(config_of(model)), role)
        models[role], starts = _workload(model, student, tokenizer, words)
        outcomes[role] = _outcome(role, models[role], starts, order, sentences, metrics)
    return compare_counted(
        models,
        outcomes,
        metrics.of_sums,
        texts=[" ".join(row) for row in words],
        labels=[_shown(*one, metrics) for one in sentences],
        split=split,
        classes=_by_kind(outcomes, metrics),
        score="F1",
        scored="words" if metrics.entity_kinds is None else "entities",
    )


def _sentences(dataset: Dataset, space: LabelSpace, names: Sequence[str]) -> list[tuple[Sequence[str], Sequence[str]]]:
    """Of each row the words that have a label, and their labels by name."""
    missing = [name for name in ("tokens", "labels") if name not in dataset.column_names]
    if missing or not len(dataset):
        raise ValueError(
            f"compare needs rows of tokens (lists of words) and labels (one for each); the {len(dataset)} rows have "
            f"{', '.join(dataset.column_names)}: rename the columns."
        )
    named = class_names(dataset.features, "labels")
    if named is not None:
        space.numbering_of(dataset.features, "the dataset")  # refuses other names
    sentences: list[tuple[Sequence[str], Sequence[str]]] = []
    for row, (tokens, labels) in enumerate(zip(dataset["tokens"], dataset["labels"], strict=True)):
        if len(tokens) != len(labels):
            raise ValueError(
                f"row {row} has {len(tokens)} words and {len(labels)} labels: give compare the rows before they are "
                "tokenized, with one label for each word."
            )
        known = named or names
        if wrong := [label for label in labels if label is not None and label >= len(known)]:
            raise ValueError(
                f"row {row} has the label {wrong[0]}, and the student knows {len(known)}, 0 to {len(known) - 1}: "
                f"{some_names(known)}."
            )
        numbers = [NO_LABEL if label is None else label for label in labels]
        there = [(word, known[label]) for word, label in zip(tokens, numbers, strict=True) if label >= 0]
        if there:
            words, tags = zip(*there, strict=True)
            sentences.append((words, tags))
    if not sentences:
        raise ValueError("compare needs labeled words, and no row has one.")
    return sentences


def _workload(
    model: Any, student: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, words: Sequence[Sequence[str]]
) -> tuple[MeasuredHead, list[list[bool]]]:
    """A model with what it reads of each row, and which of its tokens begin a word."""
    like = model if hasattr(model, "named_modules") else student  # an export reads as the student does
    encoding = tokenize_words(tokenizer, words, max_positions(like, tokenizer))
    names = [name for name in token_inputs(like) if name in encoding and name != ITEM_MASK]
    columns = [encoding[name] for name in names]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    return MeasuredHead(model, rows, DataCollatorWithPadding(tokenizer), head_of(student)), encoding[ITEM_MASK]


def _outcome(
    role: str,
    model: MeasuredHead,
    starts: Sequence[Sequence[bool]],
    order: list[int] | None,
    sentences: Sequence[tuple[Sequence[str], Sequence[str]]],
    metrics: TagMetrics,
) -> Outcome:
    """What a model makes of each sentence, its words and true tags."""
    collator: Any = model.collator
    left = collator.tokenizer.padding_side == "left"
    tags = []
    for logits, begins, (words, _) in zip(model.predictions(role), starts, sentences, strict=True):
        own = logits[-len(begins) :] if left else logits[: len(begins)]
        decided = own[np.array(begins)].argmax(-1) if order is None else own[np.array(begins)][:, order].argmax(-1)
        tags.append([metrics.names[one] for one in decided] + [OUTSIDE] * (len(words) - len(decided)))
    counts = metrics.counts(tags, [true for _, true in sentences])
    return Outcome(counts, tags, [_shown(words, own, metrics) for (words, _), own in zip(sentences, tags, strict=True)])


def _shown(words: Sequence[str], tags: Sequence[str], metrics: TagMetrics) -> str:
    """A sentence with its entities marked; where labels name none, with each word's label."""
    if metrics.entity_kinds is None:
        return " ".join(f"{word}/{tag}" for word, tag in zip(words, tags, strict=True))
    return marked(words, entities(tags))


def _by_kind(outcomes: Mapping[str, Outcome], metrics: TagMetrics) -> list[Slice]:
    """The F1 of each kind of entity, the commonest first."""
    scores = {role: metrics.by_kind(one.counts.sum(0)) for role, one in outcomes.items()}
    numbers = {kind: int(one["number"]) for kind, one in scores["student"].items()}
    kinds = sorted((kind for kind, number in numbers.items() if number), key=lambda kind: -numbers[kind])
    return [Slice(kind, numbers[kind], {role: one[kind]["f1"] for role, one in scores.items()}) for kind in kinds]

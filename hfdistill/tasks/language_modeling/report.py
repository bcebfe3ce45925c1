"""Language models and encoders, compared on the same texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hfdistill.data.rows import without_padding
from hfdistill.models.heads import NextTokenHead, RepresentationHead, head_of
from hfdistill.models.wrappers import unwrapped
from hfdistill.report.counted import MeasuredHead, Outcome, compare_counted
from hfdistill.report.figures import Comparison
from hfdistill.tasks.language_modeling.metrics import IGNORED, token_counts, token_metrics
from hfdistill.tasks.language_modeling.probe import Probe

#: Rows that a model reads at once: of more the logits over a vocabulary would fill the memory.
BATCH = 8
#: How many tokens of a text are shown where models differ.
SHOWN_TOKENS = 40


def compare(
    teacher: Any,
    student: Any,
    dataset: Dataset,
    processing_class: PreTrainedTokenizerBase,
    *,
    baseline: Any = None,
    others: Mapping[str, Any] | None = None,
    split: str = "test",
    probe: Probe | None = None,
) -> Comparison:
    """Measures language models by the tokens that they predict; bare encoders by how they relate a text's tokens.

    Args:
        teacher: The teacher.
        student: The student.
        dataset: Rows of `input_ids`, of masked language models with `labels` (`MaskedTextCollator.masked`). What their
            `attention_mask` says is padding counts for nothing.
        processing_class: The tokenizer that all share.
        baseline: The same student trained otherwise.
        others: More models, by role.
        split: What to call the rows.
        probe: Labeled texts by which encoders are measured, too.

    Raises:
        ValueError: when there are no rows, or no token in them has a label.
    """
    models = {"teacher": teacher, "student": student, **({"baseline": baseline} if baseline else {}), **(others or {})}
    if not len(dataset):
        raise ValueError("there are no texts to compare the models on.")
    dataset = without_padding(dataset, [name for name in ("input_ids", "labels") if name in dataset.column_names])
    rows, pad = dataset.select_columns(["input_ids"]), partial(_padded, processing_class)
    measured = {role: MeasuredHead(unwrapped(model), rows, pad) for role, model in models.items()}
    ids = dataset.with_format(None)["input_ids"][:]
    texts = [_shown(processing_class, row) for row in ids]
    if isinstance(head_of(student), RepresentationHead):
        relations = {role: _relations(one, ids) for role, one in measured.items()}
        related = {role: _related(one, relations["teacher"]) for role, one in relations.items()}
        comparison = compare_counted(measured, related, _relation_metrics, texts=texts, split=split)
    else:
        labels = _labels(student, dataset, ids)
        predicted = {role: _predicted(one, labels, processing_class) for role, one in measured.items()}
        shown = [_shown(processing_class, row[row >= 0].tolist()) for row in labels]
        comparison = compare_counted(measured, predicted, token_metrics, texts=texts, labels=shown, split=split)
    return comparison if probe is None else probe.measured(comparison, models)


def _shown(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids[:SHOWN_TOKENS])))


def _padded(tokenizer: PreTrainedTokenizerBase, rows: Any) -> dict[str, Tensor]:
    return dict(tokenizer.pad(rows, padding_side="right", return_tensors="pt"))


def _labels(model: Any, dataset: Dataset, ids: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """The token that the logits of each token are about, −100 for none."""
    given = dataset.with_format(None)["labels"][:] if "labels" in dataset.column_names else None
    if isinstance(head_of(model), NextTokenHead):
        labels = [np.array([*row[1:], IGNORED]) for row in (ids if given is None else given)]
    elif given is None:
        raise ValueError(
            "nothing in the texts is masked: make the rows with dataset.map(MaskedTextCollator(...).masked)."
        )
    else:
        labels = [np.array(row) for row in given]
    if not any((row >= 0).any() for row in labels):
        raise ValueError("no token of the texts has a label: are they so short, or mlm_probability so small?")
    return labels


def _rows_of(model: MeasuredHead) -> Iterator[np.ndarray]:
    """What the model says of each row in turn, padding included."""
    for start in range(0, len(model.rows), BATCH):
        yield from model.predict_rows([model.rows[row] for row in range(start, min(start + BATCH, len(model.rows)))])


def _predicted(model: MeasuredHead, labels: Sequence[np.ndarray], tokenizer: PreTrainedTokenizerBase) -> Outcome:
    counts, decisions = [], []
    for logits, wanted in zip(_rows_of(model), labels, strict=True):
        logits = logits[: len(wanted)]
        counts.append(token_counts(logits, wanted))
        decisions.append(logits[wanted >= 0].argmax(1).tolist())
    return Outcome(np.array(counts), decisions, [_shown(tokenizer, row) for row in decisions])


def _relations(model: MeasuredHead, ids: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Of each text the cosine of every two of its tokens, shape `(tokens, tokens)`."""
    found = []
    for states, row in zip(_rows_of(model), ids, strict=True):
        vectors = states[: len(row)].astype(np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
        found.append(vectors @ vectors.T)
    return found


def _related(relations: Sequence[np.ndarray], teacher: Sequence[np.ndarray]) -> Outcome:
    """Of each token how alike its relations to the others are to the teacher's; and which other is the nearest."""
    counts, decisions = [], []
    for own, other in zip(relations, teacher, strict=True):
        apart = ~np.eye(len(own), dtype=bool)
        rows = [(own[token, apart[token]], other[token, apart[token]]) for token in range(len(own))] * (len(own) > 2)
        counts.append([sum(_correlation(a, b) for a, b in rows), len(rows)])
        decisions.append(np.where(apart, own, -np.inf).argmax(1).tolist() if len(own) > 1 else [])
    return Outcome(np.array(counts, dtype=float), decisions, [f"nearest tokens {row[:12]}" for row in decisions])


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other / max(1e-12, np.linalg.norm(one) * np.linalg.norm(other)))


def _relation_metrics(sums: np.ndarray) -> dict[str, float]:
    """`relation_correlation`: how a token's cosines to the others follow the teacher's, a mean over tokens."""
    total, tokens = sums
    return {"relation_correlation": float(total / tokens) if tokens else float("nan")}

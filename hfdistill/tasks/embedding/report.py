"""Sentence encoders, compared by the similarities of pairs of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from hfdistill.models.heads import Head, head_of
from hfdistill.models.wrappers import unwrapped
from hfdistill.report.counted import MeasuredHead, Outcome, compare_counted
from hfdistill.report.figures import Comparison
from hfdistill.tasks.embedding.data import PAIR, SIMILARITY
from hfdistill.tasks.embedding.metrics import COUNTS, embedding_metrics, pair_counts, retrieval_counts


def compare(
    teacher: Any,
    student: Any,
    dataset: Dataset,
    processing_class: PreTrainedTokenizerBase,
    *,
    teacher_processing_class: PreTrainedTokenizerBase | None = None,
    baseline: Any = None,
    others: Mapping[str, Any] | None = None,
    max_length: int = 128,
    split: str = "test",
) -> Comparison:
    """Measures sentence encoders on pairs of texts.

    Where pairs have a `similarity`, by Spearman's correlation of it with the cosine of their embeddings; where it is
    NaN, or there is none, `other` belongs to `text`, and is to be found among the others of all these pairs.

    Args:
        teacher: The teacher.
        student: The student.
        dataset: Rows of `text` and `other`, and `similarity` where it is known.
        processing_class: The student's tokenizer.
        teacher_processing_class: The teacher's, when it is another.
        baseline: The same student trained otherwise.
        others: More models that read as the student does, by role.
        max_length: The most tokens of a text.
        split: What to call the rows.

    Raises:
        ValueError: when there are no pairs, a column is missing, or all similarities are equal.
    """
    if missing := [name for name in PAIR if name not in dataset.column_names]:
        raise ValueError(f"pairs have the columns text and other; {', '.join(missing)} is missing.")
    if not len(dataset):
        raise ValueError("there are no pairs to compare the models on.")
    for name in PAIR:
        if None in (texts := dataset[name][:]):
            raise ValueError(f"row {texts.index(None)} has no text in the column {name}: leave it out.")
    similarities = _similarities(dataset)
    models = {"teacher": teacher, "student": student, **({"baseline": baseline} if baseline else {}), **(others or {})}
    tokenizers = {"teacher": teacher_processing_class or processing_class}
    heads = {role: head_of(model if isinstance(model, nn.Module) else student) for role, model in models.items()}
    measured = {
        role: pairs_of_texts(unwrapped(model), tokenizers.get(role, processing_class), dataset, max_length, heads[role])
        for role, model in models.items()
    }
    partners = dataset["other"][:]
    outcomes = {role: outcome(one, similarities, partners) for role, one in measured.items()}
    texts = [f"{one} | {other}" for one, other in zip(dataset["text"], dataset["other"], strict=True)]
    labels = ["a pair" if np.isnan(one) else f"{one:.2f}" for one in similarities]
    return compare_counted(measured, outcomes, embedding_metrics, texts=texts, labels=labels, split=split)


def _similarities(dataset: Dataset) -> np.ndarray:
    """Of each pair, NaN where there is none."""
    given = dataset[SIMILARITY][:] if SIMILARITY in dataset.column_names else [np.nan] * len(dataset)
    similarities = np.array(given, dtype=float)
    rated = similarities[~np.isnan(similarities)]
    if np.isinf(rated).any():
        raise ValueError(f"row {int(np.isinf(similarities).argmax())} has the similarity inf: write a number.")
    if len(rated) and (rated == rated[0]).all():
        raise ValueError(
            f"there is no correlation with similarities that are all {rated[0]:g}: leave the column out, and each text "
            "is to find its partner."
        )
    return similarities


def pairs_of_texts(
    model: Any, tokenizer: PreTrainedTokenizerBase, pairs: Dataset, max_length: int, head: Head
) -> MeasuredHead:
    """A model and the tokens of all texts, those of `text` first."""
    length = min(max_length, tokenizer.model_max_length)
    encoded = tokenizer([*pairs["text"], *pairs["other"]], truncation=True, max_length=length)
    rows = Dataset.from_dict(dict(encoded))
    return MeasuredHead(model, rows, partial(_padded, tokenizer), head)


def _padded(tokenizer: PreTrainedTokenizerBase, rows: Any) -> dict[str, Tensor]:
    return dict(tokenizer.pad(rows, return_tensors="pt"))


def outcome(model: MeasuredHead, similarities: np.ndarray, partners: Sequence[str]) -> Outcome:
    """The counts of each pair; what is decided is its cosine, to a tenth, or which partner is the nearest."""
    vectors = np.stack(list(model.predictions())).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    one, other = np.split(vectors, 2)
    cosines, rated = (one * other).sum(1), ~np.isnan(similarities)
    counts = np.zeros((len(one), COUNTS + 3))
    decisions: list[list[Any]] = [[round(cosine, 1)] for cosine in cosines]
    if rated.any():
        counts[rated, :COUNTS] = pair_counts(cosines[rated], similarities[rated])
    if not rated.all():
        among, names = one[~rated] @ other[~rated].T, [partners[int(row)] for row in np.flatnonzero(~rated)]
        counts[~rated, COUNTS:] = retrieval_counts(among, names)
        for row, nearest in zip(np.flatnonzero(~rated), among.argmax(1), strict=True):
            decisions[row] = [names[nearest]]
    return Outcome(counts, decisions, [f"cosine {cosine:.2f}" for cosine in cosines])

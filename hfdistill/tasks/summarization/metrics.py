"""ROUGE: how many words, and how many in their order, a summary and its reference have in common."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from transformers import EvalPrediction

from hfdistill.losses import IGNORED

#: The main one first: by it alone the order counts throughout a text.
METRICS = ("rougeL", "rouge1", "rouge2")


def rouge(summary: str, reference: str) -> list[float]:
    """The F1 of `METRICS` for one text, each from 0 to 1.

    Words are runs of letters and digits, small letters and capitals alike, and not stemmed: on English what the package
    `rouge_score` gives by default.

    References: Lin 2004, https://aclanthology.org/W04-1013.
    """
    one, other = (re.findall(r"[^\W_]+", text.lower()) for text in (summary, reference))
    grams: Any = ([Counter(text) for text in (one, other)], [Counter(pairwise(text)) for text in (one, other)])
    overlaps = [(sum((a & b).values()), sum(a.values()), sum(b.values())) for a, b in grams]
    return [_f1(*counts) for counts in [(_in_order(one, other), len(one), len(other)), *overlaps]]


def _f1(common: int, made: int, wanted: int) -> float:
    return 2 * common / (made + wanted) if common else 0.0


def _in_order(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest sequence of words that both texts have, with or without others in between."""
    before = [0] * (len(other) + 1)
    for word in one:
        now = [0]
        for place, their in enumerate(other):
            now.append(before[place] + 1 if word == their else max(before[place + 1], now[-1]))
        before = now
    return before[-1]


def rouge_counts(summaries: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Of each row its `rouge` and 1, whose sums give `rouge_means`; shape `(rows, 4)`."""
    pairs = zip(summaries, references, strict=True)
    return np.array([[*rouge(*pair), 1.0] for pair in pairs]).reshape(-1, len(METRICS) + 1)


def rouge_means(sums: np.ndarray) -> dict[str, float]:
    """`METRICS`, each a mean over rows."""
    return dict(zip(METRICS, (sums[:-1] / max(1.0, sums[-1])).tolist(), strict=True))


def texts_of(tokens: Any, tokenizer: Any) -> list[str]:
    """The texts of token ids, where −100 is none."""
    rows = [[id_ for id_ in row if id_ != IGNORED] for row in tokens]
    return [text.strip() for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]


def summary_metrics(tokenizer: Any) -> Callable[[EvalPrediction], dict[str, float]]:
    """A `compute_metrics` for `Seq2SeqDistillationTrainer` with `predict_with_generate`: ROUGE of what is generated.

    Args:
        tokenizer: The student's.
    """

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        both = (prediction.predictions, prediction.label_ids)
        made, wanted = (texts_of(np.asarray(ids).tolist(), tokenizer) for ids in both)
        return rouge_means(rouge_counts(made, wanted).sum(0))

    return compute_metrics

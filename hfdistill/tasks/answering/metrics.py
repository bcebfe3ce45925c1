"""Exact match and F1 of answers, as SQuAD counts them, and the same of a trainer's spans of tokens."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from transformers import EvalPrediction

from hfdistill.models.heads import IMPOSSIBLE

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def answer_scores(predicted: str, answers: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 of one answer, the best over those that are right.

    Case, punctuation and articles are left out; F1 is over words. A question without an answer is answered rightly by
    an empty text.

    Args:
        predicted: The answer; empty where there is none.
        answers: Those that are right; none where the question has no answer.

    References: Rajpurkar et al. 2016, https://aclanthology.org/D16-1264; of questions without an answer Rajpurkar et
        al. 2018, https://aclanthology.org/P18-2124.
    """
    pairs = [_scores(_words(predicted), _words(answer)) for answer in answers or [""]]
    return max(exact for exact, _ in pairs), max(f1 for _, f1 in pairs)


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _scores(predicted: list[str], answer: list[str]) -> tuple[float, float]:
    exact = float(predicted == answer)
    if not predicted or not answer:
        return exact, exact
    common = sum((Counter(predicted) & Counter(answer)).values())
    return exact, 2 * common / (len(predicted) + len(answer))


def question_answering_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """A `compute_metrics` for `Trainer`: F1 and exact match of spans of tokens, feature by feature.

    It knows no texts, so a word more or less counts as a token, and parts of a long context count by themselves;
    `compare` measures the answers to whole questions.

    Raises:
        ValueError: when no feature is labeled.
    """
    starts, ends = (np.asarray(one) for one in prediction.predictions[:2])
    true_starts, true_ends = (np.asarray(one) for one in prediction.label_ids[:2])
    labeled = np.flatnonzero(true_starts >= 0)
    if not len(labeled):
        raise ValueError(f"Nothing to measure: none of the {len(true_starts)} evaluation rows has an answer's place.")
    spans = np.array([best_span(starts[row], ends[row]) for row in labeled])
    true = np.stack([true_starts[labeled], true_ends[labeled]], axis=1)
    common = np.minimum(spans[:, 1], true[:, 1]) - np.maximum(spans[:, 0], true[:, 0]) + 1
    lengths = (spans[:, 1] - spans[:, 0] + 1) + (true[:, 1] - true[:, 0] + 1)
    f1 = 2 * np.maximum(common, 0) / lengths
    return {"span_f1": float(f1.mean()), "span_exact_match": float((spans == true).all(1).mean())}


def best_span(start: np.ndarray, end: np.ndarray, longest: int = 30) -> tuple[int, int]:
    """The first and last token of the likeliest span of at most `longest` tokens; logits of shape `(tokens,)`."""
    # `Trainer` fills up with -100, which no logit of a longer row may lie below.
    scores = np.where(start == -100, IMPOSSIBLE, start)[:, None] + np.where(end == -100, IMPOSSIBLE, end)[None]
    allowed = np.triu(np.ones_like(scores)) - np.triu(np.ones_like(scores), longest)
    place = int(np.where(allowed > 0, scores, -np.inf).argmax())
    return divmod(place, len(start))

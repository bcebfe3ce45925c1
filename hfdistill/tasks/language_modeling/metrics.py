"""What a language model predicts of the tokens that have a label: how many are right, and how surprised it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from transformers import EvalPrediction

#: What marks a token without a label.
IGNORED = -100
#: The numbers of a row: tokens predicted right, tokens, and the sum of −log p of the right ones.
COUNTS = ("right", "tokens", "surprise")


def token_counts(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The `COUNTS` of one row.

    Args:
        logits: Shape `(tokens, vocabulary)`.
        labels: The token that each of them is about, −100 for none, shape `(tokens,)`.
    """
    chosen = labels >= 0
    logits, labels = logits[chosen].astype(np.float64), labels[chosen]
    if not len(labels):
        return np.zeros(len(COUNTS))
    highest = logits.max(1)
    log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(1))
    surprise = (log_sum - logits[np.arange(len(labels)), labels]).sum()
    return np.array([(logits.argmax(1) == labels).sum(), len(labels), surprise])


def token_metrics(sums: np.ndarray) -> dict[str, float]:
    """`accuracy`, the share of tokens predicted right, and `perplexity`, of summed `COUNTS`.

    Of a masked language model both are of masked tokens, each predicted from all that is not masked.
    """
    right, tokens, surprise = sums
    if not tokens:
        return {"accuracy": math.nan, "perplexity": math.nan}
    return {"accuracy": float(right / tokens), "perplexity": float(np.exp(min(surprise / tokens, 100)))}


def most_likely(logits: Any, labels: Any) -> Any:
    """As `preprocess_logits_for_metrics` of a `Trainer`: the likeliest token, so that an evaluation keeps no logits."""
    return (logits[0] if isinstance(logits, tuple) else logits).argmax(-1)


def masked_accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """As `compute_metrics` of a `Trainer` with `most_likely`: the share of masked tokens that are predicted right."""
    labels: Any = prediction.label_ids
    chosen = labels >= 0
    right = (prediction.predictions == labels) & chosen
    return {"accuracy": float(right.sum() / max(1, chosen.sum()))}

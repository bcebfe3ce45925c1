"""Rerankers by their names."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.models.adapters import load_model
from hfdistill.models.heads import RANKS_CANDIDATES
from hfdistill.models.loading import load_tokenizer


def load_reranker(name: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """A cross-encoder, a sequence classifier of one output, and its tokenizer; its rows are queries with candidates.

    Of an encoder without that head a new one is made. That it ranks candidates is noted in its config, which no other
    library reads: what is saved loads as any cross-encoder, in `sentence_transformers.CrossEncoder` too.

    Args:
        name: A folder, or a name on the Hub.

    Raises:
        HubUnreachableError: when the Hub is needed and cannot be reached.
        OSError: when there is no such model.
        ValueError: when it has no tokenizer, or gives more than one score.
    """
    tokenizer = load_tokenizer(name)
    try:
        model = load_model(AutoModelForSequenceClassification, name, num_labels=1)
    except RuntimeError as error:
        raise ValueError(
            f"{name} is a classifier of several labels, and a reranker gives one score: name a cross-encoder, or "
            "an encoder without a head."
        ) from error
    return tokenizer, as_reranker(model)


def as_reranker(model: PreTrainedModel) -> PreTrainedModel:
    """Notes in the config of a sequence classifier of one output that its rows are queries with candidates.

    Raises:
        ValueError: for a model of several outputs.
    """
    config: Any = model.config
    if config.num_labels != 1:
        raise ValueError(f"a reranker gives one score, and this {type(model).__name__} gives {config.num_labels}.")
    setattr(config, RANKS_CANDIDATES, True)
    return model

"""Sentence encoders by their names."""

from __future__ import annotations

from typing import Any

from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.models.hub import hub_errors
from hfdistill.models.loading import load_tokenizer
from hfdistill.models.pooling import Pooling, max_length_in


def load_sentence_encoder(
    name: str, pooling: str | None = None, normalize: bool | None = None
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """An encoder that gives one embedding for a text, and its tokenizer, as a `sentence-transformers` folder says.

    The model is a plain `transformers` encoder; how it pools is noted in its config, by which trainer, teachers, soft
    targets and `compare` know that it gives embeddings.

    Args:
        name: A folder, or a name on the Hub.
        pooling: `mean`, `cls`, `max` or `lasttoken`; by default what `1_Pooling/config.json` says, else `mean`.
        normalize: Whether embeddings have length 1; by default what `modules.json` says, else not.

    Raises:
        HubUnreachableError: when the Hub is needed and cannot be reached.
        OSError: when there is no such model.
        ValueError: when it has no tokenizer, or does more than to pool and normalize.
    """
    tokenizer = load_tokenizer(name)
    with hub_errors(name):
        model = AutoModel.from_pretrained(name, trust_remote_code=False)
        found, length = Pooling.read(name), max_length_in(name)
    if length is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, length)
    return tokenizer, as_sentence_encoder(
        model, pooling or found.mode, found.normalize if normalize is None else normalize
    )


def as_sentence_encoder(model: PreTrainedModel, pooling: str = "mean", normalize: bool = True) -> PreTrainedModel:
    """Notes in an encoder's config how it makes one embedding of a text.

    Raises:
        ValueError: for a pooling that is none.
    """
    config: Any = model.config
    Pooling(pooling, normalize).set_in(config)
    return model

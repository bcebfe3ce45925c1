"""Causal language models: which token each of their logits is about, and where a padded text begins."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GenerationMixin, PreTrainedModel
from transformers.loss.loss_utils import ForCausalLMLoss

#: What marks a token without a label, as in `ForCausalLMLoss`.
IGNORED = -100

#: Models that write text and whose own loss compares the logits of a token with the label of that token: the lone
#: decoders of encoder-decoders, permuted and masked language models.
_UNSHIFTED = frozenset(
    f"{name}ForCausalLM"
    for name in (
        *("Bart", "BigBirdPegasus", "Blenderbot", "BlenderbotSmall", "CpmAnt", "MBart", "Marian", "Musicgen"),
        *("MusicgenMelody", "Mvp", "PLBart", "Pegasus", "ProphetNet", "TrOCR", "Whisper"),
    )
) | {"FlaubertWithLMHeadModel", "XLMWithLMHeadModel", "XLNetLMHeadModel"}


def predicts_next_token(model: Any) -> bool:
    """Whether a model's own loss compares the logits of each token with the label of the next, as GPT-2's does.

    Token classifiers and masked language models do not. Nor do the decoders that `transformers` cuts out of
    encoder-decoders (`BartForCausalLM`), whose labels are to be shifted by whoever makes them.
    """
    return _writes_on(model) and not takes_shifted_labels(model)


def takes_shifted_labels(model: Any) -> bool:
    """Whether a model writes a text on, and its own loss wants each label where the logits about it are."""
    inner = _inner(model)
    return _writes_on(model) and (
        inner.loss_function is not ForCausalLMLoss or any(base.__name__ in _UNSHIFTED for base in type(inner).__mro__)
    )


def _writes_on(model: Any) -> bool:
    inner = _inner(model)
    return isinstance(inner, PreTrainedModel) and not inner.config.is_encoder_decoder and inner.can_generate()


def next_token_batch(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch whose label at each token is the next one's; at the last token, and at padding, there is none.

    Padding on the left comes before a text, and does not predict its first token: whether there is any depends on what
    else is in a batch.

    Args:
        batch: With `labels` of shape `(batch, tokens)`, as for `transformers`, and `attention_mask` where it has any.
    """
    if batch.get("labels") is None:
        return {**batch, "labels": torch.full_like(batch["input_ids"], IGNORED)}
    labels = F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)
    if batch.get("attention_mask") is not None:
        labels = labels.masked_fill(batch["attention_mask"] == 0, IGNORED)
    return {**batch, "labels": labels}


def takes_positions(model: Any) -> bool:
    """Whether a causal language model needs `position_ids` for a text that is padded on the left.

    It does not where it numbers positions by itself (RoBERTa), in several dimensions, or has none.
    """
    if not predicts_next_token(model):
        return False
    inner = _inner(model)
    numbers_itself = any(hasattr(module, "create_position_ids_from_input_ids") for module in inner.modules())
    usual = GenerationMixin._prepare_position_ids_for_generation
    in_one_dimension = getattr(type(inner), "_prepare_position_ids_for_generation", None) is usual
    # Of the class: Accelerate replaces the model's own by one without a signature.
    taken = "position_ids" in inspect.signature(type(inner).forward).parameters
    return taken and in_one_dimension and not numbers_itself


def with_positions(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with positions that count from the first token of each text, as they do where it is generated."""
    mask: Tensor | None = inputs.get("attention_mask")
    if mask is None or mask.dim() != 2 or inputs.get("position_ids") is not None:
        return dict(inputs)
    before = (mask.cumsum(-1) == 0).sum(-1, keepdim=True)
    return {**inputs, "position_ids": (torch.arange(mask.shape[1], device=mask.device) - before).clamp_min(0)}


def _inner(model: Any) -> Any:
    """The model within adapters."""
    return getattr(model, "get_base_model", lambda: model)()

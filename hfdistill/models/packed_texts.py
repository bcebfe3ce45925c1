"""Several texts in one row: each attends to itself alone, and its positions begin anew.

Which token belongs to which text stands in `SEGMENT_IDS`; of it the model's attention mask and positions are made, so
that a text gives in a row with others what it gives alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hfdistill.models.wrappers import without_adapters

#: In rows and batches: the number of the text, from 1, that each token belongs to, `(batch, tokens)`; 0 for padding.
SEGMENT_IDS = "segment_ids"


def same_text(segments: Tensor) -> Tensor:
    """Which tokens are of the same text, bool of shape `(batch, tokens, tokens)`; padding is one with padding."""
    return segments[:, :, None] == segments[:, None, :]


def positions_in_texts(segments: Tensor) -> Tensor:
    """The place of each token in its text, from 0, shape `(batch, tokens)`."""
    places = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return places - (places * begins).cummax(1).values


def as_packed(model: Any, inputs: Mapping[str, Any], segments: Tensor) -> dict[str, Any]:
    """What an encoder is called with so that no text attends to another.

    Args:
        model: The encoder.
        inputs: What it reads of a batch.
        segments: As in `SEGMENT_IDS`.
    """
    inner = without_adapters(model)
    dtype = inner.dtype
    apart = ~same_text(segments)[:, None]
    mask = torch.zeros(apart.shape, dtype=dtype, device=segments.device).masked_fill(apart, torch.finfo(dtype).min)
    positions = positions_in_texts(segments) + _first_position(inner)
    return {**inputs, "attention_mask": mask, "position_ids": positions}


def _first_position(model: Any) -> int:
    """The number of a text's first position: RoBERTa's come after the padding index."""
    counting = (module for module in model.modules() if hasattr(module, "create_position_ids_from_input_ids"))
    return next((int(module.padding_idx) + 1 for module in counting), 0)


@torch.no_grad()
def check_packed(model: Any, inputs: Mapping[str, Any], segments: Tensor, who: str) -> None:
    """Refuses a model that does not read each text of a packed row as it reads it alone.

    Args:
        model: The encoder.
        inputs: What it reads of a batch, of which the row of most texts is looked at.
        segments: As in `SEGMENT_IDS`.
        who: What to call it.

    Raises:
        ValueError: naming the model's class.
    """
    inner = without_adapters(model)
    row = int(segments.amax(1).argmax())
    segments = segments[row : row + 1]
    read = {name: value[row : row + 1] for name, value in inputs.items() if name in ("input_ids", "token_type_ids")}
    training = inner.training
    inner.eval()
    try:
        apart = _most_apart(inner, read, segments)
    except (TypeError, ValueError, RuntimeError):
        apart = float("inf")
    finally:
        inner.train(training)
    if not apart < (1e-3 if inner.dtype == torch.float32 else 5e-2):
        raise ValueError(
            f"the {who}, a {type(inner).__name__}, does not keep the texts of a packed row apart (its hidden states "
            f"differ by {apart:.2g} from those of a text alone): leave packing off."
        )


def _most_apart(model: Any, inputs: Mapping[str, Tensor], segments: Tensor) -> float:
    """By how much the hidden states of a row's texts differ, at most, from those of each alone."""
    encoder, most = model.base_model, 0.0
    together = encoder(**as_packed(model, inputs, segments)).last_hidden_state
    for text in segments.unique().tolist():
        chosen = segments[0] == text
        if text:
            alone = encoder(**{name: value[:, chosen] for name, value in inputs.items()}).last_hidden_state
            most = max(most, float((together[:, chosen] - alone).float().abs().max()))
    return most

"""The sequence that a model's layers work on: tokens, patches of a picture, or frames of sound; and which of it counts.

How long it is must be known before a model is run, since losses are divided by the items of a whole optimizer step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hfdistill.models.inputs import main_input
from hfdistill.models.sound import FrameLengths
from hfdistill.models.wrappers import without_adapters

#: In a batch: which places of the sequence hold something, shape `(batch, places)`. Without it those of the tokens.
SEQUENCE_MASK = "sequence_mask"


class SequenceMasks:
    """The sequence mask of any batch that a model reads, before the model is run on it.

    Where the number of places follows from nothing else, as with patches of a picture, the model is run on one row of
    each new shape.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        self.model = without_adapters(model)
        self.main = main_input(model)
        self.frames = FrameLengths.of(model)
        self._places: dict[tuple[int, ...], int] = {}

    def __call__(self, batch: Mapping[str, Any]) -> Tensor:
        """The mask, shape `(batch, places)`.

        Raises:
            ValueError: for a model whose layers do not work on one sequence, such as a convolutional network.
        """
        mask = batch.get("attention_mask")
        if "inputs_embeds" in batch:
            embeds = batch["inputs_embeds"]
            return mask.bool() if mask is not None else embeds.new_ones(embeds.shape[:2], dtype=torch.bool)
        if self.frames is not None:
            return self.frames.mask(batch)
        read = batch[self.main]
        if read.shape[1:] not in self._places:
            self._places[read.shape[1:]] = self._count(read[:1])
        places = self._places[read.shape[1:]]
        if mask is not None and mask.shape[1] == places:
            return mask.bool()
        return torch.ones(len(read), places, dtype=torch.bool, device=read.device)

    @torch.no_grad()
    def _count(self, row: Tensor) -> int:
        model = self.model.get_encoder() if self.model.config.is_encoder_decoder else self.model
        was_training = model.training
        row = row.to(next(model.parameters()).dtype)
        output = model.eval()(**{self.main: row}, output_hidden_states=True)
        model.train(was_training)
        shapes = {tuple(state.shape) for state in output.hidden_states or ()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 3:
            raise no_sequence(self.model)
        return next(iter(shapes))[1]


def no_sequence(model: Any) -> ValueError:
    """What to raise where layers do not work on one sequence of equal width."""
    name = type(without_adapters(model)).__name__
    return ValueError(
        f"a {name} has no stack of layers that all work on one sequence of patches or frames, as a convolutional "
        "network has none: leave terms on layers out, and learn from logits (labels, soft_targets, decoupled)."
    )

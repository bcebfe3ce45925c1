"""What a term reads of a teacher, wherever it came from: a model, several of them, or stored soft targets."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from hfdistill.losses.sparse_distributions import SparseDistribution


@dataclass
class TeacherSignal:
    """A teacher's outputs for a batch, in the student's order of labels. What a term did not request is `None`.

    Args:
        logits: Shape `(batch, ..., classes)`.
        hidden_states: One tensor `(batch, tokens, width)` for the embeddings and one after each layer.
        attentions: One tensor `(batch, heads, tokens, tokens)` for each layer.
        queries: One tensor `(batch, tokens, width)` for each layer, all heads side by side.
        keys: Likewise.
        values: Likewise.
        encoder_hidden_states: Of an encoder-decoder, those of the encoder; likewise the other fields named so.
        decoder_hidden_states: Those of the decoder.
        sparse: In place of logits, a part of the distribution that they would give.
    """

    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    queries: tuple[Tensor, ...] | None = None
    keys: tuple[Tensor, ...] | None = None
    values: tuple[Tensor, ...] | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_queries: tuple[Tensor, ...] | None = None
    encoder_keys: tuple[Tensor, ...] | None = None
    encoder_values: tuple[Tensor, ...] | None = None
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_queries: tuple[Tensor, ...] | None = None
    decoder_keys: tuple[Tensor, ...] | None = None
    decoder_values: tuple[Tensor, ...] | None = None
    sparse: SparseDistribution | None = None

    @property
    def available(self) -> frozenset[str]:
        """The names of what there is."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) is not None)

    def logits_at(self, temperature: float) -> Tensor | None:
        """The logits whose softmax at this temperature is the target; of one teacher they are the same at any."""
        return self.logits

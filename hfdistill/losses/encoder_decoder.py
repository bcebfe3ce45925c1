"""Terms on one side of an encoder-decoder: its encoder's layers over the source, or its decoder's over the target."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from hfdistill.losses.attention import MiniLM
from hfdistill.losses.base import Batch, StudentOutput, Term
from hfdistill.losses.feature import Embeddings, HiddenStates
from hfdistill.losses.response import IGNORED
from hfdistill.losses.signal import TeacherSignal
from hfdistill.models.families import size_in

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class EncoderDecoderTerm(Term):
    """Shows the term it is put before one side of an encoder-decoder, as if it were a model of one stack of layers.

    An item is an attended source token on the encoder's side, and a target token with a label on the decoder's: each
    side is a mean over its own tokens.
    """

    side: ClassVar[str]

    def __init_subclass__(cls, side: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if side:
            cls.side = side
            cls.name = f"{side}_{cls.name}"
            cls.outputs = frozenset(f"{side}_{output}" for output in cls.outputs)
            cls.__doc__ = f"{cls.__doc__}\n\n{_details(cls, cls.__mro__[2])}"

    def bind(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        stacks: list[Any] = [SimpleNamespace(config=self._stack(model)) for model in (student, teacher)]
        super().bind(*stacks)

    def valid(self, batch: Batch) -> Tensor:
        return super().valid(self._tokens(batch))

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        student_side, teacher_side = (self._prediction(prediction) for prediction in (student, teacher))
        return super().forward(student_side, teacher_side, self._tokens(batch))

    def statistics(self, student: StudentOutput, teacher: TeacherSignal | None, valid: Tensor) -> Tensor:
        student_side, teacher_side = (self._prediction(prediction) for prediction in (student, teacher))
        return super().statistics(student_side, teacher_side, valid)

    def _stack(self, model: PreTrainedModel) -> Any:
        """The sizes of this side, under the names that a model of one stack has for them."""
        config: Any = model.config
        if not config.is_encoder_decoder:
            raise ValueError(
                f"the term {self.name!r} is for an encoder-decoder, and {type(model).__name__} is none: take "
                f"{self.name.removeprefix(f'{self.side}_')}."
            )
        layers, heads, width = (size_in(config, size, self.side) for size in ("layers", "heads", "width"))
        if layers is None or heads is None:
            raise ValueError(
                f"the config of {type(model).__name__} does not say how many layers and heads its {self.side} has, so "
                f"the term {self.name!r} cannot compare it: take a term on logits."
            )
        return SimpleNamespace(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads)

    def _prediction(self, prediction: Any) -> Any:
        kinds = {output: output.removeprefix(f"{self.side}_") for output in self.outputs}
        return SimpleNamespace(**{kind: getattr(prediction, output) for output, kind in kinds.items()})

    def _tokens(self, batch: Batch) -> Mapping[str, Tensor]:
        """The batch of this side: its token ids and which of them count."""
        if self.side == "encoder":
            return batch
        return {"input_ids": batch["labels"], "attention_mask": batch["labels"] != IGNORED}


def _details(sided: type[EncoderDecoderTerm], whole: type[Term]) -> str:
    """The docstring of a term on one side after its first line: what differs from the term on a whole model."""
    items = {"encoder": "a source token", "decoder": "a target token with a label"}[sided.side]
    references = str(inspect.getdoc(whole)).partition("References:")[2].partition("\n\n")[0]
    return (
        f"An item is {items}. Arguments are those of `{whole.__name__}`.\n\n"
        f"Returns: One loss for each token of the {sided.side}, shape `(batch, tokens)`.\n\n"
        f"References:{references}\n\n"
        f"Relations: `{whole.__name__}` on a model of one stack of layers.\n\n"
        f"Example:\n    >>> {sided.__name__}().name\n    {sided.name!r}\n"
    )


class EncoderHiddenStates(EncoderDecoderTerm, HiddenStates, side="encoder"):
    """As hidden_states, of the encoder's layers: `mean over layers of d(W h_s, h_t)`."""


class DecoderHiddenStates(EncoderDecoderTerm, HiddenStates, side="decoder"):
    """As hidden_states, of the decoder's layers (`decoder_layer_map`): `mean over layers of d(W h_s, h_t)`."""

    settings = {**HiddenStates.settings, "layer_map": "decoder_layer_map"}


class EncoderEmbeddings(EncoderDecoderTerm, Embeddings, side="encoder"):
    """As embeddings, of the encoder: `d(W e_s, e_t)`."""


class DecoderEmbeddings(EncoderDecoderTerm, Embeddings, side="decoder"):
    """As embeddings, of the decoder: `d(W e_s, e_t)`."""


class EncoderMiniLM(EncoderDecoderTerm, MiniLM, side="encoder"):
    """As minilm, of the encoder's last layer: `Σ KL` of queries, keys and values."""


class DecoderMiniLM(EncoderDecoderTerm, MiniLM, side="decoder"):
    """As minilm, of the self-attention of the decoder's last layer: `Σ KL` of queries, keys and values."""

"""Several translators as one, which writes by the mean of their probabilities."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from hfdistill.models.fingerprints import describe_model, hash_of, hash_of_vocabulary
from hfdistill.models.inputs import decoder_positions
from hfdistill.teachers.seq2seq import Seq2SeqTeacher

#: What members begin and end a text with.
_ENDS = ("decoder_start_token_id", "eos_token_id", "forced_bos_token_id")


class TranslatorEnsemble(PreTrainedModel, GenerationMixin):
    """Encoder-decoders of one vocabulary as one model, whose probability of each token is the mean of theirs.

    `generate` searches as with any model, each member with a cache of its own.

    Args:
        models: Two or more; the first one's generation config counts.

    Raises:
        ValueError: when they choose among other numbers of tokens, or begin or end texts with other ones.
    """

    # Each member has its own attention implementation.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init__(self, models: Sequence[PreTrainedModel]) -> None:
        _check_alike(models)
        # It reads and writes no more than any of them can.
        shortest = min(models, key=lambda model: decoder_positions(model.config) or math.inf)
        config: Any = copy.deepcopy(shortest.config)
        config.name_or_path = models[0].config.name_or_path
        super().__init__(config)
        self.models: Any = nn.ModuleList(models)
        self.generation_config = copy.deepcopy(models[0].generation_config)

    @property
    def members(self) -> list[Any]:
        """The models."""
        return list(self.models)

    @property
    def fingerprint_settings(self) -> dict[str, str]:
        """What tells it from an ensemble of other models with these weights."""
        members = [{**describe_model(model), "teacher weights": ""} for model in self.members]
        return {"teacher members": hash_of(members)}

    def get_input_embeddings(self) -> Any:
        """Those of the first member."""
        return self.members[0].get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        """Likewise."""
        return self.members[0].get_output_embeddings()

    def get_encoder(self, *_: Any, **__: Any) -> nn.Module:
        """All encoders; their states stand beside one another, `(batch, tokens, sum of widths)`."""
        return _Encoders(self.members)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        use_cache: bool = False,
        **_: Any,
    ) -> Seq2SeqLMOutput:
        """The logarithms of the mean probabilities as logits, `(batch, tokens, vocabulary)`, float32.

        Args:
            input_ids: Source tokens, `(batch, source tokens)`; not read where there are `encoder_outputs`.
            attention_mask: Likewise, 0 at padding.
            decoder_input_ids: Target tokens, `(batch, tokens)`; with a cache those behind what it knows.
            encoder_outputs: What the encoders made of the source.
            past_key_values: The members' caches, as the last call returned them; anything else begins new ones.
            use_cache: Whether there are caches.
        """
        if encoder_outputs is None:
            encoder_outputs = self.get_encoder()(input_ids, attention_mask)
        caches = None
        if use_cache:
            caches = past_key_values if isinstance(past_key_values, _Caches) else _Caches(self.members)
        states = encoder_outputs[0].split([_width(model) for model in self.members], dim=-1)
        each = []
        for number, (model, state) in enumerate(zip(self.members, states, strict=True)):
            output = model(
                encoder_outputs=BaseModelOutput(last_hidden_state=state.to(model.dtype)),
                attention_mask=attention_mask,
                decoder_input_ids=decoder_input_ids,
                past_key_values=None if caches is None else caches.each[number],
                use_cache=use_cache,
            )
            each.append(output.logits.float().log_softmax(-1))
        logits = torch.stack(each).logsumexp(0) - math.log(len(each))
        return Seq2SeqLMOutput(logits=logits, past_key_values=caches)


class _Encoders(nn.Module):
    def __init__(self, models: list[Any]) -> None:
        super().__init__()
        self._members = tuple(models)  # no modules of its own

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutput:
        read = {"input_ids": input_ids, "attention_mask": attention_mask, "return_dict": True}
        states = [model.get_encoder()(**read)[0] for model in self._members]
        return BaseModelOutput(last_hidden_state=torch.cat(states, dim=-1))


class _Caches(EncoderDecoderCache):
    """A cache for each member; `generate` asks it for its length, and to follow the beams."""

    def __init__(self, models: Sequence[Any]) -> None:
        super().__init__(DynamicCache(), DynamicCache())
        configs = [model.config.get_text_config(decoder=True) for model in models]
        self.each = [EncoderDecoderCache(DynamicCache(config=one), DynamicCache(config=one)) for one in configs]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return int(self.each[0].get_seq_length(layer_idx))

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        for cache in self.each:
            cache.reorder_cache(beam_idx)


def _width(model: Any) -> int:
    return int(model.config.get_text_config(encoder=True).hidden_size)


def translator_ensemble(teachers: Sequence[Seq2SeqTeacher]) -> Seq2SeqTeacher:
    """Several translators as one teacher.

    Args:
        teachers: Each a model, with its tokenizer where that is known.

    Raises:
        ValueError: unless they share one vocabulary; see `TranslatorEnsemble` for the rest.
    """
    tokenizers = [one.processing_class for one in teachers]
    known = {number: hash_of_vocabulary(one) for number, one in enumerate(tokenizers, start=1) if one is not None}
    first = next(iter(known), 0)
    for number, vocabulary in known.items():
        if vocabulary != known[first]:
            raise ValueError(_other_vocabulary(f"those of teacher {first} and teacher {number} differ"))
    models: list[Any] = [one.model for one in teachers]
    return Seq2SeqTeacher(TranslatorEnsemble(models), tokenizers[first - 1] if known else None)


def first_member(model: PreTrainedModel) -> PreTrainedModel:
    """The first of several translators; one alone is itself."""
    first: PreTrainedModel = model.members[0] if isinstance(model, TranslatorEnsemble) else model
    return first


def member_names(model: PreTrainedModel) -> str:
    """Where a translator was loaded from, or each of several."""
    members: list[Any] = model.members if isinstance(model, TranslatorEnsemble) else [model]
    return " and ".join(name for name in (one.config.name_or_path for one in members) if name)


def _check_alike(models: Sequence[Any]) -> None:
    sizes = [model.get_output_embeddings().weight.shape[0] for model in models]
    if len({*sizes}) > 1:
        raise ValueError(_other_vocabulary(f"they choose among {' and '.join(map(str, sizes))} tokens"))
    for name in _ENDS:
        found = [getattr(model.generation_config, name, None) for model in models]
        if any(one != found[0] for one in found):
            raise ValueError(
                f"the translators of an ensemble write token by token together, and their {name} differ: "
                f"{', '.join(map(str, found))}; set them alike in their generation configs."
            )


def _other_vocabulary(found: str) -> str:
    return (
        f"the translators of an ensemble average their probabilities of each token, so they must share one vocabulary, "
        f"and {found}: train them with one tokenizer, or let one of them translate alone."
    )

"""Encoder-decoders as teacher and student: what their decoders read, and what a teacher predicts for it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING,
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoModelForSpeechSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hfdistill.losses import IGNORED
from hfdistill.models.inputs import decoder_positions
from hfdistill.models.languages import language_tags
from hfdistill.teachers import ModelTeacher, Teacher, as_teacher


def decoder_inputs(model: Any, labels: Tensor) -> Tensor:
    """What the decoder reads for each target token: the labels, shifted right behind the model's start token.

    Args:
        model: The encoder-decoder whose shift and start token are used.
        labels: Target token ids, shape `(batch, tokens)`, -100 where there is none.

    Raises:
        ValueError: when the labels are empty, more than the model has positions for, or padded on the left, or the
            model's config lacks its start or padding token.
    """
    if not labels.shape[1]:
        raise ValueError("the labels of a whole batch are empty: a decoder has nothing to read; filter such rows out.")
    positions = decoder_positions(model.config)
    if positions is not None and labels.shape[1] > positions:
        raise ValueError(
            f"the labels of a batch are {labels.shape[1]} tokens long, more than the {positions} positions of the "
            f"{type(model).__name__}: tokenize the target texts with truncation=True and max_length={positions}."
        )
    if labels.device.type == "cpu":  # an accelerator would wait, and a batch was looked at before it was sent there
        check_label_padding(labels)
    shift = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if shift is not None:
        # A copy: FSMT puts its padding token where there is no label, in place.
        return shift(labels=labels.clone())
    start, padding = model.config.decoder_start_token_id, model.config.pad_token_id
    if start is None or padding is None:
        raise ValueError(f"the config of {type(model).__name__} lacks decoder_start_token_id or pad_token_id: set it.")
    shifted = torch.cat([labels.new_full((len(labels), 1), start), labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == IGNORED, padding)


def check_label_padding(labels: Tensor) -> None:
    """Refuses labels that are padded on the left, shape `(batch, tokens)`.

    Raises:
        ValueError: naming the row.
    """
    left_padded = (labels[:, :1] == IGNORED).any(1) & (labels != IGNORED).any(1)
    if left_padded.any():
        raise ValueError(
            f"the labels of row {int(left_padded.nonzero()[0])} of the batch begin with {IGNORED}: a decoder would "
            "read the padding as text. Pad on the right (tokenizer.padding_side = 'right'), or bring "
            "decoder_input_ids of your own."
        )


def check_label_starts(rows: Iterable[Sequence[int]], start: int | None) -> None:
    """Refuses transcripts that begin with the decoder's start token, which it would read twice.

    Args:
        rows: The labels of rows, or of a batch.
        start: The start token.

    Raises:
        ValueError: naming the row.
    """
    for number, labels in enumerate(rows):
        if len(labels) and labels[0] == start:
            raise ValueError(
                f"the labels of row {number} begin with the token {start}, which the decoder reads before them anyway: "
                "leave it out, as labels[1:] of what a Whisper's tokenizer makes of a text."
            )


class AutoEncoderDecoder:
    """Loads an encoder-decoder that writes texts, of what it reads or of what it hears (Whisper)."""

    @staticmethod
    def from_pretrained(name: str | os.PathLike[str], *, trust_remote_code: bool = False, **given: Any) -> Any:
        """As `from_pretrained` of `transformers`' classes."""
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        reads = type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
        hears = type(config) in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING and not reads
        auto: Any = AutoModelForSpeechSeq2Seq if hears else AutoModelForSeq2SeqLM
        return auto.from_pretrained(name, trust_remote_code=trust_remote_code, **given)


class Seq2SeqTeacher(ModelTeacher):
    """An encoder-decoder that predicts every target token, given the reference before it.

    It reads the student's tokens, so both share one vocabulary. Where it starts its decoder with another token than
    the student does, it gets its own; all later positions are the same for both.

    Args:
        model: The teacher.
        processing_class: Its tokenizer; where it is known the vocabularies are compared by name.
        text_columns: Not possible here: a teacher of another vocabulary has no logits for the student's tokens.
        dtype: The dtype to run in; `None` or `"auto"` keeps the model's own.

    Raises:
        ValueError: for a model that does not translate, or `text_columns`.
    """

    auto_class = AutoEncoderDecoder
    other_vocabulary = "let the teacher translate the training texts instead (pseudo_translations)."

    def __init__(
        self,
        model: PreTrainedModel,
        processing_class: PreTrainedTokenizerBase | None = None,
        text_columns: Sequence[str] | None = None,
        dtype: str | None = None,
    ) -> None:
        if not (model.config.is_encoder_decoder and model.can_generate()):
            raise ValueError(
                f"a {type(model).__name__} is no encoder-decoder with a language model's head: load the teacher with "
                "AutoModelForSeq2SeqLM."
            )
        if text_columns:
            raise ValueError(
                f"a teacher with a vocabulary of its own predicts none of the student's tokens: {self.other_vocabulary}"
            )
        super().__init__(model, processing_class, dtype=dtype)

    def align(self, student_config: Any) -> None:
        """Nothing to put in order: the predictions are tokens, not named labels."""

    def _read(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        shared, labels = batch["decoder_input_ids"], batch.get("labels")
        if labels is not None:
            shared = torch.cat([decoder_inputs(self.model, labels)[:, :1], shared[:, 1:]], dim=1)
        return {**self._source(batch), "decoder_input_ids": shared, "use_cache": False}

    def _source(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What its encoder reads: tokens, or sound or pictures as the student's."""
        if self.main_input in batch and self.main_input != "input_ids":
            return {name: batch[name] for name in (self.main_input, "attention_mask") if name in batch}
        return super()._read(batch)


def set_languages(model: PreTrainedModel, tokenizer: Any, source: str, target: str) -> None:
    """Makes a model of many languages (NLLB, mBART, M2M100) translate from one into another, from now on.

    Args:
        model: The model; its generation config is set to begin as the tokenizer's target texts do in training: with
            the target language behind the start token, or in its place (mBART-25).
        tokenizer: Its tokenizer, which marks texts with their language.
        source: The source language as the tokenizer writes it, such as `eng_Latn`, `en_XX` or `en`.
        target: The target language, likewise.

    Raises:
        ValueError: when the tokenizer knows no languages, or not one of these, or writes the target language where the
            model does not begin with it.
    """
    if not hasattr(tokenizer, "src_lang"):
        raise ValueError(f"a {type(tokenizer).__name__} knows no language tags: leave them out.")
    tags = {tag: _language_id(tokenizer, tag) for tag in (source, target)}
    tokenizer.src_lang, tokenizer.tgt_lang = source, target
    start, language = _beginning(model, tokenizer)
    if tags[target] not in (start, language):
        raise ValueError(
            f"the {type(tokenizer).__name__} writes {target!r} where a {type(model).__name__} does not begin: take the "
            "tokenizer that the teacher was trained with (for NLLB, one of legacy_behaviour=False)."
        )
    settings: Any = model.generation_config
    settings.decoder_start_token_id, settings.forced_bos_token_id = start, language


def languages_agree(model: PreTrainedModel, tokenizer: Any) -> bool:
    """Whether a model begins its translations as it begins its tokenizer's target texts in training.

    Always, where the tokenizer marks no languages. A model of many languages does after `set_languages`; otherwise it
    may be set to one target language and its tokenizer to another, or to none.
    """
    if not hasattr(tokenizer, "src_lang"):
        return True
    if getattr(tokenizer, "tgt_lang", None) is None:
        return False
    settings: Any = model.generation_config
    start = settings.bos_token_id if settings.decoder_start_token_id is None else settings.decoder_start_token_id
    return (start, settings.forced_bos_token_id) == _beginning(model, tokenizer)


def _beginning(model: PreTrainedModel, tokenizer: Any) -> tuple[int, int | None]:
    """What the decoder begins a target text with in training, and the language behind it where there is one."""
    labels = torch.tensor([tokenizer(text_target="a")["input_ids"]])
    first = int(labels[0, 0])
    language = first if first in _languages(tokenizer).values() else None
    return int(decoder_inputs(model, labels)[0, 0]), language


def _language_id(tokenizer: Any, tag: str) -> int:
    languages = _languages(tokenizer)
    for token in (tag, f"__{tag}__"):
        if token in languages:
            return languages[token]
    near = language_tags(tag, list(languages))
    known = f"it knows {', '.join([*languages][:8])}, ..." if languages else "its tokenizer lists none"
    known = f"it calls it {' or '.join(near)}" if near else known
    raise ValueError(f"the teacher has no language {tag!r}; {known} (see its model card).")


def _languages(tokenizer: Any) -> dict[str, int]:
    """The ids of all tokens that may be languages; ordinary pieces, such as "de", are none."""
    if hasattr(tokenizer, "get_lang_id"):  # M2M100's languages are neither in its vocabulary nor special tokens
        return {tag: tokenizer.get_lang_id(tag) for tag in tokenizer.lang_code_to_token}
    marked = dict.fromkeys([*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()])
    return {token: tokenizer.convert_tokens_to_ids(token) for token in marked if token.strip("<>[]") == token}


def check_translator(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Refuses a translator that cannot work, before anything is trained on its predictions.

    Args:
        model: The translator.
        tokenizer: Its tokenizer.
        max_length: The most tokens of a text on either side.

    Raises:
        ValueError: when its translations cannot end, the tokenizer is another model's, or texts may be longer than it
            has positions for.
    """
    settings: Any = model.generation_config
    end = settings.eos_token_id
    if end is None:
        raise ValueError(
            "the teacher's generation config has no eos_token_id, so that its translations could never end: set it in "
            "its generation_config.json."
        )
    ends = end if isinstance(end, list) else [end]
    if not set(ends) & set(tokenizer(text_target="a")["input_ids"]):
        raise ValueError(
            f"the teacher's tokenizer does not close a text with {tokenizer.convert_ids_to_tokens(ends)}, so that a "
            "student would never learn to end one: take the tokenizer that the teacher was trained with."
        )
    embeddings: Any = model.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise ValueError(
            f"the tokenizer has ids up to {largest} and the teacher embeddings for {rows} only: take the tokenizer "
            "that it was trained with, or resize it with resize_token_embeddings."
        )
    check_positions(model.config, max_length)


def check_positions(config: Any, max_length: int) -> None:
    """Refuses texts that may be longer than a translator of such a config has positions for.

    Raises:
        ValueError: with both numbers.
    """
    positions = decoder_positions(config)
    if positions is not None and max_length > positions:
        raise ValueError(f"max_length {max_length} is more than the {positions} positions of the teacher: lower it.")


def as_seq2seq_teacher(teacher: Any, dtype: str | None = None) -> Any:
    """A `Teacher` of target tokens from a model, a name or path, a `Teacher`, or `None`; a list of several from theirs.

    Raises:
        ValueError: for a model that does not translate.
        TypeError: for anything else.
    """
    if isinstance(teacher, (list, tuple)) and teacher:
        several = [as_seq2seq_teacher(one, dtype) for one in teacher]
        return several if len(several) > 1 else several[0]
    if isinstance(teacher, (str, os.PathLike)):
        return Seq2SeqTeacher.from_pretrained(teacher, dtype=dtype)
    if isinstance(teacher, PreTrainedModel):
        return Seq2SeqTeacher(teacher, dtype=dtype)
    if isinstance(teacher, ModelTeacher) and not isinstance(teacher, Seq2SeqTeacher):
        return Seq2SeqTeacher(teacher.model, teacher.processing_class, teacher.text_columns, dtype)
    return as_teacher(teacher, dtype)


def check_output_sizes(teacher: Teacher | None, student: Any) -> None:
    """Refuses a teacher whose distributions are over another number of tokens than the student's.

    Raises:
        ValueError: naming both numbers.
    """
    for member in () if teacher is None else teacher.members:
        if isinstance(member, ModelTeacher) and member.head.gives_logits:
            _check_output_size(member.model, student)


def _check_output_size(teacher: Any, student: Any) -> None:
    sizes = [model.get_output_embeddings().weight.shape[0] for model in (teacher, student)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"the teacher chooses among {sizes[0]} tokens and the student among {sizes[1]}: word by word they must "
            "share one vocabulary. If one is only padded, resize it with resize_token_embeddings; otherwise take a "
            "teacher of the student's (of a translator let it translate the training texts: pseudo_translations)."
        )

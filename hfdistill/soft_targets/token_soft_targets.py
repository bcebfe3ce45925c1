"""Precomputed soft targets of target tokens: word-level distillation without the teacher at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, TypeVar

from datasets import Dataset, DatasetDict, Features, Value
from torch import nn
from transformers import AutoModelForMaskedLM

from hfdistill.data.rows import as_dataset
from hfdistill.data.streamed import streamed_dataset, with_columns
from hfdistill.losses.divergences import TEMPERATURE
from hfdistill.losses.sparse_distributions import METHODS
from hfdistill.models.adapters import load_config
from hfdistill.models.heads import VocabularyHead, head_of
from hfdistill.soft_targets.packing import pack_row
from hfdistill.soft_targets.sound_token_targets import SoundTokenTargetMaker
from hfdistill.soft_targets.token_target_makers import TextTargetMaker, TokenTargetMaker
from hfdistill.teachers import SOFT_TARGETS, TEACHER_TOKENS, LanguageModelTeacher, ModelTeacher
from hfdistill.teachers.seq2seq import Seq2SeqTeacher, as_seq2seq_teacher

#: Raised when rows carry them otherwise, so that none that were written before are taken for them.
_VERSION = 1

AnyDataset = TypeVar("AnyDataset", Dataset, DatasetDict)


def token_soft_targets(
    teacher: Any,
    dataset: AnyDataset,
    processing_class: Any = None,
    *,
    k: int = 50,
    method: str = "sampled",
    temperature: float = TEMPERATURE,
    batch_size: int | None = None,
    dtype: str | None = None,
    store: str | os.PathLike[str] | None = None,
) -> AnyDataset:
    """Precomputes a teacher's distribution at every target token; a part of it is kept in a column `teacher_tokens`.

    | method | keeps | what a student learns from it |
    |---|---|---|
    | `sampled` | k samples of the teacher's distribution, counted | unbiased: in expectation the whole divergence |
    | `top_k` | the k likeliest tokens, and the mass of all others | biased: nothing of how that mass is spread |

    (`hfdistill.losses.sparse_distributions` has the formulas.) Both serve the divergences `forward_kl` and `ce`, at the
    temperature they were made at and no other.

    As with `soft_targets` each distinct row is computed once, all processes of `accelerate launch` share the work,
    and the predictions are kept on disk under what they depend on, so that a killed call goes on where it was. The
    samples follow from the row alone: however often and by how many processes they are taken, they are the same.

    Args:
        teacher: An encoder-decoder, a causal or a masked language model, a name or path, or a `Teacher` of one.
        dataset: Tokenized rows with `input_ids` and `labels`, or a dict of splits; for a teacher that hears (Whisper)
            with `input_features` in place of tokens. Of a causal language model rows without labels have their own
            tokens; of a masked one, the labels are at the tokens that are masked, the same in all epochs
            (`dataset.map(MaskedTextCollator(...).masked)`).
        processing_class: The tokenizer of those rows, or a processor with it, which is the student's. The teacher's
            own, where it brings one, must know the same tokens, and may number them otherwise; what either model has
            beyond them, such as padding of its output to a round size, is no token and gets no probability.
        k: Entries, or samples, a token.
        method: `sampled` or `top_k`.
        temperature: That of the training to come; the default is that of `Seq2SeqDistillationTrainingArguments`.
        batch_size: The most rows a process gives the teacher at once. Default: as many as its device computes well,
            by their tokens and the memory that is free.
        dtype: The dtype to run the teacher in, such as `bfloat16`; default its own.
        store: The folder to keep the predictions in. Default: one in the Hugging Face cache, named by what they depend
            on.

    Raises:
        ValueError: when a tokenizer, `labels` or `input_ids` are missing, the vocabularies differ or are two (one for
            each side), an argument is out of its range, or a row's labels are empty or more than the teacher has
            positions for, or its prediction for them is not finite (naming the row).
        StaleSoftTargets: when `store` holds those of another teacher or other settings, saying what differs.
    """
    given = _readable(teacher, dtype)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
    processing_class = getattr(processing_class, "tokenizer", processing_class)
    own = given.processing_class or processing_class
    if own is None:
        raise ValueError("token_soft_targets needs the tokenizer of the rows: pass processing_class=tokenizer.")
    if any(getattr(tokenizer, "separate_vocabs", False) for tokenizer in (own, processing_class)):
        raise ValueError(
            "the tokenizer has a vocabulary for each side (separate_vocabs), and stored predictions know one alone: "
            "pass the teacher to the trainer, which runs it in every step."
        )
    writes, hears = isinstance(given, Seq2SeqTeacher), given.main_input != "input_ids"
    maker_class = SoundTokenTargetMaker if hears else TokenTargetMaker if writes else TextTargetMaker
    teacher_class = Seq2SeqTeacher if writes else ModelTeacher
    settings = (method, k, temperature)
    maker = maker_class(teacher_class(given.model, own), processing_class or own, settings, batch_size, store)
    return _over_splits(maker, dataset)


def _readable(teacher: Any, dtype: str | None) -> ModelTeacher:
    """The teacher as it is run: an encoder-decoder, or a language model, which predicts the tokens of its own text."""
    if isinstance(teacher, (str, os.PathLike)):
        config: Any = load_config(teacher)
        if not config.is_encoder_decoder:
            fills_masks = any(head.endswith("ForMaskedLM") for head in config.architectures or ())
            teacher_class = MaskedTeacher if fills_masks else LanguageModelTeacher
            return teacher_class.from_pretrained(teacher, dtype=dtype)
    model = teacher.model if isinstance(teacher, ModelTeacher) else teacher
    if isinstance(model, nn.Module) and isinstance(head_of(model), VocabularyHead):
        own = teacher if isinstance(teacher, ModelTeacher) else ModelTeacher(model)
        own.cast(dtype)
        return own
    given = as_seq2seq_teacher(teacher, dtype)
    if not isinstance(given, Seq2SeqTeacher):
        raise ValueError(
            f"token_soft_targets runs one model, given by object, name or path, not {type(given).__name__}."
        )
    return given


class MaskedTeacher(ModelTeacher):
    """A masked language model by its name."""

    auto_class = AutoModelForMaskedLM


def _over_splits(maker: TokenTargetMaker, dataset: Any) -> Any:
    if isinstance(dataset, dict):
        return type(dataset)({name: _over_splits(maker, split) for name, split in dataset.items()})
    dataset = as_dataset(dataset)
    if not isinstance(dataset, Dataset):
        raise ValueError(f"token_soft_targets takes a Dataset or a dict of them, not a {type(dataset).__name__}.")
    for _ in maker.targets(dataset):  # what is wrong with a row is said before the teacher is run
        pass
    keys = maker.keys_of(dataset)

    def carried() -> Iterator[tuple[bytes]]:
        for labels, entries in zip(maker.targets(dataset), maker.store.each(keys), strict=True):
            yield (pack_row(maker.made, labels, entries.as_py()),)

    features = Features({TEACHER_TOKENS: Value("large_binary")})
    column = streamed_dataset(carried, features, {**maker.store.content(keys), "version": _VERSION})
    return with_columns(dataset.remove_columns([name for name in SOFT_TARGETS if name in dataset.column_names]), column)

"""Precomputed soft targets of target tokens: word-level distillation without the teacher at hand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset, DatasetDict, Value
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.data.rows import as_dataset
from hfdistill.losses import IGNORED
from hfdistill.losses.divergences import TEMPERATURE, log_probabilities
from hfdistill.losses.sparse_distributions import METHODS, Entries
from hfdistill.models.deferred_logits import chunked_logits
from hfdistill.models.inputs import TokenReader, main_input, max_positions, pad_batch
from hfdistill.models.vocabularies import same_tokens, vocabulary_key
from hfdistill.soft_targets.packing import TargetFormat, pack_entries, pack_row
from hfdistill.soft_targets.precompute import KnownRows, SoftTargetMaker
from hfdistill.soft_targets.store import KEY_BYTES, SoftTargetStore
from hfdistill.teachers import SOFT_TARGETS, TEACHER_TOKENS
from hfdistill.teachers.seq2seq import Seq2SeqTeacher, as_seq2seq_teacher, decoder_inputs

AnyDataset = TypeVar("AnyDataset", Dataset, DatasetDict)


def token_soft_targets(
    teacher: Any,
    dataset: AnyDataset,
    processing_class: PreTrainedTokenizerBase | None = None,
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
        teacher: An encoder-decoder, a name or path, or a `Seq2SeqTeacher`.
        dataset: Tokenized rows with `input_ids` and `labels`, or a dict of splits.
        processing_class: The tokenizer of those rows, which is the student's. The teacher's own, where it brings one,
            must know the same tokens, and may number them otherwise; what either model has beyond them, such as
            padding of its output to a round size, is no token and gets no probability.
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
    given = as_seq2seq_teacher(teacher, dtype)
    if not isinstance(given, Seq2SeqTeacher):
        raise ValueError(
            f"token_soft_targets runs one model, given by object, name or path, not {type(given).__name__}."
        )
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
    if main_input(given.model) != "input_ids":
        raise ValueError(
            f"token_soft_targets runs models that read text, and a {type(given.model).__name__} reads "
            f"{main_input(given.model)}: pass it as the teacher of a Seq2SeqDistillationTrainer, to be run in every "
            "step, or let it write with pseudo_transcripts."
        )
    own = given.processing_class or processing_class
    if own is None:
        raise ValueError("token_soft_targets needs the tokenizer of the rows: pass processing_class=tokenizer.")
    if any(getattr(tokenizer, "separate_vocabs", False) for tokenizer in (own, processing_class)):
        raise ValueError(
            "the tokenizer has a vocabulary for each side (separate_vocabs), and stored predictions know one alone: "
            "pass the teacher to the trainer, which runs it in every step."
        )
    maker = TokenTargetMaker(
        Seq2SeqTeacher(given.model, own), processing_class or own, (method, k, temperature), batch_size, store
    )
    return _over_splits(maker, dataset)


def _over_splits(maker: TokenTargetMaker, dataset: Any) -> Any:
    if isinstance(dataset, dict):
        return type(dataset)({name: _over_splits(maker, split) for name, split in dataset.items()})
    dataset = as_dataset(dataset)
    if not isinstance(dataset, Dataset):
        raise ValueError(f"token_soft_targets takes a Dataset or a dict of them, not a {type(dataset).__name__}.")
    missing = [name for name in ("input_ids", "labels") if name not in dataset.column_names]
    if missing or "decoder_input_ids" in dataset.column_names:
        raise ValueError(
            f"a teacher is run on rows with input_ids and labels, and makes its decoder's inputs of the labels; "
            f"the columns are {', '.join(dataset.column_names)}."
        )
    rows = dataset.with_format(None)["labels"]
    _check_labels(rows, max_positions(maker.teacher.model.get_decoder()))
    entries = maker.of_dataset(dataset)
    carried = [pack_row(maker.made, labels, packed) for labels, packed in zip(rows, entries.to_pylist(), strict=True)]
    dataset = dataset.remove_columns([column for column in SOFT_TARGETS if column in dataset.column_names])
    return dataset.add_column(TEACHER_TOKENS, carried, feature=Value("large_binary"))


def _check_labels(rows: Iterable[Sequence[int]], positions: int) -> None:
    for row, labels in enumerate(rows):
        if not labels:
            raise ValueError(f"row {row} has no labels: a decoder has nothing to read; filter such rows out.")
        tokens = len(_without_padding(labels))
        if tokens > positions:
            raise ValueError(
                f"the labels of row {row} are {tokens} tokens, more than the {positions} positions of the teacher's "
                f"decoder: tokenize the target texts with truncation=True and max_length={positions}."
            )


@dataclass(frozen=True)
class PairReader:
    """What a teacher reads of a row with a target: the source, and the labels without padding, in its own ids.

    Args:
        source: Reads the source.
        own_ids: The teacher's id of each of the rows' ids; `None` when they are the same.
    """

    source: TokenReader
    own_ids: tuple[int, ...] | None = None

    def __call__(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The token columns, `labels`, and `cut`, as from a `TokenReader`."""
        labels = [self._translated(_without_padding(row)) for row in rows["labels"]]
        source = {**rows, "input_ids": [self._translated(row) for row in rows["input_ids"]]}
        return {**self.source(source), "labels": labels}

    def _translated(self, ids: Sequence[int]) -> list[int]:
        if self.own_ids is None:
            return list(ids)
        return [self.own_ids[id_] if id_ != IGNORED else IGNORED for id_ in ids]


def _without_padding(labels: Sequence[int]) -> Sequence[int]:
    # One label stays, so that a decoder has something to read.
    end = len(labels)
    while end > 1 and labels[end - 1] == IGNORED:
        end -= 1
    return labels[:end]


class _TokenTargetStore(SoftTargetStore):
    """Predictions of unequal length, as an Arrow array of bytes."""

    what = "token soft targets"

    def to_arrays(self, predictions: pa.Array) -> dict[str, np.ndarray]:
        lengths = pc.binary_length(predictions).to_numpy()
        return {"answers": np.frombuffer(b"".join(predictions.to_pylist()), np.uint8), "lengths": lengths}

    def from_arrays(self, part: Mapping[str, np.ndarray]) -> pa.Array:
        offsets = np.append(0, part["lengths"].cumsum()).astype(np.int64)
        if offsets[-1] != len(part["answers"]) or (np.diff(offsets) < 0).any():
            raise ValueError("its lengths are not those of its predictions")
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(part["answers"])]
        return pa.Array.from_buffers(pa.large_binary(), len(part["lengths"]), buffers)

    def joined(self, predictions: Sequence[pa.Array]) -> pa.Array:
        return pa.concat_arrays(predictions)

    def taken(self, predictions: pa.Array, places: np.ndarray) -> pa.Array:
        return predictions.take(pa.array(places))


class TokenTargetMaker(SoftTargetMaker):
    """Parts of distributions in place of logits; a prediction is the packed entries of a row's target tokens."""

    description = "Token soft targets"
    store_class = _TokenTargetStore

    def __init__(
        self,
        teacher: Seq2SeqTeacher,
        tokenizer: PreTrainedTokenizerBase,
        settings: tuple[str, int, float],
        batch_size: int | None,
        store: str | os.PathLike[str] | None,
    ) -> None:
        assert teacher.processing_class is not None
        self.ids, self.own_ids = same_tokens(teacher.processing_class, tokenizer)
        outputs, classes = teacher.model.get_output_embeddings().weight.shape[0], int(self.ids.max()) + 1
        if self.own_ids.max() >= outputs:
            raise ValueError(f"the teacher chooses among {outputs} tokens, fewer than its tokenizer's {len(self.ids)}.")
        method, k, temperature = settings
        if k not in range(1, 2**16):
            raise ValueError(f"k must be a whole number from 1 to {2**16 - 1}; got {k}.")
        # There are no more likeliest tokens than tokens, and any number of samples.
        k = min(int(k), len(self.ids)) if method == "top_k" else int(k)
        self.made = TargetFormat(method, k, float(temperature), classes, vocabulary_key(tokenizer))
        super().__init__(teacher, batch_size, store)

    @property
    def reader(self) -> PairReader:
        if (self.ids == self.own_ids).all():
            return PairReader(self.teacher.reader)
        own_ids = np.full(self.made.classes, -1)
        own_ids[self.ids] = self.own_ids
        return PairReader(self.teacher.reader, tuple(own_ids.tolist()))

    def read(self, dataset: Dataset) -> Dataset:
        return self.mapped(dataset.with_format(None))

    def manifest(self) -> dict[str, Any]:
        made = {**self.made._asdict(), "vocabulary": self.made.vocabulary.hex()}
        return {**super().manifest(), **made}

    def inputs(self, rows: KnownRows, some: np.ndarray) -> dict[str, Any]:
        columns, _ = self.columns(rows.tokens[some])
        self.check_token_ids(columns, some)
        labels = columns.pop("labels")
        # Padding on the left would shift the texts' positions, each by what else is in the batch.
        batch = pad_batch(self.tokenizer, columns, "right")
        batch["labels"] = torch.from_numpy(labels.padded(int(labels.lengths.max()), IGNORED))
        offsets = (_offsets(key, count) for key, count in zip(rows.keys[some], _counts(batch["labels"]), strict=True))
        return {**batch, "rows": some, "offsets": torch.cat(list(offsets))}

    def forward(self, model: PreTrainedModel, inputs: dict[str, Any]) -> pa.Array:
        """The packed entries of each row's target tokens."""
        inputs = dict(inputs)
        rows, offsets, labels = inputs.pop("rows"), inputs.pop("offsets"), inputs.pop("labels")
        inputs |= {"decoder_input_ids": decoder_inputs(model, labels), "use_cache": False}
        wanted = labels != IGNORED
        parts, done = [], 0
        for logits in chunked_logits(model.eval(), inputs, wanted):
            self._check_finite(logits, wanted, done, rows)
            parts.append(self._keep(logits, offsets[done : done + len(logits)]))
            done += len(logits)
        each = Entries.joined(parts).split(wanted.sum(1).tolist())
        return pa.array([pack_entries(self.made, entries) for entries in each], pa.large_binary())

    def check(self, rows: KnownRows, some: np.ndarray, predictions: Any) -> None:
        """Each chunk of logits has been looked at."""

    def _keep(self, logits: Tensor, offsets: Tensor) -> Entries:
        """A part of each distribution, over the tokens that have a name, in the order of the rows' ids."""
        named = logits.new_full((len(logits), self.made.classes), -torch.inf)
        named[:, self.ids] = logits[:, self.own_ids]
        log_p = log_probabilities(named, self.made.temperature)
        return METHODS[self.made.method].keep(log_p, self.made.k, offsets)

    def _check_finite(self, logits: Tensor, wanted: Tensor, done: int, rows: Sequence[int]) -> None:
        broken = (~logits.isfinite().all(-1)).nonzero()
        if len(broken):
            row = rows[int(wanted.nonzero()[done + int(broken[0]), 0])]
            raise ValueError(
                f"the teacher's logits for row {row} are not finite: look at its texts and at the teacher's weights, "
                "or run it with dtype='float32'."
            )


def _counts(labels: Tensor) -> list[int]:
    return (labels != IGNORED).sum(1).tolist()


def _offsets(key: bytes, count: int) -> Tensor:
    """A random number in [0, 1) for each target token, that follows from what the teacher reads."""
    numbers = np.random.default_rng(int.from_bytes(key.ljust(KEY_BYTES, b"\0"), "big"))
    return torch.from_numpy(numbers.random(count))

"""Running a teacher for its distributions at target tokens: of encoder-decoders, and of language models' own texts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.data.streamed import row_tuples
from hfdistill.losses import IGNORED
from hfdistill.losses.divergences import log_probabilities
from hfdistill.losses.sparse_distributions import METHODS, Entries
from hfdistill.models.deferred_logits import chunked_logits
from hfdistill.models.heads import NextTokenHead
from hfdistill.models.inputs import TokenReader, decoder_positions, max_positions, pad_batch
from hfdistill.models.ragged import Ragged
from hfdistill.models.vocabularies import same_tokens, vocabulary_key
from hfdistill.soft_targets.packing import TargetFormat, pack_entries
from hfdistill.soft_targets.precompute import KnownRows, SoftTargetMaker
from hfdistill.soft_targets.store import KEY_BYTES, UnequalStore
from hfdistill.teachers import ModelTeacher
from hfdistill.teachers.base import advice_on_precision
from hfdistill.teachers.seq2seq import decoder_inputs


def _checked_labels(dataset: Dataset, positions: int) -> Iterator[Sequence[int]]:
    for row, (labels,) in enumerate(row_tuples(dataset, ["labels"])):
        if not labels:
            raise ValueError(f"row {row} has no labels: a decoder has nothing to read; filter such rows out.")
        tokens = len(_without_padding(labels))
        if tokens > positions:
            raise ValueError(
                f"the labels of row {row} are {tokens} tokens, more than the {positions} positions of the teacher's "
                f"decoder: tokenize the target texts with truncation=True and max_length={positions}."
            )
        yield labels


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
        labels = [self.target(row) for row in rows["labels"]]
        source = {**rows, "input_ids": [self._translated(row) for row in rows["input_ids"]]}
        return {**self.source(source), "labels": labels}

    def target(self, labels: Sequence[int]) -> list[int]:
        """The labels of a row without padding, in the teacher's ids."""
        return self._translated(_without_padding(labels))

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


class _TokenTargetStore(UnequalStore):
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
        teacher: ModelTeacher,
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
        self._padding = tokenizer.pad_token_id
        method, k, temperature = settings
        if k not in range(1, 2**16):
            raise ValueError(f"k must be a whole number from 1 to {2**16 - 1}; got {k}.")
        # There are no more likeliest tokens than tokens, and any number of samples.
        k = min(int(k), len(self.ids)) if method == "top_k" else int(k)
        self.made = TargetFormat(method, k, float(temperature), classes, vocabulary_key(tokenizer))
        super().__init__(teacher, batch_size, store)

    @property
    def logits_by_token(self) -> bool:
        return False  # but parts of distributions

    @property
    def reader(self) -> PairReader:
        if (self.ids == self.own_ids).all():
            return PairReader(self.teacher.reader)
        own_ids = np.full(self.made.classes, -1)
        own_ids[self.ids] = self.own_ids
        return PairReader(self.teacher.reader, tuple(own_ids.tolist()))

    def read(self, dataset: Dataset) -> Dataset:
        return self.mapped(dataset.with_format(None))

    def targets(self, dataset: Dataset) -> Iterator[Sequence[int]]:
        """The target tokens of each row, −100 where there is none, read a few rows at a time.

        Raises:
            ValueError: when a column is missing, or a row has no labels or too many.
        """
        source = self.teacher.main_input
        missing = [name for name in (source, "labels") if name not in dataset.column_names]
        if missing or "decoder_input_ids" in dataset.column_names:
            raise ValueError(
                f"a teacher is run on rows with {source} and labels, and makes its decoder's inputs of the labels; "
                f"the columns are {', '.join(dataset.column_names)}."
            )
        model: Any = self.teacher.model
        positions = min(max_positions(model.get_decoder()), decoder_positions(model.config) or sys.maxsize)
        return _checked_labels(dataset, positions)

    def manifest(self) -> dict[str, Any]:
        made = {**self.made._asdict(), "vocabulary": self.made.vocabulary.hex()}
        return {**super().manifest(), **made}

    def inputs(self, rows: KnownRows, some: np.ndarray) -> dict[str, Any]:
        columns, _ = self.columns(rows.tokens[some])
        self.check_token_ids(columns, some)
        labels = columns.pop("labels")
        # Padding on the left would shift the texts' positions, each by what else is in the batch.
        return self._with_targets(pad_batch(self.tokenizer, columns, "right"), labels, rows.keys[some], some)

    @staticmethod
    def _with_targets(batch: Mapping[str, Any], labels: Ragged, keys: np.ndarray, some: np.ndarray) -> dict[str, Any]:
        """What an encoder reads of a batch, with the labels of the rows, their numbers, and chance for each label."""
        targets = torch.from_numpy(labels.padded(int(labels.lengths.max()), IGNORED))
        offsets = (_offsets(key, count) for key, count in zip(keys, _counts(targets), strict=True))
        return {**batch, "labels": targets, "rows": some, "offsets": torch.cat(list(offsets))}

    def forward(self, model: PreTrainedModel, inputs: dict[str, Any]) -> pa.Array:
        """The packed entries of each row's target tokens."""
        inputs = dict(inputs)
        rows, offsets, labels = inputs.pop("rows"), inputs.pop("offsets"), inputs.pop("labels")
        inputs |= {"decoder_input_ids": decoder_inputs(model, labels), "use_cache": False}
        return self._packed(model, inputs, labels, rows, offsets)

    def _packed(
        self, model: PreTrainedModel, inputs: dict[str, Any], labels: Tensor, rows: Sequence[int], offsets: Tensor
    ) -> pa.Array:
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
                f"the teacher's logits for row {row} are not finite: "
                f"{advice_on_precision(self.teacher.model.dtype, 'dtype')}"
            )


@dataclass(frozen=True)
class TextReader(PairReader):
    """What a language model reads of a row, its text, and the token that each of its predictions is about.

    Args:
        next_token: Whether that is the next one.
        padding: The id of padding, which is no target.
    """

    next_token: bool = False
    padding: int | None = None

    def __call__(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The token columns, `labels` of each token, and `cut`, as from a `TokenReader`."""
        ids = [self._translated(row) for row in rows["input_ids"]]
        read = {name: values for name, values in rows.items() if name != "labels"}
        return {
            **self.source({**read, "input_ids": ids}),
            "labels": [self._translated(row) for row in self.labels(rows)],
        }

    def labels(self, rows: Mapping[str, Sequence[Any]]) -> list[list[int]]:
        """The token that each prediction is about, −100 for none, in the rows' ids."""
        if "labels" in rows:
            labels = [list(row) for row in rows["labels"]]
        else:  # as `DataCollatorForLanguageModeling` makes them
            labels = [[IGNORED if id_ == self.padding else id_ for id_ in row] for row in rows["input_ids"]]
        return [[*row[1:], IGNORED] for row in labels] if self.next_token else labels


class TextTargetMaker(TokenTargetMaker):
    """The same of a language model, causal or masked, at the tokens of its own text."""

    @property
    def reader(self) -> TextReader:
        pair = super().reader
        next_token = isinstance(self.teacher.head, NextTokenHead)
        return TextReader(pair.source, pair.own_ids, next_token, self._padding)

    def targets(self, dataset: Dataset) -> Iterator[Sequence[int]]:
        next_token = isinstance(self.teacher.head, NextTokenHead)
        missing = {"input_ids", *(() if next_token else ("labels",))} - {*dataset.column_names}
        if missing:
            raise ValueError(
                f"a {type(self.teacher.model).__name__} predicts tokens of input_ids, and the rows have no "
                f"{', '.join(missing)}, only {', '.join(dataset.column_names)}: of a masked language model make labels "
                "with dataset.map(MaskedTextCollator(tokenizer).masked)."
            )
        names = [name for name in ("input_ids", "labels", "attention_mask") if name in dataset.column_names]
        return self._checked_texts(dict(zip(names, row, strict=True)) for row in row_tuples(dataset, names))

    def _checked_texts(self, rows: Iterable[Mapping[str, Sequence[int]]]) -> Iterator[Sequence[int]]:
        labels_of = self.reader.labels
        for number, row in enumerate(rows):
            if not all(row.get("attention_mask", ())):
                raise ValueError(
                    f"row {number} is padded (its attention_mask has zeros): tokenize all rows without padding."
                )
            ids = row["input_ids"]
            [labels] = labels_of({name: [values] for name, values in row.items()})
            if len(ids) != len(labels):
                raise ValueError(
                    f"row {number} has {len(ids)} input_ids and {len(labels)} labels: there is one for each."
                )
            if len(ids) > self.teacher.max_length:
                raise ValueError(
                    f"row {number} has {len(ids)} tokens, and the teacher reads {self.teacher.max_length}: cut long "
                    "texts into several rows, as text_rows does."
                )
            yield labels

    def forward(self, model: PreTrainedModel, inputs: dict[str, Any]) -> pa.Array:
        inputs = dict(inputs)
        rows, offsets, labels = inputs.pop("rows"), inputs.pop("offsets"), inputs.pop("labels")
        return self._packed(model, inputs, labels, rows, offsets)


def _counts(labels: Tensor) -> list[int]:
    return (labels != IGNORED).sum(1).tolist()


def _offsets(key: bytes, count: int) -> Tensor:
    """A random number in [0, 1) for each target token, that follows from what the teacher reads."""
    numbers = np.random.default_rng(int.from_bytes(key.ljust(KEY_BYTES, b"\0"), "big"))
    return torch.from_numpy(numbers.random(count))

"""A teacher's distributions at a row's target tokens as bytes, and how a batch reads them.

A row carries all that is needed to read it: how it was made, at which temperature, over which vocabulary, and for which
target tokens. So rows may be shuffled, filtered, saved and put together; rows that do not fit are refused.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hfdistill.losses import IGNORED
from hfdistill.losses.sparse_distributions import METHODS, Entries
from hfdistill.models.heads import Head
from hfdistill.models.vocabularies import vocabulary_key
from hfdistill.teachers import TEACHER_TOKENS
from hfdistill.teachers.seq2seq import check_label_padding

_CODES = list(METHODS)


class TargetFormat(NamedTuple):
    """How predictions were made: the same in all rows that may share a batch.

    Args:
        method: One of `METHODS`.
        k: Entries or samples a token.
        temperature: That of the teacher's distributions.
        classes: How many tokens its predictions are about.
        vocabulary: The `vocabulary_key` of what their ids mean.
    """

    method: str
    k: int
    temperature: float
    classes: int
    vocabulary: bytes

    def __str__(self) -> str:
        return f"{self.method} with k={self.k} at temperature {self.temperature:g} of {self.classes} tokens"

    @property
    def bits(self) -> int:
        """How many bits an id takes."""
        return max(1, (self.classes - 1).bit_length())


#: Method, k, temperature, classes and vocabulary; the number of target tokens and their checksum.
_HEAD = struct.Struct("<BHdI8sII")


def pack_entries(made: TargetFormat, entries: Entries) -> bytes:
    """The predictions for the tokens of one row."""
    extra = entries.extra.astype(np.float16).tobytes()
    return METHODS[made.method].pack(entries.weights, made.k) + extra + _pack_ids(entries.ids, made.bits)


def pack_row(made: TargetFormat, labels: Sequence[int], entries: bytes) -> bytes:
    """What a row of these labels carries: its packed predictions behind what they are."""
    targets = _targets(np.asarray(labels))
    code = _CODES.index(made.method)
    return _HEAD.pack(code, *made[1:], len(targets), _checksum(targets)) + entries


def unpack_row(row: bytes) -> tuple[TargetFormat, Entries, int]:
    """How a row's predictions were made, the predictions, and the checksum of the target tokens that they are for."""
    code, *settings, tokens, checksum = _HEAD.unpack_from(row)
    made = TargetFormat(_CODES[code], *settings)
    body = memoryview(row)[_HEAD.size :]
    sizes, weights, used = METHODS[made.method].unpack(body, made.k, tokens)
    extra = np.frombuffer(body[used:], np.float16, tokens).astype(np.float32)
    return (
        made,
        Entries(sizes, _unpack_ids(body[used + 2 * tokens :], made.bits, len(weights)), weights, extra),
        checksum,
    )


def _pack_ids(ids: np.ndarray, bits: int) -> bytes:
    return np.packbits((ids[:, None] >> np.arange(bits)) & 1).tobytes()


def _unpack_ids(packed: memoryview, bits: int, count: int) -> np.ndarray:
    digits = np.unpackbits(np.frombuffer(packed, np.uint8), count=count * bits).reshape(count, bits)
    return digits @ (1 << np.arange(bits))


def _targets(labels: np.ndarray) -> np.ndarray:
    return labels[labels != IGNORED]


def _checksum(targets: np.ndarray) -> int:
    return zlib.crc32(targets.astype(np.int64).tobytes())


@dataclass
class TokenTargetCollator:
    """Reads the predictions that rows carry into a batch, beside each label; the rest is for the student's collator.

    Args:
        student_collator: Pads everything else.
        processing_class: The student's tokenizer, to compare vocabularies; `None` when it is not known.
        classes: How many tokens the student chooses among.
        head: What the student decides, and so beside which of its logits a label stands.

    Raises:
        ValueError: when the rows of a batch were made differently, with another vocabulary, or for other labels.
    """

    student_collator: Callable[[list[dict[str, Any]]], Mapping[str, Any]]
    processing_class: Any
    classes: int
    head: Head = Head(None)  # noqa: RUF009 (nobody changes it)

    def __post_init__(self) -> None:
        known = isinstance(self.processing_class, PreTrainedTokenizerBase)
        self._vocabulary = vocabulary_key(self.processing_class) if known else None

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        rest = [{name: value for name, value in row.items() if name != TEACHER_TOKENS} for row in features]
        batch = dict(self.student_collator(rest))
        feeds_a_decoder = not self.head.by_token and batch.get("decoder_input_ids") is None
        if feeds_a_decoder and batch.get("labels") is not None:
            check_label_padding(batch["labels"])
        if TEACHER_TOKENS in features[0]:
            labels = self.head.labeled(batch)["labels"].numpy()
            batch[TEACHER_TOKENS] = self._columns([row[TEACHER_TOKENS] for row in features], labels)
        return batch

    def _columns(self, packed: Sequence[bytes], labels: np.ndarray) -> dict[str, Tensor]:
        """Tensors whose first axes are those of the labels; the temperature is one number a row."""
        makes, predictions, checksums = zip(*map(unpack_row, packed), strict=True)
        self._check(makes)
        for row, checksum in zip(labels, checksums, strict=True):
            if _checksum(_targets(row)) != checksum:
                raise ValueError(
                    "a row's labels are not the target tokens that its stored soft targets are about: make them with "
                    "token_soft_targets after whatever changes or cuts the labels."
                )
        made = makes[0]
        fields = _side_by_side(made, predictions, labels != IGNORED)
        fields["temperature"] = np.full(len(labels), made.temperature, np.float32)
        return {name: torch.from_numpy(field) for name, field in fields.items()}

    def _check(self, makes: Sequence[TargetFormat]) -> None:
        for made in makes:
            if made != makes[0]:
                raise ValueError(f"rows with soft targets of two kinds cannot share a batch: {makes[0]}, and {made}.")
        if self._vocabulary not in (None, makes[0].vocabulary):
            raise ValueError(
                "the stored token soft targets, and so the labels beside them, are in another vocabulary than the "
                "student's: tokenize with the student's tokenizer, and make them again."
            )
        if makes[0].classes > self.classes:
            raise ValueError(
                f"the stored soft targets are about {makes[0].classes} tokens and the student chooses among "
                f"{self.classes}: widen it with resize_token_embeddings."
            )


def _side_by_side(made: TargetFormat, predictions: Sequence[Entries], labeled: np.ndarray) -> dict[str, np.ndarray]:
    """The predictions of all rows as rectangular arrays, each at its label's place."""
    every = Entries.joined(predictions)
    sizes, extra = np.zeros(labeled.shape, np.int64), np.full(labeled.shape, np.nan, np.float32)
    sizes[labeled], extra[labeled] = every.sizes, every.extra
    there = np.arange(max(1, sizes.max(initial=0))) < sizes[..., None]
    ids, weights = np.zeros(there.shape, np.int64), np.full(there.shape, np.nan, np.float32)
    ids[there], weights[there] = every.ids, every.weights
    return {"ids": ids, **METHODS[made.method].distribution(weights, extra, made.k)}

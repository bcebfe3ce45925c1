"""Soft targets of a teacher that sees or hears: rows are known by what is in the file or the samples."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Audio, Dataset, Image, concatenate_datasets
from transformers import PreTrainedModel

from hfdistill.models.fingerprints import describe_model, hash_of
from hfdistill.soft_targets.precompute import KnownRows, SoftTargetMaker
from hfdistill.soft_targets.store import KEY_BYTES
from hfdistill.teachers import MediaTeacher

#: Pictures or sounds of a batch where the user names no batch_size.
MEDIA_AT_ONCE = 64


@dataclass(frozen=True)
class MediaReader:
    """The fingerprint of each row's picture or sound."""

    column: str

    def __call__(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """`content`: what is the same where the media are; and `cut`, as from a `TokenReader`."""
        return {"content": [_fingerprint(one) for one in rows[self.column]], "cut": [False] * len(rows[self.column])}


def _fingerprint(one: Any) -> list[int]:
    if isinstance(one, Mapping):  # a file that `datasets` does not decode
        content = one["bytes"] or Path(one["path"]).read_bytes()
    else:
        array = np.asarray(one)
        content = f"{array.shape}{array.dtype}".encode() + array.tobytes()
    return list(hashlib.blake2b(content, digest_size=KEY_BYTES).digest())


class MediaTargetMaker(SoftTargetMaker):
    """A teacher of pictures or sound, and the store of its predictions.

    The media stay where they are: only their fingerprints are written to the cache of `datasets`.
    """

    teacher: MediaTeacher

    @property
    def reader(self) -> MediaReader:
        return MediaReader(self.teacher.media_column)

    def manifest(self) -> dict[str, Any]:
        processor = self.teacher.processor.to_dict()
        return {**describe_model(self.teacher.model), "processor": hash_of(processor)}

    def read(self, dataset: Dataset) -> Dataset:
        media = dataset.with_format(None).select_columns(self.teacher.media_column)
        files = media
        for column, feature in media.features.items():
            if isinstance(feature, (Image, Audio)):
                files = files.cast_column(column, type(feature)(decode=False))
        return concatenate_datasets([media, self.mapped(files)], axis=1)

    def read_window(self, rows: Mapping[str, Sequence[Any]]) -> Dataset:
        column = self.teacher.media_column
        return self.read(Dataset.from_dict({column: list(rows[column])}))

    def columns(self, table: pa.Table) -> tuple[dict[str, Any], np.ndarray]:
        return super().columns(table.select(["content", "cut"]))

    def token_budget(self, model: PreTrainedModel) -> int:
        return MEDIA_AT_ONCE * KEY_BYTES  # a row is as long as its fingerprint

    def inputs(self, rows: KnownRows, some: np.ndarray) -> dict[str, Any]:
        return self.teacher.model_inputs(rows.tokens.with_format(None).select(some)[self.teacher.media_column][:])

    def row_description(self, rows: KnownRows, one: np.ndarray) -> str:
        return self.teacher.media_column

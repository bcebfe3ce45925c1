"""Soft targets on rows that bring what a model of pictures or sound reads: `pixel_values`, `input_values`, ..."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from hfdistill.models.fingerprints import describe_model
from hfdistill.models.ragged import Ragged, read_column
from hfdistill.models.sound import FrameLengths, SoundPadding, hears_padding
from hfdistill.models.wrappers import device_of
from hfdistill.soft_targets.precompute import KnownRows, SoftTargetMaker
from hfdistill.teachers import ModelTeacher

#: Numbers of a batch, padding included: 64 pictures of 3 x 64 x 64, or 50 seconds of sound at 16 kHz; on an accelerator
#: 32 times as many.
NUMBERS_AT_ONCE = 2**20 * 3 // 4


class ArrayTargetMaker(SoftTargetMaker):
    """A teacher of processed pictures or sound, and the store of its predictions; a row is known by its numbers.

    Sounds of unequal length are padded with a mask; for a model that would hear the padding each is run by itself.
    """

    #: A minute of sound is as long as ten thousand texts.
    rows_a_look = 64

    def __init__(self, teacher: ModelTeacher, batch_size: int | None, *args: Any) -> None:
        alone = hears_padding(teacher.model)
        super().__init__(teacher, 1 if alone else batch_size, *args)
        self.frames = FrameLengths.of(teacher.model)
        self.padding = SoundPadding.of(teacher.model)

    def manifest(self) -> dict[str, Any]:
        return describe_model(self.teacher.model)

    def read(self, dataset: Dataset) -> Dataset:
        return dataset.with_format(None).select_columns(self._names(dataset.column_names))

    def read_window(self, rows: Mapping[str, Sequence[Any]]) -> Dataset:
        return Dataset.from_dict({name: list(rows[name]) for name in self._names(rows)})

    def _names(self, columns: Iterable[str]) -> list[str]:
        return [name for name in (self.teacher.main_input, "attention_mask") if name in columns]

    def columns(self, table: pa.Table) -> tuple[dict[str, Any], np.ndarray]:
        name = self.teacher.main_input
        values = self.padding.samples({name: read_column(table[name]) for name in table.column_names})
        if not isinstance(values, Ragged) or not values.lengths.all():
            raise ValueError(
                f"the column {name} has an empty row, one that is no array of numbers, or arrays of several shapes: "
                "bring what the model's processor makes of each picture or sound."
            )
        return {name: values}, np.zeros(len(table), dtype=bool)

    def lengths(self, columns: Mapping[str, Any]) -> np.ndarray:
        values = columns[self.teacher.main_input]
        return values.lengths * int(np.prod(values.values.shape[1:]))

    def token_budget(self, model: PreTrainedModel) -> int:
        return NUMBERS_AT_ONCE * (1 if device_of(model).type == "cpu" else 32)

    def inputs(self, rows: KnownRows, some: np.ndarray) -> dict[str, Any]:
        columns, _ = self.columns(rows.tokens[some])
        return self.teacher.in_its_dtype(self.padding(columns[self.teacher.main_input]))

    def decisions(self, rows: KnownRows, some: np.ndarray) -> np.ndarray:
        assert self.frames is not None
        return self.frames(torch.from_numpy(rows.lengths[some])).numpy()

    def row_description(self, rows: KnownRows, one: np.ndarray) -> str:
        return self.teacher.main_input

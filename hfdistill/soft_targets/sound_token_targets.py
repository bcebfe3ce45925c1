"""Distributions at target tokens of an encoder-decoder that hears (Whisper): rows bring arrays in place of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from hfdistill.models.ragged import ragged_of
from hfdistill.soft_targets.arrays import ArrayTargetMaker
from hfdistill.soft_targets.precompute import KnownRows
from hfdistill.soft_targets.token_target_makers import TokenTargetMaker
from hfdistill.teachers.seq2seq import check_label_starts


class SoundTokenTargetMaker(TokenTargetMaker, ArrayTargetMaker):
    """Token soft targets of rows that are known by their numbers and their labels."""

    def targets(self, dataset: Dataset) -> Iterator[Sequence[int]]:
        model: Any = self.teacher.model
        check_label_starts(super().targets(dataset), model.config.decoder_start_token_id)
        return super().targets(dataset)

    def read(self, dataset: Dataset) -> Dataset:
        return dataset.with_format(None).select_columns([*self._names(dataset.column_names), "labels"])

    def columns(self, table: pa.Table) -> tuple[dict[str, Any], np.ndarray]:
        columns, cut = ArrayTargetMaker.columns(self, table.drop_columns("labels"))
        target = self.reader.target
        return {**columns, "labels": ragged_of([target(row) for row in table["labels"].to_pylist()])}, cut

    def inputs(self, rows: KnownRows, some: np.ndarray) -> dict[str, Any]:
        columns, _ = self.columns(rows.tokens[some])
        batch = self.teacher.in_its_dtype(self.padding(columns[self.teacher.main_input]))
        return self._with_targets(batch, columns["labels"], rows.keys[some], some)

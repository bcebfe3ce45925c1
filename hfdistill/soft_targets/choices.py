"""Soft targets of rows with choices: the teacher scores each choice, and a row keeps the scores of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel

from hfdistill.models.heads import CandidateHead
from hfdistill.models.inference import run
from hfdistill.models.ragged import Ragged
from hfdistill.soft_targets.precompute import SoftTargetMaker


class ChoiceTargetMaker(SoftTargetMaker):
    """A score for each choice, which a model gives it whatever the others are."""

    unit = "choices"

    def of_dataset(self, dataset: Dataset) -> Ragged:
        columns = self.teacher.reader.shared_columns(dataset.column_names)
        rows = dataset.select_columns(columns).with_format(None)
        lengths = np.array([len(row) for row in rows["input_ids"][:]], dtype=np.int64)
        flat = rows.map(_flat, batched=True, desc="Taking choices apart")
        return Ragged(super().of_dataset(flat)[:, 0], lengths)

    def of_window(self, rows: Mapping[str, Sequence[Any]]) -> Ragged:
        lengths = np.array([len(row) for row in rows["input_ids"]], dtype=np.int64)
        names = self.teacher.reader.shared_columns(rows)
        return Ragged(super().of_window(_flat({name: rows[name] for name in names}))[:, 0], lengths)

    def forward(self, model: PreTrainedModel, inputs: dict[str, Any]) -> Any:
        """The scores of a batch of choices, `(choices, 1)`."""
        if not isinstance(self.teacher.head, CandidateHead):
            inputs = {name: one[:, None] if isinstance(one, Tensor) else one for name, one in inputs.items()}
        scores = run(model, inputs).logits
        return scores.view(len(scores), 1)


def _flat(rows: Mapping[str, Sequence[Sequence[Any]]]) -> dict[str, list[Any]]:
    return {name: [choice for row in column for choice in row] for name, column in rows.items()}

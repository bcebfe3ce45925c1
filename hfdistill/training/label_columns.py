"""Labels on their way from a dataset into a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from torch import Tensor

from hfdistill.models.labels import LABEL_COLUMNS, LabelSpace, some_names


def check_labels(name: str, dataset: Any, student: LabelSpace) -> None:
    """Refuses rows, or a dict of them, whose labels are not the student's: numbered otherwise, or no fit for its head.

    Names are compared where both have some, a `ClassLabel` column and the student.

    Raises:
        ValueError: naming both orders; or column, row, value and the way out.
    """
    if isinstance(dataset, dict):
        for split, rows in dataset.items():
            check_labels(f"{name}[{split!r}]", rows, student)
    if not isinstance(dataset, (Dataset, IterableDataset)):
        return
    found = LabelSpace.of_features(dataset.features)
    if found and student.numbering_of(dataset.features, name) is not None:
        column, labels = found
        raise ValueError(
            f"{name} numbers its labels {some_names(labels.names)} and the student {some_names(student.names)}: bring "
            f"them into the student's order with dataset.align_labels_with_mapping(model.config.label2id, {column!r}), "
            "or give the student id2label in the order of the dataset."
        )
    # What a transform makes of a column is only seen in the batches.
    if isinstance(dataset, Dataset) and dataset.format["type"] != "custom" and student.item is not None:
        for column in LABEL_COLUMNS:
            if column in dataset.column_names:
                student.read_column(dataset, column, name)


@dataclass
class LabelCollator:
    """Makes of a batch's labels what the losses take, see `LabelSpace.read`.

    Args:
        collator: Makes the batch.
        space: What the student's labels are.
    """

    collator: Callable[[list[Any]], Any]
    space: LabelSpace

    def __call__(self, features: list[Any]) -> Any:
        batch = self.collator(features)
        labels = batch.get("labels")
        if isinstance(labels, Tensor) and 1 <= labels.dim() <= 2:
            read = torch.as_tensor(self.space.read(labels.numpy(), "a batch"))
            kind = labels.dtype if labels.is_floating_point() else torch.float32
            batch["labels"] = read.to(kind) if read.is_floating_point() else read
        return batch

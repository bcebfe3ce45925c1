"""The rows of files as they stand there, for a review of their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetDict, LargeList, List, concatenate_datasets

from hfdistill.data.columns import Columns
from hfdistill.data.corrections import TEXT
from hfdistill.data.tables import Table, open_table, read_table
from hfdistill.models.labels import LABEL_COLUMNS, SINGLE
from hfdistill.tasks.classification.data import TextClassificationData, encoded, with_empty_labels, with_labels
from hfdistill.teachers import ENSEMBLE_LOGITS, TEACHER_LABEL, TEACHER_LOGITS

#: Of these files the labels are not read.
UNLABELED = "unlabeled"


def rows_to_review(
    files: Mapping[str, str | Path],
    *,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> TextClassificationData:
    """Reads files of one kind of texts, one below the other, as the only split `train`.

    Its columns are `text` (of pairs `text_pair` too), `label`, the row's `file` and number there, `row`, from 1, and
    the soft targets that the files carry.

    Args:
        files: By what they are, such as `train`; of those called `unlabeled` the labels are not read.
        text_column: As in `text_classification_dataset`, as are the others. A file may lack labels where their names
            are known.
        text_pair_column: The second text of a pair.
        label_column: The label.
        label_names: The labels in their order.
        class_names: The names of numbered classes.

    Raises:
        FileNotFoundError, ValueError: as `text_classification_dataset`; and where some files carry soft targets and
            others do not.
    """
    tables = {split: open_table(file, split) for split, file in files.items()}
    label = label_column or next((one for one in LABEL_COLUMNS if one in next(iter(tables.values())).columns), "label")
    if UNLABELED in tables:
        tables[UNLABELED] = _without_labels(tables[UNLABELED], label)
    if (label_names or class_names) and label_column is None:
        tables = {split: with_empty_labels(table) for split, table in tables.items()}
    columns = Columns.find(next(iter(tables.values())), text_column, text_pair_column, label_column)
    tables, labels = with_labels(tables, columns, label_names, class_names, SINGLE)
    names = dict(zip((*columns.texts, columns.label), (*TEXT[: len(columns.texts)], "label"), strict=True))
    parts = []
    for split, table in tables.items():
        rows = encoded(table, columns, labels, labeled=split != UNLABELED)
        where = {"file": [table.source] * len(rows), "row": list(range(1, len(rows) + 1))}
        own = [rows.rename_columns(names), Dataset.from_dict(where), *_soft_targets_of(files[split])]
        parts.append(concatenate_datasets(own, axis=1))
    _refuse_some(parts, list(files.values()))
    return TextClassificationData(
        DatasetDict(train=concatenate_datasets(parts)),
        TEXT[: len(columns.texts)],
        "label",
        labels.names,
        labels.num_labels,
        labels.problem_type,
    )


def _without_labels(table: Table, label: str) -> Table:
    kept = {name: one for name, one in table.columns.items() if name not in (*LABEL_COLUMNS, label)}
    count = len(next(iter(table.columns.values()), ()))
    return replace(table, columns={**kept, label: [None] * count})


def carried_names(file: str | Path) -> list[str] | None:
    """The labels of the soft targets that a file carries, in their order; `None` where they have no names."""
    found = [rows.features.get(TEACHER_LABEL) for rows in _soft_targets_of(file)]
    return list(found[0].names) if found and isinstance(found[0], ClassLabel) else None


def _soft_targets_of(file: str | Path) -> list[Dataset]:
    """The columns of soft targets in a file, if it has any."""
    rows = read_table(file)
    names = [name for name in (TEACHER_LOGITS, ENSEMBLE_LOGITS) if name in rows.column_names]
    for name in names:
        if not isinstance(rows.features[name], (List, LargeList)):
            raise ValueError(
                f"{name} in {file} holds no lists: keep soft targets in parquet, as hfdistill soft-targets."
            )
    if not names:
        return []
    return [rows.select_columns([*names, *(name for name in (TEACHER_LABEL,) if name in rows.column_names)])]


def _refuse_some(parts: Sequence[Dataset], files: Sequence[str | Path]) -> None:
    """Refuses soft targets that some of the rows lack."""
    first = set(parts[0].column_names)
    for part, file in zip(parts, files, strict=True):
        if differing := first ^ set(part.column_names):
            raise ValueError(
                f"only one of {files[0]} and {file} has {', '.join(sorted(differing))}: give files of one kind, or "
                "review them one at a time."
            )

"""The inputs of a teacher beside the student's: dataset columns named `teacher_…`, on their way to a batch."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset, IterableDataset, List
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.utils import logging

from hfdistill.models.heads import ITEM_MASK, Head, head_of
from hfdistill.models.inputs import TokenReader, check_token_ids, pad_columns, padded_by, token_inputs
from hfdistill.models.labels import LabelSpace, class_names
from hfdistill.models.padding import QuickPadding
from hfdistill.models.ragged import Ragged, ragged_of
from hfdistill.models.sound import FrameLengths
from hfdistill.models.wrappers import config_of, token_table_size
from hfdistill.teachers import (
    ENSEMBLE_LOGITS,
    PREFIX,
    SOFT_TARGETS,
    TEACHER_DISAGREEMENT,
    TEACHER_LABEL,
    TEACHER_LOGITS,
    ModelTeacher,
    Teacher,
)

logger = logging.get_logger(__name__)

#: Soft targets where a head decides by token.
_BY_TOKEN = (TEACHER_LOGITS, ENSEMBLE_LOGITS, TEACHER_LABEL)
_ANY = Head(None)

_CONFIG: Any = PreTrainedConfig  # its signature names no labels

NO_HOLES = (
    "where a row has no label write -100, as in dataset.map(lambda row: {{'{column}': -100 if row['{column}'] is None "
    "else row['{column}']}})"
)


def add_teacher_columns(dataset: Any, teacher: Teacher | None) -> Any:
    """The dataset, or each of a dict of them, with the columns that a teacher with a tokenizer of its own reads.

    Rows that carry soft targets already are left as they are.

    Raises:
        ValueError: when some rows have soft targets or a label and others have none, or the teacher's text columns are
            missing.
    """
    if isinstance(dataset, dict):
        return type(dataset)({name: add_teacher_columns(split, teacher) for name, split in dataset.items()})
    if not isinstance(dataset, (Dataset, IterableDataset)):
        return dataset
    columns = dataset.column_names or []  # a stream may not know them before its first row
    _check_columns(dataset, columns, teacher)
    if not set(SOFT_TARGETS) & set(columns):
        for member in teacher.members if teacher else ():
            if isinstance(member, ModelTeacher) and not member.shares_tokens:
                if columns:
                    check_source_columns(member, columns)
                dataset = _with_tokens(dataset, member) if member.text_columns else dataset
    return dataset


def _with_tokens(dataset: Any, teacher: ModelTeacher) -> Any:
    read, cut = _Prefixed(teacher.reader, teacher.prefix), teacher.prefix + "cut"
    if isinstance(dataset, IterableDataset):
        return dataset.map(read, batched=True).remove_columns(cut)
    dataset = dataset.map(read, batched=True, desc="Tokenizing for the teacher")
    warn_of_cut_rows(sum(dataset[cut]), len(dataset), teacher.max_length)
    return dataset.remove_columns(cut)


@dataclass(frozen=True)
class _Prefixed:
    reader: TokenReader
    prefix: str

    def __call__(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        return {self.prefix + name: values for name, values in self.reader(rows).items()}


def check_source_columns(teacher: ModelTeacher, columns: Sequence[str]) -> None:
    """Refuses a dataset that lacks what the teacher reads.

    Raises:
        ValueError: naming the missing columns and those there are.
    """
    missing = [column for column in teacher.source_columns if column not in columns]
    if missing:
        way_out = " Name the columns of raw text with text_columns=[...]." if teacher.shares_tokens else ""
        raise ValueError(
            f"the teacher reads the columns {', '.join(missing)}, which the dataset lacks; it has {', '.join(columns)}."
            + way_out
        )


def warn_of_cut_rows(cut: int, rows: int, max_length: int) -> None:
    """Warns of the rows that the teacher reads only the beginning of."""
    if cut:
        logger.warning("%d of %d rows are longer than the teacher's %d tokens and were cut.", cut, rows, max_length)


def _check_columns(dataset: Any, columns: Sequence[str], teacher: Teacher | None) -> None:
    known = {*SOFT_TARGETS, TEACHER_LABEL, TEACHER_DISAGREEMENT, *(teacher.columns if teacher else ())}
    for column in columns:
        # transformers' heads swallow unknown arguments, so a misnamed column would be passed over in silence.
        if column.startswith(PREFIX) and column not in known and difflib.get_close_matches(column, known):
            close = difflib.get_close_matches(column, known)[0]
            logger.warning("The column %s is not read by the teacher; is %s meant?", column, close)
    if isinstance(dataset, Dataset):
        for column in set(SOFT_TARGETS) & set(columns):
            _refuse_empty(dataset, column, "run soft_targets over the whole dataset after putting its parts together")
        # In tensors a hole is NaN, which counts for no label; of lists of rows nobody could make a batch.
        for column in {"label", "labels"} & set(columns) if dataset.format["type"] is None else ():
            _refuse_empty(dataset, column, NO_HOLES.format(column=column))


def _refuse_empty(dataset: Dataset, column: str, way_out: str) -> None:
    missing = dataset.select_columns(column).with_format("arrow")[:][column].is_null()
    empty = [row for row, is_missing in enumerate(missing.to_pylist()) if is_missing]
    if empty:
        raise ValueError(f"row {empty[0]} and {len(empty) - 1} more have no {column} while others do: {way_out}.")


def stored_label_names(*datasets: Any) -> list[str] | None:
    """The order of labels in which the soft targets of these datasets, or dicts of them, stand; `None` if not known.

    Raises:
        ValueError: when they stand in different orders.
    """
    flat = [split for one in datasets for split in (one.values() if isinstance(one, dict) else [one])]
    known = [split.features or {} for split in flat if isinstance(split, (Dataset, IterableDataset))]
    stored = [features for features in known if set(SOFT_TARGETS) & set(features)]
    kinds = [class_names(features, TEACHER_LABEL) for features in stored if TEACHER_LABEL in features]
    orders = [names for names in kinds if names is not None]
    if len(orders) < len(kinds):
        logger.warning(
            "The column %s has lost its names, as in JSON and CSV, so the soft targets are taken to be in the "
            "student's order; name theirs with dataset.cast_column(%r, ClassLabel(names=[...])).",
            TEACHER_LABEL,
            TEACHER_LABEL,
        )
    if any(order != orders[0] for order in orders):
        raise ValueError(
            "the soft targets of the datasets stand in different orders of labels, as their columns teacher_label say: "
            "make them with the same label_names=[...]."
        )
    if orders and len(orders) < len(stored):
        raise ValueError(
            "the soft targets of some datasets name their labels in a column teacher_label and those of others do not, "
            "so these may stand in another order: make them all with soft_targets, or remove that column from all."
        )
    return orders[0] if orders else None


def stand_in_config(teacher: Teacher | None, *datasets: Any) -> PreTrainedConfig:
    """The labels of a student that has no config: the rows' names of them, or the teacher's.

    Args:
        teacher: The teacher, if there is one.
        *datasets: Those to train and evaluate on, or dicts of them.
    """
    flat = [split for one in datasets for split in (one.values() if isinstance(one, dict) else [one])]
    features: list[Any] = [split.features or {} for split in flat if isinstance(split, (Dataset, IterableDataset))]
    configs: list[Any] = [
        config_of(one.model) for one in (teacher.members if teacher else ()) if isinstance(one, ModelTeacher)
    ]
    named = [found[1].names for found in map(LabelSpace.of_features, features) if found]
    names = [*named, stored_label_names(*datasets)]
    found = next((list(one) for one in names if one), None)
    config: Any = _CONFIG(num_labels=_number_of_labels(features))
    if configs:
        config = _CONFIG(id2label=configs[0].id2label, problem_type=getattr(configs[0], "problem_type", None))
    if found:
        config.id2label = dict(enumerate(found))
    return config


def _number_of_labels(features: Sequence[Mapping[str, Any]]) -> int:
    """The width of stored logits, or 1 for labels that are fractions; otherwise 2, which stands for many."""
    for one in features:
        if isinstance(one.get(TEACHER_LOGITS), List) and one[TEACHER_LOGITS].length > 0:
            return int(one[TEACHER_LOGITS].length)
    kinds = [getattr(one.get(column), "dtype", "") for one in features for column in ("label", "labels")]
    return 1 if any(str(kind).startswith("float") for kind in kinds) else 2


class TeacherCollator:
    """Pads the teacher's own columns with its tokenizer, and leaves the rest to the student's collator."""

    def __init__(self, student_collator: Callable[[list[dict[str, Any]]], Any], teacher: Teacher) -> None:
        self.student_collator = student_collator
        self.teacher = teacher

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Tensor]:
        own = set(self.teacher.columns)
        student = [{name: value for name, value in feature.items() if name not in own} for feature in features]
        batch = dict(self.student_collator(student))
        if own & set(features[0]):
            batch.update(self.teacher.pad(features))
        return batch

    def __getstate__(self) -> dict[str, Any]:
        # For the workers of a data loader that are started afresh, as on macOS and Windows.
        return {**vars(self), "teacher": _that_only_pads(self.teacher)}


def _that_only_pads(teacher: Teacher) -> Teacher:
    """A copy without models and accelerator: they are large, and cannot be pickled once they were used."""
    other = copy.copy(teacher)
    for name, value in vars(teacher).items():
        if isinstance(value, (nn.Module, Accelerator)):
            setattr(other, name, None)
        elif isinstance(value, tuple) and value and all(isinstance(one, Teacher) for one in value):
            setattr(other, name, tuple(map(_that_only_pads, value)))
    return other


class SharedCollator:
    """A collator that also pads what the student's own would pass over or fail on, and looks at the token ids.

    The collators of `transformers` know the columns that the tokenizer's `pad` knows, and a collator of the user's what
    its student reads: a `global_attention_mask`, or a column that the teacher alone reads, is padded here.

    Args:
        collator: The student's.
        processing_class: The student's tokenizer.
        student: The columns that the student reads.
        teacher: The teacher that reads the student's token ids, or `None`.
        tables: How many token ids student and teacher have embeddings for, by name.
        head: What the student decides: where it is something by token, soft targets are padded as tokens are.
        frames: How many frames the student makes of sound, where it hears.
    """

    def __init__(
        self,
        collator: Callable[[list[dict[str, Any]]], Any],
        processing_class: Any,
        student: Sequence[str],
        teacher: Teacher | None,
        tables: Sequence[tuple[str, int | None]],
        head: Head = _ANY,
        frames: FrameLengths | None = None,
    ) -> None:
        self.collator = QuickPadding.of(collator)
        self.padding_side = getattr(processing_class, "padding_side", "right")
        shared = teacher.shared_columns if teacher else ()
        # Those of `transformers` fail on what the tokenizer does not know, and others may know it.
        plain = str(getattr(collator, "__module__", "")).startswith("transformers.")
        self.withheld = {*student, *shared, ITEM_MASK} - padded_by(processing_class) if plain else set()
        self.teachers_alone = set(shared) - set(student)
        self.tables = tables
        self.head = head
        self.frames = frames

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        by_token = self.head.by_token and isinstance(features[0], Mapping)
        stored = [name for name in _BY_TOKEN if name in features[0]] if by_token else []
        if stored:
            rest = [{name: value for name, value in row.items() if name not in stored} for row in features]
            batch = self(rest)
            mask = self._token_mask(batch, features) if self.frames is None else self.frames.mask(batch)
            return _with_soft_targets(batch, stored, features, mask)
        if not isinstance(features[0], Mapping) or "input_ids" not in features[0]:
            return self.collator(features)
        held = [name for name in features[0] if name in self.withheld]
        rest = [{name: value for name, value in feature.items() if name not in held} for feature in features]
        batch = dict(self.collator(rest))
        ids: Any = batch.get("input_ids")
        missing = held + [name for name in features[0] if name in self.teachers_alone and name not in {*batch, *held}]
        if missing and not (isinstance(ids, Tensor) and len(ids) == len(features)):
            raise ValueError(
                f"the data_collator leaves out {', '.join(missing)}, which the teacher reads: let it keep that column."
            )
        if missing:
            batch.update(pad_columns(missing, features, ids.shape[1], self.padding_side))
        if isinstance(ids, Tensor) and ids.device.type == "cpu":  # an accelerator would have to wait
            for who, table in self.tables:
                check_token_ids(ids, table, who)
        return batch

    def _token_mask(self, batch: Mapping[str, Any], features: Sequence[Mapping[str, Any]]) -> Tensor:
        """Which tokens of a batch are those of its rows, shape `(batch, tokens)`."""
        if batch.get("attention_mask") is not None:
            return batch["attention_mask"].bool()
        lengths = np.array([len(row["input_ids"]) for row in features])
        ones = Ragged(np.ones(lengths.sum(), bool), lengths)
        return torch.from_numpy(ones.padded(batch["input_ids"].shape[1], 0, self.padding_side))


def shared_collator(collator: Any, processing_class: Any, student: Any, teacher: Teacher | None) -> SharedCollator:
    """The collator for a student and a teacher that may read the same token ids."""
    sharing = [
        one for one in (teacher.members if teacher else ()) if isinstance(one, ModelTeacher) and one.shares_tokens
    ]
    tables = [("student", token_table_size(student)), *(("teacher", one.table_size) for one in sharing)]
    reads, frames = token_inputs(student), FrameLengths.of(student)
    return SharedCollator(collator, processing_class, reads, teacher, tables, head_of(student), frames)


def _with_soft_targets(
    batch: dict[str, Any], names: Sequence[str], features: Sequence[Mapping[str, Any]], mask: Tensor
) -> dict[str, Any]:
    """The batch with soft targets of tokens, or frames, beside those that they are of, which `mask` shows.

    Raises:
        ValueError: where a row has another number of them than of tokens or frames.
    """
    for name in names:
        column = ragged_of([row[name] for row in features])
        if not isinstance(column, Ragged) or (column.lengths != mask.sum(1).numpy()).any():
            raise ValueError(
                f"the {name} of some row of a batch are not one for each of its tokens or frames: the rows were "
                "processed or cut again after soft_targets; run it on the rows as they are."
            )
        values = torch.tensor(column.values)
        batch[name] = values.new_zeros(*mask.shape, *values.shape[1:])
        batch[name][mask] = values
    return batch

"""What labels mean: which class is class 0, whether a column's labels fit a head, and which rows have one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, LargeList, List
from transformers.utils import logging

from hfdistill.models.heads import head_of

logger = logging.get_logger(__name__)

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"

#: What stands where a row has no label. Where labels are classes -1 does too, as in SNLI and GLUE's test sets.
NO_LABEL = -100
NO_CLASS = (-1, NO_LABEL)

#: The columns of a dataset in which a `Trainer` looks for labels.
LABEL_COLUMNS = ("labels", "label")


@dataclass(frozen=True)
class LabelSpace:
    """What the outputs of a model, or the numbers in a column, stand for.

    Args:
        number: How many outputs or classes there are.
        names: Their names in their order, `None` where they have none (LABEL_0, LABEL_1, … name nothing).
        problem_type: As in `config.problem_type`; `None` where it follows from the labels, as in `transformers`.
        item: What has a label: a `row`, a `token`, or `None` where it is not known.
    """

    number: int
    names: tuple[str, ...] | None = None
    problem_type: str | None = None
    item: str | None = "row"

    # ---- Where it comes from ----

    @classmethod
    def of_config(cls, config: Any) -> LabelSpace:
        """That of a model's config."""
        names = tuple(names_of(config))
        unnamed = names == tuple(f"LABEL_{index}" for index in range(len(names)))
        return cls(config.num_labels, None if unnamed else names, getattr(config, "problem_type", None))

    @classmethod
    def of_model(cls, model: Any, config: Any = None) -> LabelSpace:
        """That of a model, by its own config or the one given; what has a label follows from the name of its class."""
        config = config or getattr(model, "config", None)
        if getattr(config, "id2label", None) is None:
            return cls(0, item=None)  # it may have labels, and does not name them
        return replace(cls.of_config(config), item=head_of(model).item)

    @classmethod
    def of_names(cls, names: Sequence[str]) -> LabelSpace:
        """That of these names in their order."""
        return cls(len(names), tuple(names))

    @classmethod
    def of_features(cls, features: Mapping[str, Any] | None) -> tuple[str, LabelSpace] | None:
        """A dataset's column of classes and what they are, `None` where they have no names.

        It is the `ClassLabel`, or the lists of them, called `label` or `labels`. Names that are the numbers themselves,
        as `class_encode_column` makes them, name nothing.
        """
        columns = [name for name in LABEL_COLUMNS if class_names(features or {}, name) is not None]
        if len(columns) != 1:
            return None
        names = class_names(features or {}, columns[0]) or []
        return None if names == [str(index) for index in range(len(names))] else (columns[0], cls.of_names(names))

    # ---- Against another ----

    def order_in(self, other: LabelSpace, who: str = "teacher") -> list[int] | None:
        """Where among another model's outputs each of these labels is found, by name, whatever the case.

        Args:
            other: The teacher's, or of whoever is to be compared with the student.
            who: What to call it.

        Returns:
            `order` such that `other_logits[..., order]` is in this order, or `None` when it is already, or when one
            of the two has no names to compare.

        Raises:
            ValueError: when the numbers or the names differ.
        """
        if other.number != self.number:
            raise ValueError(
                f"the {who} has {other.number} labels and the student {self.number}: both must solve the same "
                f"task; give the student the {who}'s id2label, or take a {who} trained on these labels."
            )
        if other.names is None or self.names is None:
            if (other.names is None) != (self.names is None):
                logger.warning(
                    "Only one of %s and student names its labels (%s), so their order is taken to be the same; set "
                    "id2label in both configs to have it checked.",
                    who,
                    ", ".join(other.names or self.names or ()),
                )
            return None
        order = _places(self.names, other.names)
        if order is None:
            raise ValueError(
                f"{who} and student name their labels differently: {some_names(other.names)} against "
                f"{some_names(self.names)}; give both the same id2label, in any order."
            )
        return None if order == list(range(len(order))) else order

    def numbering_of(self, features: Mapping[str, Any] | None, what: str) -> list[int] | None:
        """Which of these labels each class of a dataset is; `None` where it numbers them alike, or has no names.

        Where the two share no name, as `neg, pos` and `NEGATIVE, POSITIVE`, a warning says that they are taken to mean
        the same.

        Args:
            features: Of the dataset.
            what: What to call it.

        Raises:
            ValueError: when they share some names and not all.
        """
        found = LabelSpace.of_features(features)
        if self.names is None or found is None:
            return None
        column, names = found[0], found[1].names or ()
        both = f"{what} numbers its labels {some_names(names)} and the student {some_names(self.names)}"
        if not {name.casefold() for name in self.names} & {name.casefold() for name in names}:
            logger.warning("%s: they are taken to mean the same in this order.", both)
            return None
        order = _places(names, self.names)
        if order is None:
            raise ValueError(
                f"{both}: where they mean the same, rename the dataset's with dataset.cast_column({column!r}, "
                "ClassLabel(names=[...])) in its order, or give the student its names as id2label."
            )
        return None if order == list(range(len(order))) else order

    # ---- A column of labels ----

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers that are no label."""
        regression = self.problem_type == REGRESSION or (self.problem_type is None and self.number == 1)
        return (NO_LABEL,) if regression or self.problem_type == MULTI or self.item == "token" else NO_CLASS

    def read_column(self, dataset: Dataset, column: str, what: str) -> np.ndarray:
        """The labels of a dataset's column as a loss and a metric take them, see `read`; lists of tokens are checked.

        A row without a label may also be empty.

        Args:
            dataset: The rows.
            column: Which of its columns.
            what: What to call the dataset.

        Raises:
            ValueError: for labels that do not fit, naming column, row, value and the way out.
        """
        values = dataset.select_columns(column).with_format("arrow")[:][column]
        _refuse_type(values, f"column {column!r} of {what}", self)
        read, first, of_no_class = [], 0, 0
        for chunk in values.chunks:
            rows = None
            if self.item == "token" and _is_list(chunk.type):
                rows = pc.list_parent_indices(chunk).to_numpy(zero_copy_only=False)
            numbers = _as_numbers(chunk, self, column, what, first)
            read.append(self.read(numbers, f"column {column!r} of {what}", first, rows))
            first += len(chunk)
            of_no_class += int((numbers == -1).sum()) if -1 in self.missing else 0
        if of_no_class:
            logger.warning_once(f"{what}: {of_no_class} of {first} rows have the label -1 and count as unlabeled.")
        if len({part.shape[1:] for part in read}) > 1:
            raise ValueError(f"column {column!r} of {what} holds lists of different lengths: write one kind of label.")
        return np.concatenate(read) if read else np.zeros(0, dtype=np.int64)

    def read(
        self, labels: np.ndarray, what: str = "a batch", first: int = 0, rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Labels as a loss and a metric take them.

        Classes become whole numbers, be they written as floats (as pandas leaves them) or each in a list of one; many
        labels at once become floats, be they written as whole numbers. -100, NaN, and where labels are classes -1, are
        no label, and become -100.

        Args:
            labels: Numbers of shape `(rows,)` or `(rows, labels)`.
            what: What to call them.
            first: The number of the first row.
            rows: Of tokens one after another, the row of each.

        Raises:
            ValueError: for labels that do not fit, naming row, value and the way out.
        """
        at = _Place(what, first, rows)
        if self.item == "token":
            return self._classes(labels, at)
        if labels.ndim == 2 and labels.shape[1] == 1 and not (self.problem_type == MULTI and self.number == 1):
            labels = labels[:, 0]
        problem_type = self.problem_type or self._problem_of(labels)
        if problem_type == MULTI:
            return self._many(labels, at)
        if problem_type == REGRESSION:
            return self._scores(labels, at)
        if labels.ndim > 1:
            raise ValueError(
                f"{at.of(0)} is a list of {labels.shape[1]} labels, and the model gives each row one of {self.number} "
                "classes: where a row may have several at once write a 0 or 1 for each of them and set "
                f"config.problem_type = {MULTI!r}."
            )
        return self._classes(labels, at)

    def _problem_of(self, labels: np.ndarray) -> str:
        """What labels mean to `transformers`; but floats that are not many at once are scores or classes."""
        if self.number == 1:
            return REGRESSION
        return MULTI if labels.ndim > 1 and np.issubdtype(labels.dtype, np.floating) else SINGLE

    def _classes(self, labels: np.ndarray, at: _Place) -> np.ndarray:
        there = _there(labels, self.missing)
        if np.issubdtype(labels.dtype, np.floating):
            at.refuse(
                labels,
                there & (np.floor(labels) != labels),
                f"is no class, of which the model has {self.number}, 0 to {self.number - 1}: number them; scores are "
                "for a model of one output (num_labels=1)",
            )
        at.refuse(labels, there & ((labels < 0) | (labels >= self.number)), self._out_of_range(labels, there))
        classes = np.full(labels.shape, NO_LABEL, dtype=np.int64)
        classes[there] = labels[there]
        return classes

    def _out_of_range(self, labels: np.ndarray, there: np.ndarray) -> str:
        reason = f"is no class of the model, which has {self.number}, 0 to {self.number - 1}"
        lowest, highest = (labels[there].min(), labels[there].max()) if there.any() else (0, 0)
        if lowest == 1 and highest == self.number:
            return f"{reason}: they are numbered from 1 here, so subtract 1 from each"
        if lowest < 0:
            return f"{reason}: where a row has no label write {NO_LABEL}"
        if highest > 100 * self.number + 1000:
            return f"{reason}: is this a column of ids or times? The labels are to stand in a column labels"
        return f"{reason}: take a model of as many labels (num_labels), or number them as its id2label does"

    def _scores(self, labels: np.ndarray, at: _Place) -> np.ndarray:
        if labels.ndim > 1 and labels.shape[1] != self.number:
            raise ValueError(
                f"{at.of(0)} is a list of {labels.shape[1]} scores, and the model has {self.number} outputs: set "
                "num_labels to as many as there are."
            )
        scores = labels.astype(np.float64)
        at.refuse(labels, np.isinf(scores), "is not a finite number, and nothing can be learned from it")
        return np.where(_there(scores, self.missing), scores, NO_LABEL)

    def _many(self, labels: np.ndarray, at: _Place) -> np.ndarray:
        if labels.ndim == 1 or labels.shape[1] != self.number:
            found = f"{labels[0]}, one class" if labels.ndim == 1 else f"a list of {labels.shape[1]}"
            raise ValueError(
                f"{at.of(0)} is {found}, and the model's problem_type is {MULTI} with {self.number} labels: write a "
                f"list of {self.number} zeros and ones for each row, or set config.problem_type = {SINGLE!r}."
            )
        there = _there(labels, self.missing)
        wrong = there & ((labels < 0) | (labels > 1))
        at.refuse(labels, wrong, f"is not between 0 and 1, as each of {self.number} labels is; {NO_LABEL} is none")
        return np.where(there, labels.astype(np.float64), NO_LABEL)


@dataclass(frozen=True)
class _Place:
    """Where labels stand, for a message."""

    what: str
    first: int
    rows: np.ndarray | None = None

    def of(self, place: int) -> str:
        row = place if self.rows is None else self.rows[place]
        return f"the label of row {self.first + row} in {self.what}"

    def refuse(self, labels: np.ndarray, wrong: np.ndarray, why: str) -> None:
        if wrong.any():
            place = tuple(int(index) for index in np.argwhere(wrong)[0])
            count = int(wrong.any(axis=tuple(range(1, wrong.ndim))).sum()) if wrong.ndim > 1 else int(wrong.sum())
            more = f" (and {count - 1} more)" if count > 1 else ""
            raise ValueError(f"{self.of(place[0])}, {labels[place]}{more}, {why}.")


def names_of(config: Any) -> list[str]:
    """The names of a model's outputs in their order, whether the config counts them by numbers or by texts."""
    id2label: Mapping[Any, Any] = config.id2label or {}
    return [str(id2label[key]) for key in sorted(id2label, key=int)]


def class_names(features: Mapping[str, Any], column: str) -> list[str] | None:
    """The names of a dataset's column of classes, or of lists of them; `None` for another column."""
    feature = features.get(column)
    feature = feature.feature if isinstance(feature, (List, LargeList)) else feature
    return list(feature.names) if isinstance(feature, ClassLabel) else None


def name_classes(config: Any, names: Sequence[str] | None) -> None:
    """Gives the classes of a model their names, where it has none and there are as many."""
    if names and len(names) == config.num_labels > 1 and LabelSpace.of_config(config).names is None:
        config.id2label = dict(enumerate(names))
        config.label2id = {name: index for index, name in enumerate(names)}


def unknown_like(label: Any) -> Any:
    """What stands in place of such a label where it is not known; of a list, as of many labels, for each of them."""
    return [NO_LABEL] * len(label) if isinstance(label, list) else NO_LABEL


def has_label(column: pa.Array, missing: Sequence[int] | None = None) -> np.ndarray:
    """Which rows have a label, bool of shape `(rows,)`: one that is not empty, NaN or missing; of many, any is.

    Args:
        column: The labels.
        missing: The numbers that are none; by default -100, and -1 among whole numbers.
    """
    if _is_list(column.type):
        found = np.zeros(len(column), dtype=bool)
        rows = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
        found[rows[has_label(pc.list_flatten(column), missing or (NO_LABEL,))]] = True
        return found
    there = pc.is_valid(column).to_numpy(zero_copy_only=False)
    whole = pa.types.is_integer(column.type)
    if whole or pa.types.is_floating(column.type):
        there = there & _there(column.to_numpy(zero_copy_only=False), missing or (NO_CLASS if whole else (NO_LABEL,)))
    return there


def some_names(names: Sequence[str] | None, most: int = 10) -> str:
    """The names as an error shows them: the first `most`."""
    names = names or ()
    return ", ".join(map(str, names[:most])) + (f", … ({len(names)} in all)" if len(names) > most else "")


def _there(labels: np.ndarray, missing: Sequence[int]) -> np.ndarray:
    """Which numbers are labels."""
    there = labels == labels
    for number in missing:
        there = there & (labels != number)
    return there


def _places(names: Sequence[str], others: Sequence[str]) -> list[int] | None:
    """Where among the others each name stands, whatever the case; `None` where they are not the same names."""
    fold = str if set(names) == set(others) else str.casefold
    position = {fold(name): index for index, name in enumerate(others)}
    wanted = [fold(name) for name in names]
    if len(position) != len(others) or len(wanted) != len(others) or set(position) != set(wanted):
        return None
    return [position[name] for name in wanted]


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _refuse_type(values: pa.ChunkedArray, what: str, space: LabelSpace) -> None:
    """Refuses what is neither numbers nor lists of them."""
    kind = values.type.value_type if _is_list(values.type) else values.type
    if any(test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)):
        return
    found = next((" ".join(str(value).split())[:40] for value in values.slice(0, 100) if value.is_valid), "")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        way_out = "number the classes, such as with dataset.class_encode_column(...)"
        if space.names is not None:
            way_out = "number the classes as the student does, config.label2id[name]"
        raise ValueError(f"{what} holds texts, such as {found!r}, where numbers are learned from: {way_out}.")
    raise ValueError(
        f"{what} holds values of the type {kind}, such as {found}, which are no labels: the labels are to stand in a "
        "column labels, as numbers of classes, scores, or a list of zeros and ones."
    )


def _as_numbers(chunk: pa.Array, space: LabelSpace, column: str, what: str, first: int) -> np.ndarray:
    """A chunk of a column, of shape `(rows,)` or `(rows, labels)`, NaN where it is empty; tokens one after another."""
    if not _is_list(chunk.type):
        return _numbers(chunk)
    values = _numbers(pc.list_flatten(chunk))
    if space.item == "token":
        return values
    lengths = pc.list_value_length(chunk).to_numpy(zero_copy_only=False)
    there = lengths == lengths  # not empty
    if chunk.null_count:
        lengths = np.where(there, lengths, 0).astype(int)
    width = int(lengths[there][0]) if there.any() else 1
    other = there & (lengths != width)
    if other.any():
        row = int(np.flatnonzero(other)[0])
        raise ValueError(
            f"the label of row {first + row} in column {column!r} of {what} is a list of {int(lengths[row])} where "
            f"others have {width}: write one class for each row, or a 0 or 1 for each of {space.number} labels."
        )
    if not chunk.null_count:
        return values.reshape(len(chunk), width)
    rows = np.full((len(chunk), width), np.nan)
    rows[there] = values.reshape(int(there.sum()), width)
    return rows


def _numbers(values: pa.Array) -> np.ndarray:
    if pa.types.is_boolean(values.type) or pa.types.is_null(values.type):
        values = values.cast(pa.int8())
    return values.to_numpy(zero_copy_only=False)

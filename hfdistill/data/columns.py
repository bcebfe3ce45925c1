"""Which columns of a table are used, and what its labels mean."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers.utils import logging

from hfdistill.data.shortening import shortened
from hfdistill.data.tables import Table
from hfdistill.models.labels import NO_CLASS, NO_LABEL, some_names

logger = logging.get_logger(__name__)

UNLABELED = NO_LABEL
#: A column of more labels may be one of ids or times, and is looked at as such.
MOST_CLASSES = 1000
# Column names of two texts that belong together.
TEXT_PAIRS: tuple[tuple[str, ...], ...] = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text1", "text2"),
)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are used."""

    texts: tuple[str, ...]
    label: str

    @classmethod
    def find(cls, table: Table, text: str | None, text_pair: str | None, label: str | None) -> Columns:
        if label is not None:
            _require(table, label, "; check label_column")
        label = label or next((name for name in ("label", "labels") if name in table.columns), None)
        if label is None:
            raise ValueError(
                f"{table.source} has no column 'label' or 'labels'; its columns are {table.names()}; "
                "name the one to learn with label_column."
            )
        texts = find_texts(table, text, text_pair, label)
        if label in texts:
            raise ValueError(
                f"{table.source}: {label!r} is the label, and cannot be the text as well; check text_column."
            )
        return cls(texts, label)


def find_texts(table: Table, text: str | None, text_pair: str | None, label: str | None = None) -> tuple[str, ...]:
    """The column of the text, or the two of a pair, as they are given, or recognized by their names."""
    for name, option in ((text, "text_column"), (text_pair, "text_pair_column")):
        if name is not None:
            _require(table, name, f"; check {option}")
    texts = (text,) if text else _find_texts(table, (label, text_pair))
    return (texts[0], text_pair) if text_pair else texts


def _require(table: Table, name: str, advice: str = "") -> Sequence[Any]:
    if name not in table.columns:
        raise ValueError(f"{table.source} has no column {name!r}; its columns are {table.names()}{advice}.")
    return table.columns[name][:]  # A slice of a Dataset's column is a list, many times faster than the column.


def _find_texts(table: Table, taken: Sequence[str | None]) -> tuple[str, ...]:
    free = [name for name in table.columns if name not in taken]
    known = [names for names in (*TEXT_PAIRS, ("sentence",), ("text",)) if set(names) <= set(free)]
    found = known or [(name,) for name in free if _holds_words(table.columns[name][:])]
    if not found:
        raise ValueError(
            f"{table.source} has no column of text beside the label; its columns are {table.names()}; "
            "name it with text_column."
        )
    logger.info("%s: the text is taken from %s.", table.source, " and ".join(found[0]))
    return found[0]


def _holds_words(values: Sequence[Any]) -> bool:
    """Whether these are texts, and not numbers written out, as in a column of row ids."""
    texts = [value for value in values if value is not None]
    return all(isinstance(text, str) for text in texts) and not all(_NUMBER.fullmatch(text) for text in texts)


def texts_of(table: Table, name: str) -> Sequence[str]:
    values = _require(table, name)
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise no_text(value, name, table.where(row))
    return values


def no_text(value: Any, name: str, where: str) -> ValueError:
    """The refusal of what is no text in a column of text."""
    found = "nothing" if value is None else shortened(value)
    return ValueError(f"{where}: column {name!r} holds {found}; expected text.")


@dataclass(frozen=True)
class Labels:
    """How the labels of a task are written, and how they become numbers."""

    problem_type: str
    num_labels: int
    names: tuple[str, ...] | None = None
    by_name: bool = False

    #: What stands for a text without a label.
    unlabeled = UNLABELED

    @classmethod
    def of(cls, tables: Sequence[Table], column: str, names: Sequence[str] | None, problem_type: str | None) -> Labels:
        """Learn from the training labels (if it has none, from the next split's) what all labels mean."""
        if problem_type not in (None, "single_label_classification", "regression"):
            raise ValueError(f"problem_type must be single_label_classification or regression, got {problem_type!r}.")
        known = tuple(names or tables[0].class_names.get(column, []))
        found = ((table, _labeled(table, column, known)) for table in tables)
        table, written = next((pair for pair in found if pair[1]), (tables[0], {}))
        if problem_type == "regression" or (not (known or problem_type) and _are_scores(written.values())):
            return cls("regression", 1)
        if not (written or known):
            raise ValueError(f"Column {column!r} of {table.source} holds no label; label some rows.")
        texts = set(written.values())
        if not known:
            _refuse_ids(table, column, written, len(texts))
        if texts <= set(known) or not all(map(_NUMBER.fullmatch, texts)):
            known = known or tuple(sorted(texts))
            return cls("single_label_classification", len(known), known, by_name=True)
        ids = [_whole_number(text, table.where(row)) for row, text in written.items()]
        if not known and max(ids) >= MOST_CLASSES and max(ids) >= 10 * len(texts):
            row = next(row for row, text in written.items() if float(text) == max(ids))
            raise ValueError(
                f"{table.where(row)}: label {max(ids)} would make {1 + max(ids):,} classes, and {len(texts):,} occur: "
                f"is {column!r} a column of ids or times? Name the label's with label_column, or number classes from 0."
            )
        return cls("single_label_classification", len(known) or 1 + max(ids), known or None)

    def encode(self, table: Table, column: str, warn: bool = True) -> list[float] | list[int]:
        """The labels as numbers, -100 where there is none; with `warn` these are counted in a warning."""
        regression = self.problem_type == "regression"
        written = _labeled(table, column, self.names or (), scores=regression)
        if warn and written and len(written) < len(table.columns[column]):
            counts = len(table.columns[column]) - len(written), len(table.columns[column])
            logger.warning("%s: %d of %d rows count as unlabeled (empty, -1 or -100).", table.source, *counts)
        read = self._score if regression else self._name_id if self.by_name else self._id
        numbers = {row: read(text, table.where(row)) for row, text in written.items()}
        return [numbers.get(row, UNLABELED) for row in range(len(table.columns[column]))]

    def _score(self, text: str, where: str) -> float:
        if not _NUMBER.fullmatch(text) or math.isinf(float(text)):
            found = "finite" if _NUMBER.fullmatch(text) else "a number"
            raise ValueError(f"{where}: label {text!r} is not {found}; a regression learns scores.")
        return float(text)

    def _id(self, text: str, where: str) -> int:
        number = _whole_number(text, where)
        if not 0 <= number < self.num_labels:
            raise ValueError(
                f"{where}: label {text} is out of range; the {self.num_labels} classes are 0 to {self.num_labels - 1}."
            )
        return number

    def _name_id(self, text: str, where: str) -> int:
        names = self.names or ()
        if text in names:
            return names.index(text)
        folded = [name.casefold() for name in names]
        if folded.count(text.casefold()) == 1:
            return folded.index(text.casefold())
        close = difflib.get_close_matches(text.casefold(), folded, n=1)
        hint = f" (did you mean {names[folded.index(close[0])]!r}?)" if close else ""
        raise ValueError(f"{where}: unknown label {text!r}{hint}; the labels are {some_names(names, 20)}.")

    def warn_of_absent_classes(self, labels: Sequence[float]) -> None:
        """Warns of classes that no training row has: ids that begin at 1, or a share that is too small."""
        absent = sorted(set(range(self.num_labels)) - set(labels))
        if self.problem_type != "regression" and absent:
            names = [self.names[index] if self.names else str(index) for index in absent]
            logger.warning(
                "%d of the %d classes have no training row: %s.", len(absent), self.num_labels, some_names(names, 20)
            )


def usable_class_names(
    table: Table,
    column: str,
    class_names: Sequence[str] | None,
    label_names: Sequence[str] | None,
    problem_type: str | None,
) -> Sequence[str] | None:
    """The names of the classes where the labels are classes, and share a name with what the labels are known by."""
    if class_names is None or problem_type == "regression" or _are_scores(_labeled(table, column, ()).values()):
        return None
    return matching_names(class_names, label_names)


def matching_names(class_names: Sequence[str] | None, label_names: Sequence[str] | None) -> Sequence[str] | None:
    """The names of the classes where they share one with those that the labels are known by.

    Otherwise `None`, and a warning that they are taken to be the same classes in this order.

    Raises:
        ValueError: where they are not as many, and so other classes.
    """
    if not (class_names and label_names) or {*map(str.casefold, class_names)} & {*map(str.casefold, label_names)}:
        return class_names
    both = some_names(class_names), some_names(label_names)
    if len(class_names) != len(label_names):
        raise ValueError(
            f"the texts have {len(class_names)} classes, {both[0]}, and a teacher knows {len(label_names)} others, "
            f"{both[1]}: take one of these classes, or fine-tune it on them first (--train_teacher true)."
        )
    logger.warning("The classes are called %s and here %s: they are taken to mean the same in this order.", *both)
    return None


def with_class_names(table: Table, column: str, names: Sequence[str] | None) -> Table:
    """The table with names for the classes that its label column numbers; as it is where it has names or scores."""
    if names is None or column in table.class_names or column not in table.columns:
        return table
    texts = set(_labeled(table, column, ()).values())
    if texts <= set(names) or not all(map(_is_whole, texts)):
        return table
    return replace(table, class_names={**table.class_names, column: list(names)})


def _refuse_ids(table: Table, column: str, written: Mapping[int, str], different: int) -> None:
    """Refuses a column in which nearly every row has a label of its own, such as an id or a time."""
    if different >= MOST_CLASSES and different > len(written) / 2:
        raise ValueError(
            f"{table.source}: column {column!r} has {different:,} different labels in {len(written):,} rows, such as "
            f"{next(iter(written.values()))!r}: is it a column of ids or times? Name the label's with label_column, or "
            "the classes with class_names."
        )


def _labeled(table: Table, column: str, names: Sequence[str], scores: bool = False) -> dict[int, str]:
    """The labels as written, by row, without those of unlabeled rows: empty, or -1 or -100 by custom."""
    values = _require(table, column, "; check label_column")
    classes = table.class_names.get(column)
    written = {row: _as_written(value, classes, table.where(row)) for row, value in enumerate(values)}
    missing = {"", str(UNLABELED)} | (set() if scores else {"-1"})
    return {row: text for row, text in written.items() if text not in missing - set(names)}


def _as_written(value: Any, classes: Sequence[str] | None, where: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return _as_written(value[0], classes, where)
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and math.isinf(value):
        raise ValueError(f"{where}: label {value} is not a finite number, and nothing can be learned from it.")
    if not isinstance(value, (int, float, str)):
        raise ValueError(f"{where}: label {value!r} is a {type(value).__name__}; expected one name or number.")
    text = str(value).strip()
    if classes is None or not _is_whole(text):
        return text
    number = int(float(text))
    if number in NO_CLASS:
        return ""
    if not 0 <= number < len(classes):
        raise ValueError(
            f"{where}: label {text} is out of range; {len(classes)} classes have names, 0 to {len(classes) - 1}: "
            f"{some_names(classes, 20)}."
        )
    return classes[number]


def _are_scores(labels: Collection[str]) -> bool:
    """Whether all are written as decimals and some have a fraction; one 1.5 among whole numbers is a slip."""
    decimals = all(_NUMBER.fullmatch(label) and not label.lstrip("+-").isdigit() for label in labels)
    return decimals and any(not float(label).is_integer() for label in labels)


def _is_whole(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and float(text).is_integer()


def _whole_number(text: str, where: str) -> int:
    if not _is_whole(text):
        raise ValueError(
            f"{where}: label {text} is not an integer; number the classes from 0, or ask for a regression "
            "with problem_type."
        )
    if abs(float(text)) >= 2**63:
        raise ValueError(f"{where}: label {shortened(text)} is beyond 64 bits; number the classes from 0.")
    return int(float(text))

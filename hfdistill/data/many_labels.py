"""Labels of which a text may have several at once, or none: what they are called, and each text's as zeros and ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers.utils import logging

from hfdistill.data.columns import MOST_CLASSES, UNLABELED
from hfdistill.data.shortening import shortened
from hfdistill.data.tables import Table
from hfdistill.models.labels import MULTI, some_names

logger = logging.get_logger(__name__)


def has_lists(tables: Sequence[Table], column: str) -> bool:
    """Whether the labels of some text are a list, and not of one: then texts may have several."""
    values = (value for table in tables if column in table.columns for value in table.columns[column][:])
    return any(isinstance(value, (list, tuple)) and len(value) != 1 for value in values)


def with_numbered_labels(table: Table, column: str, names: Sequence[str] | None) -> Table:
    """The table with names for the labels that its column numbers, where it has none of its own."""
    if not names or column in table.class_names:
        return table
    return replace(table, class_names={**table.class_names, column: list(names)})


@dataclass(frozen=True)
class ManyLabels:
    """How the labels of a task are written where a text may have several, and how they become zeros and ones.

    A text's are a list of the names, or of the numbers, of those that hold; or a number from 0 to 1 for each label.
    Of an empty list none holds; a text without a list is unlabeled.

    Args:
        num_labels: How many there are.
        names: In their order, where they have some.
        vectors: Whether a list has a number for each label.
    """

    num_labels: int
    names: tuple[str, ...] | None = None
    vectors: bool = False

    problem_type = MULTI

    @classmethod
    def of(cls, tables: Sequence[Table], column: str, names: Sequence[str] | None) -> ManyLabels:
        """Learn from the training labels what all labels are.

        Args:
            tables: Those of the splits, `train` first.
            column: Their column of labels.
            names: The labels where they are known, such as those of a teacher, in its order.

        Raises:
            ValueError: for labels that are no lists, or not all alike.
        """
        lists = [found for row in range(len(tables[0].columns[column])) if (found := _list(tables[0], column, row))]
        known = tuple(names or tables[0].class_names.get(column) or ())
        vectors = _are_vectors(lists)
        if vectors and known and len(known) != len(lists[0]):
            raise ValueError(
                f"{tables[0].source}: column {column!r} has a list of {len(lists[0])} numbers for each text, and there "
                f"are {len(known)} labels: {some_names(known)}."
            )
        written = {value for found in lists for value in found}
        if not known and not vectors and all(isinstance(value, str) for value in written):
            known = tuple(sorted(written))
        count = len(known) or (len(lists[0]) if vectors else 1 + max(map(_whole, written), default=-1))
        if not 1 <= count <= MOST_CLASSES:
            raise ValueError(
                f"{tables[0].source}: column {column!r} has {count:,} different labels: is it the column of labels? "
                "Name that with label_column."
            )
        return cls(count, known or None, vectors)

    def encode(self, table: Table, column: str) -> list[list[float]]:
        """The labels as a number for each, -100 where a text has no list."""
        places = [self._place(number, table, column, 0) for number in range(self.num_labels)] if self.vectors else []
        return [self._encoded(table, column, row, places) for row in range(len(table.columns[column]))]

    @property
    def unlabeled(self) -> list[float]:
        """What stands for a text without labels."""
        return [float(UNLABELED)] * self.num_labels

    def warn_of_absent_classes(self, labels: Iterable[Sequence[float]]) -> None:
        """Warns of labels that no training text has."""
        absent = [place for place, values in enumerate(zip(*labels, strict=True)) if not any(one > 0 for one in values)]
        if absent:
            names = [self.names[place] if self.names else str(place) for place in absent]
            logger.warning("%d of the %d labels hold for no training text: %s.", len(absent), self.num_labels, names)

    def _encoded(self, table: Table, column: str, row: int, places: Sequence[int]) -> list[float]:
        """A row's labels; of a list with a number for each, the places say which label each number is of."""
        values = _list(table, column, row)
        if values is None:
            return self.unlabeled
        if self.vectors:
            if len(values) != self.num_labels or not _are_vectors([values]):
                raise ValueError(
                    f"{table.where(row)}: column {column!r} holds {shortened(values)}; expected {self.num_labels} "
                    "numbers from 0 to 1, one for each label."
                )
            return [float(value) for _, value in sorted(zip(places, values, strict=True))]
        held = {self._place(value, table, column, row) for value in values}
        return [float(place in held) for place in range(self.num_labels)]

    def _place(self, value: Any, table: Table, column: str, row: int) -> int:
        """Which label this is, by its name or its number."""
        numbered: Sequence[str | None] = table.class_names.get(column) or self.names or [None] * self.num_labels
        name = value
        if not isinstance(value, str):
            number = _whole(value)
            if not 0 <= number < len(numbered):
                last = len(numbered) - 1
                raise ValueError(f"{table.where(row)}: label {value} is out of range; the labels are 0 to {last}.")
            if self.names is None:
                return number
            name = numbered[number]
        folded = [own.casefold() for own in self.names or ()]
        if name.casefold() not in folded:
            known = some_names(self.names or (), 20)
            raise ValueError(f"{table.where(row)}: unknown label {shortened(name)}; the labels are {known}.")
        return folded.index(name.casefold())


def _list(table: Table, column: str, row: int) -> Sequence[Any] | None:
    """A text's list of labels, `None` where it has none."""
    value = table.columns[column][row]
    if value is None or value == "":
        return None
    if not isinstance(value, (list, tuple)):
        raise ValueError(
            f"{table.where(row)}: column {column!r} holds {shortened(value)}, one label; where a text may have several "
            "write a list for each, in a file of JSON lines or parquet."
        )
    if not all(isinstance(one, (str, int, float)) for one in value):
        raise ValueError(f"{table.where(row)}: column {column!r} holds {shortened(value)}; expected names or numbers.")
    return value


def _are_vectors(lists: Sequence[Sequence[Any]]) -> bool:
    """Whether each is a number from 0 to 1 for each label, and not the numbers of those that hold."""
    alike = len({len(one) for one in lists}) == 1 and len(lists[0]) > 1
    return alike and all(not isinstance(one, str) and 0 <= one <= 1 for values in lists for one in values)


def _whole(value: Any) -> int:
    if isinstance(value, str) or int(value) != value or value < 0:
        raise ValueError(f"{shortened(value)} is no number of a label: number them from 0, or name them all.")
    return int(value)

"""Labels that a person corrected, put into the rows that they are of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from transformers.utils import logging

from hfdistill.data.columns import Labels, texts_of, with_class_names
from hfdistill.data.shortening import shortened
from hfdistill.data.tables import Table, open_table
from hfdistill.models.labels import LABEL_COLUMNS, NO_CLASS, NO_LABEL, class_names

logger = logging.get_logger(__name__)

#: The columns of a file of corrections: the text, or the pair, and what a person writes.
TEXT, CORRECTED = ("text", "text_pair"), "corrected"
_WAY_OUT = "give the file that hfdistill review wrote, with the cells of `corrected` filled"

#: A text, or a pair, and the label that it has.
Key = tuple[tuple[str, ...], int]


@dataclass(frozen=True)
class Correction:
    """A row of the file whose cell is filled.

    Args:
        label: The right label.
        where: Where it stands, for a message.
    """

    label: int
    where: str


def apply_corrections(
    dataset: Dataset | DatasetDict,
    corrections: str | Path | Dataset,
    *,
    text_columns: str | Sequence[str],
    label_column: str | None = None,
    label_names: Sequence[str] | None = None,
) -> tuple[Any, str]:
    """The rows with the labels that a person corrected, and a sentence that counts them.

    A correction is for the rows of its text that have its old `label`, in all splits; how they are spaced does not
    matter. Only filled cells of `corrected` are read. Rows that have the new label already are left as they are. Texts
    that are not there are named in a warning.

    Args:
        dataset: Rows with one class each, -100 or -1 where there is none, or splits of them.
        corrections: The file that `review` wrote, filled in: csv or JSON lines with `text` (of pairs `text_pair` too),
            `label` and `corrected`. Or such rows.
        text_columns: The column of the text, or the two of a pair.
        label_column: The column of the label; by default `label` or `labels`.
        label_names: The names of the classes in their order; by default those of the column. Without names, labels are
            numbers.

    Raises:
        ValueError: for a file without these columns or without a filled cell, a label that is none of the classes, one
            text with two corrections that differ, or when no text of the file is there.
    """
    splits = dataset if isinstance(dataset, dict) else {"the rows": dataset}
    columns = (text_columns,) if isinstance(text_columns, str) else tuple(text_columns)
    first = next(iter(splits.values()))
    label = label_column or next((name for name in LABEL_COLUMNS if name in first.column_names), LABEL_COLUMNS[0])
    names = label_names or class_names(first.features, label)
    table = open_table(corrections, "corrections")
    wanted = _read(table, len(columns), names, _class_count(splits, label, names))
    keys = {name: _keys(rows, columns, label) for name, rows in splits.items()}
    _check_found(table, wanted, Counter(key for every in keys.values() for key in every))
    corrected, counts = {}, {}
    for name, rows in splits.items():
        changed = {row: wanted[key].label for row, key in enumerate(keys[name]) if key in wanted}
        changed = {row: new for row, new in changed.items() if new != keys[name][row][1]}
        corrected[name], counts[name] = _with_labels(rows, label, changed) if changed else rows, len(changed)
    listed = ", ".join(f"{count:,} in {name}" for name, count in counts.items() if count) or "none"
    told = f"Labels corrected by a person ({Path(table.source).name}): {listed}."
    return (type(dataset)(corrected) if isinstance(dataset, dict) else corrected["the rows"]), told


def _read(table: Table, texts: int, names: Sequence[str] | None, classes: int) -> dict[Key, Correction]:
    """The corrections by what they are of."""
    for name in (*TEXT[:texts], "label", CORRECTED):
        if name not in table.columns:
            raise ValueError(f"{table.source} has no column {name!r}; its columns are {table.names()}: {_WAY_OUT}.")
    known = Labels("single_label_classification", classes, tuple(names) if names else None, by_name=bool(names))
    for name in ("label", CORRECTED):
        table = with_class_names(table, name, names)
    old, new = (known.encode(table, name, warn=False) for name in ("label", CORRECTED))
    pairs = list(zip(*(map(_spaced, texts_of(table, name)) for name in TEXT[:texts]), strict=True))
    found: dict[Key, Correction] = {}
    for row, label in enumerate(new):
        if label == NO_LABEL:
            continue
        key, one = (pairs[row], int(old[row])), Correction(int(label), table.where(row))
        if (other := found.setdefault(key, one)).label != one.label:
            raise ValueError(
                f"{one.where} corrects {shortened(key[0][0])} otherwise than {other.where} does: keep one of them."
            )
    if not found:
        raise ValueError(f"{table.source} has no filled cell in column {CORRECTED!r}: write the right labels there.")
    return found


def _check_found(table: Table, wanted: Mapping[Key, Correction], there: Mapping[Key, int]) -> None:
    """Names what is not there; a text that has the new label already was corrected before."""
    missing = [key for key, one in wanted.items() if key not in there and (key[0], one.label) not in there]
    if not missing:
        return
    where, text = wanted[missing[0]].where, shortened(missing[0][0][0])
    if len(missing) == len(wanted):
        raise ValueError(
            f"{where}: no row has the text {text} with this label, and so it is with all {len(wanted):,} corrections: "
            f"they are of other texts; {_WAY_OUT}."
        )
    logger.warning(
        "%s: no row has the text %s with this label; so it is with %d of %d corrections, which change nothing.",
        where,
        text,
        len(missing),
        len(wanted),
    )


def _keys(rows: Dataset, columns: Sequence[str], label: str) -> list[Key]:
    texts = zip(*(map(_spaced, rows[name][:]) for name in columns), strict=True)
    return list(zip(texts, map(_class, rows[label][:]), strict=True))


def _spaced(text: str) -> str:
    """A text with single spaces: spreadsheets write line ends of their own."""
    return " ".join(text.split())


def _class(label: Any) -> int:
    if isinstance(label, (list, tuple)) or (isinstance(label, float) and not label.is_integer()):
        raise ValueError(f"corrections are of one class a row, and the rows have labels such as {shortened(label)}.")
    return NO_LABEL if label is None or label in NO_CLASS else int(label)


def _class_count(splits: Mapping[str, Dataset], label: str, names: Sequence[str] | None) -> int:
    if names:
        return len(names)
    return 1 + max((_class(one) for rows in splits.values() for one in rows[label][:]), default=0)


def _with_labels(rows: Dataset, column: str, changed: Mapping[int, int]) -> Dataset:
    features, order = rows.features, rows.column_names
    labels = [changed.get(row, label) for row, label in enumerate(rows[column][:])]
    return rows.remove_columns(column).add_column(column, labels, feature=features[column]).select_columns(order)

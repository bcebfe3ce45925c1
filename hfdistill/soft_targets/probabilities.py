"""Soft targets of a teacher that is not at hand: probabilities, votes or an API's answers that rows carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, IterableDataset, LargeList, List
from transformers.utils import logging

from hfdistill.data.rows import as_dataset
from hfdistill.data.tables import Table, open_table, read_table
from hfdistill.models.labels import LabelSpace, some_names
from hfdistill.soft_targets.annotators import dawid_skene
from hfdistill.soft_targets.cells import (
    LabelNames,
    label_names_in,
    numbers_of,
    of_tokens,
    plain,
    probabilities_of,
    spread,
    voted,
    votes_of,
)
from hfdistill.soft_targets.dataset import soft_target_features, with_soft_targets

logger = logging.get_logger(__name__)

#: What columns may hold.
KINDS = ("probabilities", "log_probabilities", "votes", "top_logprobs")
#: What a probability of 0 counts as: its logarithm is to be finite.
FLOOR = 1e-6
#: Votes of no annotator beside the annotators': of a count one in all, spread over the labels, so that few votes are
#: not lost among many labels; of each entry of a confusion matrix the prior of Krichevsky and Trofimov.
COUNT_SMOOTHING, SMOOTHING = 1.0, 0.5
#: How votes become one distribution.
COMBINE = ("counts", "dawid_skene")


def from_probabilities(
    dataset: Any,
    columns: str | Sequence[str] | Mapping[str, str],
    label_names: Sequence[str] | None = None,
    *,
    kind: str = "probabilities",
    words: Mapping[str, str | Sequence[str]] | None = None,
    smoothing: float | None = None,
    multi_label: bool = False,
    combine: str = COMBINE[0],
) -> Any:
    """The dataset with the soft targets that `soft_targets` would have made, of probabilities that it carries.

    The logits are `log p`, which a softmax turns into `p` again, and at temperature `T` into `p^(1/T)` normalized: as
    logits are known but for a constant, temperature means what it means with the model itself. Only a probability of 0,
    as rounding leaves it, has no logarithm; it counts as `FLOOR`, a millionth, so that high temperatures raise it to
    little. Votes have no logits: there `T` only says how much evener than the annotators the student is to be; leave it
    at 1.

    Args:
        dataset: Rows: a `Dataset`, a dict of splits, a list of rows, or a file of csv, tsv, json lines or parquet.
        columns: One column with a list of numbers, a dict of numbers by label, or a list of `{"label": …, "score": …}`
            as pipelines give it, also as JSON texts; or several columns of one number each, named by a dict from label
            to column, by `label_names`, or by themselves. Of votes, a column of labels or lists of labels, or one of
            each annotator.
        label_names: The labels in their order; by default those that the rows name, sorted. Names and order are
            compared with those of a `ClassLabel` column `label` or `labels`, whose order the soft targets get.
        kind: What the columns hold.

            - `probabilities`: where a dict lacks labels (top-k), what is missing to 1 is spread evenly over these.
            - `log_probabilities`: their natural logarithms, likewise.
            - `votes`: labels by several annotators, `(n_k + s) / (N + K · s)`. Numbers count from 0, or are those of
              the names that a `ClassLabel` column has.
            - `top_logprobs`: tokens and log-probabilities as an OpenAI-like API gives them: the whole answer, its
              `logprobs`, or the list or dict of the first position; summed over the tokens of each label and
              normalized.
        words: What an API may have said for a label, by its name; the names themselves are known. Without `label_names`
            these are the labels.
        smoothing: `s`, the votes that each label has beforehand; by default `1/K`, one in all, and a half of each entry
            of a confusion matrix.
        multi_label: Whether each label has a probability of its own (`log p − log (1 − p)` are the logits then).
        combine: Of votes: `counts` counts each alike, as above. `dawid_skene` finds out from the votes alone how often
            each annotator takes one label for another, and weighs them by that, see `dawid_skene`; it takes one column
            for each annotator, or lists in their order with `None` where one has not voted.

    Raises:
        ValueError: for no rows, and for what is no distribution, naming row and column: numbers that are negative,
            above 1, not a number or of another sum than 1, two for one label, unknown labels, empty cells, answers that
            are no label.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"text": ["fine"], "scores": [[0.1, 0.9]]})
        >>> [round(logit, 4) for logit in from_probabilities(rows, "scores", ["bad", "good"])["teacher_logits"][0]]
        [-2.3026, -0.1054]
    """
    settings: dict[str, Any] = {"kind": kind, "words": words, "smoothing": smoothing, "multi_label": multi_label}
    settings["combine"] = combine
    if isinstance(dataset, dict):
        label_names = label_names or _names_in_splits(dataset, columns, kind, words)
        return type(dataset)(
            {name: from_probabilities(split, columns, label_names, **settings) for name, split in dataset.items()}
        )
    rows, table = _opened(dataset)
    table = _with_votes_by_name(table, rows.features) if kind == "votes" else table
    named = LabelSpace.of_features(rows.features)
    logits, names = read_logits(table, columns, label_names or (named and named[1].names), **settings)
    if named and names:
        order = named[1].order_in(LabelSpace.of_names(names), "column of probabilities")
        logits, names = logits if order is None else logits[:, order], list(named[1].names or names)
    return with_soft_targets(rows, [logits], soft_target_features(logits.shape[1], names))


def _names_in_splits(splits: Mapping[str, Any], columns: Any, kind: str, words: Any) -> list[str] | None:
    """The labels that rows of any split name; `None` where they are known otherwise, or are numbers without names."""
    opened = [_opened(split) for split in splits.values()]
    if words or any(LabelSpace.of_features(rows.features) for rows, _ in opened):
        return None
    read = [_with_votes_by_name(table, rows.features) if kind == "votes" else table for rows, table in opened]
    if any(name not in table.columns for table in read for name in _columns_of(columns)):
        return None  # which is told of with its split
    return _names(columns, [cell for table in read for cell in _cells(table, columns, None, kind)[0]], kind)


def _with_votes_by_name(table: Table, features: Mapping[str, Any]) -> Table:
    """The table, in which votes for numbered classes are their names: columns may number them otherwise."""
    changed = {}
    for column, feature in features.items():
        kind = feature.feature if isinstance(feature, (List, LargeList)) else feature
        if isinstance(kind, ClassLabel) and column in table.columns:
            changed[column] = [_by_name(cell, kind.names) for cell in table.columns[column][:]]
    return replace(table, columns={**table.columns, **changed})


def _by_name(cell: Any, names: Sequence[str]) -> Any:
    if isinstance(cell, list):
        return [_by_name(one, names) for one in cell]
    number = isinstance(cell, int) and not isinstance(cell, bool)
    return cell if not number else names[cell] if cell >= 0 else None


def _opened(given: Any) -> tuple[Dataset, Table]:
    """The rows, and their columns with where each row stands."""
    if isinstance(given, (str, Path)):
        return read_table(given), open_table(given, "")
    if isinstance(given, IterableDataset):
        raise ValueError("from_probabilities reads all rows, and this is a stream: make a Dataset of it first.")
    rows: Dataset = as_dataset(given)
    plain_rows = rows.with_format(None)
    return rows, Table({name: plain_rows[name] for name in rows.column_names}, "the dataset")


def read_logits(
    table: Table,
    columns: str | Sequence[str] | Mapping[str, str],
    label_names: Sequence[str] | None = None,
    *,
    kind: str = "probabilities",
    words: Mapping[str, str | Sequence[str]] | None = None,
    smoothing: float | None = None,
    multi_label: bool = False,
    combine: str = COMBINE[0],
) -> tuple[np.ndarray, list[str] | None]:
    """Logits of shape `(rows, labels)`, and the labels in their order; as `from_probabilities`, of a table.

    Raises:
        ValueError: naming row and column.
    """
    _check_settings(kind, combine, smoothing, multi_label)
    for name in _columns_of(columns):
        if name not in table.columns:
            raise ValueError(f"{table.source} has no column {name!r}; its columns are {table.names()}.")
    cells, what = _cells(table, columns, label_names, kind)
    if not cells:
        raise ValueError(f"{table.source} has no rows: was everything filtered out of it?")
    names = label_names or (list(words) if words else _names(columns, cells, kind))
    labels = LabelNames(
        list(names) if names else [str(place) for place in range(_width(cells, kind))],
        {name: [some] if isinstance(some, str) else list(some) for name, some in (words or {}).items()},
    )
    if len(labels.names) < 2 - multi_label:
        raise ValueError(f"the labels of {what} are not known: name them in their order with label_names=[...].")
    unknown = [name for name in labels.words if name not in labels.names]
    if unknown:
        raise ValueError(f"words names the label {unknown[0]!r}, and the labels are {', '.join(labels.names)}.")
    if kind == "top_logprobs" and (within := labels.within_another()):
        logger.warning("An API's token %r counts for that label, though it may begin %r.", *within)
    if combine == "dawid_skene":
        posterior = _weighed(table, cells, what, labels, SMOOTHING if smoothing is None else smoothing)
        return np.log(np.maximum(posterior, FLOOR)).astype(np.float32), list(names) if names else None
    smoothing = COUNT_SMOOTHING / len(labels.names) if smoothing is None else smoothing
    rows = _checked(table, cells, what, _reader(labels, kind, smoothing, multi_label))
    probabilities = np.array([row for row, _ in rows])
    left = [missing for _, missing in rows if missing > 0]
    if left:
        logger.warning(
            "%d of %d rows name not all labels in %s: the %.1f %% that they leave on average is spread evenly over the "
            "labels left out.",
            len(left),
            len(rows),
            what,
            100 * np.mean(left),
        )
    logits = np.log(np.maximum(probabilities, FLOOR))
    if multi_label:
        logits = logits - np.log(np.maximum(1 - probabilities, FLOOR))
    return logits.astype(np.float32), list(names) if names else None


def _check_settings(kind: str, combine: str, smoothing: float | None, multi_label: bool) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}, not {kind!r}.")
    if multi_label and kind in ("votes", "top_logprobs"):
        raise ValueError(f"{kind} are about one label a text: leave multi_label out.")
    if combine not in COMBINE or (combine != COMBINE[0] and kind != "votes"):
        raise ValueError(f"combine is one of {', '.join(COMBINE)}, and about votes; got {combine!r} for {kind}.")
    if smoothing is not None and not smoothing > 0:
        raise ValueError(f"smoothing must be above 0, so that no label is impossible; got {smoothing}.")


def _weighed(table: Table, cells: Sequence[Any], what: str, labels: LabelNames, smoothing: float) -> np.ndarray:
    """The posteriors of votes by annotators who err in ways of their own."""
    votes = [vote for vote, _ in _checked(table, cells, what, lambda cell: (votes_of(cell, labels), 0.0))]
    lengths = {len(vote) for vote in votes}
    if len(lengths) > 1 or 1 in lengths:
        found_of_row = " to ".join(map(str, sorted({min(lengths), max(lengths)})))
        raise ValueError(
            f"dawid_skene takes the vote of each annotator at a place of its own, and {what} has {found_of_row} a row: "
            "give one column for each, or lists with null where one has not voted."
        )
    found = dawid_skene(np.array(votes), len(labels.names), smoothing)
    logger.info("By their votes the annotators are right in %s.", ", ".join(f"{one:.1%}" for one in found.accuracy))
    return found.posterior


def _columns_of(columns: str | Sequence[str] | Mapping[str, str]) -> list[str]:
    return (
        [columns] if isinstance(columns, str) else list(columns.values() if isinstance(columns, Mapping) else columns)
    )


def _cells(table: Table, columns: Any, label_names: Sequence[str] | None, kind: str) -> tuple[list[Any], str]:
    """What each row has, in one cell, and how to call it."""
    if isinstance(columns, str):
        return list(table.columns[columns][:]), f"column {columns!r}"
    names = _columns_of(columns)
    what = f"columns {', '.join(map(repr, names))}"
    rows = zip(*(table.columns[name][:] for name in names), strict=True)
    if kind == "votes":
        return [list(row) for row in rows], what
    labels = list(columns) if isinstance(columns, Mapping) else list(names)
    if label_names and not isinstance(columns, Mapping) and len(label_names) == len(names):
        by_name, own = ({*map(str.casefold, some)} for some in (label_names, labels))
        if by_name != own and by_name & own:
            raise ValueError(
                f"{what} are called as some of the labels {some_names(label_names)} and not as others: say which "
                "column is which label's, columns={label: column}."
            )
        labels = labels if by_name == own else list(label_names)
    return [dict(zip(labels, row, strict=True)) for row in rows], what


def _names(columns: Any, cells: Sequence[Any], kind: str) -> list[str] | None:
    """The labels that the rows name; `None` where they are numbers without names."""
    if kind == "top_logprobs":
        return None
    if isinstance(columns, Mapping):
        return list(columns)
    found = {name.strip() for cell in cells for name in label_names_in(_or_none(cell))}
    # However a label is written here and there, it is one; and 10 comes behind 9.
    once = {name.casefold(): name for name in sorted(found, reverse=True)}.values()
    numbers = all(name.isdecimal() for name in once)
    return sorted(once, key=int if numbers else None) or None


def _or_none(cell: Any) -> Any:
    try:
        return plain(cell)
    except ValueError:  # which is told of with its row
        return None


def _width(cells: Sequence[Any], kind: str) -> int:
    """How many labels there are, where they have no names: of votes as many as the highest number tells."""
    if kind == "votes":
        votes = [vote for cell in map(_or_none, cells) for vote in (cell if isinstance(cell, list) else [cell])]
        return 1 + max((vote for vote in votes if isinstance(vote, int) and not isinstance(vote, bool)), default=-1)
    first = next((cell for cell in map(_or_none, cells) if isinstance(cell, list)), [])
    return len(first) if not isinstance(next(iter(first), None), Mapping) else 0


def _reader(
    labels: LabelNames, kind: str, smoothing: float, multi_label: bool
) -> Callable[[Any], tuple[np.ndarray, float]]:
    """What makes a distribution of a cell, and says how much of it was spread."""
    if kind == "votes":
        return lambda cell: (voted(cell, labels, smoothing), 0.0)
    if kind == "top_logprobs":
        return lambda cell: (of_tokens(cell, labels), 0.0)

    def read(cell: Any) -> tuple[np.ndarray, float]:
        given = probabilities_of(numbers_of(cell, labels), labels, logarithms=kind == "log_probabilities")
        if not multi_label:
            return spread(given)
        if np.isnan(given).any():
            raise ValueError(f"has no probability of {labels.names[int(np.isnan(given).argmax())]!r}")
        return given, 0.0

    return read


def _checked(
    table: Table, cells: Sequence[Any], what: str, read: Callable[[Any], tuple[Any, float]]
) -> list[tuple[Any, float]]:
    rows, faults = [], []
    for row, cell in enumerate(cells):
        try:
            rows.append(read(plain(cell)))
        except ValueError as error:
            faults.append((row, error))
    if faults:
        row, fault = faults[0]
        more = f" ({len(faults) - 1} more rows have such faults)" if len(faults) > 1 else ""
        raise ValueError(f"{table.where(row)}, {what}: it {fault}.{more}")
    return rows

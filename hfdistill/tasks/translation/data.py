"""The pairs of texts of a translation task, from files or loaded datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from transformers.utils import logging

from hfdistill.data.messages import cut, shortened
from hfdistill.data.tables import Table, open_table
from hfdistill.tasks.classification.data import split_validation

logger = logging.get_logger(__name__)

#: The column in which the Hub's parallel sets keep both texts: `{"translation": {"en": ..., "de": ...}}`.
PAIR_COLUMN = "translation"


@dataclass(frozen=True)
class TranslationData:
    """What a translation recipe trains on.

    Attributes:
        dataset: The splits `train`, `validation` and, when given, `test`, each with the columns `source` and `target`.
        source: The name of the source column, such as `en`.
        target: The name of the target column, such as `de`.
        monolingual: Source texts without a translation, for the teacher to translate; `None` when there are none.
    """

    dataset: DatasetDict
    source: str
    target: str
    monolingual: Dataset | None = None


def translation_dataset(
    train_file: str | Path | Dataset,
    validation_file: str | Path | Dataset | None = None,
    test_file: str | Path | Dataset | None = None,
    *,
    source: str = "en",
    target: str = "de",
    unlabeled_file: str | Path | Dataset | None = None,
    skip_empty: bool = True,
    validation_share: float = 0.1,
    seed: int = 42,
) -> TranslationData:
    """Read the files of a translation task; see `read_table` for the formats.

    A row has one column for each language, named by `source` and `target`, or both texts in a column `translation`, as
    the Hub's parallel sets do: `{"translation": {"en": "A cat.", "de": "Eine Katze."}}`. In place of a file, a loaded
    dataset will do.

    Args:
        train_file: The training pairs.
        validation_file: The validation pairs; without it, a share of the training pairs.
        test_file: The test pairs.
        source: The name of the source column, or its language in `translation`.
        target: The name of the target column, or its language in `translation`.
        unlabeled_file: Source texts for the teacher to translate; a target column, if any, is not read.
        skip_empty: Whether pairs with an empty side are skipped, with a warning that counts them; otherwise they are
            refused.
        validation_share: The share of the training pairs to validate on when there is no validation file.
        seed: Chooses them.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file cannot be read, a column is missing, or a text is not a text; names the line.
    """
    if source == target:
        raise ValueError(f"source and target are both {source!r}: name two columns or languages.")
    files = {"train": train_file, "validation": validation_file, "test": test_file}
    tables = {split: open_table(file, split) for split, file in files.items() if file is not None}
    splits = DatasetDict({split: _read(table, (source, target), skip_empty) for split, table in tables.items()})
    if "validation" not in splits:
        splits["train"], splits["validation"] = split_validation(
            splits["train"], (source,), target, validation_share, seed
        )
    _warn_of_leaks(splits, source)
    monolingual = None
    if unlabeled_file is not None:
        monolingual = _read(open_table(unlabeled_file, "unlabeled"), (source,), skip_empty)
    return TranslationData(splits, source, target, monolingual)


def _read(table: Table, names: Sequence[str], skip_empty: bool) -> Dataset:
    texts = {name: _texts(table, name) for name in names}
    empty = [
        row for row, row_texts in enumerate(zip(*texts.values(), strict=True)) if not all(map(str.strip, row_texts))
    ]
    if empty and not skip_empty:
        raise ValueError(
            f"{table.where(empty[0])}: a side of the pair is empty, as in {len(empty) - 1} more; mend them."
        )
    if empty:
        logger.warning(
            "%s: %d rows with an empty side are skipped, the first at %s.",
            table.source,
            len(empty),
            table.where(empty[0]),
        )
    kept = sorted(set(range(len(texts[names[0]]))) - set(empty))
    if not kept:
        raise ValueError(f"{table.source} has no row with text in {' and '.join(names)}.")
    rows = Dataset.from_dict({name: [texts[name][row] for row in kept] for name in names})
    if len(names) == 2:
        same = sum(one == other for one, other in zip(*(rows[name][:] for name in names), strict=True))
        if same == len(rows):
            raise ValueError(
                f"{table.source}: the texts of {' and '.join(names)} are the same in every row, which is no "
                "translation; name the two languages with source_lang and target_lang."
            )
        if same:
            logger.warning("%s: %d pairs have the same text on both sides.", table.source, same)
    return rows


def _texts(table: Table, name: str) -> list[str]:
    if name not in table.columns and PAIR_COLUMN not in table.columns:
        raise ValueError(
            f"{table.source} has no column {name!r}; its columns are {table.names()}; name yours with source_lang "
            "and target_lang."
        )
    if name in table.columns:
        values = list(table.columns[name][:])
    else:
        values = [_text_of(pair, name, table.where(row)) for row, pair in enumerate(table.columns[PAIR_COLUMN][:])]
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{table.where(row)}: {name!r} holds {shortened(value)}; expected text.")
    return [value or "" for value in values]


def _text_of(pair: Any, language: str, where: str) -> Any:
    if not isinstance(pair, dict):
        raise ValueError(
            f"{where}: {PAIR_COLUMN!r} holds {shortened(pair)}; expected an object of a text for each language."
        )
    if language not in pair:
        raise ValueError(f"{where}: {PAIR_COLUMN!r} has the languages {cut(', '.join(pair))} and not {language!r}.")
    return pair[language]


def _warn_of_leaks(splits: DatasetDict, source: str) -> None:
    train = set(splits["train"][source][:])
    for name in ("validation", "test"):
        shared = sum(text in train for text in splits[name][source][:]) if name in splits else 0
        if shared:
            logger.warning(
                "%d of the %d %s sources are also in train: the figures will flatter the models.",
                shared,
                len(splits[name]),
                name,
            )

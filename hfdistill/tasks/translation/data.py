"""The pairs of texts of a translation task, from files or loaded datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from hfdistill.data.shortening import cut, shortened
from hfdistill.data.splits import split_validation, warn_of_leaks, without_held_out
from hfdistill.data.tables import Table, open_table

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
        name: What a card calls the texts: their file, or the dataset on the Hub.
        measured_on: Likewise those that the models are compared on, where they are others.
        demo: Whether they are the generated demo corpus.
    """

    dataset: DatasetDict
    source: str
    target: str
    monolingual: Dataset | None = None
    name: str = ""
    demo: bool = False
    measured_on: str = ""

    @property
    def measured_split(self) -> str:
        """The split that the figures are measured on: `test`, else `validation`."""
        return "test" if "test" in self.dataset else "validation"

    @property
    def sources(self) -> Dataset:
        """The texts for a teacher to translate: those of `train`, and the monolingual ones."""
        train = self.dataset["train"]
        if self.monolingual is None:
            return train
        return concatenate_datasets([train.select_columns(self.source), self.monolingual])

    @property
    def training_texts(self) -> list[str]:
        """The texts of both sides of `train`, such as for a joint vocabulary."""
        return [*self.dataset["train"][self.source][:], *self.dataset["train"][self.target][:]]

    def with_train(self, rows: Dataset) -> TranslationData:
        """The same task with other pairs to train on, such as a teacher's translations."""
        return replace(self, dataset=DatasetDict({**self.dataset, "train": rows}))

    def tokenized(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> DatasetDict:
        """The splits with token ids beside their texts, as a trainer reads them; warns of pairs that are cut.

        Args:
            tokenizer: The tokenizer of both sides, set to the languages where it has several.
            max_length: The most tokens of a text on either side.

        Raises:
            ValueError: when every training pair is cut.
        """
        limit = min(max_length, tokenizer.model_max_length)

        def tokenize(rows: dict[str, list[str]]) -> dict[str, list[Any]]:
            sources, targets = rows[self.source], rows[self.target]
            # Whole, to see which are cut; that they are longer than the model reads is no news.
            sides = (tokenizer(sources, verbose=False), tokenizer(text_target=targets, verbose=False))
            lengths = zip(*(map(len, side["input_ids"]) for side in sides), strict=True)
            read = tokenizer(sources, text_target=targets, truncation=True, max_length=limit)
            return {**read, "cut": [max(pair) > limit for pair in lengths]}

        with PartialState().main_process_first():
            dataset = self.dataset.map(tokenize, batched=True, desc="Tokenizing")
        _warn_of_cut_pairs(dataset, max_length)
        return dataset


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
        unlabeled_file: Source texts for the teacher to translate; a target column, if any, is not read. Those that are
            measured on are left out, see `without_held_out`.
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
    warn_of_leaks(splits, (source,), "sources")
    monolingual = None
    if unlabeled_file is not None:
        monolingual = _read(open_table(unlabeled_file, "unlabeled"), (source,), skip_empty)
        monolingual = without_held_out(monolingual, splits, (source,))
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


def _warn_of_cut_pairs(dataset: DatasetDict, max_length: int) -> None:
    for split, rows in dataset.items():
        count = sum(rows["cut"][:])
        if count == len(rows) and split == "train":
            raise ValueError(f"max_length {max_length} cuts every training pair: raise it.")
        if count and PartialState().is_main_process:
            kind, share = "training" if split == "train" else split, 100 * count / len(rows)
            # Once: teacher, student and baseline read the same texts.
            message = f"{count:,} of {len(rows):,} {kind} pairs ({share:.1f} %) are cut to max_length {max_length}."
            logger.warning_once(message)

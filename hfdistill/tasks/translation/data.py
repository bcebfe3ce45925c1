"""The pairs of texts of a translation task, from files or loaded datasets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from hfdistill.data.parallel import SCORE
from hfdistill.data.splits import split_validation, warn_of_leaks, without_held_out
from hfdistill.tasks.translation.cleaning.clean import clean_pairs
from hfdistill.tasks.translation.cleaning.clean_texts import clean_texts
from hfdistill.tasks.translation.cleaning.quick_check import warn_of_language, warn_of_mismatch
from hfdistill.tasks.translation.cleaning.report import CleaningReport
from hfdistill.tasks.translation.reading import TextRows, Texts, read_pairs, read_texts, text_tuples, without_empty

logger = logging.get_logger(__name__)


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
        cleaning: What was dropped of the training pairs, where they were cleaned.
        text_cleaning: Likewise of the monolingual texts.
    """

    dataset: DatasetDict
    source: str
    target: str
    monolingual: Dataset | None = None
    name: str = ""
    demo: bool = False
    measured_on: str = ""
    cleaning: CleaningReport | None = None
    text_cleaning: CleaningReport | None = None

    @property
    def cleanings(self) -> list[CleaningReport]:
        """What cleaning dropped, of whatever was cleaned."""
        return [report for report in (self.cleaning, self.text_cleaning) if report is not None]

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
    def training_texts(self) -> Iterator[str]:
        """The texts of both sides of `train`, one after the other, such as for a joint vocabulary."""
        return chain(self.texts(self.source), self.texts(self.target))

    def texts(self, language: str) -> Iterator[str]:
        """The texts of one side of `train`, one after the other."""
        return (text for (text,) in text_tuples(self.dataset["train"], [language]))

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
    train_file: Texts,
    validation_file: Texts | None = None,
    test_file: Texts | None = None,
    *,
    source: str = "en",
    target: str = "de",
    unlabeled_file: str | Path | Dataset | None = None,
    skip_empty: bool = True,
    clean: bool = False,
    min_score: float | None = None,
    score_column: str = SCORE,
    validation_share: float = 0.1,
    seed: int = 42,
) -> TranslationData:
    """Read the texts of a translation task.

    Pairs are in

    - a table (see `read_table` for the formats), with a column for each language, named by `source` and `target`, or
      both texts in a column `translation`, as the Hub's parallel sets do: `{"translation": {"en": "A cat.", "de":
      "Eine Katze."}}`;
    - two files with a sentence a line, `["corpus.en", "corpus.de"]`, a `.tmx` file, or a `.tsv` or `.txt` file of two
      columns without a header, or of three with a score; see `pairs_dataset`. These are streamed;
    - a corpus by name, `opus:Europarl/v8`, or a test set, `sacrebleu:wmt20`, which are downloaded once;
    - a loaded dataset.

    Args:
        train_file: The training pairs.
        validation_file: The validation pairs; without it, a share of the training pairs.
        test_file: The test pairs.
        source: The name of the source column, or its language.
        target: The name of the target column, or its language.
        unlabeled_file: Source texts for the teacher to translate: a table, whose target column, if any, is not read, or
            a text file with a sentence a line. Those that are measured on are left out, see `without_held_out`.
        skip_empty: Whether pairs with an empty side are skipped, with a warning that counts them; otherwise they are
            refused.
        clean: Whether training pairs that `clean_pairs` finds faulty are dropped, and unlabeled texts by `clean_texts`.
            Otherwise, as of validation and test pairs, a sample is looked at, and what is wrong with many is warned of.
        min_score: With `clean`: pairs of a lower score are dropped, too.
        score_column: The column of the score, in a table.
        validation_share: The share of the training pairs to validate on when there is no validation file.
        seed: Chooses them.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file cannot be read, a column is missing, or a text is not a text; names the line.
    """
    names = (source, target)
    files = {"validation": validation_file, "test": test_file}
    given = {split: read_pairs(file, split, names) for split, file in files.items() if file is not None}
    for pairs in given.values():
        warn_of_mismatch(pairs, source, target)
    splits = DatasetDict({split: _pairs(rows, names, skip_empty) for split, rows in given.items()})
    rows, cleaning = read_pairs(train_file, "train", names, None if min_score is None else score_column), None
    if clean:
        how: dict[str, Any] = {"held_out": splits, "min_score": min_score, "where": rows.where}
        splits["train"], cleaning = clean_pairs(rows.dataset, source, target, **how)
    else:
        warn_of_mismatch(rows, source, target)
        splits["train"] = _pairs(rows, names, skip_empty)
    if "validation" not in splits:
        splits["train"], splits["validation"] = split_validation(
            splits["train"], (source,), target, validation_share, seed
        )
    warn_of_leaks(splits, (source,), "sources")
    monolingual = text_cleaning = None
    texts = None if unlabeled_file is None else read_texts(unlabeled_file, "unlabeled", source)
    if texts is not None and clean:
        monolingual, text_cleaning = clean_texts(texts.dataset, source, trained=splits["train"], held_out=splits)
    elif texts is not None:
        warn_of_language(texts, source)
        monolingual = without_held_out(without_empty(texts, (source,), skip_empty), splits, (source,))
    in_order = DatasetDict(
        {split: splits[split].select_columns(list(names)) for split in ("train", *files) if split in splits}
    )
    return TranslationData(in_order, source, target, monolingual, cleaning=cleaning, text_cleaning=text_cleaning)


def _pairs(rows: TextRows, names: tuple[str, str], skip_empty: bool) -> Dataset:
    """The rows with text on both sides, which are not the same everywhere."""
    pairs = without_empty(rows, names, skip_empty)
    same = sum(one == other for one, other in text_tuples(pairs, names))
    if same == len(pairs):
        raise ValueError(
            f"{rows.source}: the texts of {' and '.join(names)} are the same in every row, which is no translation; "
            "name the two languages with source_lang and target_lang."
        )
    if same:
        logger.warning("%s: pairs with the same text on both sides: %d.", rows.source, same)
    return pairs


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

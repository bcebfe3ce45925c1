"""Where the texts that a sentence encoder learns from come from, and the pairs that it is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from hfdistill.data.columns import TEXT_PAIRS, find_texts, texts_of
from hfdistill.data.hub import load_hub_dataset
from hfdistill.data.tables import Table, open_table
from hfdistill.tasks.embedding.data import PAIR, SIMILARITY, TEACHER_TEXT, TEXT, parallel_texts, tokenized_texts
from hfdistill.tasks.embedding.demo import demo_sentences
from hfdistill.tasks.language_modeling.data import MEASURED_SHARE, MEASURED_TEXTS, raw_texts
from hfdistill.teachers.columns import TEACHER_LOGITS

#: What a column of similarities may be called, in files of pairs.
_SIMILARITIES = (SIMILARITY, "score", "label", "labels")


@dataclass(frozen=True)
class SentenceData:
    """Texts to learn the embeddings of, and pairs of texts to measure them on.

    Attributes:
        dataset: The splits `train` and `validation`, of `text`, and `teacher_text` where the teacher reads another.
        pairs: Rows of `text` and `other`, and `similarity` where it is known; `None` where there are no pairs.
        name: What a card calls the texts.
        demo: Whether they were generated.
    """

    dataset: DatasetDict
    pairs: Dataset | None
    name: str = ""
    demo: bool = False

    @property
    def translated(self) -> bool:
        """Whether the teacher reads another text than the student, of which that is a translation."""
        return TEACHER_TEXT in self.dataset["train"].column_names

    @property
    def teacher_columns(self) -> tuple[str]:
        """The column of the text that the teacher reads."""
        return (TEACHER_TEXT if self.translated else TEXT,)

    def tokenized(self, tokenizer: PreTrainedTokenizerBase, max_length: int = 128) -> DatasetDict:
        """The splits with the student's token ids, cut to `max_length`."""
        columns = list(dict.fromkeys((TEXT, *self.teacher_columns)))
        with PartialState().main_process_first():
            return DatasetDict(
                {
                    name: tokenized_texts(rows.select_columns(columns), tokenizer, max_length)
                    for name, rows in self.dataset.items()
                }
            )

    def measured(self, validation: Dataset) -> tuple[Dataset, str | None]:
        """The pairs to measure on, and a sentence for the report where nobody has rated them but the teacher.

        Args:
            validation: The split with the teacher's embeddings, as `soft_targets` leaves it. Where there are no pairs,
                each of its texts makes two: with the text whose embedding is the nearest, and with one at random.
        """
        if self.pairs is not None:
            return self.pairs, None
        return pairs_by_teacher(validation), RATED_BY_TEACHER


#: What a report says of `pairs_by_teacher`.
RATED_BY_TEACHER = (
    "No pairs with a similarity were given: the similarity is the teacher's own cosine, so that Spearman's correlation "
    "tells how closely the student follows its teacher, and not how good either is."
)


def sentence_data(
    train_file: str | Path | None = None,
    test_file: str | Path | None = None,
    *,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    text_column: str | None = None,
    translation_column: str | None = None,
    demo: bool = False,
) -> SentenceData:
    """Read the texts to distill a sentence encoder on: a file, a dataset of the Hub, or the generated demo corpus.

    A tenth of the texts, 1,000 at most, is set aside to validate on.

    Args:
        train_file: One text a line (`.txt`), or csv, tsv, json, jsonl or parquet with a column of texts.
        test_file: Pairs to measure on: two columns, such as `sentence1` and `sentence2`, and their `similarity` (or
            `score`, or `label`); without a similarity, each text's partner is to be found among all. Default: the
            translations that are set aside, else pairs of texts that are set aside, see `SentenceData.measured`.
        dataset_name: A dataset on the Hub, in place of `train_file`; its split `train`.
        dataset_config_name: Its configuration.
        text_column: The column of the texts; by default `text` or `sentence`.
        translation_column: The column of their translations, for a student that learns that language too; the teacher
            reads `text_column`.
        demo: Generate a corpus instead; nothing else is read.

    Raises:
        FileNotFoundError, HubUnreachableError: when something is not there, or cannot be reached.
        ValueError: when it cannot be read, or a column is missing.
    """
    if demo:
        corpus = demo_sentences()
        texts = DatasetDict({name: corpus[name] for name in ("train", "validation")})
        return SentenceData(texts, corpus["test"], "a generated corpus", demo=True)
    pairs = None if test_file is None else read_pairs(open_table(test_file, "test"))
    if translation_column is None:
        raw = raw_texts(
            train_file, dataset_name=dataset_name, dataset_config_name=dataset_config_name, text_column=text_column
        )
        return SentenceData(DatasetDict({"train": raw.train, "validation": raw.validation}), pairs, raw.name)
    source: Any = train_file
    if train_file is None and dataset_name is not None:
        source = load_hub_dataset(dataset_name, dataset_config_name)["train"]
    if source is None:
        raise ValueError("there are no texts: give --train_file or --dataset_name.")
    names = (text_column or TEXT, translation_column)
    kept, apart = _set_aside(open_table(source, "train"), names)
    splits = {name: parallel_texts(rows, *names) for name, rows in (("train", kept), ("validation", apart))}
    own = apart.rename_columns(dict(zip(names, PAIR, strict=True)))
    return SentenceData(DatasetDict(splits), own if pairs is None else pairs, str(train_file or dataset_name))


def _set_aside(table: Table, names: tuple[str, str]) -> tuple[Dataset, Dataset]:
    """The translations to learn from, and those to measure on."""
    rows = Dataset.from_dict({name: texts_of(table, name) for name in names})
    count = min(MEASURED_TEXTS, int(len(rows) * MEASURED_SHARE))
    if not count:
        raise ValueError(f"{table.source} has {len(rows)} texts, too few to set some aside: ten are the least.")
    splits = rows.train_test_split(count, seed=0)
    return splits["train"], splits["test"]


def read_pairs(table: Table) -> Dataset:
    """A user's pairs of `text` and `other`, and their `similarity` where they have some.

    Raises:
        ValueError: for a table without pairs, or a similarity that is no number.
    """
    similarity = next((name for name in _SIMILARITIES if name in table.columns), None)
    own = set(PAIR) <= set(table.columns)
    names: Sequence[str] = PAIR if own else find_texts(table, None, None, similarity)
    if len(names) != 2:
        known = ", ".join(f"{one} and {other}" for one, other in (PAIR, *TEXT_PAIRS))
        raise ValueError(
            f"{table.source} has no pairs of texts, which embeddings are measured on; its columns are {table.names()}: "
            f"call the two {known}."
        )
    columns: dict[str, Any] = {name: texts_of(table, own) for name, own in zip(PAIR, names, strict=True)}
    if similarity is not None:
        columns[SIMILARITY] = [_number(table, similarity, row) for row in range(len(columns[TEXT]))]
    return Dataset.from_dict(columns)


def _number(table: Table, column: str, row: int) -> float:
    try:
        return float(table.columns[column][row])
    except (TypeError, ValueError):
        found = table.columns[column][row]
        raise ValueError(f"{table.where(row)}: column {column!r} holds {found!r}; expected a similarity.") from None


def pairs_by_teacher(rows: Dataset, seed: int = 0) -> Dataset:
    """Pairs whose similarity is the cosine of the teacher's embeddings: each text with its nearest, and with another.

    Args:
        rows: `text`, and the teacher's embeddings as `soft_targets` leaves them.
        seed: Chooses the others.

    Raises:
        ValueError: for fewer than two texts.
    """
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} texts make no pairs: there must be two to measure on.")
    vectors = np.asarray(rows.with_format("numpy")[TEACHER_LOGITS][:], dtype=np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    cosines = vectors @ vectors.T
    first = np.arange(len(rows))
    another = (first + np.random.default_rng(seed).integers(1, len(rows), len(rows))) % len(rows)
    nearest = (cosines - 3 * np.eye(len(rows))).argmax(1)
    texts = rows[TEXT][:]
    ones, others = np.concatenate([first, first]), np.concatenate([nearest, another])
    return Dataset.from_dict(
        {
            TEXT: [texts[row] for row in ones],
            PAIR[1]: [texts[row] for row in others],
            SIMILARITY: cosines[ones, others].tolist(),
        }
    )

"""The words and tags of a token-classification task, from files or loaded datasets."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset, DatasetDict, Features, List, Value, concatenate_datasets
from transformers import BatchEncoding, EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from hfdistill.data.shortening import cut, shortened
from hfdistill.data.splits import split_validation, warn_of_leaks
from hfdistill.data.tables import Table
from hfdistill.data.unlabeled import RowSource, rows_on_disk, texts_to_label
from hfdistill.models.heads import ITEM_MASK
from hfdistill.models.labels import NO_CLASS, NO_LABEL, some_names
from hfdistill.models.loading import load_tagger
from hfdistill.models.words import tokenize_words
from hfdistill.tasks.demo import DemoModels
from hfdistill.tasks.tagging.conll import (
    TAG_COLUMNS,
    TEXT_COLUMNS,
    WORD_COLUMNS,
    column_of,
    open_tagged,
    sentence_source,
    words_of_text,
)
from hfdistill.tasks.tagging.demo import TEACHER_TRAINING, demo_tagging_student, demo_tagging_teacher
from hfdistill.tasks.tagging.entities import OUTSIDE, entity_kinds, in_scheme, parts_of, scheme_of
from hfdistill.tasks.tagging.metrics import token_classification_metrics

logger = logging.get_logger(__name__)

_FEATURES = Features({"tokens": List(Value("string")), "labels": List(Value("int64"))})
#: Tokens that a sentence is cut to, unless a model takes fewer.
MAX_LENGTH = 128


@dataclass(frozen=True)
class TokenClassificationData:
    """What a token-classification recipe trains on.

    Attributes:
        dataset: The splits `train`, `validation` and, when given, `test`, with the columns `tokens`, lists of words,
            and `labels`, as many class ids, -100 where there is none.
        label_names: The labels in the order of their ids.
        name: What a card calls the sentences: their file, or the dataset on the Hub.
        measured_on: Likewise those that the models are compared on, where they are others.
        demo: Whether they are the generated demo corpus.
    """

    dataset: DatasetDict
    label_names: tuple[str, ...]
    name: str = ""
    measured_on: str = ""
    demo: bool = False

    #: What a teacher with a tokenizer of its own reads, and which column says whether a row has labels.
    text_columns = ("tokens",)
    trained_column = "labels"

    @property
    def head(self) -> dict[str, Any]:
        """The arguments with which `from_pretrained` gives a model a head for this task."""
        label2id = {name: index for index, name in enumerate(self.label_names)}
        return {"id2label": dict(enumerate(self.label_names)), "label2id": label2id}

    @property
    def metrics(self) -> Callable[[EvalPrediction], dict[str, float]]:
        """The task's metrics, as a trainer's `compute_metrics`."""
        return token_classification_metrics(self.label_names)

    @property
    def demo_models(self) -> DemoModels | None:
        """The untrained models of the demo."""
        if not self.demo:
            return None
        texts = [" ".join(words) for words in self.dataset["train"]["tokens"]]
        return DemoModels(texts, demo_tagging_teacher, demo_tagging_student, TEACHER_TRAINING)

    @staticmethod
    def load(
        name: str, trust_remote_code: bool = False, **head: Any
    ) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
        """A token classifier and its tokenizer, with a new head where one is given."""
        return load_tagger(name, trust_remote_code, **head)

    def check_teacher(self, name: str, config: Any) -> None:
        """Refuses a teacher of other labels."""
        if config.num_labels != len(self.label_names):
            raise ValueError(
                f"{name} predicts {config.num_labels} labels and the words have {len(self.label_names)}: take a "
                "teacher of these labels, or fine-tune it on them first with --train_teacher true."
            )

    def with_splits(self, dataset: DatasetDict) -> TokenClassificationData:
        """The same task with other splits."""
        return replace(self, dataset=dataset)

    def tokenized(self, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None) -> DatasetDict:
        """The splits as a trainer reads them, with their words beside the tokens.

        A word's label is that of its first token; the others have none. `item_mask` is true at first tokens, those of
        words without a label too, so that they have soft targets.
        """
        limit = min(max_length or MAX_LENGTH, tokenizer.model_max_length)
        reader = _Tokenizing(tokenizer, limit)
        with PartialState().main_process_first():
            tokenized = self.dataset.map(reader, batched=True, desc="Tokenizing")
        for split, rows in tokenized.items():
            read = sum(map(sum, rows[ITEM_MASK]))
            words = sum(map(len, rows["tokens"]))
            if read < words:
                logger.warning(
                    "%s: %d of %d words lie beyond the %d tokens that are read, and are left out.",
                    split, words - read, words, limit,
                )  # fmt: skip
        return tokenized

    def sample(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None, rows: int = 256
    ) -> BatchEncoding:
        """The first training sentences as one padded batch, to measure on which parts of a model matter."""
        limit = min(max_length or MAX_LENGTH, tokenizer.model_max_length)
        encoding = tokenize_words(tokenizer, self.dataset["train"][:rows]["tokens"], limit)
        del encoding[ITEM_MASK]
        return tokenizer.pad(encoding, return_tensors="pt")


@dataclass(frozen=True)
class _Tokenizing:
    """Rows of words and labels as tokens and theirs."""

    tokenizer: PreTrainedTokenizerBase
    max_length: int

    def __call__(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        encoding = tokenize_words(self.tokenizer, rows["tokens"], self.max_length)
        labels = []
        for starts, of_words in zip(encoding[ITEM_MASK], rows["labels"], strict=True):
            left = iter(of_words)
            labels.append([next(left) if start else NO_LABEL for start in starts])
        return {**encoding, "labels": labels}


def token_classification_dataset(
    train_file: str | Path | Dataset,
    validation_file: str | Path | Dataset | None = None,
    test_file: str | Path | Dataset | None = None,
    *,
    unlabeled_file: str | Path | Dataset | None = None,
    max_unlabeled: int | None = None,
    word_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    validation_share: float = 0.1,
    seed: int = 42,
) -> TokenClassificationData:
    """Read the files of a token-classification task.

    A sentence is a row with a list of words and as many labels, names or ids (json, jsonl, parquet, or a loaded
    dataset); or a stretch of lines of a CoNLL file (`.conll`, `.iob`, `.bio`, `.txt`), with a word, its label last, and
    an empty line between sentences; or rows of csv or tsv, with a word each and a column `sentence_id`.

    Tags of entities in IOBES or BILOU become IOB2, which pipelines group; tags of any scheme that of `label_names`.

    Args:
        train_file: The training sentences.
        validation_file: Those to validate on; without it, a share of the training sentences.
        test_file: The test sentences.
        unlabeled_file: More sentences for the teacher to label, added to `train` without labels: as above, or raw texts
            in a column `text` or `sentence`, which are split at spaces and marks of punctuation. They go to disk as
            they are read: memory does not grow with them. Blank ones are left out, and those that are measured on, see
            `without_held_out`.
        max_unlabeled: The most of these sentences, drawn at random where there are more.
        word_column: The column of words; by default `tokens` or `words`.
        label_column: The column of labels; by default `ner_tags`, `labels` or `tags`.
        label_names: The labels in the order of their ids, for instance the values of the teacher's `id2label`. By
            default `class_names`, else those found in `train`, `O` first.
        class_names: The names of the labels that the files number; a column of `ClassLabel` has its own.
        validation_share: The share of labeled training sentences to validate on when there is no validation file.
        seed: Chooses them.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file cannot be read, a column is missing, a row has not as many labels as words, a label is
            not known, or some labels name entities and others do not.
    """
    files = {"train": train_file, "validation": validation_file, "test": test_file}
    tables = {split: open_tagged(file, split) for split, file in files.items() if file is not None}
    columns = [_columns(table, word_column, label_column) for table in tables.values()]
    tags = _Tags.of(tables["train"], columns[0][1], label_names, class_names)
    splits = DatasetDict(
        {split: _encoded(table, *names, tags) for (split, table), names in zip(tables.items(), columns, strict=True)}
    )
    if "validation" not in splits:
        splits["train"], splits["validation"] = split_validation(
            splits["train"], ("tokens",), "labels", validation_share, seed
        )
    if unlabeled_file is not None:
        more = _unlabeled(sentence_source(unlabeled_file), word_column)
        more = texts_to_label(more, splits, ("tokens",), max_unlabeled, seed)
        splits["train"] = concatenate_datasets([splits["train"], more])
    warn_of_leaks(splits, ("tokens",), "sentences")
    return TokenClassificationData(splits, tags.names)


def _columns(table: Table, words: str | None, tags: str | None) -> tuple[str, str]:
    """The columns of words and of labels, as given or by their names."""
    found = []
    for what, option, given, usual in (
        ("words", "word_column", words, WORD_COLUMNS),
        ("labels", "label_column", tags, TAG_COLUMNS),
    ):
        name = given or column_of(table, usual)
        if name not in table.columns:
            raise ValueError(
                f"{table.source} has no column {shortened(given or usual[0])} of {what}; its columns are "
                f"{table.names()}: name it with {option}."
            )
        found.append(str(name))
    return found[0], found[1]


@dataclass(frozen=True)
class _Tags:
    """The labels of a task.

    Args:
        names: In the order of their ids.
        numbered: What each number in the files means; a column of `ClassLabel` has its own.
        scheme: In which entities are written anew, where the files have another scheme than `names`.
    """

    names: tuple[str, ...]
    numbered: Sequence[str]
    scheme: str | None = None

    @classmethod
    def of(cls, table: Table, column: str, given: Sequence[str] | None, class_names: Sequence[str] | None) -> _Tags:
        """Learn from the training rows what the labels are."""
        written = {tag for row in table.columns[column] for tag in row or () if tag not in ("", None, *NO_CLASS)}
        numbered = tuple(table.class_names.get(column) or class_names or given or ())
        names = tuple(given or numbered)
        if not names and any(isinstance(tag, int) for tag in written):
            raise ValueError(
                f"column {column!r} of {table.source} numbers its labels and does not name them: name them one a line "
                "in labels.txt beside the file, or write names."
            )
        if not names:
            names = tuple(sorted(map(str, written), key=lambda tag: (tag != OUTSIDE, parts_of(tag)[1], tag)))
        if len(names) < 2:
            raise ValueError(f"column {column!r} of {table.source} has {len(names)} labels; there must be two or more.")
        if entity_kinds(names) is None:
            logger.warning(
                "The labels (%s) name no entities, which are written B-person, I-person and O: each word's label is "
                "measured by itself (accuracy, macro F1).",
                some_names(names),
            )
        own = scheme_of(numbered if any(isinstance(tag, int) for tag in written) else written)
        scheme = scheme_of(names) if given else own and "IOB2"
        if scheme == own or None in (scheme, own):
            return cls(names, numbered or names)
        if not given:
            names = (OUTSIDE, *(f"{place}-{kind}" for kind in entity_kinds(names) or () for place in "BI"))
        logger.warning("The tags of %s, in %s, are read as %s: %s.", table.source, own, scheme, some_names(names))
        return cls(names, numbered or names, scheme)

    def ids_of(self, tags: Sequence[Any], where: str) -> list[int]:
        """The ids of a row of labels, by name or number; -100 of none."""
        named = [self._name_of(tag, where) for tag in tags]
        if self.scheme is not None:
            written = in_scheme([tag or OUTSIDE for tag in named], self.scheme)
            # A tag that is none is left for `_id_of` to refuse.
            named = [anew if tag and parts_of(tag)[1] else tag for tag, anew in zip(named, written, strict=True)]
        return [self._id_of(tag, where) for tag in named]

    def _name_of(self, tag: Any, where: str) -> str | None:
        """A label by its name; `None` of none."""
        if tag in ("", None, *NO_CLASS):
            return None
        if isinstance(tag, int) and not isinstance(tag, bool):
            if not 0 <= tag < len(self.numbered):
                last = len(self.numbered) - 1
                raise ValueError(f"{where}: label {tag} is out of range; the {last + 1} labels are 0 to {last}.")
            tag = self.numbered[tag]
        return str(tag)

    def _id_of(self, tag: str | None, where: str) -> int:
        if tag is None:
            return NO_LABEL
        if tag not in self.names:
            close = difflib.get_close_matches(tag, self.names, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(
                f"{where}: unknown label {shortened(tag)}{hint}; the labels are {some_names(self.names, 20)}."
            )
        return self.names.index(tag)


def _encoded(table: Table, words: str, labels: str, tags: _Tags) -> Dataset:
    content: dict[str, list[Any]] = {"tokens": [], "labels": []}
    for row, (tokens, of_tokens) in enumerate(zip(table.columns[words], table.columns[labels], strict=True)):
        where = table.where(row)
        _check_words(tokens, words, where)
        if of_tokens is not None and not isinstance(of_tokens, list):
            raise ValueError(f"{where}: column {labels!r} holds {shortened(of_tokens)}; expected a list of labels.")
        if of_tokens and len(of_tokens) != len(tokens):
            raise ValueError(
                f"{where}: {len(tokens)} words and {len(of_tokens)} labels, in {cut(' '.join(tokens), 80)!r}: write "
                "one label for each word."
            )
        content["tokens"].append(tokens)
        content["labels"].append(tags.ids_of(of_tokens or [None] * len(tokens), where))
    return Dataset.from_dict(content, features=_FEATURES)


def _unlabeled(source: RowSource, words: str | None) -> Dataset:
    """Sentences without labels, of words or of raw text."""
    first = source.first()
    column = words or column_of(first, (*WORD_COLUMNS, *TEXT_COLUMNS))
    if column not in first.columns:
        raise ValueError(
            f"{source.name} has no column of words ({', '.join(WORD_COLUMNS[:2])}) or text "
            f"({', '.join(TEXT_COLUMNS)}); its columns are {first.names()}."
        )

    def read(cells: Mapping[str, Any], where: str) -> tuple[list[str], list[int]]:
        value = cells.get(str(column))
        tokens: Any = words_of_text(value) if isinstance(value, str) else value
        if tokens != []:  # of a blank text
            _check_words(tokens, str(column), where)
        return tokens, [NO_LABEL] * len(tokens)

    return rows_on_disk(source, read, _FEATURES, column=column)


def _check_words(words: Any, column: str, where: str) -> None:
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words) or not words:
        found = next((word for word in words if not word or not isinstance(word, str)), words) if words else words
        raise ValueError(f"{where}: column {column!r} holds {shortened(found)}; expected a list of words, none empty.")

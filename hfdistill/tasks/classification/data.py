"""The texts and labels of a classification task, from files or loaded datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset, DatasetDict, Features, List, Value, concatenate_datasets
from transformers import BatchEncoding, EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from hfdistill.data.columns import (
    UNLABELED,
    Columns,
    Labels,
    find_texts,
    matching_names,
    texts_of,
    usable_class_names,
    with_class_names,
)
from hfdistill.data.many_labels import ManyLabels, has_lists, with_numbered_labels
from hfdistill.data.splits import split_validation, warn_of_leaks
from hfdistill.data.tables import Table, open_table, read_table
from hfdistill.data.unlabeled import row_source, texts_to_label, unlabeled_rows
from hfdistill.models.labels import MULTI, name_classes
from hfdistill.models.loading import load_classifier
from hfdistill.tasks.classification.demo import TEACHER_TRAINING, demo_student, demo_teacher
from hfdistill.tasks.classification.metrics import classification_metrics
from hfdistill.tasks.demo import DemoModels

logger = logging.get_logger(__name__)

#: Tokens that a text is cut to, unless a model takes fewer.
MAX_LENGTH = 128


@dataclass(frozen=True)
class TextClassificationData:
    """What a text-classification recipe trains on.

    Attributes:
        dataset: The splits `train`, `validation` and, when given, `test`, each with the text columns and the label
            column alone. Labels are int64 class ids (float64 scores for a regression, lists of zeros and ones where a
            text may have several), -100 where there is none.
        text_columns: The column with the text, or the two columns with a pair of texts.
        label_column: The column with the label.
        label_names: The classes' names in the order of their ids; `None` for a regression or unnamed classes.
        num_labels: The number of classes, 1 for a regression: the number of outputs of a model for this task.
        problem_type: As in `config.problem_type`.
        name: What a card calls the texts: their file, or the dataset on the Hub.
        measured_on: Likewise those that the models are compared on, where they are others.
        demo: Whether they are the generated demo corpus.
    """

    dataset: DatasetDict
    text_columns: tuple[str, ...]
    label_column: str
    label_names: tuple[str, ...] | None
    num_labels: int
    problem_type: str
    name: str = ""
    demo: bool = False
    measured_on: str = ""

    #: Which column of `tokenized` rows says whether they have a label.
    trained_column = "labels"

    @property
    def head(self) -> dict[str, Any]:
        """The arguments with which `from_pretrained` gives a model a head for this task."""
        names = self.label_names or tuple(f"LABEL_{index}" for index in range(self.num_labels))
        label2id = {name: index for index, name in enumerate(names)}
        return {"problem_type": self.problem_type, "id2label": dict(enumerate(names)), "label2id": label2id}

    @property
    def metrics(self) -> Callable[[EvalPrediction], dict[str, float]]:
        """The task's metrics, as a trainer's `compute_metrics`."""
        return classification_metrics(problem_type=self.problem_type)

    @property
    def training_texts(self) -> Iterator[str]:
        """The texts of `train`, one after the other, such as to choose a vocabulary by."""
        return self._texts_of("train")

    @property
    def held_out_texts(self) -> Iterator[str]:
        """The texts of `validation`, such as to measure a vocabulary on."""
        return self._texts_of("validation")

    def _texts_of(self, split: str) -> Iterator[str]:
        return chain.from_iterable(self.dataset[split][name] for name in self.text_columns)

    @property
    def demo_models(self) -> DemoModels | None:
        """The untrained models of the demo."""
        if not self.demo:
            return None
        return DemoModels(self.dataset["train"][self.text_columns[0]][:], demo_teacher, demo_student, TEACHER_TRAINING)

    @staticmethod
    def load(
        name: str, trust_remote_code: bool = False, **head: Any
    ) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
        """A classifier and its tokenizer, with a new head where one is given."""
        return load_classifier(name, trust_remote_code, **head)

    def check_teacher(self, name: str, config: Any) -> None:
        """Refuses a teacher of other labels, or of another kind of them; names its classes where it does not."""
        if config.num_labels != self.num_labels:
            raise ValueError(
                f"{name} predicts {config.num_labels} labels and the texts have {self.num_labels}: take a teacher of "
                "these labels, or fine-tune it on them first with --train_teacher true."
            )
        name_classes(config, self.label_names)
        if config.problem_type not in (None, self.problem_type):
            raise ValueError(
                f"{name} predicts for {config.problem_type} (problem_type in its config.json) and the texts are for "
                f"{self.problem_type}: take a teacher of that kind, fine-tune it on them first with --train_teacher "
                "true, or correct its config."
            )

    def with_splits(self, dataset: DatasetDict) -> TextClassificationData:
        """The same task with other splits, such as those with the teacher's soft targets."""
        return replace(self, dataset=dataset)

    def with_train(self, rows: Dataset) -> TextClassificationData:
        """The same task with other rows to train on."""
        return replace(self, dataset=DatasetDict({**self.dataset, "train": rows}))

    def tokenized(self, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None) -> DatasetDict:
        """The splits with token ids beside their columns and the labels as `labels`, as a trainer reads them."""
        limit = min(max_length or MAX_LENGTH, tokenizer.model_max_length)
        with PartialState().main_process_first():
            return self.dataset.rename_columns({self.label_column: "labels"}).map(
                lambda rows: tokenizer(*(rows[name] for name in self.text_columns), truncation=True, max_length=limit),
                batched=True,
                desc="Tokenizing",
            )

    def sample(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None, rows: int = 256
    ) -> BatchEncoding:
        """The first training texts as one padded batch, to measure on which parts of a model matter."""
        first = self.dataset["train"][:rows]
        limit = min(max_length or MAX_LENGTH, tokenizer.model_max_length)
        texts = (first[name] for name in self.text_columns)
        return tokenizer(*texts, truncation=True, max_length=limit, padding=True, return_tensors="pt")


def text_classification_dataset(
    train_file: str | Path | Dataset,
    validation_file: str | Path | Dataset | None = None,
    test_file: str | Path | Dataset | None = None,
    *,
    unlabeled_file: str | Path | Dataset | None = None,
    max_unlabeled: int | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    problem_type: str | None = None,
    validation_share: float = 0.1,
    seed: int = 42,
) -> TextClassificationData:
    """Read the files of a text-classification task; see `read_table` for the formats.

    In place of a file, a loaded dataset will do, such as a split of `load_hub_dataset`. The names of its
    `ClassLabel` column are matched with `label_names`, so that the ids follow the teacher's order.

    Args:
        train_file: The training examples.
        validation_file: The validation examples; without it, a share of the training examples.
        test_file: The test examples.
        unlabeled_file: More texts for the teacher to label (a transfer set), added to `train` without labels; also
            `.txt`, a text a line. Its label column, if any, is not read. It goes to disk as it is read: memory does not
            grow with it. Blank texts are left out, and those that are measured on, see `without_held_out`.
        max_unlabeled: The most of these texts, drawn at random where there are more.
        text_column: The column with the text. By default a well-known pair such as `sentence1` and `sentence2`, else
            `sentence` or `text`, else the first column that holds words.
        text_pair_column: The column with the second text of a pair.
        label_column: The column with the label; by default `label` or `labels`.
        label_names: The classes in the order of their ids, for instance the values of the teacher's `id2label`.
            Labels that are all among these names are names; whole numbers are ids otherwise. By default `class_names`,
            else the sorted names found in `train`.
        class_names: The names of the classes that the files number; a `ClassLabel` column has its own. With them
            `train` need not have a label column: all its texts are unlabeled then. Where
            `label_names` are the same in another order, the numbers are changed to theirs.
        problem_type: `single_label_classification` or `regression`. By default a regression when all labels of
            `train` are written with a decimal point and some have a fraction. An empty or missing label is
            unlabeled, and so are -1 and -100 unless they are scores or names.
        validation_share: The share of the labeled training texts to validate on when there is no validation file.
        seed: Chooses them.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file cannot be read, a column is missing, or a label is not understood.
    """
    files = {"train": train_file, "validation": validation_file, "test": test_file}
    tables = {split: open_table(file, split) for split, file in files.items() if file is not None}
    if class_names and label_column is None:  # so that no row needs to show them
        tables["train"] = with_empty_labels(tables["train"])
    columns = Columns.find(tables["train"], text_column, text_pair_column, label_column)
    tables, labels = with_labels(tables, columns, label_names, class_names, problem_type)
    splits = DatasetDict({split: encoded(table, columns, labels) for split, table in tables.items()})
    measured = tables.get("test", tables.get("validation"))
    if measured is not None:
        _require_labels(measured, splits["test" if "test" in splits else "validation"][columns.label][:])
    if "validation" not in splits:
        splits["train"], splits["validation"] = split_validation(
            splits["train"], columns.texts, columns.label, validation_share, seed
        )
    labels.warn_of_absent_classes(splits["train"][columns.label][:])
    if unlabeled_file is not None:
        source = row_source(unlabeled_file, columns.texts)
        more = unlabeled_rows(source, columns.texts, features_of(columns, labels), labels.unlabeled)
        more = texts_to_label(more, splits, columns.texts, max_unlabeled, seed)
        splits["train"] = concatenate_datasets([splits["train"], more])
    warn_of_leaks(splits, columns.texts)
    return TextClassificationData(
        splits, columns.texts, columns.label, labels.names, labels.num_labels, labels.problem_type
    )


def with_labels(
    tables: Mapping[str, Table],
    columns: Columns,
    label_names: Sequence[str] | None,
    class_names: Sequence[str] | None,
    problem_type: str | None,
) -> tuple[dict[str, Table], Labels | ManyLabels]:
    """The tables with names for their numbered classes, and what their labels mean."""
    every = list(tables.values())
    if problem_type == MULTI or (problem_type is None and has_lists(every, columns.label)):
        names = matching_names(class_names, label_names)
        named = {split: with_numbered_labels(table, columns.label, names) for split, table in tables.items()}
        return named, ManyLabels.of(list(named.values()), columns.label, label_names or class_names)
    first = next(iter(tables.values()))
    names = usable_class_names(first, columns.label, class_names, label_names, problem_type)
    named = {split: with_class_names(table, columns.label, names) for split, table in tables.items()}
    return named, Labels.of(list(named.values()), columns.label, label_names or names, problem_type)


def with_empty_labels(table: Table) -> Table:
    """The table, with an empty column of labels where it has none: texts for a teacher to label."""
    if {"label", "labels"} & set(table.columns):
        return table
    count = len(next(iter(table.columns.values()), ()))
    logger.warning(
        "%s has no column 'label': its %d texts are for a teacher to label; name the label's column, if there is one, "
        "with label_column.",
        table.source,
        count,
    )
    return replace(table, columns={**table.columns, "label": [None] * count})


def _require_labels(table: Table, labels: Sequence[Any]) -> None:
    first = [label[0] if isinstance(label, list) else label for label in labels]
    if all(label == UNLABELED or label != label for label in first):
        raise ValueError(
            f"{table.source} has rows but no label, and nothing can be measured on it: give another file, or leave it "
            "out (-1, -100 and an empty cell are no labels)."
        )


def labeled_texts(
    file: str | Path | Dataset,
    *,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    problem_type: str | None = None,
) -> TextClassificationData:
    """Read one file of examples to measure on, as its only split `test`; otherwise as `text_classification_dataset`."""
    table = open_table(file, "test")
    columns = Columns.find(table, text_column, text_pair_column, label_column)
    tables, labels = with_labels({"test": table}, columns, label_names, class_names, problem_type)
    split = DatasetDict({"test": encoded(tables["test"], columns, labels)})
    return TextClassificationData(
        split, columns.texts, columns.label, labels.names, labels.num_labels, labels.problem_type
    )


def plain_texts(
    file: str | Path, text_column: str | None = None, text_pair_column: str | None = None
) -> tuple[Dataset, tuple[str, ...]]:
    """Read one file of texts, whatever else is in it: all its columns, and the names of those with the text.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or a column is missing.
    """
    table = open_table(file, "texts")
    label = next((name for name in ("label", "labels") if name in table.columns), None)
    columns = find_texts(table, text_column, text_pair_column, label)
    for name in columns:
        texts_of(table, name)
    return read_table(file), columns


def encoded(table: Table, columns: Columns, labels: Labels | ManyLabels, labeled: bool = True) -> Dataset:
    """The texts and the labels as numbers, -100 where there is none; without `labeled` all of them."""
    content: dict[str, Sequence[Any]] = {name: texts_of(table, name) for name in columns.texts}
    count = len(content[columns.texts[0]])
    content[columns.label] = labels.encode(table, columns.label) if labeled else [labels.unlabeled] * count
    return Dataset.from_dict(content, features=features_of(columns, labels))


def features_of(columns: Columns, labels: Labels | ManyLabels) -> Features:
    """The columns of text, and that of the label."""
    kind: Any = Value("int64" if labels.problem_type == "single_label_classification" else "float64")
    kind = List(kind) if isinstance(labels, ManyLabels) else kind
    return Features({**dict.fromkeys(columns.texts, Value("string")), columns.label: kind})

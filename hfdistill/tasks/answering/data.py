"""Questions, contexts and answers, from files of SQuAD's format, JSON lines or loaded datasets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset, DatasetDict, Features, List, Value, concatenate_datasets
from transformers import BatchEncoding, EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.data.files import ending_of
from hfdistill.data.lines import decoded_lines
from hfdistill.data.shortening import cut, shortened
from hfdistill.data.splits import split_validation, warn_of_leaks
from hfdistill.data.tables import Table, open_table
from hfdistill.data.unlabeled import RowSource, row_source, texts_to_label, unlabeled_rows
from hfdistill.models.loading import load_answer_finder
from hfdistill.tasks.answering.demo import TEACHER_TRAINING, demo_answering_student, demo_answering_teacher
from hfdistill.tasks.answering.metrics import question_answering_metrics
from hfdistill.tasks.answering.spans import FeatureReader
from hfdistill.tasks.demo import DemoModels

#: Tokens of a feature, and how many two features of one context share, as in BERT's own scripts.
MAX_LENGTH, STRIDE = 384, 128
_FEATURES = Features(
    {
        **dict.fromkeys(("question", "context"), Value("string")),
        "answers": {"text": List(Value("string")), "answer_start": List(Value("int64"))},
    }
)


@dataclass(frozen=True)
class QuestionAnsweringData:
    """What a question-answering recipe trains on.

    Attributes:
        dataset: The splits `train`, `validation` and, when given, `test`, with the columns `question`, `context` and
            `answers`: texts and their first characters; none of a question without an answer, and `None` where nobody
            has answered.
        name: What a card calls the questions: their file, or the dataset on the Hub.
        demo: Whether they are the generated demo corpus.
    """

    dataset: DatasetDict
    name: str = ""
    demo: bool = False

    text_columns = ("question", "context")
    #: Which column of `tokenized` rows says whether they have a label.
    trained_column = "start_positions"
    #: For `from_pretrained`: two outputs, where an answer begins and where it ends.
    head = {"num_labels": 2}  # noqa: RUF012  (no field)

    @property
    def metrics(self) -> Callable[[EvalPrediction], dict[str, float]]:
        """A trainer's `compute_metrics`."""
        return question_answering_metrics

    @property
    def demo_models(self) -> DemoModels | None:
        """The untrained models of the demo."""
        if not self.demo:
            return None
        texts = [f"{row['question']} {row['context']}" for row in self.dataset["train"]]
        return DemoModels(texts, demo_answering_teacher, demo_answering_student, TEACHER_TRAINING)

    @staticmethod
    def load(
        name: str, trust_remote_code: bool = False, **head: Any
    ) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
        """A model that finds answers and its tokenizer, with a new head where one is given."""
        return load_answer_finder(name, trust_remote_code, **head)

    def check_teacher(self, name: str, config: Any) -> None:
        """Nothing: where answers begin and end has no names."""

    def tokenized(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None, stride: int | None = None
    ) -> DatasetDict:
        """The splits as features: a question with as much of its context as fits, several of a long context.

        Args:
            tokenizer: A fast one.
            max_length: Tokens of a feature.
            stride: Tokens that two features of one context share.

        Raises:
            ValueError: for a tokenizer that does not know the places of tokens.
        """
        reader = feature_reader(tokenizer, max_length, stride)
        with PartialState().main_process_first():
            return DatasetDict({name: features_of(rows, reader) for name, rows in self.dataset.items()})

    def sample(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None, rows: int = 128
    ) -> BatchEncoding:
        """The first training questions as one padded batch, to measure on which parts of a model matter."""
        first, limit = self.dataset["train"][:rows], feature_reader(tokenizer, max_length).max_length
        how: dict[str, Any] = {"truncation": "only_second", "max_length": limit, "padding": True}
        return tokenizer(list(first["question"]), list(first["context"]), return_tensors="pt", **how)


def feature_reader(
    tokenizer: PreTrainedTokenizerBase, max_length: int | None = None, stride: int | None = None
) -> FeatureReader:
    """How features are made, within what the tokenizer's model takes."""
    if not tokenizer.is_fast:
        raise ValueError(
            f"a {type(tokenizer).__name__} does not tell which characters a token is of, as fast tokenizers do: take a "
            "model that has one."
        )
    limit = min(max_length or MAX_LENGTH, tokenizer.model_max_length)
    return FeatureReader(tokenizer, limit, min(stride or STRIDE, limit // 3))


def features_of(rows: Dataset, reader: FeatureReader) -> Dataset:
    """The features of all rows, in their order."""
    return rows.map(
        reader, batched=True, with_indices=True, remove_columns=rows.column_names, desc="Tokenizing", batch_size=256
    )


def question_answering_dataset(
    train_file: str | Path | Dataset,
    validation_file: str | Path | Dataset | None = None,
    test_file: str | Path | Dataset | None = None,
    *,
    unlabeled_file: str | Path | Dataset | None = None,
    validation_share: float = 0.1,
    seed: int = 42,
) -> QuestionAnsweringData:
    """Read the files of a question-answering task.

    A file is of SQuAD's format (one JSON object with `data`, articles of paragraphs of questions), or has a question
    a row (json, jsonl, parquet, or a loaded dataset): `question`, `context`, and `answers` with lists `text` and
    `answer_start`. A question without answers has none (`is_impossible` need not be said).

    Args:
        train_file: The training questions.
        validation_file: Those to validate on; without it, a share of the training questions.
        test_file: The test questions.
        unlabeled_file: More questions for the teacher to answer, added to `train`; their answers are not read. They go
            to disk as they are read: memory does not grow with them, but for SQuAD's format, which is one object.
            Those whose question or context is blank are left out, and those that are measured on, see
            `without_held_out`.
        validation_share: The share of training questions to validate on when there is no validation file.
        seed: Chooses them.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file cannot be read, a column is missing, or an answer is not in its context where it should
            be.
    """
    files = {"train": train_file, "validation": validation_file, "test": test_file}
    tables = {split: _open(file, split) for split, file in files.items() if file is not None}
    splits = DatasetDict({split: _rows(table) for split, table in tables.items()})
    texts = QuestionAnsweringData.text_columns
    if "validation" not in splits:
        splits["train"], splits["validation"] = split_validation(
            splits["train"], texts, "question", validation_share, seed
        )
    if unlabeled_file is not None:
        more = unlabeled_rows(_source(unlabeled_file), texts, _FEATURES, None)
        more = texts_to_label(more, splits, texts, blank=any)
        splits["train"] = concatenate_datasets([splits["train"], more])
    warn_of_leaks(splits, texts, "questions")
    return QuestionAnsweringData(splits)


def _open(file: str | Path | Dataset, split: str) -> Table:
    """A file as a table with a question a row."""
    articles = _articles(file)
    return open_table(file, split) if articles is None else _of_squad(articles, str(file))


def _source(file: str | Path | Dataset) -> RowSource:
    """The same of questions that nobody has answered, read one after the other."""
    if _articles(file) is None:
        return row_source(file, QuestionAnsweringData.text_columns)
    return RowSource.of_file(file, lambda path: _of_squad(_articles(path) or [], str(path)).rows())


def _articles(file: str | Path | Dataset) -> list[Any] | None:
    """The articles of a file of SQuAD's format; `None` of any other, whose rows the usual reader reads."""
    if isinstance(file, Dataset) or ending_of(file) not in ("json", "jsonl") or not Path(file).is_file():
        return None
    first = next(filter(str.strip, decoded_lines(Path(file))), "")
    row = _parsed(first)
    if first.lstrip().startswith("[") or (isinstance(row, dict) and not _is_squad(row)):
        return None  # rows, of which there may be more than memory holds
    content = _parsed("".join(decoded_lines(Path(file))))
    return content["data"] if _is_squad(content) else None


def _parsed(text: str) -> Any:
    """JSON, or `None` for what is none, which the usual reader has a sentence for."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_squad(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("data"), list)


def _of_squad(articles: Sequence[Any], source: str) -> Table:
    rows = []
    try:
        for article in articles:
            for paragraph in article["paragraphs"]:
                for one in paragraph["qas"]:
                    impossible = one.get("is_impossible", False)
                    answers = [] if impossible else one.get("answers")
                    rows.append((one["question"], paragraph["context"], answers))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{source} has `data` as SQuAD has, but no paragraphs with context and qas in each ({error!r})."
        ) from None
    if not rows:
        raise ValueError(f"{source} has no question.")
    return Table(dict(zip(("question", "context", "answers"), zip(*rows, strict=True), strict=True)), source)


def _rows(table: Table) -> Dataset:
    missing = [name for name in _FEATURES if name not in table.columns]
    if missing:
        raise ValueError(f"{table.source} has no column {missing[0]!r}; its columns are {table.names()}.")
    content: dict[str, list[Any]] = {"question": [], "context": [], "answers": []}
    for row, (question, context) in enumerate(zip(table.columns["question"], table.columns["context"], strict=True)):
        for name, text in (("question", question), ("context", context)):
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{table.where(row)}: column {name!r} holds {shortened(text)}; expected text.")
        content["question"].append(question)
        content["context"].append(context)
        answers = table.columns["answers"][row]
        content["answers"].append(None if answers is None else _answers(answers, context, table.where(row)))
    return Dataset.from_dict(content, features=_FEATURES)


def _answers(answers: Any, context: str, where: str) -> dict[str, list[Any]]:
    """Answers as SQuAD (a list of objects) or `datasets` (an object of lists) write them, each seen in its context."""
    if isinstance(answers, Mapping) and isinstance(answers.get("text"), Sequence):
        starts = answers.get("answer_start") or [None] * len(answers["text"])
        pairs = list(zip(answers["text"], starts, strict=False))
    elif isinstance(answers, Sequence) and all(isinstance(one, Mapping) for one in answers):
        pairs = [(one.get("text"), one.get("answer_start")) for one in answers]
    else:
        raise ValueError(
            f"{where}: column 'answers' holds {shortened(answers)}; expected lists text and answer_start, or a list of "
            "objects with both."
        )
    found = [_place(text, start, context, where) for text, start in pairs]
    return {"text": [text for text, _ in pairs], "answer_start": found}


def _place(text: Any, start: Any, context: str, where: str) -> int:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{where}: an answer is {shortened(text)}; of a question without one leave the lists empty.")
    if isinstance(start, int) and start >= 0 and context[start : start + len(text)] == text:
        return start
    first = context.find(text)
    if start is None and first >= 0:
        return first
    there = "" if start is None else f" at character {start}, where {shortened(context[start : start + len(text)])} is"
    hint = f"; it is at {first}" if first >= 0 else ""
    raise ValueError(
        f"{where}: the answer {shortened(text)} is not in its context ({cut(context, 80)!r}){there}{hint}: correct "
        "answer_start, which counts characters from 0, or the text."
    )

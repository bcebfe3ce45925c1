"""What `hfdistill export` reads, by what a model decides: model, rows to check on, and how it is measured there."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import AutoModelForMultipleChoice, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.data.choices import ChoiceCollator, tokenize_choices
from hfdistill.data.tables import open_table, read_table
from hfdistill.models.adapters import load_config, load_model
from hfdistill.models.heads import head_of
from hfdistill.models.loading import load_classifier, load_tokenizer
from hfdistill.models.pooling import Pooling, is_sentence_encoder
from hfdistill.report.counted import MeasuredHead
from hfdistill.tasks.classification.data import plain_texts
from hfdistill.tasks.embedding.data import PAIR, SIMILARITY, TEXT
from hfdistill.tasks.embedding.metrics import embedding_metrics
from hfdistill.tasks.embedding.models import load_sentence_encoder
from hfdistill.tasks.embedding.report import outcome as embedding_outcome
from hfdistill.tasks.embedding.report import pairs_of_texts
from hfdistill.tasks.embedding.sources import read_pairs
from hfdistill.tasks.multiple_choice.metrics import choice_metrics
from hfdistill.tasks.multiple_choice.report import outcome as choice_outcome

#: What columns of rows with choices are called.
CONTEXTS, CHOICES = ("context", "question", "sent1", "text"), ("choices", "endings", "options")


@dataclass(frozen=True)
class ToExport:
    """A model, and what its exports are checked on.

    Args:
        tokenizer: Its tokenizer.
        model: The model.
        rows: The rows.
        text_columns: Their columns of raw text; none where they bring tokens.
        metrics: The metrics on these rows of it or an export; `None` for a classifier, or where the rows have none.
    """

    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel
    rows: Dataset
    text_columns: tuple[str, ...]
    metrics: Callable[[Any], dict[str, float]] | None = None

    @property
    def is_classifier(self) -> bool:
        """Whether it has classes, or gives a score."""
        return "SequenceClassification" in type(self.model).__name__

    def scores(self, models: Mapping[str, Any]) -> str:
        """The main metric of each model, in a line; empty where there is none."""
        if self.metrics is None:
            return ""
        found = {role: self.metrics(model) for role, model in models.items()}
        name = next(iter(found["model"]))
        return f"{name}: {', '.join(f'{role} {one[name]:.4f}' for role, one in found.items())}; {len(self.rows):,} rows"


def read_model(options: argparse.Namespace) -> ToExport:
    """The model and the rows that the command names.

    Raises:
        ValueError: for a model that is neither a classifier, a sentence encoder nor one of multiple choice, or a file
            without what it reads.
    """
    config: Any = load_config(options.model, options.trust_remote_code)
    heads = config.architectures or ()
    if any("MultipleChoice" in head for head in heads):
        return _choosing(options)
    if Pooling.of_config(config) or is_sentence_encoder(options.model):
        return _encoder(options)
    other = next((head for head in heads if head.endswith(("TokenClassification", "QuestionAnswering"))), None)
    if other:
        raise ValueError(
            f"{options.model} is a {other}, and the command checks classifiers, sentence encoders and models of "
            "multiple choice: export it with hfdistill.export_onnx, on rows of its task."
        )
    texts, columns = plain_texts(options.file, options.text_column, options.text_pair_column)
    tokenizer, model = load_classifier(options.model, options.trust_remote_code)
    return ToExport(tokenizer, model, texts, columns)


def _encoder(options: argparse.Namespace) -> ToExport:
    tokenizer, model = load_sentence_encoder(options.model)
    table = open_table(options.file, "texts")
    try:
        pairs = read_pairs(table)
    except ValueError:  # texts, to compare the embeddings of
        texts, columns = plain_texts(options.file, options.text_column)
        return ToExport(tokenizer, model, texts.rename_columns({columns[0]: TEXT}).select_columns(TEXT), (TEXT,))
    texts = Dataset.from_dict({TEXT: [*pairs[TEXT], *pairs[PAIR[1]]]})
    similarities = np.array(pairs[SIMILARITY][:] if SIMILARITY in pairs.column_names else [np.nan] * len(pairs))

    def metrics(one: Any) -> dict[str, float]:
        measured = pairs_of_texts(one, tokenizer, pairs, 128, head_of(model))
        return embedding_metrics(embedding_outcome(measured, similarities, pairs[PAIR[1]][:]).counts.sum(0))

    return ToExport(tokenizer, model, texts, (TEXT,), metrics)


def _choosing(options: argparse.Namespace) -> ToExport:
    tokenizer = load_tokenizer(options.model, options.trust_remote_code)
    model = load_model(AutoModelForMultipleChoice, options.model, options.trust_remote_code)
    rows = read_table(Path(options.file))
    context = _column(rows, options.text_column, CONTEXTS, "text_column")
    choices = _column(rows, options.text_pair_column, CHOICES, "text_pair_column")
    label = options.label_column or next((name for name in ("label", "labels") if name in rows.column_names), None)
    columns = {"tokenizer": tokenizer, "context": context, "choices": choices}
    tokens = rows.map(tokenize_choices, batched=True, fn_kwargs=columns, remove_columns=rows.column_names)
    if label is None:
        return ToExport(tokenizer, model, tokens, ())

    def metrics(one: Any) -> dict[str, float]:
        measured = MeasuredHead(one, tokens, ChoiceCollator(tokenizer), head_of(model))
        return choice_metrics(choice_outcome(measured, [int(found) for found in rows[label]]).counts.sum(0))

    return ToExport(tokenizer, model, tokens, (), metrics)


def _column(rows: Dataset, given: str | None, usual: Sequence[str], option: str) -> str:
    found = given or next((name for name in usual if name in rows.column_names), usual[0])
    if found not in rows.column_names:
        raise ValueError(
            f"the rows have no column {found}, only {', '.join(rows.column_names)}: name the context's with "
            f"--text_column and that of the list of choices with --text_pair_column (here --{option})."
        )
    return found

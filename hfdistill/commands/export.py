"""`hfdistill export`: a classifier, another encoder or a translator for other engines, compared with the model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.commands.compare_card import labeled, run_action, test_rows
from hfdistill.commands.exported_models import read_model
from hfdistill.commands.texts_to_translate import texts_to_translate
from hfdistill.data.class_names import read_class_names
from hfdistill.export.base import ExportError, check_export, export_student, formats
from hfdistill.models.adapters import load_config
from hfdistill.models.generation import translate
from hfdistill.models.heads import EmbeddingHead, head_of
from hfdistill.models.inference import predict_logits, token_rows
from hfdistill.models.inputs import max_positions
from hfdistill.models.labels import LABEL_COLUMNS
from hfdistill.models.loading import is_translator
from hfdistill.models.version_four import make_readable_by_version_4
from hfdistill.report.quality import MAIN_METRICS
from hfdistill.tasks.classification.data import TextClassificationData
from hfdistill.tasks.classification.metrics import classification_metrics
from hfdistill.tasks.translation.metrics import check_sacrebleu, corpus_scores
from hfdistill.tasks.translation.models import load_translator

#: The most tokens of a text on either side, where a translator has positions for them.
_MAX_LENGTH = 128


def export_main(words: Sequence[str]) -> None:
    """Runs `hfdistill export` with these words."""
    run_action("export", _export, words)


def _export(options: argparse.Namespace) -> None:
    (_export_translator if is_translator(options.model, options.trust_remote_code) else _export_encoder)(options)


def _export_encoder(options: argparse.Namespace) -> None:
    if len(options.file) > 1:
        raise ValueError(
            f"{options.model} is no translator, which alone reads two files: give it {options.file[0]} alone."
        )
    options.file = options.file[0]
    wanted = options.formats or list(formats())
    check_export(wanted)
    one = read_model(options)
    data = _read_labels(options, one.model, one.rows) if one.is_classifier else None
    how: dict[str, Any] = {"formats": wanted, "text_columns": one.text_columns}
    exported, broken = _write(options, one.model, one.tokenizer, one.rows, **how)
    models = {"model": one.model, **exported}
    if line := one.scores(models) if data is None else _scores(models, one.tokenizer, data):
        print(line)  # noqa: T201
    if broken:
        raise broken


def _export_translator(options: argparse.Namespace) -> None:
    known = formats("translation")
    wanted = options.formats or [name for name, one in known.items() if not one.missing_packages()] or list(known)
    config: Any = load_config(options.model, options.trust_remote_code)
    check_export(wanted, "translation", config.model_type)
    check_sacrebleu()  # which the check of the translations needs
    sources, references = texts_to_translate(options.file, options.text_column, options.text_pair_column)
    max_length = min(_MAX_LENGTH, getattr(config, "max_position_embeddings", None) or _MAX_LENGTH)
    tags = {"source_tag": options.source_tag, "target_tag": options.target_tag}
    how = {"max_length": max_length, "trust_remote_code": options.trust_remote_code}
    tokenizer, model = load_translator(options.model, **tags, **how)
    search: dict[str, Any] = {"task": "translation", "formats": wanted, "max_length": max_length}
    exported, broken = _write(options, model, tokenizer, sources, **search)
    if references is not None:
        for name, one in {"model": model, **exported}.items():
            scores = corpus_scores(translate(one, tokenizer, sources, max_length=max_length), references)
            print(f"{name}, greedy: BLEU {scores['bleu']:.1f}, chrF {scores['chrf']:.1f}")  # noqa: T201
    if broken:
        raise broken


def _write(
    options: argparse.Namespace,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Any,
    **how: Any,
) -> tuple[dict[str, Any], ExportError | None]:
    """Writes the formats, and tells of each how close it is; those that are not broken, and what is to be raised."""
    folder = Path(options.output_dir or options.model)
    if options.output_dir:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        make_readable_by_version_4(folder)
        if isinstance(head := head_of(model), EmbeddingHead):
            head.pooling.write(folder, model.config.hidden_size, max_positions(model, tokenizer))
    elif not folder.is_dir():
        raise ValueError(f"{options.model} is no folder to write into: name one with --output_dir.")
    broken = None
    try:
        exported = export_student(model, tokenizer, examples, folder, **how)
    except ExportError as error:
        exported, broken = error.exported, error
    for name, one in exported.items():
        print(f"{name}: {one.path}, {one.megabytes:.1f} MB; {one.parity}")  # noqa: T201
    return exported, broken


def _read_labels(options: argparse.Namespace, model: PreTrainedModel, texts: Any) -> TextClassificationData | None:
    """The texts with their labels, where the file has such labels as the model's."""
    if not (options.label_column or set(texts.column_names) & set(LABEL_COLUMNS)):
        return None
    try:
        return labeled(options, model, read_class_names(options.class_names, options.file))
    except ValueError as error:
        print(f"How often it is right is not measured: {error}")  # noqa: T201
        return None


def _scores(models: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, data: TextClassificationData) -> str:
    """The main metric of each model, in a line."""
    rows = token_rows(models["model"], tokenizer, test_rows(data), data.text_columns)
    labels = np.asarray(data.dataset["test"][data.label_column])
    metrics, name = classification_metrics(problem_type=data.problem_type), MAIN_METRICS[data.problem_type]
    logits = {role: predict_logits(model, tokenizer, rows) for role, model in models.items()}
    scores = {role: metrics(EvalPrediction(predictions=one, label_ids=labels))[name] for role, one in logits.items()}
    return f"{name}: {', '.join(f'{role} {score:.4f}' for role, score in scores.items())}; {len(rows):,} rows"

"""What a person does with a finished student: `hfdistill compare`, `export` and `card`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from accelerate import PartialState
from datasets import Dataset
from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.commands.command_line import plain_errors
from hfdistill.commands.exported_models import read_model
from hfdistill.commands.tool_options import PARSERS
from hfdistill.data.class_names import read_class_names
from hfdistill.export.base import ExportError, check_export, export_student, formats
from hfdistill.models.adapters import Adapter
from hfdistill.models.dispatched import placed
from hfdistill.models.heads import EmbeddingHead, head_of
from hfdistill.models.inference import predict_logits, token_rows
from hfdistill.models.inputs import max_positions
from hfdistill.models.labels import LABEL_COLUMNS, name_classes, names_of
from hfdistill.models.loading import load_classifier
from hfdistill.models.version_four import make_readable_by_version_4
from hfdistill.report import Comparison
from hfdistill.report.card import CardFacts, model_card, teacher_license
from hfdistill.report.figures import WIDTH
from hfdistill.report.quality import MAIN_METRICS, MULTI, REGRESSION, SINGLE
from hfdistill.report.results import write_report
from hfdistill.report.routing import LIMITS
from hfdistill.report.saved_form import saved_form
from hfdistill.report.terminal import quiet_libraries
from hfdistill.report.verdict import verdict
from hfdistill.tasks.classification.data import TextClassificationData, labeled_texts
from hfdistill.tasks.classification.metrics import classification_metrics
from hfdistill.tasks.classification.report import compare


def compare_main(words: Sequence[str]) -> None:
    """Runs `hfdistill compare` with these words."""
    run_action("compare", _compare, words)


def export_main(words: Sequence[str]) -> None:
    """Runs `hfdistill export` with these words."""
    run_action("export", _export, words)


def card_main(words: Sequence[str]) -> None:
    """Runs `hfdistill card` with these words."""
    run_action("card", _card, words)


def run_action(name: str, action: Callable[[argparse.Namespace], None], words: Sequence[str]) -> None:
    """Reads the options of a command and runs it, with errors as one line."""
    options = PARSERS[name]().parse_args(words)
    quiet_libraries()
    with plain_errors():
        action(options)


def _compare(options: argparse.Namespace) -> None:
    comparison, _ = _compared(options, options.baseline)
    if options.output_dir:
        write_report(options.output_dir, comparison, {})
    # What no report tells is told here.
    table = comparison.summary() if options.output_dir else comparison.table()
    print(f"{fill(verdict(comparison), WIDTH)}\n\n{table}")  # noqa: T201


def _export(options: argparse.Namespace) -> None:
    wanted = options.formats or list(formats("text-classification"))
    check_export(wanted)
    one = read_model(options)
    model, tokenizer = one.model, one.tokenizer
    data = _read_labels(options, model, one.rows) if one.is_classifier else None
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
        exported = export_student(model, tokenizer, one.rows, folder, formats=wanted, text_columns=one.text_columns)
    except ExportError as error:
        exported, broken = error.exported, error
    for name, written in exported.items():
        print(f"{name}: {written.path}, {written.megabytes:.1f} MB; {written.parity}")  # noqa: T201
    models = {"model": model, **exported}
    if line := one.scores(models) if data is None else _scores(models, tokenizer, data):
        print(line)  # noqa: T201
    if broken:
        raise broken


def _read_labels(options: argparse.Namespace, model: PreTrainedModel, texts: Dataset) -> TextClassificationData | None:
    """The texts with their labels, where the file has such labels as the model's."""
    if not (options.label_column or set(texts.column_names) & set(LABEL_COLUMNS)):
        return None
    try:
        return _labeled(options, model, read_class_names(options.class_names, options.file))
    except ValueError as error:
        print(f"How often it is right is not measured: {error}")  # noqa: T201
        return None


def _scores(models: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, data: TextClassificationData) -> str:
    """The main metric of each model, in a line."""
    rows = token_rows(models["model"], tokenizer, _rows(data), data.text_columns)
    labels = np.asarray(data.dataset["test"][data.label_column])
    metrics, name = classification_metrics(problem_type=data.problem_type), MAIN_METRICS[data.problem_type]
    logits = {role: predict_logits(model, tokenizer, rows) for role, model in models.items()}
    scores = {role: metrics(EvalPrediction(predictions=one, label_ids=labels))[name] for role, one in logits.items()}
    return f"{name}: {', '.join(f'{role} {score:.4f}' for role, score in scores.items())}; {len(rows):,} rows"


def _card(options: argparse.Namespace) -> None:
    comparison, student = _compared(options)
    folder = Path(options.student)
    facts = CardFacts(
        teacher=options.teacher,
        dataset=options.dataset_name or options.file,
        comparison=comparison,
        license=teacher_license(options.teacher),
        form=saved_form(student, Adapter.of(options.student)),
        folder=options.student,
    )
    model_card(folder.resolve().name, [], {}, facts).save(folder / "README.md")
    print(f"{folder / 'README.md'}\n\n{fill(verdict(comparison), WIDTH)}\n\n{comparison.summary()}")  # noqa: T201


def _compared(options: argparse.Namespace, baseline: str | None = None) -> tuple[Comparison, PreTrainedModel]:
    """The comparison, and the student that was compared."""
    tokenizer, student = _measured(options.student, options)
    teacher_tokenizer, teacher = _measured(options.teacher, options)
    class_names = read_class_names(options.class_names, options.file)
    for model in (student, teacher):
        name_classes(model.config, class_names)
    data = _labeled(options, student, class_names)
    comparison = compare(
        teacher,
        student,
        _rows(data),
        processing_class=tokenizer,
        teacher_processing_class=teacher_tokenizer,
        compute_metrics=classification_metrics(problem_type=data.problem_type),
        baseline=_measured(baseline, options)[1] if baseline else None,
        text_columns=data.text_columns,
        validation=_validation(options, student, class_names, data.text_columns),
        tolerance=options.tolerance,
        max_share=options.max_share,
    )
    return comparison, student


def _validation(
    options: argparse.Namespace,
    student: PreTrainedModel,
    class_names: Sequence[str] | None,
    text_columns: Sequence[str],
) -> Dataset | None:
    """The texts to choose a threshold on, in columns of the same names."""
    if options.validation_file is None:
        if (options.tolerance, options.max_share) != LIMITS:
            raise ValueError(
                "--tolerance and --max_share choose a threshold on --validation_file: give that too, or neither."
            )
        return None
    data = _labeled(options, student, class_names, options.validation_file)
    return _rows(data).rename_columns(dict(zip(data.text_columns, text_columns, strict=True)))


def _labeled(
    options: argparse.Namespace, model: PreTrainedModel, class_names: Sequence[str] | None, file: str = ""
) -> TextClassificationData:
    """The labeled texts of FILE or another, as the model numbers its classes."""
    usual = REGRESSION if model.config.num_labels == 1 else SINGLE
    return labeled_texts(
        file or options.file,
        text_column=options.text_column,
        text_pair_column=options.text_pair_column,
        label_column=options.label_column,
        label_names=names_of(model.config),
        class_names=class_names,
        problem_type=MULTI if model.config.problem_type == MULTI else usual,
    )


def _measured(name: str, options: argparse.Namespace) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """A tokenizer, and its classifier on the accelerator, where there is one: there its speed is measured."""
    tokenizer, model = load_classifier(name, options.trust_remote_code)
    return tokenizer, placed(model, PartialState().device)


def _rows(data: TextClassificationData) -> Dataset:
    return data.dataset["test"].rename_columns({data.label_column: "labels"})

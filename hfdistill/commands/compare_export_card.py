"""What a person does with a finished student: `hfdistill compare`, `export`, `soft-targets` and `card`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill

from accelerate import PartialState
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.commands.command_line import plain_errors
from hfdistill.commands.main import COMMANDS
from hfdistill.data.class_names import read_class_names
from hfdistill.export.base import ExportError, check_export, export_student, formats
from hfdistill.models.labels import name_classes, names_of
from hfdistill.models.loading import load_classifier
from hfdistill.models.version_four import make_readable_by_version_4
from hfdistill.models.wrappers import placed
from hfdistill.report import Comparison
from hfdistill.report.card import CardFacts, model_card, teacher_license
from hfdistill.report.figures import WIDTH
from hfdistill.report.results import write_report
from hfdistill.report.saved_form import saved_form
from hfdistill.report.terminal import quiet_libraries
from hfdistill.report.verdict import verdict
from hfdistill.soft_targets import soft_targets
from hfdistill.tasks.classification.data import TextClassificationData, labeled_texts, plain_texts
from hfdistill.tasks.classification.metrics import classification_metrics
from hfdistill.tasks.classification.report import compare

MODEL = "folder of a model, or its name on the Hub"
FILE = "texts with labels: csv, tsv, json lines or parquet"


def compare_main(words: Sequence[str]) -> None:
    """Runs `hfdistill compare` with these words."""
    _run(compare_parser(), _compare, words)


def export_main(words: Sequence[str]) -> None:
    """Runs `hfdistill export` with these words."""
    _run(export_parser(), _export, words)


def soft_targets_main(words: Sequence[str]) -> None:
    """Runs `hfdistill soft-targets` with these words."""
    _run(soft_targets_parser(), _soft_targets, words)


def card_main(words: Sequence[str]) -> None:
    """Runs `hfdistill card` with these words."""
    _run(card_parser(), _card, words)


def _run(parser: argparse.ArgumentParser, action: Callable[[argparse.Namespace], None], words: Sequence[str]) -> None:
    options = parser.parse_args(words)
    quiet_libraries()
    with plain_errors():
        action(options)


def compare_parser() -> argparse.ArgumentParser:
    """The options of `hfdistill compare`."""
    parser = _parser("compare", labels=True)
    parser.add_argument("teacher", metavar="TEACHER", help=MODEL)
    parser.add_argument("student", metavar="STUDENT", help=MODEL)
    parser.add_argument("file", metavar="FILE", help=FILE)
    parser.add_argument("--baseline", metavar="MODEL", help="the same student, trained without a teacher")
    parser.add_argument("--output_dir", metavar="FOLDER", help="also write all_results.json and report/ there")
    return parser


def export_parser() -> argparse.ArgumentParser:
    """The options of `hfdistill export`."""
    parser = _parser("export")
    parser.add_argument("model", metavar="MODEL", help=f"{MODEL}; a folder gets the files")
    parser.add_argument("file", metavar="FILE", help="texts to check the export on, with labels or without")
    known = list(formats("text-classification"))
    parser.add_argument("--formats", nargs="+", choices=known, default=known, help="default: %(default)s")
    parser.add_argument("--output_dir", metavar="FOLDER", help="write there, with config and tokenizer, instead")
    return parser


def soft_targets_parser() -> argparse.ArgumentParser:
    """The options of `hfdistill soft-targets`."""
    parser = _parser("soft-targets")
    parser.add_argument("teacher", metavar="TEACHER", help=MODEL)
    parser.add_argument("file", metavar="FILE", help="texts, with labels or without")
    columns = "the rows with the columns teacher_logits and teacher_label"
    parser.add_argument("output", metavar="OUTPUT.parquet", help=columns)
    return parser


def card_parser() -> argparse.ArgumentParser:
    """The options of `hfdistill card`."""
    parser = _parser("card", labels=True)
    parser.add_argument("teacher", metavar="TEACHER", help=MODEL)
    parser.add_argument("student", metavar="STUDENT", help="folder of the student; README.md is written there")
    parser.add_argument("file", metavar="FILE", help=FILE)
    parser.add_argument("--dataset_name", metavar="NAME", help="what to call the data, as its name on the Hub")
    return parser


def _parser(name: str, labels: bool = False) -> argparse.ArgumentParser:
    """A command's parser with the options that all have; with `labels`, those of labels too."""
    parser = argparse.ArgumentParser(prog=f"hfdistill {name}", description=COMMANDS[name][2], allow_abbrev=False)
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="run code that comes with a named model; read it first"
    )
    columns = parser.add_argument_group("columns of FILE", "found by their names where they are not given")
    columns.add_argument("--text_column", metavar="NAME", help="the text")
    columns.add_argument("--text_pair_column", metavar="NAME", help="the second text of a pair")
    if labels:
        columns.add_argument("--label_column", metavar="NAME", help="the label")
        names = "of the numbered classes, or a file of one a line (default: labels.txt beside FILE)"
        columns.add_argument("--class_names", metavar="NAME", nargs="+", help=names)
    return parser


def _compare(options: argparse.Namespace) -> None:
    comparison, _ = _compared(options, options.baseline)
    if options.output_dir:
        write_report(options.output_dir, comparison, {})
    # What no report tells is told here.
    table = comparison.summary() if options.output_dir else comparison.table()
    print(f"{fill(verdict(comparison), WIDTH)}\n\n{table}")  # noqa: T201


def _export(options: argparse.Namespace) -> None:
    check_export(options.formats)
    texts, columns = plain_texts(options.file, options.text_column, options.text_pair_column)
    tokenizer, model = load_classifier(options.model, options.trust_remote_code)
    folder = Path(options.output_dir or options.model)
    if options.output_dir:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        make_readable_by_version_4(folder)
    elif not folder.is_dir():
        raise ValueError(f"{options.model} is no folder to write into: name one with --output_dir.")
    broken = None
    try:
        exported = export_student(model, tokenizer, texts, folder, formats=options.formats, text_columns=columns)
    except ExportError as error:
        exported, broken = error.exported, error
    for name, one in exported.items():
        print(f"{name}: {one.path}, {one.megabytes:.1f} MB; {one.parity}")  # noqa: T201
    if broken:
        raise broken


def _soft_targets(options: argparse.Namespace) -> None:
    if Path(options.output).suffix != ".parquet":
        raise ValueError(f"{options.output} should end in .parquet.")
    texts, columns = plain_texts(options.file, options.text_column, options.text_pair_column)
    tokenizer, teacher = load_classifier(options.teacher, options.trust_remote_code)
    rows = soft_targets(teacher, texts, tokenizer, text_columns=columns)
    rows.to_parquet(options.output)
    print(f"{len(rows):,} rows with teacher_logits: {options.output}")  # noqa: T201


def _card(options: argparse.Namespace) -> None:
    comparison, student = _compared(options)
    folder = Path(options.student)
    facts = CardFacts(
        teacher=options.teacher,
        dataset=options.dataset_name or options.file,
        comparison=comparison,
        license=teacher_license(options.teacher),
        form=saved_form(student),
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
    data = labeled_texts(
        options.file,
        text_column=options.text_column,
        text_pair_column=options.text_pair_column,
        label_column=options.label_column,
        label_names=names_of(student.config),
        class_names=class_names,
        problem_type="regression" if student.config.num_labels == 1 else "single_label_classification",
    )
    comparison = compare(
        teacher,
        student,
        _rows(data),
        processing_class=tokenizer,
        teacher_processing_class=teacher_tokenizer,
        compute_metrics=classification_metrics(problem_type=data.problem_type),
        baseline=_measured(baseline, options)[1] if baseline else None,
        text_columns=data.text_columns,
    )
    return comparison, student


def _measured(name: str, options: argparse.Namespace) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """A tokenizer, and its classifier on the accelerator, where there is one: there its speed is measured."""
    tokenizer, model = load_classifier(name, options.trust_remote_code)
    return tokenizer, placed(model, PartialState().device)


def _rows(data: TextClassificationData) -> Dataset:
    return data.dataset["test"].rename_column(data.label_column, "labels")

"""The command `hfdistill`: what a person does with a student apart from training it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedModel

from hfdistill.commands.command_line import plain_errors
from hfdistill.commands.translate import main as translate
from hfdistill.data.class_names import read_class_names
from hfdistill.export.onnx import FILES, ExportError, check_export, export_onnx
from hfdistill.models.classifiers import load_classifier
from hfdistill.models.labels import name_classes, names_of
from hfdistill.report import Comparison, compare
from hfdistill.report.card import CardFacts, model_card, teacher_license
from hfdistill.report.run_folder import write_report
from hfdistill.report.saved_form import saved_form
from hfdistill.soft_targets import soft_targets
from hfdistill.tasks.classification.data import TextClassificationData, labeled_texts, plain_texts
from hfdistill.tasks.classification.metrics import classification_metrics

MODEL = "folder of a model, or its name on the Hub"
FILE = "texts with labels: csv, tsv, json lines or parquet"


def main(words: Sequence[str] | None = None) -> None:
    """Runs one command. It ends with exit code 2 for wrong usage, and 1 with a line that says what to mend."""
    words = sys.argv[1:] if words is None else words
    if words[:1] == ["translate"]:
        return translate(words[1:])
    options = command_parser().parse_args(words)
    with plain_errors():
        options.run(options)


def command_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(prog="hfdistill", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    commands.add_parser("translate", add_help=False, help="Distill a translation model.")
    one = _command(commands, "compare", _compare, "Measure teacher and student on the same texts, and print the table.")
    one.add_argument("teacher", metavar="TEACHER", help=MODEL)
    one.add_argument("student", metavar="STUDENT", help=MODEL)
    one.add_argument("file", metavar="FILE", help=FILE)
    one.add_argument("--baseline", metavar="MODEL", help="the same student, trained without a teacher")
    one.add_argument("--output_dir", metavar="FOLDER", help="also write all_results.json and report/ with plots there")

    one = _command(commands, "export", _export, "Write a model for ONNX Runtime and transformers.js, and check it.")
    one.add_argument("model", metavar="MODEL", help=f"{MODEL}; a folder gets the files in onnx/")
    one.add_argument("file", metavar="FILE", help="texts to check the export on, with labels or without")
    one.add_argument("--formats", nargs="+", choices=list(FILES), default=list(FILES), help="default: %(default)s")
    one.add_argument("--output_dir", metavar="FOLDER", help="write there, with config and tokenizer, instead")

    one = _command(commands, "soft-targets", _soft_targets, "Run a teacher on texts once, and keep its predictions.")
    one.add_argument("teacher", metavar="TEACHER", help=MODEL)
    one.add_argument("file", metavar="FILE", help="texts, with labels or without")
    one.add_argument(
        "output", metavar="OUTPUT.parquet", help="the rows with the columns teacher_logits and teacher_label"
    )

    one = _command(commands, "card", _card, "Compare a student with its teacher, and write the student's model card.")
    one.add_argument("teacher", metavar="TEACHER", help=MODEL)
    one.add_argument("student", metavar="STUDENT", help="folder of the student; README.md is written there")
    one.add_argument("file", metavar="FILE", help=FILE)
    one.add_argument("--dataset_name", metavar="NAME", help="what to call the data, as its name on the Hub")
    return parser


def _command(commands: argparse._SubParsersAction, name: str, run: object, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    command.set_defaults(run=run)
    command.add_argument(
        "--trust_remote_code", action="store_true", help="run code that comes with a named model; read it first"
    )
    columns = command.add_argument_group("columns of FILE", "found by their names where they are not given")
    columns.add_argument("--text_column", metavar="NAME", help="the text")
    columns.add_argument("--text_pair_column", metavar="NAME", help="the second text of a pair")
    if name in ("compare", "card"):
        columns.add_argument("--label_column", metavar="NAME", help="the label")
        columns.add_argument(
            "--class_names",
            metavar="NAME",
            nargs="+",
            help="of the numbered classes, or a file of one a line (default: labels.txt beside FILE)",
        )
    return command


def _compare(options: argparse.Namespace) -> None:
    comparison, _ = _compared(options, options.baseline)
    if options.output_dir:
        write_report(options.output_dir, comparison, {})
    print(comparison.table())  # noqa: T201


def _export(options: argparse.Namespace) -> None:
    check_export(options.formats)
    texts, columns = plain_texts(options.file, options.text_column, options.text_pair_column)
    tokenizer, model = load_classifier(options.model, options.trust_remote_code)
    folder = Path(options.output_dir or options.model)
    if options.output_dir:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    elif not folder.is_dir():
        raise ValueError(f"{options.model} is no folder to write into: name one with --output_dir.")
    broken = None
    try:
        exported = export_onnx(model, tokenizer, texts, folder, formats=options.formats, text_columns=columns)
    except ExportError as error:
        exported, broken = error.exported, error
    for name, one in exported.items():
        print(f"{name}: {one.path}, {one.path.stat().st_size / 1e6:.1f} MB; {one.parity}")  # noqa: T201
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
    )
    model_card(folder.resolve().name, [], {}, facts).save(folder / "README.md")
    print(f"{folder / 'README.md'}\n\n{comparison.table()}")  # noqa: T201


def _compared(options: argparse.Namespace, baseline: str | None = None) -> tuple[Comparison, PreTrainedModel]:
    """The comparison, and the student that was compared."""
    tokenizer, student = load_classifier(options.student, options.trust_remote_code)
    teacher_tokenizer, teacher = load_classifier(options.teacher, options.trust_remote_code)
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
        baseline=load_classifier(baseline, options.trust_remote_code)[1] if baseline else None,
        text_columns=data.text_columns,
    )
    return comparison, student


def _rows(data: TextClassificationData) -> Dataset:
    return data.dataset["test"].rename_column(data.label_column, "labels")

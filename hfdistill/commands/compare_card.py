"""What a person does with a finished student: `hfdistill compare` and `card`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill

from accelerate import PartialState
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.commands.command_line import plain_errors
from hfdistill.commands.tool_options import PARSERS
from hfdistill.data.class_names import read_class_names
from hfdistill.models.adapters import Adapter
from hfdistill.models.dispatched import placed
from hfdistill.models.labels import name_classes, names_of
from hfdistill.models.loading import load_classifier
from hfdistill.report import Comparison
from hfdistill.report.card import model_card
from hfdistill.report.card_facts import CardFacts, teacher_license
from hfdistill.report.figures import WIDTH
from hfdistill.report.quality import MULTI, REGRESSION, SINGLE
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
    data = labeled(options, student, class_names)
    comparison = compare(
        teacher,
        student,
        test_rows(data),
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
    data = labeled(options, student, class_names, options.validation_file)
    return test_rows(data).rename_columns(dict(zip(data.text_columns, text_columns, strict=True)))


def labeled(
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


def test_rows(data: TextClassificationData) -> Dataset:
    """The texts, with the label where models look for it."""
    return data.dataset["test"].rename_columns({data.label_column: "labels"})

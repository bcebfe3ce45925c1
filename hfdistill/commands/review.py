"""`hfdistill review`: which labels a person should check, by models that contradict them or differ from one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from transformers import set_seed

from hfdistill.commands.command_line import parse_arguments, run_command
from hfdistill.commands.help import UNUSED
from hfdistill.commands.options import not_default, option
from hfdistill.data.class_names import read_class_names
from hfdistill.models.loading import label_names_of, load_classifier
from hfdistill.report.terminal import print_main
from hfdistill.soft_targets import soft_targets
from hfdistill.tasks.classification.arguments import ClassificationTrainingArguments
from hfdistill.tasks.classification.data import MAX_LENGTH, TextClassificationData
from hfdistill.tasks.classification.label_review import TEN_MINUTES, check_output, review
from hfdistill.tasks.classification.out_of_fold import out_of_fold_logits
from hfdistill.tasks.classification.review_rows import carried_names, rows_to_review
from hfdistill.teachers import TEACHER_LOGITS, ModelTeacher
from hfdistill.teachers.prompted.teacher import PromptTeacher
from hfdistill.teachers.prompted.verbalizer import Verbalizer
from hfdistill.training.run import begin_run

#: What tells that a model was to be trained.
_OF_TRAINING = ("num_train_epochs", "learning_rate", "per_device_train_batch_size", "max_steps")
_IN_SAMPLE = (
    "A model that was trained on these labels repeats their errors: the models named here should not have been. "
    "With --folds 5 the named model is fine-tuned anew, and predicts no label that it learned."
)


@dataclass
class ReviewDataOptions:
    """Which rows."""

    _argument_group_name = "data"

    train_file: str | None = option(None, "Texts with labels: csv, tsv, json or parquet.")
    validation_file: str | None = option(None, "More of them.")
    test_file: str | None = option(None, "And more.")
    unlabeled_file: str | None = option(None, "Texts whose labels are not read.")
    text_column: str | None = option(None, "Column of the text.")
    text_pair_column: str | None = option(None, "Column of the second text of a pair.")
    label_column: str | None = option(None, "Column of the label.")
    class_names: list[str] | None = option(None, "Names of numbered classes, or a file of them; default labels.txt.")
    max_length: int = option(MAX_LENGTH, "With --folds: tokens a text is cut to.")


@dataclass
class ReviewModelOptions:
    """Which models; rows with soft targets bring their own."""

    _argument_group_name = "models"

    teacher_name_or_path: list[str] = option([], "Classifiers that were not trained on these labels, Hub or folder.")
    student_name_or_path: str | None = option(None, "A student of them.")
    folds: int = option(0, "Fine-tune the named models first: so many of each, each without the rows it predicts.")
    template: list[str] = option([], "A language model as teacher: its prompts, such as 'Review: {text}\\nSentiment:'.")
    verbalizer: list[str] = option([], "With --template: the words of each label, such as positive=good,great.")
    trust_remote_code: bool = option(False, "Run code that comes with a named model; read it first.")


@dataclass
class ReviewOutputOptions:
    """What is left."""

    _argument_group_name = "review"

    output: str = option("review.csv", "The rows, with an empty column corrected; .jsonl for JSON lines.")
    rows: int = option(TEN_MINUTES, "How many: a person reads about ten a minute.")


@dataclass
class ReviewTrainingArguments(ClassificationTrainingArguments):
    """Training arguments of the models that `--folds` trains."""

    output_dir: str = option("review_folds", "Folder of the models that --folds trains.")


@dataclass
class ReviewOptions(ReviewDataOptions, ReviewModelOptions, ReviewOutputOptions):
    """All options; those that do not go together are refused."""

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("there is nothing to review: name texts with --train_file, or with --unlabeled_file.")
        if bool(self.template) != bool(self.verbalizer):
            raise ValueError("--template and --verbalizer go together: give both, or neither.")
        if (self.template or self.folds) and not self.teacher_name_or_path:
            raise ValueError("--template and --folds are of a model: name it with --teacher_name_or_path.")
        if self.template and self.folds:
            raise ValueError("--folds fine-tunes classifiers, and --template asks a language model: give one of them.")
        check_output(Path(self.output))
        if Path(self.output).exists():
            raise ValueError(f"{self.output} is there already, perhaps with corrections: name another --output.")

    @property
    def files(self) -> dict[str, str]:
        """The files by what they are."""
        kinds = ("train", "validation", "test", "unlabeled")
        given = {kind: getattr(self, f"{kind}_file") for kind in kinds}
        return {kind: file for kind, file in given.items() if file is not None}


def main(words: Sequence[str] | None = None) -> None:
    """Runs `hfdistill review` with these words."""
    groups = (ReviewDataOptions, ReviewModelOptions, ReviewOutputOptions, ReviewTrainingArguments)
    about = "Which labels a person should check: rows whose label models contradict, or on which they differ."
    *parsed, args = parse_arguments(groups, about, None, _check, None, words, "hfdistill review")
    run_command(lambda: _review(_together(parsed), args))


def _together(groups: Sequence[Any]) -> ReviewOptions:
    return ReviewOptions(**{name: value for group in groups for name, value in vars(group).items()})


def _check(*parsed: Any) -> None:
    *groups, args = parsed
    if not _together(groups).folds and (idle := not_default(args, _OF_TRAINING)):
        raise ValueError(f"--{idle[0]} does nothing without --folds: give both, or neither.")
    unused = sorted(UNUSED["hfdistill review"] - (set() if args.alpha_is_given else {"alpha"}))
    if idle := not_default(args, unused):
        raise ValueError(f"--{idle[0]} does nothing in a review, which trains on labels alone: leave it out.")


def _review(options: ReviewOptions, args: ReviewTrainingArguments) -> None:
    resume = begin_run(args)[1] if options.folds else False
    set_seed(args.seed)
    data = _data(options)
    rows = data.dataset["train"]
    print_main(f"{len(rows):,} rows of {', '.join(options.files.values())}.")
    logits = _student_logits(options, data)
    for name, teacher in _named(options.teacher_name_or_path, "teacher"):
        if options.template:
            logits = {**_prompted_logits(options, data, teacher, name), **logits}
        elif options.folds:
            how: dict[str, Any] = {"max_length": options.max_length, "trust_remote_code": options.trust_remote_code}
            own = args.with_output_dir(f"{args.output_dir}/{name}")
            logits = {name: out_of_fold_logits(teacher, data, own, folds=options.folds, resume=resume, **how), **logits}
        else:
            logits = {name: _logits(teacher, options, data), **logits}
    if not PartialState().is_main_process:
        return
    found = review(rows, logits, text_columns=data.text_columns, label_names=data.label_names, most=options.rows)
    found.save(options.output)
    print_main(f"\n{found.summary()}\n")
    if found.labeled and not options.folds:
        print_main(_IN_SAMPLE)
    print_main(
        f"{len(found.rows):,} rows are in {options.output}: fill in the right label as `corrected` where one is wrong, "
        f"and train on with hfdistill distill --corrections {options.output}."
    )


def _data(options: ReviewOptions) -> TextClassificationData:
    """The rows, with the labels in the order of the first model that names them."""
    first = next(iter(options.files.values()))
    names: Sequence[str] | None = None
    if options.template:
        names = list(Verbalizer.of(options.verbalizer).names)
    elif options.teacher_name_or_path and not options.folds:
        names = label_names_of(options.teacher_name_or_path[0], options.trust_remote_code)
    elif options.student_name_or_path:
        names = label_names_of(options.student_name_or_path, options.trust_remote_code)
    return rows_to_review(
        options.files,
        text_column=options.text_column,
        text_pair_column=options.text_pair_column,
        label_column=options.label_column,
        label_names=names or carried_names(first),
        class_names=read_class_names(options.class_names, first),
    )


def _named(models: Sequence[str], kind: str) -> list[tuple[str, str]]:
    """Each model with what it is called: by its kind, and of several by their number."""
    return [(f"{kind}_{number}" if len(models) > 1 else kind, one) for number, one in enumerate(models, start=1)]


def _student_logits(options: ReviewOptions, data: TextClassificationData) -> dict[str, np.ndarray]:
    name = options.student_name_or_path
    return {"student": _logits(name, options, data)} if name else {}


def _logits(name: str, options: ReviewOptions, data: TextClassificationData) -> np.ndarray:
    """A classifier's logits of all rows, in the order of the labels."""
    tokenizer, model = load_classifier(name, options.trust_remote_code)
    data.check_teacher(name, model.config)
    return _run(ModelTeacher(model, tokenizer, data.text_columns), data)


def _prompted_logits(
    options: ReviewOptions, data: TextClassificationData, teacher: str, name: str
) -> dict[str, np.ndarray]:
    """A language model's logits by each of the prompts."""
    found = {}
    for called, template in _named(options.template, "prompt"):
        asked = PromptTeacher.from_pretrained(
            teacher, template.replace("\\n", "\n"), options.verbalizer, data.text_columns
        )
        found[called if name == "teacher" else f"{name}_{called}"] = _run(asked, data)
    return found


def _run(teacher: ModelTeacher, data: TextClassificationData) -> np.ndarray:
    rows = soft_targets(teacher, data.dataset["train"], label_names=data.label_names)
    return np.asarray(rows.with_format(None)[TEACHER_LOGITS][:])

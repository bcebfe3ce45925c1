"""What `hfdistill distill` takes on its command line, in groups, and which options go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hfdistill.commands.command_line import parse_arguments
from hfdistill.commands.options import check_demo, not_default, option
from hfdistill.commands.prompts import check_prompts
from hfdistill.data.augmentation.augmenters import AUGMENTERS
from hfdistill.export.base import check_export, formats
from hfdistill.losses import TERMS
from hfdistill.models.adapters import load_config
from hfdistill.search import Budget, check_search, parse_count
from hfdistill.soft_targets.selection import CHOICES
from hfdistill.tasks.classification.arguments import ClassificationTrainingArguments
from hfdistill.tasks.classification.data import MAX_LENGTH
from hfdistill.tasks.classification.demo import CLASSIFICATION_DEMO
from hfdistill.tasks.classification.sizes import SHAPE, SIZES, size_defaults, size_within

DESCRIPTION = "Distill a text classifier: a fine-tuned teacher goes in, a small student and a report come out."
HUB_TEACHER = "yoshitomo-matsubara/bert-base-uncased-sst2"
HUB_DATASET = "stanfordnlp/sst2"

#: Options that would do nothing without another.
NEEDED = {
    "search_trials": ("search_storage", "search_trade_off"),
    "online": ("num_students",),
    "augment": ("augment_copies",),
    "unlabeled_file": ("max_unlabeled", "unlabeled_fraction"),
    "unlabeled_fraction": ("keep_by",),
}
#: And those that would do nothing without an augmenter.
NEEDED_AUGMENTERS = {"augment_model": "word_replacement", "back_translation_models": "back_translation"}


@dataclass
class DataOptions:
    """Which texts."""

    _argument_group_name = "data"

    dataset_name: str = option(HUB_DATASET, "Dataset on the Hub.")
    dataset_config_name: str | None = option(None, "Its configuration.")
    train_file: str | None = option(None, "Your texts: csv, tsv, json or parquet.")
    validation_file: str | None = option(None, "Default: a tenth of the training texts.")
    test_file: str | None = option(None, "The figures are measured here, else on validation.")
    text_column: str | None = option(None, "Column of the text.")
    text_pair_column: str | None = option(None, "Column of the second text of a pair.")
    label_column: str | None = option(None, "Column of the label.")
    class_names: list[str] | None = option(None, "Names of numbered classes, or a file of them; default labels.txt.")
    max_length: int = option(MAX_LENGTH, "Tokens a text is cut to for the student.")
    corrections: list[str] | None = option(None, "Labels that a person corrected: files of hfdistill review.")
    demo: bool = option(False, "A generated corpus and small models; needs no network.")


@dataclass
class TeacherOptions:
    """Which teacher, and how it is run."""

    _argument_group_name = "teacher"

    teacher_name_or_path: list[str] = option([HUB_TEACHER], "Fine-tuned classifier, Hub or folder; several: averaged.")
    train_teacher: bool = option(False, "Fine-tune the named model on the labels first.")
    num_teachers: int = option(1, "With --train_teacher: fine-tune this many, by seeds.")
    learn_teacher_weights: bool = option(False, "Weigh several teachers by what each adds on the validation labels.")
    soft_targets: bool = option(True, "Run the teacher once; false runs it in every step.")
    online: str | None = option(None, "No teacher: students that teach one another.", choices=["mutual", "one"])
    num_students: int = option(2, "With --online: how many; the first is kept.")
    trust_remote_code: bool = option(False, "Run code that comes with a named model; read it first.")


@dataclass
class PromptOptions:
    """A language model as teacher, or an entailment model."""

    _argument_group_name = "language model as teacher"

    template: str | None = option(None, "Its prompt, such as 'Review: {text}\\nSentiment:'.")
    verbalizer: list[str] | None = option(None, "Words of each label, as positive=good,great; default the labels.")
    calibrate: bool = option(False, "Take its liking for some words out, by labels where there are any.")
    hypothesis_template: str | None = option(None, "Of an entailment model, such as 'This example is {}.'.")


@dataclass
class StudentOptions:
    """Which student."""

    _argument_group_name = "student"

    size: str | None = option(None, "A ready student, its shape and its training; what is given wins.", [*SIZES])
    max_parameters: str | None = option(None, "The largest size within, such as 5M; a bound of --search_trials.")
    max_latency_ms: float | None = option(None, "Likewise; of one text, on this machine.")
    student_name_or_path: str | None = option(None, "A small model to start from.")
    student_num_hidden_layers: int | None = option(None, "Otherwise: how many of the teacher's layers; default half.")
    student_hidden_size: int | None = option(None, "And hidden dimensions: those that matter most on the texts.")
    student_embedding_size: int | None = option(None, "And dimensions of a factorized embedding (low rank).")
    student_vocab_size: int | None = option(None, "And tokens: those most frequent in the training texts.")
    student_dropout: float | None = option(None, "Rate of its dropout; default its teacher's, with --size none.")
    baseline: bool = option(False, "Train the same student without a teacher, too.")


@dataclass
class FewLabelsOptions:
    """How a few labels become many."""

    _argument_group_name = "few labels"

    unlabeled_file: str | None = option(None, "More texts for the teacher to label, .txt too.")
    max_unlabeled: int | None = option(None, "Of these texts so many, drawn at random; default all.")
    unlabeled_fraction: float | None = option(None, "Train on this share of them, once the teacher has read all.")
    keep_by: str = option("random", "On which: those it is sure of, unsure of, or equally many a class.", [*CHOICES])
    label_fraction: float | None = option(None, "Keep this share of the training labels; the teacher labels the rest.")
    augment: list[str] | None = option(None, f"More texts made of the training texts: any of {', '.join(AUGMENTERS)}.")
    augment_copies: int = option(1, "How many are made of each text, by each of them.")
    augment_model: str = option("distilbert/distilbert-base-uncased", "Masked language model for word_replacement.")
    back_translation_models: list[str] = option(
        ["Helsinki-NLP/opus-mt-en-de", "Helsinki-NLP/opus-mt-de-en"], "Two models: into another language, and back."
    )


@dataclass
class SearchOptions:
    """Which student and settings are best."""

    _argument_group_name = "search"

    search_trials: int = option(0, "Try this many students and settings first (Optuna).")
    search_storage: str | None = option(None, "File of the search, for processes to share; default in output_dir.")
    search_trade_off: bool = option(False, "Search for quality and latency at once.")


@dataclass
class ExportOptions:
    """What the student is written as."""

    _argument_group_name = "export"

    export: list[str] | None = option(
        None, f"Also write the student as any of: {', '.join(formats('text-classification'))}."
    )


GROUPS = (DataOptions, TeacherOptions, PromptOptions, StudentOptions, FewLabelsOptions, SearchOptions, ExportOptions)


@dataclass
class Options(
    DataOptions, TeacherOptions, PromptOptions, StudentOptions, FewLabelsOptions, SearchOptions, ExportOptions
):
    """All options of a run; those that do not go together are refused."""

    def __post_init__(self) -> None:
        own = not_default(self, [field.name for field in fields(self)])
        check_prompts({name: getattr(self, name) for name in own})
        check_demo(self)
        for needed, names in NEEDED.items():
            idle = not_default(self, names)
            if idle and not getattr(self, needed):
                raise ValueError(f"--{idle[0]} does nothing without --{needed}: give both, or neither.")
        unknown = [name for name in self.augment or () if name not in AUGMENTERS]
        if unknown:
            raise ValueError(f"--augment knows {', '.join(AUGMENTERS)}, not {', '.join(unknown)}.")
        for name, augmenter in NEEDED_AUGMENTERS.items():
            if not_default(self, [name]) and augmenter not in (self.augment or ()):
                raise ValueError(f"--{name} does nothing without --augment {augmenter}: give both, or neither.")
        self.check_teachers()
        self.check_size()
        Budget(parse_count(self.max_parameters), self.max_latency_ms)
        check_export(self.export or [])
        if self.search_trials:
            check_search()

    def check_teachers(self) -> None:
        """Refuses what is about several teachers where there is one, or about one where there is none."""
        if self.num_teachers > 1 and not (self.train_teacher or self.demo):
            raise ValueError(
                "--num_teachers fine-tunes several, with --train_teacher; those there are go by their names."
            )
        if self.learn_teacher_weights and len(self.teacher_name_or_path) * self.num_teachers == 1:
            raise ValueError("--learn_teacher_weights weighs several teachers, and there is one.")
        if not self.online:
            return
        if self.search_trials:
            raise ValueError("--search_trials looks for how to learn from a teacher, and --online has none: take one.")
        if self.train_teacher and not self.demo:
            raise ValueError("--train_teacher does nothing with --online, where there is no teacher: give one of them.")
        if self.student_name_or_path and not_default(self, ["teacher_name_or_path"]):
            raise ValueError("--teacher_name_or_path does nothing with --online and a --student_name_or_path: drop it.")

    def check_size(self) -> None:
        """Refuses a size beside another way to say how large the student is."""
        if self.wants_size and (self.student_name_or_path or self.demo):
            named = next(name for name in ("size", "max_parameters", "max_latency_ms") if getattr(self, name))
            what = "--demo" if self.demo else "--student_name_or_path"
            raise ValueError(
                f"--{named} is of a student made of its teacher, and {what} brings one: leave one of them out."
            )
        if self.unlabeled_fraction is not None and (self.online or not self.soft_targets):
            why = "--online has no teacher" if self.online else "--soft_targets false runs it in every step"
            raise ValueError(
                f"--unlabeled_fraction chooses by what the teacher has said before training, and {why}: leave one of "
                "the two out."
            )

    @property
    def wants_size(self) -> bool:
        """Whether the student is to be one of the ready sizes, by its name or by a budget."""
        budget = self.max_parameters or self.max_latency_ms
        return bool(self.size or (budget and not self.search_trials))

    @property
    def prompted(self) -> bool:
        """Whether the named models are asked for labels that they were not trained on."""
        return bool(self.template or self.hypothesis_template)

    @property
    def learns_labels(self) -> bool:
        """Whether the named models are trained on the labels, and need not know them yet."""
        return self.train_teacher or self.online is not None

    @property
    def starting_points(self) -> list[str]:
        """The models that teach; or, without a teacher, the one that all students are made of."""
        if self.online and self.student_name_or_path:
            return [self.student_name_or_path]
        return self.teacher_name_or_path


def read_options(
    words: Sequence[str] | None = None, defaults: Mapping[str, Any] | None = None
) -> tuple[Options, ClassificationTrainingArguments]:
    """The options of this run; the demo has defaults of its own.

    Args:
        words: Those of the command line after the command.
        defaults: Other defaults than those of the dataclasses.
    """
    classes = (*GROUPS, ClassificationTrainingArguments)
    program = "hfdistill distill"
    *groups, args = parse_arguments(
        classes, DESCRIPTION, defaults, _check, CLASSIFICATION_DEMO, words, program, implied=_implied
    )
    return _together(groups), args


def _implied(*parsed: Any) -> Mapping[str, Any]:
    """The defaults that follow from a size, or from the budget that one is chosen by."""
    options = _together(parsed[:-1])
    if not options.wants_size:
        return {}
    if options.size and (options.max_parameters or options.max_latency_ms) and not options.search_trials:
        raise ValueError("--size names the student that --max_parameters and --max_latency_ms look for: drop one.")
    name = options.size or _size_within_budget(options)
    return {"size": name, **size_defaults(name)}


def _size_within_budget(options: Options) -> str:
    """The size of which a student of the named teacher, with what of its shape is given, keeps to the budget."""
    given = {name: value for name in SHAPE if (value := getattr(options, name)) is not None}
    trusted, budget = options.trust_remote_code, (parse_count(options.max_parameters), options.max_latency_ms)
    return size_within(load_config(options.starting_points[0], trusted), *budget, given, trusted)


def _check(*parsed: Any) -> None:
    *groups, args = parsed
    if args.teacher_outputs and _together(groups).unlabeled_fraction is not None:
        raise ValueError(
            f"--terms compares {', '.join(sorted(args.teacher_outputs))}, for which the teacher is run in every step, "
            "and --unlabeled_fraction chooses by what it has said before: leave one of the two out."
        )
    if args.teacher_outputs and _together(groups).prompted:
        raise ValueError(
            f"--terms compares {', '.join(sorted(args.teacher_outputs))}, and a language model's are of its prompt: "
            "take terms on logits, such as labels and soft_targets."
        )
    if not _together(groups).size:
        check_tokens_of_terms(_together(groups), args)


def check_tokens_of_terms(options: Options, args: ClassificationTrainingArguments) -> None:
    """Refuses terms that compare token by token where the student has fewer tokens than its teacher.

    Args:
        options: Where a size is named, as `settle_size` leaves them: it may keep all tokens.
        args: The training arguments.

    Raises:
        ValueError: naming the option, the term, and the ways out.
    """
    token_wise = sorted(name for name in args.terms_with_weight if TERMS[name].token_wise)
    if not (options.student_vocab_size and token_wise):
        return
    what, instead = "--student_vocab_size", "leave one of the two out"
    if options.size and options.student_vocab_size == SIZES[options.size].student_vocab_size:
        shape = [name for name in SHAPE[:2] if getattr(options, name)]
        kept = " ".join(f"--{name} {getattr(options, name)}" for name in shape)
        what, instead = f"the size {options.size}", f"give {kept} in place of the size"
    raise ValueError(
        f"{what} gives the student tokens of its own, and the term {token_wise[0]} compares it with its teacher token "
        f"by token: {instead}, and trim the finished student in a second run, as its teacher; or take terms on whole "
        "texts, such as soft_targets, patient and rkd_distance."
    )


def _together(groups: Sequence[Any]) -> Options:
    return Options(**{name: value for group in groups for name, value in vars(group).items()})

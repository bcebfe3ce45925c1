"""`hfdistill distill`: a text classifier from texts and a teacher to the student, its report, its card and its exports.

1. Read the texts (the Hub's, your own files, or a generated demo corpus); keep the labels of a few of them
   (--label_fraction) and make more texts (--augment), where that is wanted: the teacher labels the rest.
2. Take a fine-tuned teacher, or fine-tune one first (--train_teacher); or several, whose predictions are averaged; or
   a language model with a prompt (--template), or an entailment model (--hypothesis_template), asked for the labels by
   their names; or none (--online), where students of other seeds teach one another.
3. Run the teacher over the texts once: its soft targets are kept for this and every later run. (With terms that
   compare layers, such as --terms labels soft_targets minilm, it is run in every step instead.)
4. With --search_trials, look for the student and the settings that do best on the validation texts.
5. Make a student of some of the teacher's layers, or of narrower ones, or of fewer tokens, and train it on soft targets
   and labels.
6. With --baseline, train the same student on the labels alone, on the same budget.
7. With --export, write it for ONNX Runtime and transformers.js, too.
8. Compare them; write the student, its card and its report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from accelerate import PartialState
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.commands.command_line import run_command
from hfdistill.commands.distill_options import DataOptions, Options, check_tokens_of_terms, read_options
from hfdistill.data.augmentation.augmenters import load_augmenter
from hfdistill.data.augmentation.rows import augment, augmentation_report
from hfdistill.data.corrections import apply_corrections
from hfdistill.data.few_labels import keep_labels, labels_only, settle_alpha
from hfdistill.models.loading import load_tokenizer
from hfdistill.online import Branches, OnlineTrainer, Peers, new_head
from hfdistill.report.markdown import escaped
from hfdistill.report.quality import MAIN_METRICS
from hfdistill.report.terminal import begin_stage, plan_stages, print_main
from hfdistill.search import SHAPE, Budget, StudentSearch, parse_count, search_space
from hfdistill.soft_targets import soft_targets
from hfdistill.soft_targets.selection import keep_unlabeled
from hfdistill.students import TrimmedVocabulary
from hfdistill.tasks.classification.arguments import ClassificationTrainingArguments
from hfdistill.tasks.classification.data import TextClassificationData
from hfdistill.tasks.classification.prompted import calibrated, load_prompted_teachers
from hfdistill.tasks.classification.run_report import report_run
from hfdistill.tasks.classification.sizes import (
    check_parameters,
    settle_epochs,
    settle_size,
    size_in_words,
    teacher_training,
)
from hfdistill.tasks.classification.sources import classification_data
from hfdistill.tasks.models import (
    default_depth,
    live_teachers,
    load_student,
    load_teachers,
    train_teachers,
)
from hfdistill.teachers import ModelTeacher, learned_weights
from hfdistill.teachers.prompted.verbalizer import words_by_name
from hfdistill.training.arguments import DistillationTrainingArguments
from hfdistill.training.run import begin_run, push, train_and_save
from hfdistill.training.trainer import DistillationTrainer

#: How many students `hfdistill search` tries.
TRIALS = 20


def main(words: Sequence[str] | None = None) -> None:
    """Runs `hfdistill distill` with these words."""
    run_command(lambda: Run(*read_options(words)).distill())


def search_main(words: Sequence[str] | None = None) -> None:
    """Runs `hfdistill search`: the same with `--search_trials`."""
    run_command(lambda: Run(*read_options(words, {"search_trials": TRIALS})).distill())


class Run:
    """One run of the command: what its steps share.

    Args:
        options: Texts, teachers and student.
        args: The training arguments; their alpha and the teachers' weights are settled on the way.
    """

    def __init__(self, options: Options, args: ClassificationTrainingArguments) -> None:
        self.options, self.args = options, args
        folder, self.resume = begin_run(args)
        self.folder = str(folder)
        #: The texts, and a sentence on each file of corrected labels.
        self.data, self.corrected = read_data(options, args.seed)
        self.teachers = self.load_teachers()
        #: What is otherwise where a teacher is fine-tuned first.
        self.teacher_changes = teacher_training(options.size, args)
        if options.size:
            settle_size(options, self.teachers[0].model.config)
            check_tokens_of_terms(options, args)
            print_main(size_in_words(options, args))
        #: The teachers, where they are run in every step.
        self.live: list[ModelTeacher] | None = None

    def load_teachers(self) -> list[ModelTeacher]:
        """The named teachers, with what they are asked where they are language models."""
        options, args, data = self.options, self.args, self.data
        if options.prompted:
            asked = {name: getattr(options, name) for name in ("template", "verbalizer", "hypothesis_template")}
            teachers = load_prompted_teachers(
                options.teacher_name_or_path, data, dtype=args.teacher_dtype, trusted=options.trust_remote_code, **asked
            )
            return calibrated(teachers, data, args.seed) if options.calibrate else teachers
        return load_teachers(
            options.starting_points,
            data,
            train=options.learns_labels,
            count=options.num_teachers,
            seed=args.seed,
            trust_remote_code=options.trust_remote_code,
        )

    def distill(self) -> None:
        """All steps, from the teacher to the report."""
        options = self.options
        args: DistillationTrainingArguments = self.args
        plan_stages(self.stage_count())
        self.vocabulary = self.trimmed_vocabulary()  # first: what cannot be is refused before hours of work
        self.tokenizer = self.vocabulary.tokenizer if self.vocabulary else self.student_tokenizer()
        if options.max_parameters and not options.search_trials:
            check_parameters(self.new_student(), parse_count(options.max_parameters) or 0)
        if options.train_teacher and not options.online:
            train_teachers(self.teachers, self.data, args, self.resume, options.max_length, **self.teacher_changes)
        if options.augment:
            self.data = self.data.with_train(more_texts(options, self.data, self.tokenizer_of_teacher, args.seed))
        if not options.online:
            self.run_teachers()
        if options.size:
            settle_epochs(args, options.size, len(self.data.dataset["train"]))
        notes = [*self.corrected, settle_alpha(args, self.data.dataset["train"], self.data.label_column)]
        self.dataset = self.data.tokenized(self.tokenizer, options.max_length)
        alone = labels_only(self.dataset) if options.baseline else None
        shape: Mapping[str, Any] = {}
        others = {}
        if options.search_trials:
            shape, found, note = self.search()
            notes, others, args = [*self.corrected, note], {"defaults": self.with_defaults()}, found
        trainer = self.train_student(args, shape)
        baseline = None
        if alone:
            begin_stage("Training the same student without a teacher.")
            baseline = self.trainer(self.new_student(shape), args.for_labels_only(f"{self.folder}/_baseline"), alone)
            train_and_save(baseline, self.resume, keep_checkpoints=False)
        notes.append(str(self.vocabulary) if self.vocabulary else None)
        exports = options.export or ()
        report_run(trainer, self.teachers, self.data, baseline=baseline, others=others, formats=exports, notes=notes)
        if args.push_to_hub:
            push(trainer)

    def stage_count(self) -> int:
        """How many stages there are: student and comparison in any case."""
        options = self.options
        teachers = len(self.teachers) if options.train_teacher and not options.online else 0
        stored = options.soft_targets and not options.online and not self.args.teacher_outputs
        return 2 + teachers + bool(stored) + 2 * bool(options.search_trials) + options.baseline

    @property
    def tokenizer_of_teacher(self) -> PreTrainedTokenizerBase:
        processor: Any = self.teachers[0].processing_class
        tokenizer: Any = getattr(processor, "tokenizer", processor)  # of one that prompts
        return tokenizer

    def student_tokenizer(self) -> PreTrainedTokenizerBase:
        """That of the student's name; one that is made of its teacher has the teacher's."""
        name = self.options.student_name_or_path
        return load_tokenizer(name, self.options.trust_remote_code) if name else self.tokenizer_of_teacher

    def trimmed_vocabulary(self) -> TrimmedVocabulary | None:
        """With --student_vocab_size: those of the teacher's tokens that are most frequent in the training texts."""
        size = self.options.student_vocab_size
        if size is None:
            return None
        model, data = self.teachers[0].model, self.data
        texts, held_out = data.training_texts, data.held_out_texts
        vocabulary = TrimmedVocabulary.choose(model, self.tokenizer_of_teacher, texts, size, held_out)
        print_main(str(vocabulary))
        return vocabulary

    def run_teachers(self) -> None:
        """Adds the teachers' soft targets to the texts; or keeps the teachers, to be run in every step."""
        options, args, data = self.options, self.args, self.data
        if options.learn_teacher_weights:
            validation = soft_targets(self.teachers, data.dataset["validation"], dtype=args.teacher_dtype)
            weights = learned_weights(validation, args.combination, data.problem_type, data.label_column)
            args.teacher_weights = weights
            print_main(f"Learned weights of the teachers: {', '.join(f'{weight:.3f}' for weight in weights)}.")
        if args.teacher_outputs or not options.soft_targets:
            # To be compared token by token, teacher and student read the same tokens, where both have them.
            shared = bool(args.teacher_outputs)
            self.live = live_teachers(self.teachers, self.tokenizer, args.teacher_dtype, share_tokens=shared)
            return
        begin_stage("Soft targets: running the teacher over all texts.")
        self.data = data.with_splits(soft_targets(self.teachers, data.dataset, dtype=args.teacher_dtype))
        if options.augment:  # of all rows: those that are kept have other numbers
            print_main(str(augmentation_report(self.data.dataset["train"], data.problem_type)))
        if options.unlabeled_fraction is not None:
            self.data = self.data.with_train(self.kept_rows())

    def kept_rows(self) -> Dataset:
        """The training rows, of the unlabeled ones that share which the teacher's predictions speak for."""
        rows, data, fraction = self.data.dataset["train"], self.data, self.options.unlabeled_fraction or 1.0
        columns = {"label_column": data.label_column, "problem_type": data.problem_type}
        kept = keep_unlabeled(rows, fraction, self.options.keep_by, seed=self.args.seed, **columns)
        print_main(f"{len(kept):,} of {len(rows):,} texts are trained on (--keep_by {self.options.keep_by}).")
        return kept

    def new_student(self, shape: Mapping[str, Any] | None = None, number: int = 0) -> PreTrainedModel:
        """The untrained student, the same at each call.

        Args:
            shape: What a search found, beside what is given.
            number: Of several students, which; those after the first get a head of their own.
        """
        options = self.options
        given = {
            "num_hidden_layers": options.student_num_hidden_layers,
            "hidden_size": options.student_hidden_size,
            "embedding_size": options.student_embedding_size,
            "vocabulary": self.vocabulary,
        }
        _, student = load_student(
            self.teachers[0],
            self.data,
            options.student_name_or_path,
            seed=self.args.seed + number,
            max_length=options.max_length,
            trust_remote_code=options.trust_remote_code,
            dropout=options.student_dropout,
            **{**given, **(shape or {})},
        )
        initialized = options.demo and not any(given.values())
        # Students that start alike have nothing to teach one another.
        return student if number == 0 or initialized else new_head(student)

    def trainer(
        self, student: PreTrainedModel, args: DistillationTrainingArguments, dataset: DatasetDict, teacher: Any = None
    ) -> DistillationTrainer:
        return DistillationTrainer(student, args, teacher=teacher, **self.trainer_kwargs(dataset))

    def trainer_kwargs(self, dataset: DatasetDict) -> dict[str, Any]:
        return {
            "train_dataset": dataset["train"],
            "eval_dataset": dataset["validation"],
            "processing_class": self.tokenizer,
            "compute_metrics": self.data.metrics,
        }

    def train_student(self, args: DistillationTrainingArguments, shape: Mapping[str, Any]) -> DistillationTrainer:
        """Trains the student, or the students that teach one another; their trainer."""
        begin_stage("Training the student.")
        trainer: DistillationTrainer
        if self.options.online:
            students = [self.new_student(shape, number) for number in range(self.options.num_students)]
            together = Peers(students) if self.options.online == "mutual" else Branches(students)
            trainer = OnlineTrainer(together, args, **self.trainer_kwargs(self.dataset))
        else:
            trainer = self.trainer(self.new_student(shape), args, self.dataset, self.live)
        train_and_save(trainer, self.resume)
        return trainer

    def with_defaults(self) -> PreTrainedModel:
        """A student of the usual shape and settings, for what was searched to be compared with."""
        begin_stage("Training a student with the defaults, to compare with.")
        args = self.args.with_output_dir(f"{self.folder}/_defaults")
        trainer = self.trainer(self.new_student(), args, self.dataset, self.live)
        train_and_save(trainer, self.resume, keep_checkpoints=False)
        student: Any = trainer.model
        return student

    def search(self) -> tuple[Mapping[str, Any], DistillationTrainingArguments, str]:
        """The shape and the training arguments of the student that does best on the validation texts, and a note."""
        options, args, teacher = self.options, self.args, self.teachers[0].model
        metric = MAIN_METRICS[self.data.problem_type]
        given = {"num_hidden_layers": options.student_num_hidden_layers, "hidden_size": options.student_hidden_size}
        whole = options.demo or options.student_name_or_path is not None
        space = search_space(teacher, fixed=SHAPE if whole else [name for name, value in given.items() if value])
        usual = {"num_hidden_layers": default_depth(teacher), "hidden_size": teacher.config.hidden_size}
        students = StudentSearch(
            space,
            self.new_student,
            lambda student, args: self.trainer(student, args, self.dataset, self.live),
            args,
            options.search_storage or f"{self.folder}/_search.log",
            metric=metric,
            budget=Budget(parse_count(options.max_parameters), options.max_latency_ms),
            trade_off=options.search_trade_off,
            defaults={**vars(args), **usual, "layers": "uniform"},
        )
        begin_stage(f"Searching over {', '.join(space)}.")
        best = students.run(options.search_trials)
        print_main(f"The best of {options.search_trials} on the validation texts: {best.score:.4f}, {best.settings}")
        students.save_plots(f"{self.folder}/report")
        note = (
            f"Settings and shape are those of the best of {options.search_trials} students in a search by {metric} on "
            f"the validation texts, {best.score:.4f} there; `defaults` has the usual ones."
        )
        shape, found = students.values_of(best.values)
        return shape, found, note


def read_data(options: Options, seed: int) -> tuple[TextClassificationData, list[str]]:
    """The texts, with as many of their labels as are to be kept, and a sentence on each file of corrections."""
    names = [field.name for field in fields(DataOptions) if field.name not in ("max_length", "corrections")]
    given = {name: getattr(options, name) for name in [*names, "unlabeled_file", "max_unlabeled", "trust_remote_code"]}
    if options.verbalizer and not options.class_names:
        given["class_names"] = list(words_by_name(options.verbalizer))
    knows_labels = not (options.learns_labels or options.prompted)
    data = classification_data(**given, teacher=options.teacher_name_or_path[0] if knows_labels else None)
    told: list[str] = []
    for file in options.corrections or ():
        columns: dict[str, Any] = {"text_columns": data.text_columns, "label_column": data.label_column}
        corrected, note = apply_corrections(data.dataset, file, label_names=data.label_names, **columns)
        data, told = data.with_splits(corrected), [*told, escaped(note)]
        print_main(note)
    if options.label_fraction is None:
        return data, told
    few = keep_labels(data.dataset["train"], options.label_fraction, data.label_column, seed)
    return data.with_train(few), told


def more_texts(
    options: Options, data: TextClassificationData, tokenizer: PreTrainedTokenizerBase, seed: int
) -> Dataset:
    """The training rows and the texts made of them, for the teacher to label."""
    names, models = options.augment or (), (options.augment_model, options.back_translation_models)
    device = PartialState().device
    augmenters = [load_augmenter(name, tokenizer.mask_token, *models, device=device) for name in names]
    copies = options.augment_copies * len(augmenters)
    with PartialState().main_process_first():
        return augment(data.dataset["train"], augmenters, data.text_columns, data.label_column, copies, seed)

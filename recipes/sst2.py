"""Distil a text classifier: a fine-tuned teacher goes in, a small student and an account of what was lost come out.

1. Read the texts (SST-2 from the Hub, your own files, or a generated demo corpus); keep the labels of a few of them
   (--label_fraction) and make more texts (--augment), where that is asked for: the teacher labels the rest.
2. Take a fine-tuned teacher, or fine-tune one first (--train_teacher); or several, whose answers are averaged; or none
   (--online), where students of other seeds teach one another.
3. Run the teacher over the texts once: its soft targets are kept for this and every later run. (With terms that
   compare layers, such as --terms labels soft_targets minilm, it is asked in every step instead.)
4. With --search_trials, look for the student and the settings that do best on the validation texts.
5. Make a student of some of the teacher's layers, or of narrower ones, and train it on soft targets and labels.
6. With --baseline, train the same student on the labels alone, on the same budget.
7. With --export, write it for ONNX Runtime and transformers.js, too.
8. Compare them; write the student, its card and its report.

    accelerate launch recipes/sst2.py --demo
    accelerate launch recipes/sst2.py --student_num_hidden_layers 6 --baseline
    accelerate launch recipes/sst2.py --teacher_name_or_path my/bert --train_file train.csv --test_file test.csv
    accelerate launch recipes/sst2.py --demo --num_teachers 3
    accelerate launch recipes/sst2.py --demo --label_fraction 0.1 --augment masking n_grams
    accelerate launch recipes/sst2.py --demo --online mutual
    accelerate launch recipes/sst2.py settings.yaml --search_trials 20 --max_parameters 15M --export onnx int8
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset, DatasetDict
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BatchEncoding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from hfdistill import DistillationTrainer, DistillationTrainingArguments, ModelTeacher, make_student, soft_targets
from hfdistill.augmentation import AUGMENTERS, augment, augmentation_report, load_augmenter
from hfdistill.command_line import parse_arguments, plain_errors
from hfdistill.data import TextClassificationData, hub_errors, load_hub_dataset, text_classification_dataset
from hfdistill.demo import DEMO, DEMO_NOTICE, demo_dataset, demo_student, demo_teacher, demo_tokenizer
from hfdistill.export import check_export, export_onnx
from hfdistill.label_spaces import label_names
from hfdistill.metrics import classification_metrics
from hfdistill.model_card import CardFacts, measured_emissions, teacher_licence
from hfdistill.online import Branches, OnlineTrainer, Peers, new_head
from hfdistill.report import Comparison, compare
from hfdistill.run_folder import begin_run, last_checkpoint, write_report
from hfdistill.search import SHAPE, Budget, StudentSearch, check_search, parse_count, search_space
from hfdistill.teachers import EnsembleModel
from hfdistill.transfer_sets import keep_labels, labeled_rows

HUB_TEACHER = "textattack/bert-base-uncased-SST-2"
HUB_DATASET = "stanfordnlp/sst2"

#: Options that would do nothing without another.
NEEDED = {
    "search_trials": ("search_storage", "search_trade_off", "max_parameters", "max_latency_ms"),
    "online": ("num_students",),
    "augment": ("augment_copies",),
}

Teachers = list[tuple[PreTrainedTokenizerBase, PreTrainedModel]]


@dataclass
class Recipe:
    """Which teacher, which student, which texts."""

    teacher_name_or_path: list[str] = field(
        default_factory=lambda: [HUB_TEACHER],
        metadata={"help": "Fine-tuned classifier, Hub or folder; of several, the answers are averaged."},
    )
    train_teacher: bool = field(default=False, metadata={"help": "Fine-tune the named model on the labels first."})
    num_teachers: int = field(default=1, metadata={"help": "With --train_teacher: fine-tune this many, by seeds."})
    online: str | None = field(
        default=None,
        metadata={"help": "No teacher: students that teach one another.", "choices": ["mutual", "one"]},
    )
    num_students: int = field(default=2, metadata={"help": "With --online: how many; the first is kept."})
    student_name_or_path: str | None = field(default=None, metadata={"help": "A small model to start from."})
    student_num_hidden_layers: int | None = field(
        default=None, metadata={"help": "Otherwise: this many of the teacher's layers (default half of them)."}
    )
    student_hidden_size: int | None = field(
        default=None, metadata={"help": "And this many hidden dimensions, those that matter most on the texts."}
    )
    dataset_name: str = field(default=HUB_DATASET, metadata={"help": "Dataset on the Hub."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    train_file: str | None = field(default=None, metadata={"help": "Your texts: csv, tsv, json or parquet."})
    validation_file: str | None = field(default=None, metadata={"help": "Default: a tenth of the training texts."})
    test_file: str | None = field(default=None, metadata={"help": "The figures are measured here, else on validation."})
    unlabeled_file: str | None = field(default=None, metadata={"help": "More texts, for the teacher to label."})
    label_fraction: float | None = field(
        default=None, metadata={"help": "Keep this share of the training labels; the teacher labels the rest."}
    )
    augment: list[str] | None = field(
        default=None, metadata={"help": f"More texts made of the training texts: any of {', '.join(AUGMENTERS)}."}
    )
    augment_copies: int = field(default=1, metadata={"help": "How many are made of each text, by each of them."})
    augment_model: str = field(
        default="distilbert/distilbert-base-uncased", metadata={"help": "Masked language model for word_replacement."}
    )
    back_translation_models: list[str] = field(
        default_factory=lambda: ["Helsinki-NLP/opus-mt-en-de", "Helsinki-NLP/opus-mt-de-en"],
        metadata={"help": "Two models: into another language, and back."},
    )
    text_column: str | None = field(default=None, metadata={"help": "Column of the text."})
    text_pair_column: str | None = field(default=None, metadata={"help": "Column of the second text of a pair."})
    label_column: str | None = field(default=None, metadata={"help": "Column of the label."})
    max_length: int = field(default=128, metadata={"help": "Tokens a text is cut to for the student."})
    soft_targets: bool = field(default=True, metadata={"help": "Ask the teacher once; false asks it in every step."})
    baseline: bool = field(default=False, metadata={"help": "Train the same student without a teacher, too."})
    search_trials: int = field(default=0, metadata={"help": "Try this many students and settings first (Optuna)."})
    search_storage: str | None = field(
        default=None, metadata={"help": "File of the search, for processes to share; default in output_dir."}
    )
    search_trade_off: bool = field(default=False, metadata={"help": "Search for quality and latency at once."})
    max_parameters: str | None = field(default=None, metadata={"help": "Of a student that is searched, such as 5M."})
    max_latency_ms: float | None = field(default=None, metadata={"help": "Of a student that is searched; one text."})
    export: list[str] | None = field(default=None, metadata={"help": "Also write the student as: onnx int8."})
    demo: bool = field(default=False, metadata={"help": "A generated corpus and small models; needs no network."})


@dataclass
class RecipeTrainingArguments(DistillationTrainingArguments):
    """The training arguments, with this recipe's defaults: BERT's fine-tuning settings, texts batched by length."""

    output_dir: str = "distilled"
    learning_rate: float = 5e-5
    num_train_epochs: float = 3
    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 64
    warmup_steps: float = 0.06
    weight_decay: float = 0.01
    train_sampling_strategy: str = "group_by_length"
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    save_total_limit: int = 1
    logging_steps: float = 0.05
    report_to: str = "none"
    dataloader_pin_memory: bool = torch.accelerator.is_available()
    use_cpu: bool = not torch.accelerator.is_available()  # said, or the processes of torchrun do not find each other


def main() -> None:
    recipe, args = arguments()
    folder, resume = begin_run(args)

    # ---- Texts and teachers ----
    data = read_texts(recipe)
    if recipe.label_fraction is not None:
        fewer = keep_labels(data.dataset["train"], recipe.label_fraction, data.label_column, args.seed)
        data = with_train(data, fewer)
    metrics = classification_metrics(problem_type=data.problem_type)
    teachers = load_teachers(recipe, data, args.seed)
    parameters = sum(teacher.num_parameters() for _, teacher in teachers)
    told = "no teacher" if recipe.online else f"the teacher has {parameters:,} parameters"
    say(f"{len(data.dataset['train']):,} training texts; {told}.")
    if recipe.train_teacher and not recipe.online:
        train_teachers(recipe, args, data, teachers, metrics, resume)

    # ---- What the teachers say: soft targets, made once; or live, for terms that compare layers ----
    new_student, tokenizer = prepare_student(recipe, args.seed, teachers, data)
    if recipe.augment:
        data = with_train(data, more_texts(recipe, data, teachers[0][0], args.seed))
    texts, live = ask_teachers(recipe, args, data, teachers, tokenizer)
    dataset = tokenize(data, tokenizer, recipe.max_length, texts)

    def new_trainer(student: PreTrainedModel, args: RecipeTrainingArguments) -> DistillationTrainer:
        return DistillationTrainer(student, args, teacher=live, **on(dataset, tokenizer, metrics))

    # ---- Student, and the same student without a teacher ----
    shape, others = {}, {}
    if recipe.search_trials:
        metric = "pearson" if data.problem_type == "regression" else "accuracy"
        shape, found = search(recipe, args, metric, teachers[0][1], new_student, new_trainer)
        say("Training a student with the defaults, to compare with.")
        others["defaults"] = trained(new_trainer(new_student(), args.elsewhere(f"{folder}/_defaults")), resume).model
        args = found
    say("Training the student.")
    if recipe.online:
        students = together(recipe.online, [new_student(shape, number) for number in range(recipe.num_students)])
        trainer = trained(OnlineTrainer(students, args, **on(dataset, tokenizer, metrics)), resume)
    else:
        trainer = trained(new_trainer(new_student(shape), args), resume)
    trainers = {"student": trainer}
    if recipe.baseline:
        say("Training the same student without a teacher.")
        labels_only = args.for_labels_only(f"{folder}/_baseline")
        alone = on(labels_alone(dataset), tokenizer, metrics)
        trainers["baseline"] = trained(DistillationTrainer(new_student(shape), labels_only, **alone), resume)

    # ---- What was lost ----
    if trainer.is_world_process_zero():
        report(recipe, args, data, teachers, tokenizer, metrics, trainers, others)
    if args.push_to_hub:
        trainer.push_to_hub()


def arguments() -> tuple[Recipe, RecipeTrainingArguments]:
    classes = (Recipe, RecipeTrainingArguments)
    recipe, args = parse_arguments(classes, __doc__.splitlines()[0])
    if recipe.demo:
        demo = {"train_teacher": True, "baseline": True, **DEMO.student_training}
        recipe, args = parse_arguments(classes, __doc__.splitlines()[0], demo)
    for needed, names in NEEDED.items():
        idle = [name for name in names if getattr(recipe, name) != getattr(Recipe(), name)]
        if idle and not getattr(recipe, needed):
            raise ValueError(f"--{idle[0]} does nothing without --{needed}: give both, or neither.")
    if recipe.student_name_or_path and (recipe.student_num_hidden_layers or recipe.student_hidden_size):
        raise ValueError("--student_name_or_path has a shape of its own: leave its layers and hidden size out.")
    unknown = [name for name in recipe.augment or () if name not in AUGMENTERS]
    if unknown:
        raise ValueError(f"--augment knows {', '.join(AUGMENTERS)}, not {', '.join(unknown)}.")
    if recipe.num_teachers > 1 and not recipe.train_teacher:
        raise ValueError("--num_teachers fine-tunes several, with --train_teacher; those there are go by their names.")
    if recipe.search_trials and recipe.online:
        raise ValueError("--search_trials looks for how to learn from a teacher, and --online has none: take one.")
    check_export(recipe.export or [])
    if recipe.search_trials:
        check_search()
        parse_count(recipe.max_parameters)
    return recipe, args


def read_texts(recipe: Recipe) -> TextClassificationData:
    if recipe.demo:
        demo = demo_dataset()
        return text_classification_dataset(demo["train"], demo["validation"], demo["test"])
    train_file, validation_file, test_file = recipe.train_file, recipe.validation_file, recipe.test_file
    if recipe.train_file is None:
        hub = load_hub_dataset(recipe.dataset_name, recipe.dataset_config_name)
        # GLUE hides the labels of its test sets (-1), so its validation set is what can be measured on.
        train_file, validation_file = hub["train"], hub.get("validation")
    names, problem_type = None, None
    if not recipe.train_teacher:
        with hub_errors(recipe.teacher_name_or_path[0]):
            config = AutoConfig.from_pretrained(recipe.teacher_name_or_path[0])
        problem_type = "regression" if config.num_labels == 1 else "single_label_classification"
        # A teacher without names for its labels is taken to number them as the Hub's dataset does; a file that names
        # its labels does not say in which order, so there LABEL_0, LABEL_1, ... must stand in it, or their numbers.
        names = label_names(config)
        if names is None and recipe.train_file is not None and config.num_labels > 1:
            names = list(config.id2label.values())
    return text_classification_dataset(
        train_file,
        validation_file,
        test_file,
        unlabeled_file=recipe.unlabeled_file,
        text_column=recipe.text_column,
        text_pair_column=recipe.text_pair_column,
        label_column=recipe.label_column,
        label_names=names,
        problem_type=problem_type,
    )


def with_train(data: TextClassificationData, train_rows: Dataset) -> TextClassificationData:
    return replace(data, dataset=DatasetDict({**data.dataset, "train": train_rows}))


def labels_alone(dataset: DatasetDict) -> DatasetDict:
    """For a teacher or a baseline: the rows with a label, repeated until an epoch has the student's steps."""
    rows = dataset["train"]
    return DatasetDict({**dataset, "train": labeled_rows(rows, length=len(rows))})


def more_texts(recipe: Recipe, data: TextClassificationData, tokenizer: PreTrainedTokenizerBase, seed: int) -> Dataset:
    """The training rows and the texts made of them, for the teacher to label."""
    models = recipe.augment_model, recipe.back_translation_models
    with hub_errors(", ".join([models[0], *models[1]])):
        augmenters = [
            load_augmenter(name, tokenizer.mask_token, *models, device=PartialState().device) for name in recipe.augment
        ]
    copies = recipe.augment_copies * len(augmenters)
    with PartialState().main_process_first():
        return augment(data.dataset["train"], augmenters, data.text_columns, data.label_column, copies, seed)


def load_teachers(recipe: Recipe, data: TextClassificationData, seed: int) -> Teachers:
    """Each with its tokenizer; to be fine-tuned they differ by their seeds."""
    if recipe.demo:
        tokenizer = demo_tokenizer(data.dataset["train"]["sentence"])
        names = ["demo"] * recipe.num_teachers
    else:
        names = recipe.teacher_name_or_path * recipe.num_teachers
    teachers = []
    for number, name in enumerate(names):
        set_seed(seed + number)
        teachers.append((tokenizer, demo_teacher(tokenizer)) if recipe.demo else load_teacher(name, recipe, data))
    return teachers


def load_teacher(
    name: str, recipe: Recipe, data: TextClassificationData
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    head = {}
    if recipe.train_teacher:
        # Whatever it answered before, it gets a new head for these labels.
        head = {**data.head, "dtype": "float32", "ignore_mismatched_sizes": True}
    with hub_errors(name):
        tokenizer = AutoTokenizer.from_pretrained(name)
        teacher = AutoModelForSequenceClassification.from_pretrained(name, **{"dtype": "auto", **head})
    if teacher.num_labels != data.num_labels:
        raise ValueError(
            f"{name} answers with {teacher.num_labels} labels and the texts have {data.num_labels}: take a teacher of "
            "these labels, or fine-tune it on them first with --train_teacher true."
        )
    return tokenizer, teacher


def train_teachers(
    recipe: Recipe,
    args: RecipeTrainingArguments,
    data: TextClassificationData,
    teachers: Teachers,
    metrics: Callable,
    resume: bool,
) -> None:
    for number, (tokenizer, teacher) in enumerate(teachers):
        say("Fine-tuning the teacher." if len(teachers) == 1 else f"Fine-tuning teacher {number + 1}.")
        folder = f"{args.output_dir}/_teacher" + (f"_{number + 1}" if len(teachers) > 1 else "")
        changes = {"seed": args.seed + number, **(DEMO.teacher_training if recipe.demo else {})}
        dataset = labels_alone(tokenize(data, tokenizer, recipe.max_length))
        teacher_args = args.for_labels_only(folder, **changes)
        trained(DistillationTrainer(teacher, teacher_args, **on(dataset, tokenizer, metrics)), resume)


def ask_teachers(
    recipe: Recipe,
    args: RecipeTrainingArguments,
    data: TextClassificationData,
    teachers: Teachers,
    student_tokenizer: PreTrainedTokenizerBase,
) -> tuple[DatasetDict, list[ModelTeacher] | None]:
    """The texts with the teachers' soft targets; or as they are, with the teachers to be asked in every step."""
    if recipe.online:
        return data.dataset, None
    if recipe.soft_targets and not args.teacher_outputs:
        asked = [ModelTeacher(teacher, tokenizer, data.text_columns) for tokenizer, teacher in teachers]
        texts = soft_targets(asked, data.dataset, dtype=args.teacher_dtype)
        if recipe.augment:
            say(str(augmentation_report(texts["train"])))
        return texts, None
    # To be compared token by token, teacher and student read the same tokens.
    shared = args.teacher_outputs and student_tokenizer is teachers[0][0]
    columns = None if shared else data.text_columns
    return data.dataset, [ModelTeacher(teacher, own, columns, args.teacher_dtype) for own, teacher in teachers]


def measured(teachers: Teachers, args: RecipeTrainingArguments) -> tuple[PreTrainedTokenizerBase, PreTrainedModel, str]:
    """What stands for the teacher in the report, with its tokenizer and a note on it."""
    (tokenizer, teacher), *others = teachers
    if not others:
        return tokenizer, teacher, ""
    if any(own.get_vocab() != tokenizer.get_vocab() for own, _ in others):
        return tokenizer, teacher, f"The first of {len(teachers)} teachers, whose vocabularies differ, was measured."
    ensemble = EnsembleModel([model for _, model in teachers], args.combination)
    return tokenizer, ensemble, f"The teacher is an ensemble of {len(teachers)}, measured as one model."


def together(how: str, students: list[PreTrainedModel]) -> Peers | Branches:
    """Students that teach one another."""
    if how == "mutual":
        return Peers(students)
    return Branches(students, shared_layers=max(1, students[0].config.num_hidden_layers - 1))


def prepare_student(
    recipe: Recipe, seed: int, teachers: Teachers, data: TextClassificationData
) -> tuple[Callable[..., PreTrainedModel], PreTrainedTokenizerBase]:
    """A function that makes the untrained student, the same at each call, and the student's tokenizer."""
    tokenizer, teacher = teachers[0]
    name, depth, width = recipe.student_name_or_path, recipe.student_num_hidden_layers, recipe.student_hidden_size
    config = teacher.config
    if name is not None:
        with hub_errors(name):
            tokenizer = AutoTokenizer.from_pretrained(name)

    def cut_or_load(shape: Mapping[str, Any]) -> PreTrainedModel:
        if name is None:
            own = {"num_hidden_layers": depth or default_depth(teacher), "hidden_size": width, **shape}
            sample = None if own["hidden_size"] is None else sample_batch(data, tokenizer, recipe.max_length)
            return make_student(teacher, **own, importance_batch=sample)
        same_labels = {"id2label": config.id2label, "label2id": config.label2id, "problem_type": config.problem_type}
        return AutoModelForSequenceClassification.from_pretrained(name, dtype="float32", **same_labels)

    def new_student(shape: Mapping[str, Any] | None = None, number: int = 0) -> PreTrainedModel:
        set_seed(seed + number)
        if recipe.demo and depth is None and width is None:
            return demo_student(tokenizer)
        # Students that start alike have nothing to teach one another.
        return cut_or_load(shape or {}) if number == 0 else new_head(cut_or_load(shape or {}))

    return new_student, tokenizer


def default_depth(teacher: PreTrainedModel) -> int:
    return max(1, teacher.config.num_hidden_layers // 2)


def sample_batch(data: TextClassificationData, tokenizer: PreTrainedTokenizerBase, max_length: int) -> BatchEncoding:
    """A few hundred texts to measure on which parts of the teacher matter."""
    rows = data.dataset["train"][:256]
    limit = min(max_length, tokenizer.model_max_length)
    texts = (rows[name] for name in data.text_columns)
    return tokenizer(*texts, truncation=True, max_length=limit, padding=True, return_tensors="pt")


def tokenize(
    data: TextClassificationData, tokenizer: PreTrainedTokenizerBase, max_length: int, texts: DatasetDict | None = None
) -> DatasetDict:
    texts = (texts or data.dataset).rename_column(data.label_column, "labels")
    limit = min(max_length, tokenizer.model_max_length)
    with PartialState().main_process_first():
        return texts.map(
            lambda rows: tokenizer(*(rows[name] for name in data.text_columns), truncation=True, max_length=limit),
            batched=True,
            desc="Tokenizing",
        )


def on(dataset: DatasetDict, tokenizer: PreTrainedTokenizerBase, metrics: Callable) -> dict[str, object]:
    splits = {"train_dataset": dataset["train"], "eval_dataset": dataset["validation"]}
    return {**splits, "processing_class": tokenizer, "compute_metrics": metrics}


def trained(trainer: DistillationTrainer, resume: bool) -> DistillationTrainer:
    folder = trainer.args.output_dir
    trainer.train(resume_from_checkpoint=last_checkpoint(folder) if resume else None)
    trainer.save_model()
    return trainer


def search(
    recipe: Recipe,
    args: RecipeTrainingArguments,
    metric: str,
    teacher: PreTrainedModel,
    new_student: Callable,
    new_trainer: Callable,
) -> tuple[dict[str, object], RecipeTrainingArguments]:
    """The shape and the training arguments of the student that does best on the validation texts."""
    given = {"num_hidden_layers": recipe.student_num_hidden_layers, "hidden_size": recipe.student_hidden_size}
    whole = recipe.demo or recipe.student_name_or_path is not None
    space = search_space(teacher, fixed=SHAPE if whole else [name for name, value in given.items() if value])
    usual = {"num_hidden_layers": default_depth(teacher), "hidden_size": teacher.config.hidden_size}
    defaults = {**vars(args), **usual, "layers": "uniform"}
    students = StudentSearch(
        space,
        new_student,
        new_trainer,
        args,
        recipe.search_storage or f"{args.output_dir}/_search.log",
        metric=metric,
        budget=Budget(parse_count(recipe.max_parameters), recipe.max_latency_ms),
        trade_off=recipe.search_trade_off,
        defaults=defaults,
    )
    say(f"Searching over {', '.join(space)}.")
    best = students.run(recipe.search_trials)
    say(f"The best of {recipe.search_trials} on the validation texts: {best.score:.4f} with {best.values}")
    students.save_plots(f"{args.output_dir}/report")
    return students.values_of(best.values)


def report(
    recipe: Recipe,
    args: RecipeTrainingArguments,
    data: TextClassificationData,
    teachers: Teachers,
    tokenizer: PreTrainedTokenizerBase,
    metrics: Callable,
    trainers: dict[str, DistillationTrainer],
    others: dict[str, PreTrainedModel],
) -> None:
    trainer, baseline = trainers["student"], trainers.get("baseline")
    student, (teacher_tokenizer, teacher, note) = trainer.model, measured(teachers, args)
    if recipe.online:
        student, teacher, *_ = trainer.students
        teacher_tokenizer, note = tokenizer, "There was no teacher: in its column is the second student."
    split = "test" if "test" in data.dataset else "validation"
    rows = data.dataset[split].rename_column(data.label_column, "labels")
    exported = {}
    if recipe.export:
        options = {"formats": recipe.export, "text_columns": data.text_columns}
        exported = export_onnx(student, tokenizer, rows, args.output_dir, **options)
    comparison = compare(
        teacher,
        student,
        rows,
        processing_class=tokenizer,
        teacher_processing_class=teacher_tokenizer,
        compute_metrics=metrics,
        baseline=baseline.model if baseline else None,
        others={**others, **exported},
        text_columns=data.text_columns,
        split=split,
    )
    notes = [text for text in (note, DEMO_NOTICE if recipe.demo else "") if text]
    histories = {name: one.state.log_history for name, one in trainers.items()}
    write_report(args.output_dir, comparison, histories, notes=notes)
    trainer.card_facts = card_facts(recipe, data, comparison, Path(args.output_dir))
    trainer.create_model_card()
    print(f"\n{comparison.table()}\n\nStudent, card and report are in {args.output_dir}/.")
    for text in notes:
        print(text)


def card_facts(recipe: Recipe, data: TextClassificationData, comparison: Comparison, folder: Path) -> CardFacts:
    labels = data.dataset["train"][data.label_column]
    labelled = sum(label != -100 for label in labels)
    return CardFacts(
        teacher=told_teacher(recipe),
        dataset="a generated demo corpus" if recipe.demo else recipe.train_file or recipe.dataset_name,
        comparison=comparison,
        command=["accelerate", "launch", "recipes/sst2.py", *sys.argv[1:]],
        licence=told_licence(recipe),
        emissions_grams=measured_emissions(folder),
        labelled_rows=labelled,
        unlabelled_rows=len(labels) - labelled,
    )


def told_teacher(recipe: Recipe) -> str:
    if recipe.online:
        return "no teacher: students that taught one another"
    names = ["a small BERT trained by this command"] if recipe.demo else recipe.teacher_name_or_path
    return ", ".join(names) + (f" ({recipe.num_teachers} seeds)" if recipe.num_teachers > 1 else "")


def told_licence(recipe: Recipe) -> str | None:
    """That of the teacher whose weights the student starts from."""
    return None if recipe.demo or recipe.online else teacher_licence(recipe.teacher_name_or_path[0])


def say(text: str) -> None:
    PartialState().print(text, flush=True)


if __name__ == "__main__":
    with plain_errors():
        main()

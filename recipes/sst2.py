"""Distil a text classifier: a fine-tuned teacher goes in, a small student and an account of what was lost come out.

1. Read the texts (SST-2 from the Hub, your own files, or a generated demo corpus).
2. Take a fine-tuned teacher, or fine-tune one first (--train_teacher).
3. Run the teacher over the texts once: its soft targets are kept for this and every later run.
4. With --search_trials, look for the student and the settings that do best on the validation texts.
5. Make a student of some of the teacher's layers, and train it on soft targets and labels.
6. With --baseline, train the same student on the labels alone, on the same budget.
7. With --export, write it for ONNX Runtime and transformers.js, too.
8. Compare them; write the student, its card and its report.

    accelerate launch recipes/sst2.py --demo
    accelerate launch recipes/sst2.py --student_num_hidden_layers 6 --baseline
    accelerate launch recipes/sst2.py --teacher_name_or_path my/bert --train_file train.csv --test_file test.csv
    accelerate launch recipes/sst2.py settings.yaml --search_trials 20 --max_parameters 15M --export onnx int8
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import DatasetDict
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from hfdistill import DistillationTrainer, DistillationTrainingArguments, ModelTeacher, make_student, soft_targets
from hfdistill.command_line import parse_arguments, plain_errors
from hfdistill.data import TextClassificationData, hub_errors, load_hub_dataset, text_classification_dataset
from hfdistill.demo import DEMO, DEMO_NOTICE, demo_dataset, demo_student, demo_teacher, demo_tokenizer
from hfdistill.export import check_export, export_onnx
from hfdistill.label_spaces import label_names
from hfdistill.metrics import classification_metrics
from hfdistill.model_card import CardFacts, measured_emissions, teacher_licence
from hfdistill.report import Comparison, compare
from hfdistill.run_folder import claim_folder, last_checkpoint, write_report
from hfdistill.search import SHAPE, Budget, StudentSearch, check_search, parse_count, search_space

HUB_TEACHER = "textattack/bert-base-uncased-SST-2"
HUB_DATASET = "stanfordnlp/sst2"


@dataclass
class Recipe:
    """Which teacher, which student, which texts."""

    teacher_name_or_path: str = field(default=HUB_TEACHER, metadata={"help": "Fine-tuned classifier, Hub or folder."})
    train_teacher: bool = field(default=False, metadata={"help": "Fine-tune the named model on the labels first."})
    student_name_or_path: str | None = field(default=None, metadata={"help": "A small model to start from."})
    student_num_hidden_layers: int | None = field(
        default=None, metadata={"help": "Otherwise: this many of the teacher's layers (default half of them)."}
    )
    dataset_name: str = field(default=HUB_DATASET, metadata={"help": "Dataset on the Hub."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    train_file: str | None = field(default=None, metadata={"help": "Your texts: csv, tsv, json or parquet."})
    validation_file: str | None = field(default=None, metadata={"help": "Default: a tenth of the training texts."})
    test_file: str | None = field(default=None, metadata={"help": "The figures are measured here, else on validation."})
    unlabeled_file: str | None = field(default=None, metadata={"help": "More texts, for the teacher to label."})
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


def main() -> None:
    recipe, args = arguments()
    folder, resume = begin(args)

    # ---- Texts and teacher ----
    data = read_texts(recipe)
    tokenizer, teacher = load_teacher(recipe, data)
    metrics = classification_metrics(problem_type=data.problem_type)
    say(f"{len(data.dataset['train']):,} training texts; the teacher has {teacher.num_parameters():,} parameters.")
    if recipe.train_teacher:
        say("Fine-tuning the teacher.")
        dataset = tokenize(data, tokenizer, recipe.max_length)
        teacher_args = args.for_labels_only(f"{folder}/_teacher", **DEMO.teacher_training if recipe.demo else {})
        trained(DistillationTrainer(teacher, teacher_args, **on(dataset, tokenizer, metrics)), resume)

    # ---- Soft targets, made once ----
    texts = data.dataset
    if recipe.soft_targets:
        texts = soft_targets(teacher, texts, tokenizer, text_columns=data.text_columns, dtype=args.teacher_dtype)

    # ---- Student, and the same student without a teacher ----
    new_student, student_tokenizer = prepare_student(recipe, args.seed, teacher, tokenizer)
    dataset = tokenize(data, student_tokenizer, recipe.max_length, texts)
    live = None if recipe.soft_targets else ModelTeacher(teacher, tokenizer, data.text_columns, args.teacher_dtype)

    def new_trainer(student: PreTrainedModel, args: RecipeTrainingArguments) -> DistillationTrainer:
        return DistillationTrainer(student, args, teacher=live, **on(dataset, student_tokenizer, metrics))

    shape, others = {}, {}
    if recipe.search_trials:
        shape, found = search(recipe, args, teacher, new_student, new_trainer)
        say("Training a student with the defaults, to compare with.")
        others["defaults"] = trained(new_trainer(new_student({}), args.elsewhere(f"{folder}/_defaults")), resume).model
        args = found
    say("Training the student.")
    trainer = trained(new_trainer(new_student(shape), args), resume)
    histories = {"student": trainer.state.log_history}
    baseline = None
    if recipe.baseline:
        say("Training the same student without a teacher.")
        labels_only = args.for_labels_only(f"{folder}/_baseline")
        baseline = trained(new_trainer(new_student(shape), labels_only), resume)
        histories["baseline"] = baseline.state.log_history

    # ---- What was lost ----
    if trainer.is_world_process_zero():
        split = "test" if "test" in data.dataset else "validation"
        rows = data.dataset[split].rename_column(data.label_column, "labels")
        if recipe.export:
            formats, columns = recipe.export, data.text_columns
            others |= export_onnx(trainer.model, student_tokenizer, rows, folder, formats=formats, text_columns=columns)
        comparison = compare(
            teacher,
            trainer.model,
            rows,
            processing_class=student_tokenizer,
            teacher_processing_class=tokenizer,
            compute_metrics=metrics,
            baseline=baseline.model if baseline else None,
            others=others,
            text_columns=data.text_columns,
            split=split,
        )
        write_report(folder, comparison, histories, notes=[DEMO_NOTICE] if recipe.demo else [])
        trainer.card_facts = card_facts(recipe, data, comparison, folder)
        trainer.create_model_card()
        print(f"\n{comparison.table()}\n\nStudent, card and report are in {folder}/.")
        if recipe.demo:
            print(DEMO_NOTICE)
    if args.push_to_hub:
        trainer.push_to_hub()


def arguments() -> tuple[Recipe, RecipeTrainingArguments]:
    classes = (Recipe, RecipeTrainingArguments)
    recipe, args = parse_arguments(classes, __doc__.splitlines()[0])
    if recipe.demo:
        demo = {"train_teacher": True, "baseline": True, **DEMO.student_training}
        recipe, args = parse_arguments(classes, __doc__.splitlines()[0], demo)
    check_export(recipe.export or [])
    if recipe.search_trials:
        check_search()
        parse_count(recipe.max_parameters)
    return recipe, args


def begin(args: RecipeTrainingArguments) -> tuple[Path, bool]:
    """The run's folder, and whether an unfinished run in it is continued."""
    resume = str(args.resume_from_checkpoint).lower() == "true"
    if not resume and str(args.resume_from_checkpoint).lower() not in ("none", "false"):
        raise ValueError("--resume_from_checkpoint takes true: the run in --output_dir goes on where it stopped.")
    with PartialState().main_process_first():
        folder = claim_folder(args.output_dir, resume or not PartialState().is_main_process)
    set_seed(args.seed)
    return folder, resume


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
        with hub_errors(recipe.teacher_name_or_path):
            config = AutoConfig.from_pretrained(recipe.teacher_name_or_path)
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


def load_teacher(recipe: Recipe, data: TextClassificationData) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    if recipe.demo:
        tokenizer = demo_tokenizer(data.dataset["train"]["sentence"])
        return tokenizer, demo_teacher(tokenizer)
    name, head = recipe.teacher_name_or_path, {}
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


def prepare_student(
    recipe: Recipe, seed: int, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[Callable[[Mapping[str, Any]], PreTrainedModel], PreTrainedTokenizerBase]:
    """A function that makes the untrained student of a shape, the same at each call, and the student's tokenizer."""
    name, depth, config = recipe.student_name_or_path, recipe.student_num_hidden_layers, teacher.config
    if name is not None:
        with hub_errors(name):
            tokenizer = AutoTokenizer.from_pretrained(name)

    def new_student(shape: Mapping[str, Any]) -> PreTrainedModel:
        set_seed(seed)
        if recipe.demo and depth is None:
            return demo_student(tokenizer)
        if name is None:
            return make_student(teacher, **{"num_hidden_layers": depth or default_depth(teacher), **shape})
        same_labels = {"id2label": config.id2label, "label2id": config.label2id, "problem_type": config.problem_type}
        return AutoModelForSequenceClassification.from_pretrained(name, dtype="float32", **same_labels)

    return new_student, tokenizer


def default_depth(teacher: PreTrainedModel) -> int:
    return max(1, teacher.config.num_hidden_layers // 2)


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
    teacher: PreTrainedModel,
    new_student: Callable,
    new_trainer: Callable,
) -> tuple[dict[str, object], RecipeTrainingArguments]:
    """The shape and the training arguments of the student that does best on the validation texts."""
    depth, given = recipe.student_num_hidden_layers, recipe.demo or recipe.student_name_or_path is not None
    space = search_space(teacher, fixed=SHAPE if given else ("num_hidden_layers",) if depth else ())
    defaults = {**vars(args), "num_hidden_layers": default_depth(teacher), "layers": "uniform"}
    students = StudentSearch(
        space,
        new_student,
        new_trainer,
        args,
        recipe.search_storage or f"{args.output_dir}/_search.log",
        budget=Budget(parse_count(recipe.max_parameters), recipe.max_latency_ms),
        trade_off=recipe.search_trade_off,
        defaults=defaults,
    )
    say(f"Searching over {', '.join(space)}.")
    best = students.run(recipe.search_trials)
    say(f"The best of {recipe.search_trials} on the validation texts: {best.score:.4f} with {best.values}")
    students.save_plots(f"{args.output_dir}/report")
    return students.values_of(best.values)


def card_facts(recipe: Recipe, data: TextClassificationData, comparison: Comparison, folder: Path) -> CardFacts:
    labels = data.dataset["train"][data.label_column]
    labelled = sum(label != -100 for label in labels)
    return CardFacts(
        teacher="a small BERT trained by this command" if recipe.demo else recipe.teacher_name_or_path,
        dataset="a generated demo corpus" if recipe.demo else recipe.train_file or recipe.dataset_name,
        comparison=comparison,
        command=["accelerate", "launch", "recipes/sst2.py", *sys.argv[1:]],
        licence=None if recipe.demo else teacher_licence(recipe.teacher_name_or_path),
        emissions_grams=measured_emissions(folder),
        labelled_rows=labelled,
        unlabelled_rows=len(labels) - labelled,
    )


def say(text: str) -> None:
    PartialState().print(text, flush=True)


if __name__ == "__main__":
    with plain_errors():
        main()

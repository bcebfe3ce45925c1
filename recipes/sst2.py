"""Distil a text classifier: a fine-tuned teacher goes in, a small student and an account of what was lost come out.

1. Read the texts (SST-2 from the Hub, your own files, or a generated demo corpus); keep the labels of a few of them
   (--label_fraction) and make more texts (--augment), where that is asked for: the teacher labels the rest.
2. Take a fine-tuned teacher, or fine-tune one first (--train_teacher); or several, whose predictions are averaged; or
   none (--online), where students of other seeds teach one another.
3. Run the teacher over the texts once: its soft targets are kept for this and every later run. (With terms that
   compare layers, such as --terms labels soft_targets minilm, it is run in every step instead.)
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

Its options are in sst2_options.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset, DatasetDict
from sst2_options import Recipe, RecipeTrainingArguments, arguments
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from hfdistill import DistillationTrainer, ModelTeacher, make_student, soft_targets
from hfdistill.commands.command_line import own_command, plain_errors, print_main, say_if_slow
from hfdistill.data.augmentation.augmenters import load_augmenter
from hfdistill.data.augmentation.rows import augment, augmentation_report
from hfdistill.data.class_names import read_class_names
from hfdistill.data.few_labels import keep_labels, labeled_rows, settle_alpha
from hfdistill.data.hub import load_hub_dataset
from hfdistill.export.onnx import export_onnx
from hfdistill.models.hub import hub_errors
from hfdistill.models.labels import LabelSpace, name_classes, names_of
from hfdistill.models.loading import load_classifier, load_tokenizer
from hfdistill.online import Branches, OnlineTrainer, Peers, new_head
from hfdistill.report import Attempts, Comparison
from hfdistill.report.card import CardFacts, measured_emissions, teacher_language, teacher_license
from hfdistill.report.results import write_report
from hfdistill.search import SHAPE, Budget, StudentSearch, parse_count, search_space
from hfdistill.tasks.classification.data import TextClassificationData, text_classification_dataset
from hfdistill.tasks.classification.demo import (
    DEMO,
    DEMO_NOTICE,
    demo_dataset,
    demo_student,
    demo_teacher,
    demo_tokenizer,
)
from hfdistill.tasks.classification.metrics import classification_metrics
from hfdistill.tasks.classification.report import compare
from hfdistill.teachers import EnsembleModel, learned_weights
from hfdistill.training.run import begin_run, push, train_and_save

Teachers = list[tuple[PreTrainedTokenizerBase, PreTrainedModel]]


def main() -> None:
    recipe, args = arguments()
    folder, resume = begin_run(args)

    # ---- Texts and teachers ----
    data = read_texts(recipe, args.seed)
    metrics = classification_metrics(problem_type=data.problem_type)
    teachers = load_teachers(recipe, data, args.seed)
    parameters = sum(teacher.num_parameters() for _, teacher in teachers)
    told = "no teacher" if recipe.online else f"the teacher has {parameters:,} parameters"
    print_main(f"{len(data.dataset['train']):,} training texts; {told}.")
    say_if_slow(len(data.dataset["train"]), parameters)
    if recipe.train_teacher and not recipe.online:
        train_teachers(recipe, args, data, teachers, metrics, resume)

    # ---- What the teachers say: soft targets, made once; or live, for terms that compare layers ----
    new_student, tokenizer = prepare_student(recipe, args.seed, teachers, data)
    if recipe.augment:
        data = data.with_train(more_texts(recipe, data, teachers[0][0], args.seed))
    data, live = precompute_soft_targets(recipe, args, data, teachers, tokenizer)
    weight_of_labels = settle_alpha(args, data.dataset["train"], data.label_column)
    dataset = data.tokenized(tokenizer, recipe.max_length)

    def new_trainer(student: PreTrainedModel, args: RecipeTrainingArguments) -> DistillationTrainer:
        return DistillationTrainer(student, args, teacher=live, **trainer_kwargs(dataset, tokenizer, metrics))

    # ---- Student, and the same student without a teacher ----
    shape, others, notes = {}, {}, []
    if recipe.search_trials:
        metric = "pearson" if data.problem_type == "regression" else "accuracy"
        shape, found, note = search(recipe, args, metric, teachers[0][1], new_student, new_trainer)
        notes.append(note)
        print_main("Training a student with the defaults, to compare with.")
        usual = new_trainer(new_student(), args.with_output_dir(f"{folder}/_defaults"))
        train_and_save(usual, resume)
        args, others = found, {"defaults": usual.model}
    print_main("Training the student.")
    if recipe.online:
        students = [new_student(shape, number) for number in range(recipe.num_students)]
        together = {"mutual": Peers, "one": Branches}[recipe.online](students)
        trainer = OnlineTrainer(together, args, **trainer_kwargs(dataset, tokenizer, metrics))
    else:
        trainer = new_trainer(new_student(shape), args)
    train_and_save(trainer, resume)
    trainers = {"student": trainer}
    if recipe.baseline:
        print_main("Training the same student without a teacher.")
        labels_only = args.for_labels_only(f"{folder}/_baseline")
        alone = trainer_kwargs(labels_alone(dataset), tokenizer, metrics)
        trainers["baseline"] = DistillationTrainer(new_student(shape), labels_only, **alone)
        train_and_save(trainers["baseline"], resume)

    # ---- What was lost ----
    if trainer.is_world_process_zero():
        notes += [weight_of_labels] if weight_of_labels and not recipe.search_trials else []
        report(recipe, args, data, teachers, tokenizer, metrics, trainers, others, notes)
    if args.push_to_hub:
        push(trainer)


def read_texts(recipe: Recipe, seed: int) -> TextClassificationData:
    if recipe.demo:
        demo = demo_dataset()
        data = text_classification_dataset(demo["train"], demo["validation"], demo["test"])
    else:
        data = read_files(recipe)
    if recipe.baseline and all(label == -100 for label in data.dataset["train"][data.label_column]):
        raise ValueError("--baseline learns from labels, and no training text has one: leave it out.")
    if recipe.label_fraction is None:
        return data
    return data.with_train(keep_labels(data.dataset["train"], recipe.label_fraction, data.label_column, seed))


def read_files(recipe: Recipe) -> TextClassificationData:
    train_file, validation_file = recipe.train_file, recipe.validation_file
    if recipe.train_file is None:
        hub = load_hub_dataset(recipe.dataset_name, recipe.dataset_config_name)
        # GLUE hides the labels of its test sets (-1), so its validation set is what can be measured on.
        train_file, validation_file = hub["train"], validation_file or hub.get("validation")
    names, problem_type = None, None
    class_names = read_class_names(recipe.class_names, recipe.train_file)
    if not recipe.learns_labels:
        with hub_errors(recipe.teacher_name_or_path[0]):
            config = AutoConfig.from_pretrained(
                recipe.teacher_name_or_path[0], trust_remote_code=recipe.trust_remote_code
            )
        refuse_other_heads(recipe.teacher_name_or_path[0], config)
        problem_type = "regression" if config.num_labels == 1 else "single_label_classification"
        # A teacher without names for its labels is taken to number them as the Hub's dataset does; a file that names
        # its labels does not say in which order, so there LABEL_0, LABEL_1, ... must stand in it, or their numbers.
        names = LabelSpace.of_config(config).names
        if names is None and not class_names and recipe.train_file is not None and config.num_labels > 1:
            names = names_of(config)
    data = text_classification_dataset(
        train_file,
        validation_file,
        recipe.test_file,
        unlabeled_file=recipe.unlabeled_file,
        text_column=recipe.text_column,
        text_pair_column=recipe.text_pair_column,
        label_column=recipe.label_column,
        label_names=names,
        class_names=class_names,
        problem_type=problem_type,
    )
    if data.problem_type != "regression" and (data.label_names or ("LABEL_0",))[0] == "LABEL_0":
        print_main(
            "The classes have no names, so the student will answer LABEL_0, LABEL_1, ...: name them with --class_names."
        )
    return data


def more_texts(recipe: Recipe, data: TextClassificationData, tokenizer: PreTrainedTokenizerBase, seed: int) -> Dataset:
    """The training rows and the texts made of them, for the teacher to label."""
    models = recipe.augment_model, recipe.back_translation_models
    augmenters = [
        load_augmenter(name, tokenizer.mask_token, *models, device=PartialState().device) for name in recipe.augment
    ]
    copies = recipe.augment_copies * len(augmenters)
    with PartialState().main_process_first():
        return augment(data.dataset["train"], augmenters, data.text_columns, data.label_column, copies, seed)


def refuse_other_heads(name: str, config: PreTrainedConfig) -> None:
    """Refuses a model that was never taught to give one label, before its made-up names are taken for the labels'."""
    heads = config.architectures or ()
    if heads and not any("Classification" in head for head in heads):
        raise ValueError(
            f"{name} is a {heads[0]}, which was not trained to classify: fine-tune it on the labels first with "
            "--train_teacher true, or name a fine-tuned classifier."
        )
    if config.problem_type == "multi_label_classification":
        raise ValueError(
            f"{name} gives several labels at once (its problem_type is multi_label_classification), and these texts "
            "have one each: name a teacher of one label, give it a new head with --train_teacher true, or train on "
            "lists of zeros and ones with DistillationTrainer."
        )


def load_teachers(recipe: Recipe, data: TextClassificationData, seed: int) -> Teachers:
    """Each with its tokenizer; to be fine-tuned they differ by their seeds."""
    tokenizer = demo_tokenizer(data.dataset["train"]["sentence"]) if recipe.demo else None
    names = ["demo"] if recipe.demo else recipe.starting_points
    teachers = []
    for number, name in enumerate(names * recipe.num_teachers):
        set_seed(seed + number)
        teachers.append((tokenizer, demo_teacher(tokenizer)) if tokenizer else load_teacher(name, recipe, data))
    return teachers


def load_teacher(
    name: str, recipe: Recipe, data: TextClassificationData
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    # Whatever it answered before, one that is fine-tuned gets a new head for these labels.
    tokenizer, teacher = load_classifier(name, recipe.trust_remote_code, **(data.head if recipe.learns_labels else {}))
    config = teacher.config  # not every model repeats what stands in it
    if config.num_labels != data.num_labels:
        raise ValueError(
            f"{name} predicts with {config.num_labels} labels and the texts have {data.num_labels}: take a teacher of "
            "these labels, or fine-tune it on them first with --train_teacher true."
        )
    name_classes(teacher.config, data.label_names)
    if config.problem_type not in (None, data.problem_type):
        raise ValueError(
            f"{name} predicts for {config.problem_type} (problem_type in its config.json) and the texts are for "
            f"{data.problem_type}: take a teacher of one label a text, fine-tune it on them first with --train_teacher "
            "true, or correct its config."
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
        print_main("Fine-tuning the teacher." if len(teachers) == 1 else f"Fine-tuning teacher {number + 1}.")
        folder = f"{args.output_dir}/_teacher" + (f"_{number + 1}" if len(teachers) > 1 else "")
        changes = {"seed": args.seed + number, **(DEMO.teacher_training if recipe.demo else {})}
        dataset = labels_alone(data.tokenized(tokenizer, recipe.max_length))
        teacher_args = args.for_labels_only(folder, **changes)
        train_and_save(
            DistillationTrainer(teacher, teacher_args, **trainer_kwargs(dataset, tokenizer, metrics)), resume
        )


def labels_alone(dataset: DatasetDict) -> DatasetDict:
    """For a teacher or a baseline: the rows with a label, repeated until an epoch has the student's steps."""
    rows = dataset["train"]
    return DatasetDict({**dataset, "train": labeled_rows(rows, length=len(rows))})


def trainer_kwargs(dataset: DatasetDict, tokenizer: PreTrainedTokenizerBase, metrics: Callable) -> dict[str, object]:
    splits = {"train_dataset": dataset["train"], "eval_dataset": dataset["validation"]}
    return {**splits, "processing_class": tokenizer, "compute_metrics": metrics}


def precompute_soft_targets(
    recipe: Recipe,
    args: RecipeTrainingArguments,
    data: TextClassificationData,
    teachers: Teachers,
    student_tokenizer: PreTrainedTokenizerBase,
) -> tuple[TextClassificationData, list[ModelTeacher] | None]:
    """The texts with the teachers' soft targets; or as they are, with the teachers to be run in every step."""
    if recipe.online:
        return data, None
    asked = [ModelTeacher(teacher, tokenizer, data.text_columns) for tokenizer, teacher in teachers]
    if recipe.learn_teacher_weights:
        answered = soft_targets(asked, data.dataset["validation"], dtype=args.teacher_dtype)
        args.teacher_weights = learned_weights(answered, args.combination, data.problem_type, data.label_column)
        print_main(f"Learned weights of the teachers: {', '.join(f'{weight:.3f}' for weight in args.teacher_weights)}.")
    if recipe.soft_targets and not args.teacher_outputs:
        data = replace(data, dataset=soft_targets(asked, data.dataset, dtype=args.teacher_dtype))
        if recipe.augment:
            print_main(str(augmentation_report(data.dataset["train"])))
        return data, None
    # To be compared token by token, teacher and student read the same tokens.
    shared = args.teacher_outputs and student_tokenizer is teachers[0][0]
    columns = None if shared else data.text_columns
    return data, [ModelTeacher(teacher, own, columns, args.teacher_dtype) for own, teacher in teachers]


def prepare_student(
    recipe: Recipe, seed: int, teachers: Teachers, data: TextClassificationData
) -> tuple[Callable[..., PreTrainedModel], PreTrainedTokenizerBase]:
    """A function that makes the untrained student, the same at each call, and the student's tokenizer."""
    tokenizer, teacher = teachers[0]
    name, depth, width = recipe.student_name_or_path, recipe.student_num_hidden_layers, recipe.student_hidden_size
    same_labels = {key: getattr(teacher.config, key) for key in ("id2label", "label2id", "problem_type")}
    if name is not None:
        tokenizer = load_tokenizer(name, recipe.trust_remote_code)

    def cut_or_load(shape: Mapping[str, Any]) -> PreTrainedModel:
        if name is not None:
            return load_classifier(name, recipe.trust_remote_code, **same_labels)[1]
        own = {"num_hidden_layers": depth or default_depth(teacher), "hidden_size": width, **shape}
        own["embedding_size"] = recipe.student_embedding_size
        sample = None if own["hidden_size"] is None else data.sample(tokenizer, recipe.max_length)
        return make_student(teacher, **own, importance_batch=sample)

    def new_student(shape: Mapping[str, Any] | None = None, number: int = 0) -> PreTrainedModel:
        set_seed(seed + number)
        if recipe.demo and not (depth or width or recipe.student_embedding_size):
            return demo_student(tokenizer)
        # Students that start alike have nothing to teach one another.
        return cut_or_load(shape or {}) if number == 0 else new_head(cut_or_load(shape or {}))

    return new_student, tokenizer


def default_depth(teacher: PreTrainedModel) -> int:
    return max(1, teacher.config.num_hidden_layers // 2)


def search(
    recipe: Recipe,
    args: RecipeTrainingArguments,
    metric: str,
    teacher: PreTrainedModel,
    new_student: Callable,
    new_trainer: Callable,
) -> tuple[dict[str, object], RecipeTrainingArguments, str]:
    """The shape and the training arguments of the student that does best on the validation texts, and a note on it."""
    given = {"num_hidden_layers": recipe.student_num_hidden_layers, "hidden_size": recipe.student_hidden_size}
    whole = recipe.demo or recipe.student_name_or_path is not None
    space = search_space(teacher, fixed=SHAPE if whole else [name for name, value in given.items() if value])
    usual = {"num_hidden_layers": default_depth(teacher), "hidden_size": teacher.config.hidden_size}
    students = StudentSearch(
        space,
        new_student,
        new_trainer,
        args,
        recipe.search_storage or f"{args.output_dir}/_search.log",
        metric=metric,
        budget=Budget(parse_count(recipe.max_parameters), recipe.max_latency_ms),
        trade_off=recipe.search_trade_off,
        defaults={**vars(args), **usual, "layers": "uniform"},
    )
    print_main(f"Searching over {', '.join(space)}.")
    best = students.run(recipe.search_trials)
    print_main(f"The best of {recipe.search_trials} on the validation texts: {best.score:.4f} with {best.values}")
    students.save_plots(f"{args.output_dir}/report")
    note = (
        f"Settings and shape are those of the best of {recipe.search_trials} students in a search by {metric} on the "
        f"validation texts, {best.score:.4f} there; `defaults` has the usual ones."
    )
    return *students.values_of(best.values), note


def report(
    recipe: Recipe,
    args: RecipeTrainingArguments,
    data: TextClassificationData,
    teachers: Teachers,
    tokenizer: PreTrainedTokenizerBase,
    metrics: Callable,
    trainers: dict[str, DistillationTrainer],
    others: dict[str, PreTrainedModel],
    notes: list[str],
) -> None:
    trainer, baseline = trainers["student"], trainers.get("baseline")
    student, (teacher_tokenizer, teacher, note) = trainer.model, measured(teachers, args)
    if recipe.online:
        student, teacher, *_ = trainer.students
        teacher_tokenizer, note = tokenizer, "There was no teacher: in its column is the second student."
    split = "test" if "test" in data.dataset else "validation"
    rows = data.dataset[split].rename_column(data.label_column, "labels")
    attempt, exported = Attempts(), {}
    if recipe.export:
        options = {"formats": recipe.export, "text_columns": data.text_columns}
        try:
            exported = export_onnx(student, tokenizer, rows, args.output_dir, **options)
        except Exception as error:  # the student is worth its report all the same
            attempt.failed("the export", error)
            exported = getattr(error, "exported", {})
    checked = [f"{name} against the student: {one.parity}." for name, one in exported.items()]
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
    histories = {name: one.state.log_history for name, one in trainers.items()}
    found = [*attempt.notes, *checked, note, untrained(histories["student"]), DEMO_NOTICE if recipe.demo else ""]
    notes = [text for text in [*notes, *found] if text]
    write_report(args.output_dir, comparison, histories, notes=notes)
    trainer.card_facts = card_facts(recipe, data, comparison, Path(args.output_dir), notes)
    attempt("the model card", trainer.create_model_card)
    print("", comparison.table(), "", *notes, f"Student, card and report are in {args.output_dir}/.", sep="\n")


def untrained(history: list[dict[str, float]]) -> str:
    """What the student kept of its teacher before it was trained."""
    first = next((entry for entry in history if entry["step"] == 0), {})
    name = next((name for name in ("accuracy", "pearson") if f"eval_{name}" in first), None)
    return (
        f"Before any training the student had {name} {first[f'eval_{name}']:.4f} on the validation texts."
        if name
        else ""
    )


def measured(teachers: Teachers, args: RecipeTrainingArguments) -> tuple[PreTrainedTokenizerBase, PreTrainedModel, str]:
    """What stands for the teacher in the report, with its tokenizer and a note on it."""
    (tokenizer, teacher), *others = teachers
    if not others:
        return tokenizer, teacher, ""
    if any(own.get_vocab() != tokenizer.get_vocab() for own, _ in others):
        return tokenizer, teacher, f"The first of {len(teachers)} teachers, whose vocabularies differ, was measured."
    ensemble = EnsembleModel([model for _, model in teachers], args.combination)
    return tokenizer, ensemble, f"The teacher is an ensemble of {len(teachers)}, measured as one model."


def card_facts(
    recipe: Recipe, data: TextClassificationData, comparison: Comparison, folder: Path, notes: list[str]
) -> CardFacts:
    labels = data.dataset["train"][data.label_column]
    labeled = sum(label != -100 for label in labels)
    # Where the student's weights come from, and with them its license.
    origin = None if recipe.demo else recipe.student_name_or_path or recipe.teacher_name_or_path[0]
    return CardFacts(
        teacher=recipe.teacher_description,
        dataset=recipe.dataset_description,
        comparison=comparison,
        command=own_command("recipes/sst2.py"),
        license=teacher_license(origin) if origin else None,
        language=teacher_language(origin) if origin else None,
        base_model=origin,
        emissions_grams=measured_emissions(folder),
        labeled_rows=labeled,
        unlabeled_rows=len(labels) - labeled,
        notes=notes,
    )


if __name__ == "__main__":
    with plain_errors(
        "the same command with --resume_from_checkpoint true goes on where it stopped",
        "(--train_file reads files, and --demo needs no network.)",
    ):
        main()

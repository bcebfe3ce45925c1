"""Search for the student: its shape and its settings, under a budget of parameters or milliseconds (Optuna).

1. Read the texts, and take a fine-tuned teacher (the demo fine-tunes a small one).
2. Run it over the texts once: every trial learns from the same stored soft targets.
3. Search: each trial makes a student of another depth, choice of layers and width, and trains it with another
   temperature, alpha, divergence and learning rate. One over the budget is passed over untrained, one behind the
   median is given up. Accuracy on the validation texts decides. The trials are in a file: a killed search goes on.
4. Train the best one to its end, and a student of the usual settings (`defaults`), and compare on the test texts.

    python recipes/search.py --demo
    accelerate launch recipes/search.py --teacher_name_or_path my/bert --train_file train.csv \
        --validation_file validation.csv --test_file test.csv --search_trials 20 --max_parameters 20M

Needs `pip install 'hfdistill[search]'`. Expect the validation texts to promise more than the test texts keep: 20 trials
on the SST-2 sentences gained 1.1 points there, and nothing on the test set (one seed). The demo tries two students in
85 seconds of one core: 79 % for the best and 79 for the usual settings (teacher 88).
"""

from dataclasses import dataclass

from hfdistill import (
    CLASSIFICATION_DEMO,
    Budget,
    ClassificationTrainingArguments,
    DistillationTrainer,
    StudentSearch,
    begin_run,
    check_search,
    classification_data,
    default_depth,
    load_student,
    load_teachers,
    option,
    parse_arguments,
    parse_count,
    print_main,
    push,
    report_run,
    run_command,
    search_space,
    soft_targets,
    train_and_save,
    train_teachers,
)

HUB_TEACHER = "yoshitomo-matsubara/bert-base-uncased-sst2"
DEMO = {**CLASSIFICATION_DEMO, "num_train_epochs": 1, "search_trials": 2}


@dataclass
class Options:
    teacher_name_or_path: list[str] = option([HUB_TEACHER], "Fine-tuned classifier(s).")
    train_file: str | None = option(None, "Your texts: csv, tsv, json or parquet; without them, --demo.")
    validation_file: str | None = option(None, "Default: a tenth of the training texts.")
    test_file: str | None = option(None, "The figures are measured here, else on validation.")
    search_trials: int = option(20, "How many students are tried.")
    max_parameters: str | None = option(None, "The most parameters of a student, such as 5M.")
    max_latency_ms: float | None = option(None, "The most milliseconds that it takes for one text.")
    demo: bool = option(False, "A generated corpus and small models; needs no network.")

    def __post_init__(self):
        self.demo = self.demo or self.train_file is None


def main() -> None:
    options, args = parse_arguments((Options, ClassificationTrainingArguments), __doc__, demo=DEMO)
    check_search()
    budget = Budget(parse_count(options.max_parameters), options.max_latency_ms)
    folder, resume = begin_run(args)

    # ---- Data, with the labels in the teacher's order ----
    files = options.train_file, options.validation_file, options.test_file
    data = classification_data(*files, teacher=options.teacher_name_or_path[0], demo=options.demo)

    # ---- Teacher ----
    teachers = load_teachers(options.teacher_name_or_path, data, train=options.demo, seed=args.seed)
    if options.demo:
        train_teachers(teachers, data, args, resume)

    # ---- Soft targets: the teacher's logits for each text ----
    data = data.with_splits(soft_targets(teachers, data.dataset, dtype=args.teacher_dtype))

    # ---- Student: of any shape, and of the usual one ----
    teacher = teachers[0]
    tokenizer, usual = load_student(teacher, data, seed=args.seed, num_hidden_layers=default_depth(teacher.model))
    dataset = data.tokenized(tokenizer)

    def new_student(shape):
        return load_student(teacher, data, seed=args.seed, **shape)[1]

    # ---- Train ----
    def new_trainer(student, args):
        rows = {"train_dataset": dataset["train"], "eval_dataset": dataset["validation"]}
        common = {"processing_class": tokenizer, "compute_metrics": data.metrics}
        return DistillationTrainer(student, args, **rows, **common)

    space = search_space(teacher.model)
    print_main(f"Searching over {', '.join(space)}.")
    search = StudentSearch(space, new_student, new_trainer, args, f"{folder}/_search.log", budget=budget)
    best = search.run(options.search_trials)
    shape, found = search.values_of(best.values)
    print_main("Training the student of the best settings.")
    trainer = new_trainer(new_student(shape), found)
    train_and_save(trainer, resume)
    print_main("Training a student of the usual settings.")
    defaults = new_trainer(usual, args.with_output_dir(f"{folder}/_defaults"))
    train_and_save(defaults, resume)

    # ---- What was lost: the table, the report, the card ----
    search.save_plots(f"{folder}/report")
    note = f"The best of {options.search_trials} students, {best.score:.4f} on validation, has {best.settings}."
    report_run(trainer, teachers, data, others={"defaults": defaults.model}, notes=[note])
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

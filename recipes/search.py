"""Search for the student: its shape and its settings, under a budget of parameters or milliseconds (Optuna).

1. Read the texts, and take a fine-tuned teacher (the demo fine-tunes a small one).
2. Run it over the texts once: every trial learns from the same stored soft targets.
3. Search: each trial makes a student of another depth, choice of layers and width, and trains it with another
   temperature, alpha, divergence and learning rate. One over the budget is passed over untrained, one that is behind the
   median is given up. Accuracy on the validation texts decides. The trials are in a file: a killed search goes on.
4. Train the best one to its end, and a student of the usual settings (`defaults`), and compare on the test texts.

    python recipes/search.py --demo
    accelerate launch recipes/search.py --teacher_name_or_path my/bert --train_file train.csv \
        --validation_file validation.csv --test_file test.csv --search_trials 20 --max_parameters 20M

Needs `pip install 'hfdistill[search]'`. Expect the validation texts to promise more than the test texts keep: 20 trials
on the SST-2 sentences gained 1.1 points there, and nothing on the test set (one seed).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel

from hfdistill import (
    CLASSIFICATION_DEMO,
    Budget,
    ClassificationOptions,
    ClassificationTrainingArguments,
    DistillationTrainer,
    StudentSearch,
    begin_run,
    classification_data,
    classification_metrics,
    load_student,
    load_teachers,
    parse_arguments,
    parse_count,
    push,
    report_run,
    run_command,
    search_space,
    soft_targets,
    train_and_save,
    train_teachers,
)

DEMO = {**CLASSIFICATION_DEMO, "search_trials": 3, "num_train_epochs": 1}


@dataclass
class Options(ClassificationOptions):
    """Which teacher, which texts, what a student may cost."""

    search_trials: int = field(default=20, metadata={"help": "How many students are tried."})
    max_parameters: str | None = field(default=None, metadata={"help": "The most parameters, such as 5M."})
    max_latency_ms: float | None = field(default=None, metadata={"help": "The most milliseconds for one text."})


def main() -> None:
    options, args = parse_arguments((Options, ClassificationTrainingArguments), __doc__, demo=DEMO)
    folder, resume = begin_run(args)

    # ---- Data and teacher ----
    data = classification_data(**options.texts)
    teachers = load_teachers(options.teacher_name_or_path, data, train=options.demo, seed=args.seed)
    if options.demo:
        train_teachers(teachers, data, args, resume)

    # ---- Soft targets ----
    data = data.with_splits(soft_targets(teachers, data.dataset))

    # ---- Student ----
    tokenizer, usual = load_student(teachers[0], data, seed=args.seed, **options.shape)
    dataset = data.tokenized(tokenizer)

    def new_student(shape: Mapping[str, Any]) -> PreTrainedModel:
        return load_student(teachers[0], data, seed=args.seed, **{**options.shape, **shape})[1]

    def new_trainer(student: PreTrainedModel, args: ClassificationTrainingArguments) -> DistillationTrainer:
        return DistillationTrainer(
            student,
            args,
            train_dataset=dataset["train"],
            eval_dataset=dataset["validation"],
            processing_class=tokenizer,
            compute_metrics=classification_metrics(problem_type=data.problem_type),
        )

    # ---- Search and train ----
    space = search_space(teachers[0].model)
    budget = Budget(parse_count(options.max_parameters), options.max_latency_ms)
    search = StudentSearch(space, new_student, new_trainer, args, f"{folder}/_search.log", budget=budget)
    best = search.run(options.search_trials)
    shape, found = search.values_of(best.values)
    trainer = new_trainer(new_student(shape), found)
    train_and_save(trainer, resume)
    other = new_trainer(usual, args.with_output_dir(f"{folder}/_defaults"))
    train_and_save(other, resume)

    # ---- Compare ----
    search.save_plots(f"{folder}/report")
    note = f"The best of {options.search_trials} students on the validation texts ({best.score:.4f}): {best.values}."
    report_run(trainer, teachers, data, others={"defaults": other.model}, notes=[note])
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

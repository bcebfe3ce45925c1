"""Several teachers, one student: learn from the mean of their predictions; the student costs the same.

1. Read the texts, and take several fine-tuned teachers: by their names, or (the demo) fine-tuned from several seeds.
   Each has its own tokenizer; their labels are put into one order by name.
2. Run each teacher over the texts once: the logits of all are stored beside the rows, and combined at the temperature
   of training as --teacher_combination says (the mean of the probabilities by default).
3. With --learn_weights, learn what each teacher adds from the validation labels; otherwise they weigh the same.
4. Make a student and train it on the combined soft targets and the labels.
5. Train the same student on the first teacher alone (`one_teacher`), and compare.

    python recipes/ensemble.py --demo
    accelerate launch recipes/ensemble.py --teacher_name_or_path my/bert my/roberta --train_file train.csv \
        --validation_file validation.csv --test_file test.csv --learn_weights

Expect little: on the SST-2 sentences the student of ten teachers had 89.0 %, of one 88.7 and of the labels 88.8
(three seeds, p = 0.07), and learned weights gained nothing that could be measured.
"""

from dataclasses import dataclass, field

from hfdistill import (
    CLASSIFICATION_DEMO,
    ClassificationOptions,
    ClassificationTrainingArguments,
    DistillationTrainer,
    begin_run,
    classification_data,
    classification_metrics,
    learned_weights,
    load_student,
    load_teachers,
    parse_arguments,
    push,
    report_run,
    run_command,
    soft_targets,
    train_and_save,
    train_teachers,
)


@dataclass
class Options(ClassificationOptions):
    """Which teachers, which texts, which student."""

    num_teachers: int = field(default=2, metadata={"help": "In the demo: how many seeds of the teacher."})
    learn_weights: bool = field(default=False, metadata={"help": "Weigh each teacher by the validation labels."})


def main() -> None:
    options, args = parse_arguments((Options, ClassificationTrainingArguments), __doc__, demo=CLASSIFICATION_DEMO)
    folder, resume = begin_run(args)

    # ---- Data and teachers ----
    data = classification_data(**options.texts)
    count = options.num_teachers if options.demo else 1
    teachers = load_teachers(options.teacher_name_or_path, data, train=options.demo, count=count, seed=args.seed)
    if options.demo:
        train_teachers(teachers, data, args, resume)

    # ---- Soft targets ----
    first = data.with_splits(soft_targets(teachers[:1], data.dataset))  # the passes are cached: none is made twice
    data = data.with_splits(soft_targets(teachers, data.dataset))
    if options.learn_weights:
        validation = data.dataset["validation"]
        args.teacher_weights = learned_weights(validation, args.combination, data.problem_type, data.label_column)

    # ---- Student ----
    tokenizer, student = load_student(teachers[0], data, seed=args.seed, **options.shape)
    _, twin = load_student(teachers[0], data, seed=args.seed, **options.shape)
    dataset, first = data.tokenized(tokenizer), first.tokenized(tokenizer)
    metrics = classification_metrics(problem_type=data.problem_type)
    common = {"processing_class": tokenizer, "compute_metrics": metrics}

    # ---- Train ----
    trainer = DistillationTrainer(
        student, args, train_dataset=dataset["train"], eval_dataset=dataset["validation"], **common
    )
    train_and_save(trainer, resume)
    alone = args.with_output_dir(f"{folder}/_one_teacher", teacher_weights=None)
    other = DistillationTrainer(
        twin, alone, train_dataset=first["train"], eval_dataset=first["validation"], **common
    )
    train_and_save(other, resume)

    # ---- Compare ----
    weights = ", ".join(f"{weight:.2f}" for weight in args.teacher_weights or ())
    note = f"Learned weights of the teachers: {weights}." if weights else None
    report_run(trainer, teachers, data, others={"one_teacher": other.model}, notes=[note])
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

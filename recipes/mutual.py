"""No teacher: students that teach one another while they learn from the labels (deep mutual learning).

1. Read the texts.
2. Make several students of one model's layers; each has a head of its own, since equal students have nothing to teach.
3. Train them together: the soft targets of each are the mean of the others' probabilities in the same step.
4. Train the first one alone on the labels, for as many steps (the baseline), and compare. All students are saved, the
   first in the folder itself, the others in `peer_2`, ...: plain models all.

    python recipes/mutual.py --demo
    accelerate launch recipes/mutual.py --teacher_name_or_path my/encoder --train_file train.csv \
        --validation_file validation.csv --test_file test.csv --num_students 3

(--teacher_name_or_path is the model that the students are made of. It teaches nothing, and needs no fine-tuning.)

Expect nothing for students that start from pretrained layers: on the SST-2 sentences two of them had 84.2 and 83.7 %
together and 83.8 and 83.9 alone (three seeds). It costs as many forward and backward passes as there are students.
"""

from dataclasses import dataclass, field

from hfdistill import (
    CLASSIFICATION_DEMO,
    ClassificationOptions,
    ClassificationTrainingArguments,
    DistillationTrainer,
    OnlineTrainer,
    Peers,
    begin_run,
    classification_data,
    classification_metrics,
    labels_only,
    load_student,
    load_teachers,
    new_head,
    parse_arguments,
    push,
    report_run,
    run_command,
    train_and_save,
)


@dataclass
class Options(ClassificationOptions):
    """Which model the students are made of, which texts, how many students."""

    num_students: int = field(default=2, metadata={"help": "How many students train together."})


def main() -> None:
    options, args = parse_arguments((Options, ClassificationTrainingArguments), __doc__, demo=CLASSIFICATION_DEMO)
    folder, resume = begin_run(args)

    # ---- Data ----
    data = classification_data(**{**options.texts, "teacher": None})
    origin = load_teachers(options.teacher_name_or_path, data, train=True, seed=args.seed)

    # ---- Students ----
    seeds = range(args.seed, args.seed + options.num_students)
    tokenizer, first = load_student(origin[0], data, seed=args.seed, **options.shape)
    others = [new_head(load_student(origin[0], data, seed=seed, **options.shape)[1]) for seed in seeds[1:]]
    _, twin = load_student(origin[0], data, seed=args.seed, **options.shape)
    dataset = data.tokenized(tokenizer)
    common = {
        "eval_dataset": dataset["validation"],
        "processing_class": tokenizer,
        "compute_metrics": classification_metrics(problem_type=data.problem_type),
    }

    # ---- Train ----
    trainer = OnlineTrainer(Peers([first, *others]), args, train_dataset=dataset["train"], **common)
    train_and_save(trainer, resume)
    alone = args.for_labels_only(f"{folder}/_baseline")
    baseline = DistillationTrainer(twin, alone, train_dataset=labels_only(dataset)["train"], **common)
    train_and_save(baseline, resume)

    # ---- Compare ----
    report_run(trainer, origin, data, baseline=baseline)
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

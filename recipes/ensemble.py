"""Several teachers, one student: learn from the mean of their predictions; the student costs the same.

1. Read the texts, and take several fine-tuned teachers: by their names, or (the demo) fine-tuned from several seeds.
   Each has its own tokenizer; their labels are put into one order by name.
2. Run each teacher over the texts once: the logits of all are stored beside the rows, and combined at the temperature
   of training as --teacher_combination says (the mean of the probabilities by default).
3. With --learn_teacher_weights, learn what each teacher adds from the validation labels; otherwise they weigh the same.
4. Make a student and train it on the combined soft targets and the labels.
5. Train the same student on the first teacher alone (`one_teacher`), and compare.

    python recipes/ensemble.py --demo
    accelerate launch recipes/ensemble.py --teacher_name_or_path my/bert my/roberta --train_file train.csv \
        --validation_file validation.csv --test_file test.csv --learn_teacher_weights

Expect little: on the SST-2 sentences the student of ten teachers had 89.0 %, of one 88.7 and of the labels 88.8
(three seeds, p = 0.07). What learned weights add was not measured. The demo takes 129 seconds of one core;
there two teachers are no better than one, 81 % and 84 (teachers 88).
"""

import copy
from dataclasses import dataclass

from hfdistill import (
    CLASSIFICATION_DEMO,
    ClassificationTrainingArguments,
    DistillationTrainer,
    begin_run,
    classification_data,
    learned_weights,
    load_student,
    load_teachers,
    option,
    parse_arguments,
    print_main,
    push,
    report_run,
    run_command,
    soft_targets,
    train_and_save,
    train_teachers,
)

HUB_TEACHER = "yoshitomo-matsubara/bert-base-uncased-sst2"
DEMO = {**CLASSIFICATION_DEMO, "num_train_epochs": 2}
DEMO_TEACHERS = 2


@dataclass
class Options:
    teacher_name_or_path: list[str] = option([HUB_TEACHER], "Fine-tuned classifiers.")
    train_file: str | None = option(None, "Your texts: csv, tsv, json or parquet; without them, --demo.")
    validation_file: str | None = option(None, "Default: a tenth of the training texts.")
    test_file: str | None = option(None, "The figures are measured here, else on validation.")
    student_num_hidden_layers: int | None = option(None, "Layers to keep of the teacher's; default half.")
    learn_teacher_weights: bool = option(False, "Weigh each teacher by what it adds on validation labels.")
    demo: bool = option(False, "A generated corpus and small models; needs no network.")

    def __post_init__(self):
        self.demo = self.demo or self.train_file is None


def main() -> None:
    options, args = parse_arguments((Options, ClassificationTrainingArguments), __doc__, demo=DEMO)
    folder, resume = begin_run(args)

    # ---- Data, with the labels in the teacher's order ----
    files = options.train_file, options.validation_file, options.test_file
    data = classification_data(*files, teacher=options.teacher_name_or_path[0], demo=options.demo)

    # ---- Teachers ----
    names, count = options.teacher_name_or_path, DEMO_TEACHERS if options.demo else 1
    teachers = load_teachers(names, data, train=options.demo, count=count, seed=args.seed)
    if options.demo:
        train_teachers(teachers, data, args, resume)

    # ---- Soft targets: the logits of each teacher for each text; its pass is cached, and made once ----
    one_teacher = data.with_splits(soft_targets(teachers[:1], data.dataset, dtype=args.teacher_dtype))
    data = data.with_splits(soft_targets(teachers, data.dataset, dtype=args.teacher_dtype))
    note = None
    if options.learn_teacher_weights:
        rows = data.dataset["validation"]
        args.teacher_weights = learned_weights(rows, args.combination, data.problem_type, data.label_column)
        note = f"Learned weights of the teachers: {', '.join(f'{weight:.2f}' for weight in args.teacher_weights)}."

    # ---- Student, and the same student for the student of one teacher ----
    shape = {"num_hidden_layers": options.student_num_hidden_layers}
    tokenizer, student = load_student(teachers[0], data, seed=args.seed, **shape)
    untrained = copy.deepcopy(student)
    dataset = data.tokenized(tokenizer)

    # ---- Train ----
    def new_trainer(student, args, dataset):
        rows = {"train_dataset": dataset["train"], "eval_dataset": dataset["validation"]}
        common = {"processing_class": tokenizer, "compute_metrics": data.metrics}
        return DistillationTrainer(student, args, **rows, **common)

    print_main("Training the student of all teachers.")
    trainer = new_trainer(student, args, dataset)
    train_and_save(trainer, resume)
    print_main("Training the same student on the first teacher alone.")
    alone = args.with_output_dir(f"{folder}/_one_teacher", teacher_weights=None)
    other = new_trainer(untrained, alone, one_teacher.tokenized(tokenizer))
    train_and_save(other, resume)

    # ---- What was lost: the table, the report, the card ----
    report_run(trainer, teachers, data, others={"one_teacher": other.model}, notes=[note])
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

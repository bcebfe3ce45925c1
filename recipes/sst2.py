"""Distill a text classifier: a fine-tuned teacher goes in, a small student and an account of what was lost come out.

1. Read the texts: SST-2 from the Hub, your own files, or a generated demo corpus.
2. Take a fine-tuned teacher, or fine-tune one first (--train_teacher); several are an ensemble.
3. Run the teacher over the texts once: its logits, the soft targets, are kept for this and every later run.
   (With terms that compare layers, such as --terms labels soft_targets minilm, it is run in every step instead.)
4. Make a student of some of the teacher's layers, and train it on soft targets and labels.
5. With --baseline, train the same student on the labels alone, on the same budget.
6. Compare them; write the student, its card and its report, and push them with --push_to_hub.

    accelerate launch recipes/sst2.py --demo
    accelerate launch recipes/sst2.py --student_num_hidden_layers 6 --baseline
    accelerate launch recipes/sst2.py --teacher_name_or_path my/bert --train_file train.csv --test_file test.csv
    accelerate launch recipes/sst2.py settings.yaml --temperature 2 --alpha 0.9

The demo takes two minutes on two cores; there the student has 75 to 87 % of the test texts right over three seeds, and
without a teacher 71 to 79 %. `hfdistill distill --help` lists all there is beside: search, exports, few labels, ...
"""

import copy
from dataclasses import dataclass

from hfdistill import (
    CLASSIFICATION_DEMO,
    ClassificationTrainingArguments,
    DistillationTrainer,
    begin_run,
    classification_data,
    labels_only,
    live_teachers,
    load_student,
    load_teachers,
    option,
    parse_arguments,
    print_main,
    push,
    report_run,
    run_command,
    settle_alpha,
    soft_targets,
    train_and_save,
    train_teachers,
)

HUB_TEACHER = "yoshitomo-matsubara/bert-base-uncased-sst2"


@dataclass
class Options:
    teacher_name_or_path: list[str] = option([HUB_TEACHER], "Fine-tuned classifier(s).")
    train_teacher: bool = option(False, "Fine-tune the named model on the labels first.")
    student_name_or_path: str | None = option(None, "A small model to start from; otherwise:")
    student_num_hidden_layers: int | None = option(None, "Layers to keep of the teacher's; default half.")
    student_hidden_size: int | None = option(None, "Hidden dimensions to keep; default all.")
    dataset_name: str = option("stanfordnlp/sst2", "Dataset on the Hub.")
    dataset_config_name: str | None = option(None, "Its configuration.")
    train_file: str | None = option(None, "Your texts: csv, tsv, json or parquet.")
    validation_file: str | None = option(None, "Default: a tenth of the training texts.")
    test_file: str | None = option(None, "The figures are measured here, else on validation.")
    text_column: str | None = option(None, "Column of the text.")
    text_pair_column: str | None = option(None, "Column of the second text of a pair.")
    label_column: str | None = option(None, "Column of the label.")
    unlabeled_file: str | None = option(None, "More texts, for the teacher to label.")
    baseline: bool = option(False, "Train the same student without a teacher, too.")
    demo: bool = option(False, "A generated corpus and small models; needs no network.")


def main() -> None:
    classes = (Options, ClassificationTrainingArguments)
    options, args = parse_arguments(classes, __doc__, demo=CLASSIFICATION_DEMO)
    folder, resume = begin_run(args)

    # ---- Data, with the labels in the teacher's order ----
    names = ("train_file", "validation_file", "test_file", "dataset_name", "dataset_config_name", "demo")
    names += ("text_column", "text_pair_column", "label_column", "unlabeled_file")
    known = None if options.train_teacher else options.teacher_name_or_path[0]
    data = classification_data(**{name: getattr(options, name) for name in names}, teacher=known)

    # ---- Teacher ----
    teachers = load_teachers(options.teacher_name_or_path, data, train=options.train_teacher, seed=args.seed)
    if options.train_teacher:
        train_teachers(teachers, data, args, resume)

    # ---- Soft targets: the teacher's logits for each text ----
    if not args.teacher_outputs:
        data = data.with_splits(soft_targets(teachers, data.dataset, dtype=args.teacher_dtype))

    # ---- Student, and the same student for the baseline ----
    shape = {"num_hidden_layers": options.student_num_hidden_layers, "hidden_size": options.student_hidden_size}
    tokenizer, student = load_student(teachers[0], data, options.student_name_or_path, seed=args.seed, **shape)
    untrained = copy.deepcopy(student)
    live = live_teachers(teachers, tokenizer, args.teacher_dtype) if args.teacher_outputs else None

    # ---- Train ----
    note = settle_alpha(args, data.dataset["train"], data.label_column)
    dataset = data.tokenized(tokenizer)
    alone = labels_only(dataset) if options.baseline else None

    def new_trainer(student, args, dataset, teacher=None):
        rows = {"train_dataset": dataset["train"], "eval_dataset": dataset["validation"]}
        common = {"processing_class": tokenizer, "compute_metrics": data.metrics}
        return DistillationTrainer(student, args, teacher=teacher, **rows, **common)

    print_main("Training the student.")
    trainer = new_trainer(student, args, dataset, teacher=live)
    train_and_save(trainer, resume)
    baseline = None
    if options.baseline:
        print_main("Training the same student without a teacher.")
        baseline = new_trainer(untrained, args.for_labels_only(f"{folder}/_baseline"), alone)
        train_and_save(baseline, resume)

    # ---- What was lost: the table, the report, the card ----
    report_run(trainer, teachers, data, baseline=baseline, notes=[note])
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

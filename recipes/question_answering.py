"""Distill a model that answers questions: a fine-tuned one goes in, a small student comes out.

1. Read the questions: SQuAD from the Hub, your own files, or a generated demo corpus.
2. Take a fine-tuned teacher, or fine-tune one first (--train_teacher).
3. Make a student of some of the teacher's layers, and the features that it reads: a question with as much of its
   context as fits, several of a long context. Where an answer is not in a feature, its first token stands for none.
4. Run the teacher over the features once: its logits of where an answer begins and ends are kept for each.
5. Train the student on soft targets and labels; with --baseline the same one without a teacher.
6. Compare their answers by F1 and exact match; write the student, its card and its report.

    accelerate launch recipes/question_answering.py --demo
    accelerate launch recipes/question_answering.py --student_num_hidden_layers 3 --baseline
    accelerate launch recipes/question_answering.py --teacher_name_or_path my/finder --train_file squad.json

A file is of SQuAD's format, or JSON lines with `question`, `context` and `answers`.
"""

import copy
from dataclasses import dataclass

from hfdistill import (
    ANSWERING_DEMO,
    ClassificationTrainingArguments,
    DistillationTrainer,
    begin_run,
    labels_only,
    live_teachers,
    load_student,
    load_teachers,
    option,
    parse_arguments,
    print_main,
    push,
    question_answering_data,
    report_student,
    run_command,
    settle_alpha,
    soft_targets,
    train_and_save,
    train_teachers,
)


@dataclass
class Options:
    teacher_name_or_path: str = option("csarron/bert-base-uncased-squad-v1", "Fine-tuned model.")
    train_teacher: bool = option(False, "Fine-tune the named model on the labels first.")
    student_name_or_path: str | None = option(None, "A small model to start from; otherwise:")
    student_num_hidden_layers: int | None = option(None, "Layers to keep of the teacher's; default half.")
    student_hidden_size: int | None = option(None, "Hidden dimensions to keep; default all.")
    dataset_name: str = option("rajpurkar/squad", "Dataset on the Hub.")
    dataset_config_name: str | None = option(None, "Its configuration.")
    train_file: str | None = option(None, "Your questions: json, jsonl or parquet.")
    validation_file: str | None = option(None, "Default: a tenth of the training questions.")
    test_file: str | None = option(None, "The figures are measured here, else on validation.")
    unlabeled_file: str | None = option(None, "More questions, for the teacher to answer.")
    baseline: bool = option(False, "Train the same student without a teacher, too.")
    demo: bool = option(False, "A generated corpus and small models; needs no network.")


def main() -> None:
    classes = (Options, ClassificationTrainingArguments)
    options, args = parse_arguments(classes, __doc__, demo=ANSWERING_DEMO)
    folder, resume = begin_run(args)

    # ---- Data ----
    names = ("train_file", "validation_file", "test_file", "unlabeled_file")
    names += ("dataset_name", "dataset_config_name", "demo")
    data = question_answering_data(**{name: getattr(options, name) for name in names})

    # ---- Teacher ----
    teachers = load_teachers(options.teacher_name_or_path, data, train=options.train_teacher, seed=args.seed)
    if options.train_teacher:
        train_teachers(teachers, data, args, resume)

    # ---- Student, and the same student for the baseline ----
    shape = {"num_hidden_layers": options.student_num_hidden_layers, "hidden_size": options.student_hidden_size}
    tokenizer, student = load_student(teachers[0], data, options.student_name_or_path, seed=args.seed, **shape)
    untrained = copy.deepcopy(student)

    # ---- Features, and the teacher's logits of each ----
    dataset = data.tokenized(tokenizer)
    note = settle_alpha(args, dataset["train"], "start_positions")
    alone = labels_only(dataset, "start_positions") if options.baseline else None
    live = live_teachers(teachers, tokenizer, args.teacher_dtype) if args.teacher_outputs else None
    if live is None:
        dataset = soft_targets(teachers[0].model, dataset, tokenizer, dtype=args.teacher_dtype)

    # ---- Train ----
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
    split = "test" if "test" in data.dataset else "validation"
    how = {"split": split, "dataset": data.name, "demo": data.demo, "notes": [note]}
    reader = teachers[0].processing_class
    rows = data.dataset[split]
    report_student(trainer, teachers[0].model, rows, baseline=baseline, teacher_processing_class=reader, **how)
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

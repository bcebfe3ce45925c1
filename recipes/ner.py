"""Distill a tagger: a fine-tuned token classifier goes in (NER, parts of speech), a small student comes out.

1. Read the sentences: WNUT 17 from the Hub, your own files, or a generated demo corpus.
2. Take a fine-tuned teacher, or fine-tune one first (--train_teacher).
3. Make a student of some of the teacher's layers, and tokenize the words for it.
4. Run the teacher over the words once. Its logits of each word are kept at the student's first token of it, whatever
   the tokenizers are; texts without labels (--unlabeled_file) have them, too.
5. Train the student on soft targets and labels; with --baseline the same one without a teacher.
6. Compare them by entity F1; write the student, its card and its report, and push them with --push_to_hub.

    accelerate launch recipes/ner.py --demo
    accelerate launch recipes/ner.py --teacher_name_or_path my/tagger --student_num_hidden_layers 3 --baseline
    accelerate launch recipes/ner.py --teacher_name_or_path my/bert --train_teacher true --train_file train.conll

A file is CoNLL (a word and its tag a line), JSON lines (`tokens`, `ner_tags`), or csv with a word a row.
"""

import copy
from dataclasses import dataclass

from hfdistill import (
    TAGGING_DEMO,
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
    report_student,
    run_command,
    settle_alpha,
    soft_targets,
    token_classification_data,
    train_and_save,
    train_teachers,
)


@dataclass
class Options:
    teacher_name_or_path: str = option("dslim/bert-base-NER", "Fine-tuned token classifier.")
    train_teacher: bool = option(False, "Fine-tune the named model on the labels first.")
    student_name_or_path: str | None = option(None, "A small model to start from; otherwise:")
    student_num_hidden_layers: int | None = option(None, "Layers to keep of the teacher's; default half.")
    student_hidden_size: int | None = option(None, "Hidden dimensions to keep; default all.")
    dataset_name: str = option("tomaarsen/conll2003", "Dataset on the Hub.")
    dataset_config_name: str | None = option(None, "Its configuration.")
    train_file: str | None = option(None, "Your sentences: CoNLL, csv, json, jsonl or parquet.")
    validation_file: str | None = option(None, "Default: a tenth of the training sentences.")
    test_file: str | None = option(None, "The figures are measured here, else on validation.")
    word_column: str | None = option(None, "Column of the words.")
    label_column: str | None = option(None, "Column of the labels.")
    unlabeled_file: str | None = option(None, "More sentences or texts, for the teacher to label.")
    max_unlabeled: int | None = option(None, "Of these so many, drawn at random; default all.")
    baseline: bool = option(False, "Train the same student without a teacher, too.")
    demo: bool = option(False, "A generated corpus and small models; needs no network.")


def main() -> None:
    classes = (Options, ClassificationTrainingArguments)
    options, args = parse_arguments(classes, __doc__, demo=TAGGING_DEMO)
    folder, resume = begin_run(args)

    # ---- Data, with the labels in the teacher's order ----
    names = ("train_file", "validation_file", "test_file", "dataset_name", "dataset_config_name", "demo")
    names += ("word_column", "label_column", "unlabeled_file", "max_unlabeled")
    known = None if options.train_teacher else options.teacher_name_or_path
    data = token_classification_data(**{name: getattr(options, name) for name in names}, teacher=known)

    # ---- Teacher ----
    teachers = load_teachers(options.teacher_name_or_path, data, train=options.train_teacher, seed=args.seed)
    if options.train_teacher:
        train_teachers(teachers, data, args, resume)

    # ---- Student, and the same student for the baseline ----
    shape = {"num_hidden_layers": options.student_num_hidden_layers, "hidden_size": options.student_hidden_size}
    tokenizer, student = load_student(teachers[0], data, options.student_name_or_path, seed=args.seed, **shape)
    untrained = copy.deepcopy(student)

    # ---- Tokens, and the teacher's logits of each word ----
    note = settle_alpha(args, data.dataset["train"], "labels")
    dataset = data.tokenized(tokenizer)
    alone = labels_only(dataset) if options.baseline else None
    live = live_teachers(teachers, tokenizer, args.teacher_dtype) if args.teacher_outputs else None
    if live is None:
        dataset = soft_targets(teachers, dataset, dtype=args.teacher_dtype)

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

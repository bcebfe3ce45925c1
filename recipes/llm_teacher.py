"""A language model labels texts once, and a small student serves them.

1. Read the texts; labels are few or none (the demo keeps twenty of 12,000), but of the test file.
2. Take a language model, a prompt with a place for the text, and the words that stand for each label (the demo trains
   a small GPT-2 on the spot, on texts of the same kind that end in a verdict).
3. Take the model's liking for some of the words out: by the labels where there are any, by texts that say nothing
   where there are none.
4. Run it over all texts once: how likely it holds each label, stored beside the rows.
5. Train a student on that and on the labels, the same student on the labels alone (the baseline), and compare.

    python recipes/llm_teacher.py --demo
    accelerate launch recipes/llm_teacher.py --teacher_name_or_path my/lm --train_file train.csv \
        --validation_file validation.csv --test_file test.csv --student_name_or_path my/bert \
        --template "Review: {text}\nSentiment:" --verbalizer negative=bad,awful positive=good,great
"""

import copy
from dataclasses import dataclass

from hfdistill import (
    LANGUAGE_MODEL_DEMO,
    ClassificationTrainingArguments,
    DistillationTrainer,
    PromptTeacher,
    begin_run,
    classification_data,
    demo_language_model,
    keep_labels,
    labels_only,
    load_student,
    option,
    parse_arguments,
    print_main,
    push,
    report_run,
    run_command,
    settle_alpha,
    soft_targets,
    train_and_save,
)

DEMO = {**LANGUAGE_MODEL_DEMO, "num_train_epochs": 2, "temperature": 1.0, "few_labels": 20, "labeled_share": 0.1}


@dataclass
class Options:
    teacher_name_or_path: str = option("HuggingFaceTB/SmolLM2-360M-Instruct", "Causal, masked or encoder-decoder LM.")
    template: str = option("Review: {text}\\nSentiment:", "The prompt; \\n is a line break.")
    verbalizer: list[str] = option(["negative", "positive"], "Labels and their words, such as positive=good,great.")
    train_file: str | None = option(None, "Your texts: csv, tsv, json or parquet; without them, --demo.")
    validation_file: str | None = option(None, "Labeled texts; default: a tenth of the labeled training texts.")
    test_file: str | None = option(None, "The figures are measured here, else on validation.")
    student_name_or_path: str = option("google/bert_uncased_L-4_H-256_A-4", "A small model to start from.")
    few_labels: int | None = option(None, "Keep about as many of the training labels.")
    demo: bool = option(False, "A generated corpus and small models; needs no network.")

    def __post_init__(self):
        self.demo = self.demo or self.train_file is None


def main() -> None:
    options, args = parse_arguments((Options, ClassificationTrainingArguments), __doc__, demo=DEMO)
    folder, resume = begin_run(args)

    # ---- Texts; -100 stands where a label is missing ----
    names = [one.partition("=")[0] for one in options.verbalizer]
    files = options.train_file, options.validation_file, options.test_file
    data = classification_data(*files, class_names=names, demo=options.demo)
    train, labels = data.dataset["train"], data.label_column
    if options.few_labels is not None:
        data = data.with_train(keep_labels(train, options.few_labels / len(train), labels, args.seed))
    labeled = data.dataset["train"].filter(lambda row: row[labels] >= 0).rename_columns({labels: "labels"})

    # ---- Teacher: the language model, its prompt and its words ----
    prompt = options.template.replace("\\n", "\n"), options.verbalizer, data.text_columns
    if options.demo:
        print_main("Training a small language model.")
        teacher = PromptTeacher(*demo_language_model(args.seed), *prompt)
    else:
        teacher = PromptTeacher.from_pretrained(options.teacher_name_or_path, *prompt, dtype=args.teacher_dtype)
    teacher.calibrate(labeled if len(labeled) else None)

    # ---- Soft targets: how likely it holds each label ----
    data = data.with_splits(soft_targets(teacher, data.dataset))

    # ---- Student, and the same student for the baseline ----
    start = None if options.demo else options.student_name_or_path
    tokenizer, student = load_student(teacher, data, start, seed=args.seed)
    untrained = copy.deepcopy(student)
    dataset = data.tokenized(tokenizer)

    # ---- Train ----
    note = settle_alpha(args, data.dataset["train"], labels)

    def new_trainer(student, args, dataset):
        rows = {"train_dataset": dataset["train"], "eval_dataset": dataset["validation"]}
        return DistillationTrainer(student, args, **rows, processing_class=tokenizer, compute_metrics=data.metrics)

    print_main("Training the student.")
    trainer, baseline = new_trainer(student, args, dataset), None
    train_and_save(trainer, resume)
    if len(labeled):
        print_main("Training the same student on the labels alone.")
        baseline = new_trainer(untrained, args.for_labels_only(f"{folder}/_baseline"), labels_only(dataset))
        train_and_save(baseline, resume)

    # ---- What was lost: the table, the report, the card ----
    report_run(trainer, [teacher], data, baseline=baseline, notes=[note])
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

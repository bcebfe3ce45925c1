"""A finished student for ONNX Runtime and the browser: float32 and int8, checked against the model, and compared.

1. Read the texts, and take a fine-tuned teacher to compare with (the demo fine-tunes a small one).
2. Take the finished student (--student_name_or_path); without one, distill one from the teacher's soft targets.
3. Export it: `onnx/model.onnx` and `onnx/model_quantized.onnx`, for any batch size and length. Each is run on the test
   texts; one whose logits are off by more than rounding is refused and leaves no file.
4. Compare teacher, student and files: accuracy, agreement, bytes and milliseconds.

    python recipes/deploy.py --demo
    accelerate launch recipes/deploy.py --student_name_or_path student --teacher_name_or_path my/bert \
        --train_file train.csv --validation_file validation.csv --test_file test.csv

The folder then loads in ONNX Runtime and transformers.js as it is. To see teacher and student side by side in a
browser, a phone's too: `hfdistill export my/bert test.csv --output_dir teacher`, `python -m http.server`, and open
http://localhost:8000/recipes/browser/?student=/demo-deploy.

Needs `pip install 'hfdistill[export]'`. Expect int8 to take a quarter of the bytes and keep the accuracy: 99.8 % of it
on SST-2, where one text was 8.8 times as fast as the teacher in PyTorch (one CPU thread, one student). The demo takes
80 seconds of one core: 84 % for the student, its onnx and its int8 alike (teacher 88).
"""

from dataclasses import dataclass

from hfdistill import (
    CLASSIFICATION_DEMO,
    ClassificationTrainingArguments,
    DistillationTrainer,
    begin_run,
    check_export,
    classification_data,
    export_onnx,
    load_classifier,
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


@dataclass
class Options:
    teacher_name_or_path: list[str] = option([HUB_TEACHER], "Fine-tuned classifier(s).")
    train_file: str | None = option(None, "Your texts: csv, tsv, json or parquet; without them, --demo.")
    validation_file: str | None = option(None, "Default: a tenth of the training texts.")
    test_file: str | None = option(None, "The figures are measured here, else on validation.")
    student_name_or_path: str | None = option(None, "The finished student; without it, one is distilled.")
    formats: list[str] = option(["onnx", "int8"], "What to write: onnx (float32), int8.")
    demo: bool = option(False, "A generated corpus and small models; needs no network.")

    def __post_init__(self):
        self.demo = self.demo or self.train_file is None


def main() -> None:
    options, args = parse_arguments((Options, ClassificationTrainingArguments), __doc__, demo=DEMO)
    check_export(options.formats)
    folder, resume = begin_run(args)

    # ---- Data, with the labels in the order of the finished student, or the teacher's ----
    files = options.train_file, options.validation_file, options.test_file
    known = options.student_name_or_path or options.teacher_name_or_path[0]
    data = classification_data(*files, teacher=known, demo=options.demo)

    # ---- Teacher ----
    teachers = load_teachers(options.teacher_name_or_path, data, train=options.demo, seed=args.seed)
    if options.demo:
        train_teachers(teachers, data, args, resume)

    # ---- Student: a finished one, or one that learns from soft targets now ----
    finished = options.student_name_or_path is not None
    if finished:
        tokenizer, student = load_classifier(options.student_name_or_path)
    else:
        data = data.with_splits(soft_targets(teachers, data.dataset, dtype=args.teacher_dtype))
        tokenizer, student = load_student(teachers[0], data, seed=args.seed)
    dataset = data.tokenized(tokenizer)

    # ---- Train ----
    rows = {"train_dataset": dataset["train"], "eval_dataset": dataset["validation"]}
    common = {"processing_class": tokenizer, "compute_metrics": data.metrics}
    trainer = DistillationTrainer(student, args, **rows, **common)
    if finished:
        trainer.save_model()
    else:
        print_main("Training the student.")
        train_and_save(trainer, resume)

    # ---- Export: every file is run on these texts, and a broken one refused ----
    measured = data.dataset["test" if "test" in data.dataset else "validation"]
    columns = data.text_columns
    exported = export_onnx(student, tokenizer, measured, folder, formats=options.formats, text_columns=columns)
    notes = [f"{name} against the student: {one.parity}." for name, one in exported.items()]

    # ---- What was lost: the table, the report, the card ----
    report_run(trainer, teachers, data, others=exported, notes=notes)
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

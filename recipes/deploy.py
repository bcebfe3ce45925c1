"""A finished student for ONNX Runtime and the browser: float32 and int8, checked against the model, and compared.

1. Read the texts, and take a fine-tuned teacher to compare with (the demo fine-tunes a small one).
2. Take the finished student (--student_name_or_path); without one, distill one from the teacher's soft targets.
3. Export it: `onnx/model.onnx` and `onnx/model_quantized.onnx`, for any batch size and length. Each is run on the test
   texts; one whose logits are off by more than rounding is refused and leaves no file.
4. Compare teacher, student and files: accuracy, agreement, bytes and milliseconds.

    python recipes/deploy.py --demo
    accelerate launch recipes/deploy.py --student_name_or_path student --teacher_name_or_path my/bert \
        --train_file train.csv --validation_file validation.csv --test_file test.csv

The folder then loads in ONNX Runtime and transformers.js as it is. To see both models at work in a browser, a phone's
too: `python -m http.server`, and open http://localhost:8000/recipes/browser/?student=../../distilled there.

Needs `pip install 'hfdistill[export]'`. Expect int8 to take a quarter of the bytes and keep the accuracy: on SST-2 99.8 %
of it, one text 8.8 times as fast as the teacher in PyTorch (one CPU thread).
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
    export_onnx,
    load_classifier,
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
    """Which teacher, which texts, which student, which formats."""

    student_name_or_path: str | None = field(default=None, metadata={"help": "The finished student, Hub or folder."})
    formats: list[str] = field(default_factory=lambda: ["onnx", "int8"], metadata={"help": "onnx (float32), int8."})


def main() -> None:
    options, args = parse_arguments((Options, ClassificationTrainingArguments), __doc__, demo=CLASSIFICATION_DEMO)
    folder, resume = begin_run(args)

    # ---- Data and teacher ----
    data = classification_data(**options.texts)
    teachers = load_teachers(options.teacher_name_or_path, data, train=options.demo, seed=args.seed)
    if options.demo:
        train_teachers(teachers, data, args, resume)

    # ---- Student ----
    if options.student_name_or_path:
        tokenizer, student = load_classifier(options.student_name_or_path)
    else:
        data = data.with_splits(soft_targets(teachers, data.dataset))
        tokenizer, student = load_student(teachers[0], data, seed=args.seed, **options.shape)
    dataset = data.tokenized(tokenizer)
    trainer = DistillationTrainer(
        student,
        args,
        train_dataset=dataset["train"],
        eval_dataset=dataset["validation"],
        processing_class=tokenizer,
        compute_metrics=classification_metrics(problem_type=data.problem_type),
    )
    if options.student_name_or_path:
        trainer.save_model()
    else:
        train_and_save(trainer, resume)

    # ---- Export and compare ----
    split = data.dataset["test" if "test" in data.dataset else "validation"]
    columns = data.text_columns
    exported = export_onnx(trainer.model, tokenizer, split, folder, formats=options.formats, text_columns=columns)
    notes = [f"{name} against the student: {one.parity}." for name, one in exported.items()]
    report_run(trainer, teachers, data, others=exported, notes=notes)
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

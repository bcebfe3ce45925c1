"""Distill a classifier of pictures or sound: a fine-tuned teacher goes in, a small student and its report come out.

1. Read pictures (or, with --kind sounds, recordings) and their classes: a folder with a subfolder for each class, a
   table of files, a dataset of the Hub, or a generated demo set.
2. Take a fine-tuned teacher, or fine-tune one first (--train_teacher): a ViT, a ResNet, a wav2vec 2.0, an AST, ...
3. Make what the models read of each row, once, and run the teacher over it once: its logits are kept.
   (With terms that compare layers, such as --terms soft_targets minilm, it is run in every step instead.)
4. Make a student of some of the teacher's layers, or start from a small model (--student_name_or_path).
5. Train it on soft targets and labels; with --baseline the same one without a teacher.
6. Compare them; write the student, its card and its report, and push them with --push_to_hub.

    accelerate launch recipes/media.py --demo
    accelerate launch recipes/media.py --demo --kind sounds
    accelerate launch recipes/media.py --teacher_name_or_path my/vit --train_file train --test_file test
    accelerate launch recipes/media.py --kind sounds --teacher_name_or_path my/hubert --train_file sounds.csv
"""

import copy
from dataclasses import dataclass

from hfdistill import (
    MEDIA_DEMO,
    DistillationTrainer,
    MediaTrainingArguments,
    begin_run,
    classification_metrics,
    load_media_student,
    load_media_teacher,
    media_data,
    option,
    parse_arguments,
    print_main,
    push,
    report_student,
    run_command,
    soft_targets,
    train_and_save,
)


@dataclass
class Options:
    kind: str = option("pictures", "What there is to classify: pictures or sounds.")
    teacher_name_or_path: str = option("google/vit-base-patch16-224", "Fine-tuned classifier.")
    train_teacher: bool = option(False, "Fine-tune the named model on the labels first.")
    student_name_or_path: str | None = option(None, "A small model to start from; otherwise:")
    student_num_hidden_layers: int | None = option(None, "Layers to keep of the teacher's; default half.")
    student_hidden_size: int | None = option(None, "Hidden dimensions to keep; default all.")
    dataset_name: str | None = option(None, "Dataset on the Hub.")
    dataset_config_name: str | None = option(None, "Its configuration.")
    train_file: str | None = option(None, "Your rows: a folder, or a csv, json or parquet of files.")
    validation_file: str | None = option(None, "Default: a tenth of the training rows.")
    test_file: str | None = option(None, "The figures are measured here, else on validation.")
    media_column: str | None = option(None, "Column of the pictures, recordings or files.")
    label_column: str = option("label", "Column of the classes.")
    skip_unreadable: bool = option(False, "Leave out and count what cannot be read.")
    resample: bool = option(False, "Resample recordings of another sampling rate.")
    cut_seconds: float | None = option(None, "Cut recordings to so many seconds.")
    baseline: bool = option(False, "Train the same student without a teacher, too.")
    demo: bool = option(False, "A generated set and small models; needs no network.")


def main() -> None:
    options, args = parse_arguments((Options, MediaTrainingArguments), __doc__, demo=MEDIA_DEMO)
    folder, resume = begin_run(args)

    # ---- Data, with the labels in the teacher's order, and the teacher ----
    names = ("train_file", "validation_file", "test_file", "dataset_name", "dataset_config_name", "demo", "kind")
    names += ("media_column", "label_column", "skip_unreadable", "resample", "cut_seconds")
    known = None if options.train_teacher or options.demo else options.teacher_name_or_path
    data = media_data(**{name: getattr(options, name) for name in names}, teacher=known)
    teacher, processor = load_media_teacher(options.teacher_name_or_path, data, options.train_teacher, args.seed)
    labeled = dataset = data.processed(processor)
    metrics = classification_metrics()

    def train(model, folder_args, dataset, teacher=None):
        rows = {"train_dataset": dataset["train"], "eval_dataset": dataset["validation"]}
        common = {"processing_class": processor, "compute_metrics": metrics}
        trainer = DistillationTrainer(model, folder_args, teacher=teacher, **rows, **common)
        train_and_save(trainer, resume)
        return trainer

    if options.train_teacher:
        print_main("Fine-tuning the teacher.")
        train(teacher, args.for_labels_only(f"{folder}/_teacher"), labeled)

    # ---- Soft targets: the teacher's logits for each row ----
    live = teacher if args.teacher_outputs else None
    if live is None:
        dataset = soft_targets(teacher, dataset, dtype=args.teacher_dtype)

    # ---- Student, and the same student for the baseline ----
    shape = {"num_hidden_layers": options.student_num_hidden_layers, "hidden_size": options.student_hidden_size}
    student = load_media_student(teacher, data, options.student_name_or_path, seed=args.seed, **shape)
    untrained = copy.deepcopy(student)
    print_main("Training the student.")
    trainer, baseline = train(student, args, dataset, live), None
    if options.baseline:
        print_main("Training the same student without a teacher.")
        baseline = train(untrained, args.for_labels_only(f"{folder}/_baseline"), labeled)

    # ---- What was lost: the table, the report with small pictures, the card ----
    split = data.measured_on
    found = {"baseline": baseline, "dataset": data.name, "demo": data.demo, "split": split}
    report_student(trainer, teacher, labeled[split], shown=data.shown(labeled), **found)
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

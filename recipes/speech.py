"""Distill a speech recognizer: a teacher that writes down what it hears goes in (wav2vec 2.0, HuBERT), a small student
and their transcripts side by side come out.

1. Read recordings and transcripts: a table of files, a dataset of the Hub, or generated tones that spell words.
2. Take a fine-tuned teacher, or fine-tune one first (--train_teacher).
3. Make what the models hear of each recording, once, and run the teacher over it once: its logits of each frame are
   kept. (With terms that compare layers, such as --terms labels soft_targets minilm, it is run in every step instead.)
4. Make a student of some of the teacher's layers, or start from a small model (--student_name_or_path).
5. Train it: by the letters of the transcripts, wherever they are in the recording (CTC), and frame by frame by the
   teacher's distribution over letters and the blank; with --baseline the same student by the transcripts alone.
6. Compare their word and character error rates; write the student, its card and its report (--push_to_hub).

    accelerate launch recipes/speech.py --demo
    accelerate launch recipes/speech.py --teacher_name_or_path facebook/wav2vec2-large-960h --train_file train.csv
    accelerate launch recipes/speech.py --dataset_name my/recordings --text_column sentence --baseline

A table has a column of files (`file`) and one of what is said in them (`text`).
"""

import copy
from dataclasses import dataclass

from hfdistill import (
    SPEECH_DEMO,
    DistillationTrainer,
    SpeechTrainingArguments,
    begin_run,
    load_speech_student,
    load_speech_teacher,
    option,
    parse_arguments,
    print_main,
    push,
    report_student,
    run_command,
    soft_targets,
    speech_data,
    speech_metrics,
    train_and_save,
)


@dataclass
class Options:
    teacher_name_or_path: str = option("facebook/wav2vec2-base-960h", "Fine-tuned CTC model.")
    train_teacher: bool = option(False, "Fine-tune the named model on the transcripts first.")
    student_name_or_path: str | None = option(None, "A small model to start from; otherwise:")
    student_num_hidden_layers: int | None = option(None, "Layers to keep of the teacher's; default half.")
    dataset_name: str | None = option(None, "Dataset on the Hub.")
    dataset_config_name: str | None = option(None, "Its configuration.")
    train_file: str | None = option(None, "Your rows: a csv, json or parquet of files and transcripts.")
    validation_file: str | None = option(None, "Default: a tenth of the training rows.")
    test_file: str | None = option(None, "The figures are measured here, else on validation.")
    media_column: str | None = option(None, "Column of the recordings or files.")
    text_column: str = option("text", "Column of the transcripts.")
    skip_unreadable: bool = option(False, "Leave out and count what cannot be read.")
    resample: bool = option(False, "Resample recordings of another sampling rate.")
    baseline: bool = option(False, "Train the same student without a teacher, too.")
    demo: bool = option(False, "A generated set and small models; needs no network.")


def main() -> None:
    options, args = parse_arguments((Options, SpeechTrainingArguments), __doc__, demo=SPEECH_DEMO)
    folder, resume = begin_run(args)

    # ---- Data and teacher ----
    names = ("train_file", "validation_file", "test_file", "dataset_name", "dataset_config_name", "demo")
    names += ("media_column", "text_column", "skip_unreadable", "resample")
    data = speech_data(**{name: getattr(options, name) for name in names})
    teacher, processor = load_speech_teacher(options.teacher_name_or_path, data, args.seed)
    labeled = dataset = data.processed(processor)
    metrics = speech_metrics(processor)

    def train(model, folder_args, dataset, teacher=None):
        rows = {"train_dataset": dataset["train"], "eval_dataset": dataset["validation"]}
        common = {"processing_class": processor, "compute_metrics": metrics}
        trainer = DistillationTrainer(model, folder_args, teacher=teacher, **rows, **common)
        train_and_save(trainer, resume)
        return trainer

    if options.train_teacher:
        print_main("Fine-tuning the teacher.")
        train(teacher, args.for_labels_only(f"{folder}/_teacher"), labeled)

    # ---- Soft targets: the teacher's logits of each frame ----
    live = teacher if args.teacher_outputs else None
    if live is None:
        dataset = soft_targets(teacher, dataset, dtype=args.teacher_dtype)

    # ---- Student, and the same student for the baseline ----
    shape = {"num_hidden_layers": options.student_num_hidden_layers}
    student = load_speech_student(teacher, processor, data, options.student_name_or_path, seed=args.seed, **shape)
    untrained = copy.deepcopy(student)
    print_main("Training the student.")
    trainer, baseline = train(student, args, dataset, live), None
    if options.baseline:
        print_main("Training the same student without a teacher.")
        baseline = train(untrained, args.for_labels_only(f"{folder}/_baseline"), labeled)

    # ---- What was lost: the table, the report with transcripts side by side, the card ----
    split = data.measured_on
    found = {"baseline": baseline, "dataset": data.name, "demo": data.demo, "split": split}
    report_student(trainer, teacher, labeled[split], shown=data.shown(labeled), **found)
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

"""Distill a Whisper: an encoder-decoder that writes down what it hears, or translates it, goes in; a student with the
same ears and fewer decoder layers comes out, with word and character error rates (Distil-Whisper, Gandhi et al. 2023).

1. Read recordings and transcripts: a table of files, a dataset of the Hub, or generated tones that spell words.
2. Take a Whisper and tell it what is spoken (--language), and whether to transcribe or translate into English (--task);
   or fine-tune it first (--train_teacher).
3. Sequence level: the teacher writes the training transcripts; those that differ from people's in more than --max_wer
   of their words are left out (--pseudo_transcripts false keeps people's own).
4. Word level: samples of the teacher's distribution at each of their tokens, kept once, so that it is not run again.
   (With terms that compare layers, such as --terms labels soft_targets encoder_hidden_states, it is run in every step.)
5. Make a student of all of its encoder and some of its decoder layers, and train it; with --baseline the same student
   by people's transcripts alone, for as many steps.
6. Compare; write the student, its card and its report (--push_to_hub).

    accelerate launch recipes/whisper.py --demo
    accelerate launch recipes/whisper.py --teacher_name_or_path openai/whisper-small --language de \\
        --train_file train.csv --resample true --student_num_decoder_layers 2 --baseline

A table has a column of files (`file`) and one of what is said in them (`text`; to translate, the English text).
"""

import copy
from dataclasses import dataclass

from hfdistill import (
    WHISPER_DEMO,
    Seq2SeqDistillationTrainer,
    WhisperTrainingArguments,
    begin_run,
    load_whisper,
    make_student,
    option,
    parse_arguments,
    print_main,
    pseudo_transcripts,
    push,
    report_student,
    run_command,
    speech_data,
    token_soft_targets,
    train_and_save,
)


@dataclass
class Options:
    teacher_name_or_path: str = option("openai/whisper-small", "A Whisper.")
    language: str | None = option(None, "What is spoken, such as de; not for a Whisper of English alone.")
    task: str = option("transcribe", "Or translate, into English.", choices=["transcribe", "translate"])
    train_teacher: bool = option(False, "Fine-tune the named model on the transcripts first.")
    student_num_decoder_layers: int = option(2, "Decoder layers to keep of the teacher's.")
    pseudo_transcripts: bool = option(True, "Train on the teacher's own transcripts.")
    max_wer: float = option(0.1, "Leave out those that differ from people's by more.")
    num_beams: int = option(1, "Beam of the teacher's transcripts; 1 is greedy.")
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
    options, args = parse_arguments((Options, WhisperTrainingArguments), __doc__, demo=WHISPER_DEMO)
    folder, resume = begin_run(args)

    # ---- Data and teacher ----
    names = ("train_file", "validation_file", "test_file", "dataset_name", "dataset_config_name", "demo")
    names += ("media_column", "text_column", "skip_unreadable", "resample")
    data = speech_data(**{name: getattr(options, name) for name in names}, commands=True)
    spoken = {"language": options.language, "task": options.task}
    teacher, processor = load_whisper(options.teacher_name_or_path, data, seed=args.seed, **spoken)
    labeled = dataset = data.processed(processor)

    def train(model, folder_args, rows, teacher=None):
        evaluated = {"eval_dataset": labeled["validation"], "processing_class": processor}
        trainer = Seq2SeqDistillationTrainer(model, folder_args, teacher=teacher, train_dataset=rows, **evaluated)
        train_and_save(trainer, resume)
        return trainer

    if options.train_teacher:
        print_main("Fine-tuning the teacher.")
        train(teacher, args.for_labels_only(f"{folder}/_teacher"), labeled["train"])

    # ---- The teacher's transcripts, and its distribution at each of their tokens ----
    rows = dataset["train"]
    if options.pseudo_transcripts:
        rows = pseudo_transcripts(teacher, rows, processor, max_wer=options.max_wer, num_beams=options.num_beams)
    live = teacher if args.teacher_outputs else None
    if live is None:
        how = {"temperature": args.temperature, "dtype": args.teacher_dtype}
        rows = token_soft_targets(teacher, rows, processor, **how)

    # ---- Student, and the same student for the baseline ----
    student = make_student(teacher, num_decoder_layers=options.student_num_decoder_layers, decoder_layers="alternating")
    untrained = copy.deepcopy(student)
    print_main("Training the student.")
    trainer, baseline = train(student, args, rows, live), None
    if options.baseline:
        print_main("Training the same student without a teacher.")
        alone = args.for_labels_only(f"{folder}/_baseline", max_steps=trainer.state.max_steps)
        baseline = train(untrained, alone, labeled["train"])

    # ---- What was lost: the table, the report with transcripts side by side, the card ----
    found = {"baseline": baseline, "dataset": data.name, "demo": data.demo, "split": data.measured_on}
    report_student(trainer, teacher, labeled[data.measured_on], shown=data.shown(labeled), **found)
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

"""Distill an encoder on raw text, before any task: a small pretrained encoder comes out, to be fine-tuned as any other.

1. Read raw texts: a file (one text a line, or a column), a dataset of the Hub, or a stream of either.
2. Take any encoder as teacher. One that fills in masked tokens teaches its distribution at these, as well as the tokens
   themselves do; a bare one, such as a sentence encoder, teaches how it relates tokens. --terms names other terms.
3. Make a student of some of its layers, or narrower ones, or an untrained one of any config, and train it. With
   --probe_file each evaluation says how well labels of yours are told by its frozen features.
4. With --baseline, train the same student without a teacher, on masked tokens alone.
5. Compare them on texts set aside: masked tokens predicted right, or how tokens relate; write student, card and report.

    accelerate launch recipes/general_student.py --demo
    accelerate launch recipes/general_student.py --train_file texts.txt --student_num_hidden_layers 6 --baseline
    accelerate launch recipes/general_student.py --dataset_name my/texts --streaming --max_steps 100000 --pack
    accelerate launch recipes/general_student.py --student_config small.json --terms minilm:1 --train_file a.csv

A run that was stopped goes on with --resume_from_checkpoint true. The student loads with AutoModel, or with any head.
"""

import copy
from dataclasses import dataclass
from itertools import islice

from hfdistill import (
    EncoderTrainer,
    LanguageModelingTrainingArguments,
    MaskedTextCollator,
    Probe,
    begin_run,
    demo_encoder,
    load_encoder,
    load_encoder_student,
    option,
    parse_arguments,
    print_main,
    push,
    raw_texts,
    report_student,
    run_command,
    train_and_save,
    train_encoder,
)

DEMO = {"baseline": True, "max_length": 32, "learning_rate": 1e-3, "num_train_epochs": 3}


@dataclass
class Options:
    teacher_name_or_path: str = option("google-bert/bert-base-uncased", "Any encoder.")
    student_num_hidden_layers: int | None = option(None, "Layers to keep of the teacher's; default half.")
    student_hidden_size: int | None = option(None, "Hidden dimensions to keep; default all.")
    student_config: str | None = option(None, "Or an untrained student: its config, of any family of encoders.")
    train_file: str | None = option(None, "Your texts: txt, csv, tsv, json or parquet; .gz and .zst, too.")
    validation_file: str | None = option(None, "Texts to measure on; default some are set aside.")
    dataset_name: str | None = option(None, "Texts on the Hub.")
    dataset_config_name: str | None = option(None, "Their configuration.")
    text_column: str | None = option(None, "Column of the text, of a probe as well.")
    streaming: bool = option(False, "Read the texts as they are needed (with --max_steps).")
    max_length: int = option(128, "Tokens of a row; longer texts are several rows.")
    pack: bool = option(False, "Put short texts into one row, each attending to itself alone.")
    mlm_probability: float = option(0.15, "Share of tokens that are masked; 0 for terms on layers alone.")
    probe_file: str | None = option(None, "Labeled texts: a linear probe on frozen features at each evaluation.")
    probe_test_file: str | None = option(None, "Texts to measure the probe on; default a tenth of those.")
    label_column: str | None = option(None, "Column of their label.")
    baseline: bool = option(False, "Train the same student without a teacher, too.")
    demo: bool = option(False, "Generated texts and small models; needs no network.")


def main() -> None:
    options, args = parse_arguments((Options, LanguageModelingTrainingArguments), __doc__, demo=DEMO)
    folder, resume = begin_run(args)

    # ---- Raw texts ----
    names = ("train_file", "validation_file", "dataset_name", "dataset_config_name", "text_column", "streaming", "demo")
    texts = raw_texts(**{name: getattr(options, name) for name in names})

    # ---- Teacher: with or without a head for masked tokens ----
    tokenizer, teacher = demo_encoder(texts) if options.demo else load_encoder(options.teacher_name_or_path)
    fills_masks = teacher.get_output_embeddings() is not None
    if options.baseline and not fills_masks:
        raise ValueError("--baseline learns from masked tokens, which a bare encoder does not fill in: leave it out.")
    collator = MaskedTextCollator(tokenizer, options.mlm_probability, args.seed)
    rows = texts.rows(tokenizer, options.max_length, options.pack)
    measured = texts.measured(collator, options.max_length)
    columns = {"text_column": options.text_column, "label_column": options.label_column}
    labeled = options.probe_file, options.probe_test_file
    probe = Probe.read(*labeled, tokenizer, max_length=options.max_length, **columns)
    if options.demo:
        train_encoder(teacher, args, rows, collator, resume)

    # ---- Student: some of the teacher's layers, or an untrained one ----
    sizes = {"num_hidden_layers": options.student_num_hidden_layers, "hidden_size": options.student_hidden_size}
    common = {"sample": collator(list(islice(measured, 64))), "max_length": options.max_length}
    student = load_encoder_student(teacher, tokenizer, options.student_config, **sizes, **common)
    untrained = copy.deepcopy(student)

    # ---- Train ----
    def new_trainer(student, args, teacher=None):
        common = {"train_dataset": rows, "eval_dataset": measured, "data_collator": collator, "probe": probe}
        return EncoderTrainer(student, args, teacher=teacher, processing_class=tokenizer, **common)

    print_main("Training the student.")
    trainer = new_trainer(student, args, teacher)
    train_and_save(trainer, resume)
    baseline = None
    if options.baseline:
        print_main("Training the same student without a teacher.")
        baseline = new_trainer(untrained, args.for_labels_only(f"{folder}/_baseline"))
        train_and_save(baseline, resume)

    # ---- What it kept: masked tokens predicted right, the report, the card ----
    about = {"dataset": texts.name, "demo": options.demo, "split": "texts set aside", "probe": probe}
    about |= {"notes": [probe.description]} if probe else {}
    others = {} if fills_masks else {"untrained": untrained}
    report_student(trainer, teacher, measured, baseline=baseline, others=others, **about)
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

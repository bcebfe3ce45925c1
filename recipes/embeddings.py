"""Distill a sentence encoder: embeddings for search and similarity, by a small model, or in one more language.

1. Read texts without labels: a file (one text a line, or a column), or a dataset of the Hub. With --translation_column
   the student learns to read that language too: a text's translation has the embedding of the text.
2. Load the teacher with the pooling that its folder names.
3. Make a student of some of its layers, or start from another small encoder.
4. Run the teacher over the texts once, and train the student on its embeddings.
5. Compare them on pairs of texts (--test_file; their similarity by Spearman's correlation, or which text is whose
   partner), with the untrained student beside them; write the student, its card and its report.

    accelerate launch recipes/embeddings.py --demo
    accelerate launch recipes/embeddings.py --teacher_name_or_path my/encoder --train_file texts.txt --test_file sts.csv
    accelerate launch recipes/embeddings.py --teacher_name_or_path my/encoder --train_file pairs.csv \\
        --text_column en --translation_column de --student_name_or_path my/multilingual

A run that was stopped goes on with --resume_from_checkpoint true. The folder loads in sentence-transformers.
"""

import copy
from dataclasses import dataclass

from hfdistill import (
    EMBEDDING_DEMO,
    ClassificationTrainingArguments,
    DistillationTrainer,
    ModelTeacher,
    begin_run,
    demo_sentence_encoder,
    live_teachers,
    load_sentence_encoder,
    load_sentence_student,
    option,
    parse_arguments,
    print_main,
    push,
    report_student,
    run_command,
    sentence_data,
    soft_targets,
    train_and_save,
)


@dataclass
class Options:
    teacher_name_or_path: str = option("sentence-transformers/all-MiniLM-L6-v2", "A sentence encoder.")
    student_name_or_path: str | None = option(None, "A small encoder to start from; otherwise:")
    student_num_hidden_layers: int | None = option(None, "Layers to keep of the teacher's; default half.")
    student_hidden_size: int | None = option(None, "Hidden dimensions to keep; default all.")
    train_file: str | None = option(None, "Your texts: txt, csv, tsv, json or parquet.")
    test_file: str | None = option(None, "Pairs to measure on; default texts that are set aside.")
    dataset_name: str | None = option(None, "Texts on the Hub.")
    dataset_config_name: str | None = option(None, "Their configuration.")
    text_column: str | None = option(None, "Column of the texts.")
    translation_column: str | None = option(None, "Column of their translations.")
    max_length: int = option(128, "Tokens that the student reads of a text.")
    demo: bool = option(False, "Generated texts and a small teacher; needs no network.")


def main() -> None:
    options, args = parse_arguments((Options, ClassificationTrainingArguments), __doc__, demo=EMBEDDING_DEMO)
    folder, resume = begin_run(args)

    # ---- Texts, and pairs to measure on ----
    names = ("train_file", "test_file", "dataset_name", "dataset_config_name", "text_column", "translation_column")
    data = sentence_data(**{name: getattr(options, name) for name in names}, demo=options.demo)

    # ---- Teacher ----
    if options.demo:
        reader, teacher = demo_sentence_encoder(data.dataset, args, resume)
    else:
        reader, teacher = load_sentence_encoder(options.teacher_name_or_path)

    # ---- Student ----
    shape = {"num_hidden_layers": options.student_num_hidden_layers, "hidden_size": options.student_hidden_size}
    texts = data.dataset["train"]["text"]
    tokenizer, student = load_sentence_student(teacher, reader, options.student_name_or_path, texts=texts, **shape)
    untrained = copy.deepcopy(student)
    if student.config.hidden_size != teacher.config.hidden_size and not (args.terms or args.stages):
        args.terms = ["rkd_distance:1", "rkd_angle:2"]  # on pairs and triples of texts, which need no common width

    # ---- The teacher's embeddings, once; of terms that compare layers it runs in every step ----
    teachers = [ModelTeacher(teacher, reader, data.teacher_columns)]
    embedded = soft_targets(teachers, data.tokenized(tokenizer, options.max_length), dtype=args.teacher_dtype)
    live = None
    if args.teacher_outputs:
        live = live_teachers(teachers, tokenizer, args.teacher_dtype, share_tokens=not data.translated)
    dataset = embedded if live is None else embedded.remove_columns("teacher_logits")

    # ---- Train ----
    print_main("Training the student.")
    rows = {"train_dataset": dataset["train"], "eval_dataset": dataset["validation"]}
    trainer = DistillationTrainer(student, args, teacher=live, processing_class=tokenizer, **rows)
    train_and_save(trainer, resume)

    # ---- What was lost: the table, the report, the card ----
    pairs, note = data.measured(embedded["validation"])
    about = {"dataset": data.name, "demo": data.demo, "notes": [note]}
    others = {"untrained": untrained}
    report_student(trainer, teacher, pairs, others=others, teacher_processing_class=reader, **about)
    if args.push_to_hub:
        push(trainer)


if __name__ == "__main__":
    run_command(main)

"""What a small tagger gains from a teacher, and from texts that nobody has tagged: entity F1.

An encoder of six layers is fine-tuned on the tags. Three of its pretrained layers, and two of width 128, are trained
on the tags alone and with the teacher's soft targets; two of width 128 also with those on unlabeled texts, for as many
steps.

    python recipes/benchmarks/ner.py --model my/minilm --train_file train.jsonl --validation_file validation.jsonl \\
        --test_file test.jsonl --unlabeled_file texts.jsonl --output_dir ner
"""

import argparse
from typing import Any

from bench import Bench, gain, parser, percent, publish
from datasets import Dataset, concatenate_datasets
from transformers import AutoModelForTokenClassification, PreTrainedModel

from hfdistill import ModelTeacher, make_student, soft_targets, token_classification_dataset

#: Layers, width, epochs and learning rate of each student; a narrow one starts from less, and learns for longer.
STUDENTS = {"3 layers": (3, None, 3, 1e-4), "2 x 128": (2, 128, 12, 5e-4)}
TEACHER: dict[str, Any] = {"num_train_epochs": 3, "learning_rate": 1e-4}


class TaggingBench(Bench):
    """The sentences of a task, and taggers to train on them."""

    auto_class = AutoModelForTokenClassification
    metric = "f1"

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        for split in ("validation", "test"):  # sentences of like length in a batch
            rows = self.splits[split]
            self.splits[split] = rows.select(sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"])))

    def read(self, *files: str) -> Any:
        return token_classification_dataset(*files)


def main() -> None:
    options = parse_options()
    bench = TaggingBench(options)
    rows = bench.train_rows
    teacher = bench.fine_tuned("0", 1000, rows, **TEACHER)
    found = {"teacher": [bench.figures.get("teacher", bench.test_metric, teacher)]}
    for student in STUDENTS:
        for how in ("labels alone", "soft targets"):
            found[f"{student}, {how}"] = measure(bench, student, how, with_soft_targets(bench, teacher, rows))
    if options.unlabeled_file:
        more = unlabeled(bench, options.unlabeled_file).select_columns(rows.column_names)
        every = with_soft_targets(bench, teacher, concatenate_datasets([rows, more]))
        found["2 x 128, unlabeled texts"] = measure(bench, "2 x 128", "unlabeled texts", every)
    publish(bench.folder, table(found))


def measure(bench: TaggingBench, student: str, how: str, rows: Dataset) -> list[float]:
    """The entity F1 of each seed."""
    layers, width, epochs, learning_rate = STUDENTS[student]
    steps = epochs * -(-len(bench.train_rows) // 32)
    settings: dict[str, Any] = {"learning_rate": learning_rate, "max_steps": steps, "eval_steps": steps // 3}
    settings |= {"save_steps": steps // 3, "eval_strategy": "steps", "save_strategy": "steps"}
    settings |= {"terms": ["labels"]} if how == "labels alone" else {"alpha": bench.options.alpha}

    def one(seed: int) -> float:
        student = bench.new_model(seed, layers, width)
        if bench.options.own_layers:
            student = make_student(bench.fine_tuned("0", 1000, rows, **TEACHER), layers, hidden_size=width)
        return bench.student_accuracy(student, rows, seed, **settings)

    return [bench.figures.get(f"{student}, {how} {seed}", one, seed) for seed in range(bench.options.seeds)]


def with_soft_targets(bench: TaggingBench, teacher: PreTrainedModel, rows: Dataset) -> Dataset:
    return soft_targets(ModelTeacher(teacher, bench.tokenizer), rows)


def unlabeled(bench: TaggingBench, file: str) -> Dataset:
    files = (bench.options.train_file, bench.options.validation_file)
    data = token_classification_dataset(*files, unlabeled_file=file)
    rows = data.tokenized(bench.tokenizer)["train"]
    return rows.select(range(len(bench.data.dataset["train"]), len(rows)))


def table(found: dict[str, list[float]]) -> list[str]:
    lines = [
        "Entity F1 on the test sentences in %.",
        "",
        "| model | F1 | gain over the labels alone |",
        "|---|---:|---:|",
    ]
    for name, values in found.items():
        student, _, how = name.partition(", ")
        gained = gain(values, found[f"{student}, labels alone"]) if how not in ("", "labels alone") else ""
        lines.append(f"| {name} | {percent(values)} | {gained} |")
    return lines


def parse_options() -> argparse.Namespace:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--unlabeled_file", help="texts without tags")
    options.add_argument("--alpha", type=float, default=0.9, help="the weight of the soft targets")
    options.add_argument("--own_layers", action="store_true", help="students of the fine-tuned teacher's layers")
    return options.parse_args()


if __name__ == "__main__":
    main()

"""Three annotators and few labels: what a student learns of their votes, counted, weighed without labels, or with 50.

Each annotator is a model that was fine-tuned on a tenth of the labels, another for each; on the other texts it votes
for one label. The votes become soft targets in three ways: each counts alike; each by how often it is wrong, which the
votes alone tell (Dawid & Skene 1979); or each by the weight under which all explain 50 labels best. A student learns
each, beside the same student on the 50 labels alone.

    python recipes/benchmarks/annotators.py --model my/minilm --train_file train.tsv --validation_file validation.tsv \\
        --test_file test.tsv --output_dir annotators --student_num_hidden_layers 3 --rows 5000
"""

import argparse

import numpy as np
from bench import Bench, gain, over_seeds, parser, percent, publish
from datasets import ClassLabel, Dataset

from hfdistill import from_probabilities, learned_weights, soft_targets, stack_soft_targets

LABELED = 50
#: No validation labels choose a checkpoint, where there are fifty in all.
TO_THE_END = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
WAYS = ("counts", "dawid_skene", "weights of 50 labels")


def main() -> None:
    options = parse_options()
    bench = Bench(options)
    names = list(bench.data.head["id2label"].values())
    rows = bench.train_rows.shuffle(0).cast_column("labels", ClassLabel(names=names))
    tenth = len(rows) // 10
    parts = [rows.select(range(place * tenth, (place + 1) * tenth)) for place in range(options.annotators)]
    texts = rows.select(range(options.annotators * tenth, len(rows)))
    voted = with_votes(bench, texts, parts, names)
    made = {way: combined(voted, way, names, options.annotators) for way in WAYS}
    right = {way: bench.figures.get(f"votes by {way}", share_right, one) for way, one in made.items()}
    single = [
        bench.figures.get(f"annotator {place}", share_right, combined(voted, "counts", names, 1, place))
        for place in range(options.annotators)
    ]
    alone = {"labels alone": texts.select(range(min(LABELED, len(texts))))}
    students = over_seeds(options.seeds, lambda seed: {
        name: bench.figures.get(f"student of {name} {seed}", trained, bench, one, seed)
        for name, one in {**alone, **made}.items()
    })  # fmt: skip
    publish(bench.folder, table(options, single, right, students))


def with_votes(bench: Bench, texts: Dataset, parts: list[Dataset], names: list[str]) -> Dataset:
    """The texts with a column for each annotator's votes, as names."""
    for place, part in enumerate(parts):
        epochs = {"num_train_epochs": bench.options.annotator_epochs}
        model = bench.fine_tuned(f"annotator {place}", 1000 + place, part, **epochs, **TO_THE_END)
        logits = np.array(soft_targets(model, texts, bench.tokenizer, batch_size=64)["teacher_logits"])
        votes = [names[best] for best in logits.argmax(1)]
        texts = texts.add_column(f"annotator_{place}", votes)
    return texts


def combined(voted: Dataset, way: str, names: list[str], annotators: int, first: int = 0) -> Dataset:
    """The texts with the votes as soft targets."""
    columns = [f"annotator_{place}" for place in range(first, first + annotators)]
    if way != WAYS[2]:
        return from_probabilities(voted, columns, names, kind="votes", combine=way)
    stacked = stack_soft_targets([from_probabilities(voted, name, names, kind="votes") for name in columns])
    weights = learned_weights(stacked.select(range(min(LABELED, len(stacked)))))
    p = np.exp(np.array(stacked["ensemble_logits"]))
    mixed = np.einsum("k,ikc->ic", weights, p / p.sum(2, keepdims=True))
    return from_probabilities(voted.add_column("mixed", mixed.tolist()), "mixed", names)


def share_right(rows: Dataset) -> float:
    """How many of the texts have the label that their soft targets find likeliest."""
    return float((np.array(rows["teacher_logits"]).argmax(1) == np.array(rows["labels"])).mean())


def trained(bench: Bench, rows: Dataset, seed: int) -> float:
    """The accuracy of a student of these rows, in as many steps whatever they are."""
    student = bench.new_model(seed, bench.options.student_num_hidden_layers)
    steps = {"max_steps": bench.options.steps, "per_device_train_batch_size": 32, **TO_THE_END}
    taught = "teacher_logits" in rows.column_names
    how = {"terms": ["soft_targets"], "temperature": 1.0} if taught else {"terms": ["labels"]}
    return bench.student_accuracy(student, rows, seed, **steps, **how)


def table(options: argparse.Namespace, single: list[float], right: dict, students: dict) -> list[str]:
    lines = [f"In %; {options.annotators} annotators ({', '.join(percent([one]) for one in single)}).", ""]
    lines += ["| votes | right on their texts | student, test | gain over 50 labels |\n|---|---:|---:|---:|"]
    for name, values in students.items():
        share = percent([right[name]]) if name in right else ""
        lines.append(f"| {name} | {share} | {percent(values)} | {gain(values, students['labels alone'])} |")
    return lines


def parse_options() -> argparse.Namespace:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--annotators", type=int, default=3, help="each learns another tenth of the labels")
    options.add_argument("--annotator_epochs", type=float, default=4)
    options.add_argument("--steps", type=int, default=150, help="of each student, 32 texts each")
    return options.parse_args()


if __name__ == "__main__":
    main()

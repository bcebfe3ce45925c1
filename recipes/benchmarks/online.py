"""What students gain by teaching one another: mutual learning and ONE against plain training of the same students.

    python recipes/benchmarks/online.py --model my/minilm --train_file train.tsv --validation_file validation.tsv \\
        --test_file test.tsv --output_dir online --student_num_hidden_layers 3

Each seed trains the same students, from the same weights and for as many steps, alone, as peers and as branches. The
students of a group differ in the seed of their heads.
"""

import argparse
import functools
from collections.abc import Callable

from bench import Bench, draw, gain, over_seeds, parser, percent, publish

from hfdistill import Branches, OnlineTrainer, Peers

BOTH = {"label_weight": 1.0, "soft_target_weight": 1.0}


def main() -> None:
    options = parse_options()
    bench = Bench(options)
    accuracies = over_seeds(options.seeds, functools.partial(measured, bench))
    publish(bench.folder, table(options, accuracies))
    curves = {name: [(place, values)] for place, (name, values) in enumerate(accuracies.items())}
    draw(curves, bench.folder / "online.png", "")


def table(options: argparse.Namespace, accuracies: dict[str, list[float]]) -> list[str]:
    lines = [
        f"Test accuracy in %, {options.seeds} seeds; `ensemble` is the gated one of the branches.",
        "",
        "| student | accuracy | over the same alone, seed by seed |\n|---|---:|---:|",
    ]
    for name, values in accuracies.items():
        how, _, who = name.partition(", ")
        alone = accuracies["alone, peer_1" if who == "ensemble" else f"alone, {who}"]
        lines.append(f"| {name} | {percent(values)} | {'' if how == 'alone' else gain(values, alone)} |")
    return lines


def measured(bench: Bench, seed: int) -> dict[str, float]:
    number = bench.options.num_students
    seeds = [10 * seed + peer for peer in range(number)]
    found = {
        f"alone, peer_{peer}": bench.figures.get(f"alone {own}", train_alone, bench, own, seed)
        for peer, own in enumerate(seeds, start=1)
    }
    for how in ("mutual", "one"):
        together = functools.cache(functools.partial(train_together, bench, how, seeds, seed))
        names = [f"peer_{peer}" for peer in range(1, number + 1)] + (["ensemble"] if how == "one" else [])
        for name in names:
            figure = bench.figures.get(f"{how} {name} {seed}", figure_of, together, f"test_{name}_accuracy")
            found[f"{how}, {name}"] = figure
    return found


def figure_of(trained: Callable[[], dict[str, float]], name: str) -> float:
    return trained()[name]


def train_alone(bench: Bench, own: int, seed: int) -> float:
    student = bench.new_model(own, bench.options.student_num_hidden_layers)
    return bench.student_accuracy(student, bench.train_rows, seed, terms=["labels"])


def train_together(bench: Bench, how: str, seeds: list[int], seed: int) -> dict[str, float]:
    students = [bench.new_model(own, bench.options.student_num_hidden_layers) for own in seeds]
    together = Peers(students) if how == "mutual" else Branches(students)
    return bench.train(together, bench.train_rows, seed, OnlineTrainer, **BOTH)[1]


def parse_options() -> argparse.Namespace:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--num_students", type=int, default=2)
    return options.parse_args()


if __name__ == "__main__":
    main()

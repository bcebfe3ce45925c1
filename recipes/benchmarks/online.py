"""What students gain by teaching one another: mutual learning and ONE against plain training of the same students.

    python recipes/benchmarks/online.py --model my/minilm --train_file train.tsv --validation_file validation.tsv \\
        --test_file test.tsv --output_dir online --student_num_hidden_layers 3

Each seed trains the same students, from the same weights and for as many steps, alone, as peers and as branches. The
students of a group differ in the seed of their heads.
"""

import argparse
from pathlib import Path

from bench import Bench, Figures, draw, gain, parser, percent

from hfdistill.online import Branches, OnlineTrainer, Peers

BOTH = {"label_weight": 1.0, "soft_target_weight": 1.0}


def main() -> None:
    options = parse_options()
    folder = Path(options.output_dir)
    bench, figures = Bench(options), Figures(f"{folder}/figures.jsonl")
    accuracies: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        for name, value in measured(bench, figures, seed).items():
            accuracies.setdefault(name, []).append(value)
    text = table(options, accuracies)
    (folder / "table.md").write_text(text, encoding="utf-8")
    draw(
        {name: [(place, values)] for place, (name, values) in enumerate(accuracies.items())}, folder / "online.png", ""
    )
    print(f"\n{text}")


def table(options: argparse.Namespace, accuracies: dict[str, list[float]]) -> str:
    lines = [
        f"Test accuracy in %, {options.seeds} seeds; `ensemble` is the gated one of the branches.",
        "",
        "| student | accuracy | over the same alone, seed by seed |\n|---|---:|---:|",
    ]
    for name, values in accuracies.items():
        how, _, who = name.partition(", ")
        alone = accuracies["alone, peer_1" if who == "ensemble" else f"alone, {who}"]
        lines.append(f"| {name} | {percent(values)} | {'' if how == 'alone' else gain(values, alone)} |")
    return "\n".join([*lines, ""])


def measured(bench: Bench, figures: Figures, seed: int) -> dict[str, float]:
    layers, number = bench.options.student_num_hidden_layers, bench.options.num_students
    seeds = [10 * seed + peer for peer in range(number)]
    found: dict[str, float] = {}
    for peer, own in enumerate(seeds, start=1):
        found[f"alone, peer_{peer}"] = figures.get(
            f"alone {own}",
            lambda own=own: bench.train(bench.new_model(own, layers), bench.train_rows, seed, terms=["labels"])[1][
                "test_accuracy"
            ],
        )
    for how in ("mutual", "one"):
        students = [bench.new_model(own, layers) for own in seeds]
        names = [f"peer_{peer}" for peer in range(1, number + 1)] + (["ensemble"] if how == "one" else [])
        metrics: dict[str, float] = {}
        for name in names:

            def measure(name: str = name, how: str = how, students: list = students, metrics: dict = metrics) -> float:
                if not metrics:
                    metrics.update(train_together(bench, how, students, seed))
                return metrics[f"test_{name}_accuracy"]

            found[f"{how}, {name}"] = figures.get(f"{how} {name} {seed}", measure)
    return found


def train_together(bench: Bench, how: str, students: list, seed: int) -> dict[str, float]:
    together = Peers(students) if how == "mutual" else Branches(students)
    return bench.train(together, bench.train_rows, seed, OnlineTrainer, **BOTH)[1]


def parse_options() -> argparse.Namespace:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--num_students", type=int, default=2)
    return options.parse_args()


if __name__ == "__main__":
    main()

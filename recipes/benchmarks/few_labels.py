"""What soft targets are worth where labels are few: Hinton et al. 2015, table 5, and the curve around it.

For each share of the labels, the same student is trained on

| name | labels | soft targets |
|---|---|---|
| hard | the share | none |
| same texts | the share | of a teacher that saw all labels, on the texts of the share: Hinton's table |
| all texts | the share | of that teacher, on all texts |
| half and half | the share | as `all texts`, with alpha 0.5 instead of the default, which goes by the share |
| practical | the share | of a teacher that saw the share alone, on all texts: what can be had with no more labels |

and compared with the student on all labels. In Hinton's table 3 % of the texts with soft targets recover 87 % of what
separates hard training on 3 % from hard training on all.

    python recipes/benchmarks/few_labels.py --model my/minilm --train_file train.tsv --validation_file validation.tsv \\
        --test_file test.tsv --output_dir few_labels --student_num_hidden_layers 3
"""

import argparse
import statistics

from bench import Bench, draw, gain, parser, percent, publish
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from hfdistill import keep_labels, labeled_rows

METHODS = ("hard", "same texts", "all texts", "half and half", "practical")


class Curve:
    """One seed's teachers and students."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench, self.seed = bench, seed

    def teacher(self, fraction: float) -> PreTrainedModel:
        """One that saw this share of the labels; or the one that is given, which saw them all."""
        if self.bench.options.teacher and fraction == 1.0:
            return AutoModelForSequenceClassification.from_pretrained(
                self.bench.options.teacher, trust_remote_code=False
            )
        seed, name = 100 + self.seed, f"{fraction}-{self.seed}"
        teacher = self.bench.fine_tuned(name, seed, self.filled(self.few(fraction)))
        self.bench.figures.get(f"teacher {fraction} {self.seed}", self.bench.accuracy, teacher)
        return teacher

    def few(self, fraction: float) -> Dataset:
        return keep_labels(self.bench.train_rows, fraction, seed=self.seed)

    def filled(self, rows: Dataset) -> Dataset:
        """The labeled rows alone, again and again: everybody trains for as many steps."""
        return labeled_rows(rows, length=len(self.bench.train_rows))

    def accuracy(self, method: str, fraction: float) -> float:
        if fraction == 1.0 and method != "hard":
            method = "all texts"  # with all labels the three are one
        return self.bench.figures.get(f"{method} {fraction} {self.seed}", self.measure, method, fraction)

    def measure(self, method: str, fraction: float) -> float:
        rows = self.few(fraction)
        options = self.bench.options
        settings = {"terms": ["labels"]} if method == "hard" else {"alpha": options.alpha}
        if method == "half and half":
            settings = {"alpha": 0.5}
        if method != "hard":
            rows = self.bench.with_soft_targets(rows, [self.teacher(fraction if method == "practical" else 1.0)])
        if method in ("hard", "same texts"):
            rows = self.filled(rows)
        elif fraction < 1:
            settings["labeled_share"] = options.labeled_share
        student = self.bench.new_model(self.seed, options.student_num_hidden_layers, options.student_hidden_size)
        return self.bench.student_accuracy(student, rows, self.seed, **settings)


def main() -> None:
    options = parse_options()
    bench = Bench(options)
    accuracies: dict[tuple[str, float], list[float]] = {}
    for seed in range(options.seeds):
        curve = Curve(bench, seed)
        for fraction in options.fractions:
            for method in options.methods:
                accuracies.setdefault((method, fraction), []).append(curve.accuracy(method, fraction))
        accuracies.setdefault(("hard", 1.0), [])[seed:] = [curve.accuracy("hard", 1.0)]
    publish(bench.folder, table(options, accuracies, len(bench.train_rows)))
    curves = {
        method: [(100 * fraction, accuracies[method, fraction]) for fraction in options.fractions]
        for method in options.methods
    }
    draw(curves, bench.folder / "curve.png", "labels, % of the training texts", logarithmic=True)


def table(options: argparse.Namespace, accuracies: dict[tuple[str, float], list[float]], rows: int) -> list[str]:
    everything = accuracies["hard", 1.0]
    gains = [method for method in options.methods if method != "hard" and "hard" in options.methods]
    lines = [
        f"Test accuracy in %, {options.seeds} seeds, {rows:,} training texts. In brackets: how much of what separates "
        "`hard` from training on all labels is recovered, of the means. Last, what is gained over `hard` seed by seed.",
        "",
        f"| labels | {' | '.join([*options.methods, *(f'gain of {method}' for method in gains)])} |",
        f"|---:|{'---:|' * (len(options.methods) + len(gains))}",
    ]
    for fraction in options.fractions:
        hard = accuracies.get(("hard", fraction), [])
        cells = [
            percent(accuracies[method, fraction]) + recovered(accuracies[method, fraction], hard, everything, method)
            for method in options.methods
        ]
        cells += [gain(accuracies[method, fraction], hard) for method in gains]
        lines.append(f"| {100 * fraction:g} % | {' | '.join(cells)} |")
    return [*lines, f"| all, hard | {percent(everything)} |"]


def recovered(values: list[float], hard: list[float], everything: list[float], method: str) -> str:
    if method == "hard" or not hard:
        return ""
    gap = statistics.mean(everything) - statistics.mean(hard)
    return f" ({100 * (statistics.mean(values) - statistics.mean(hard)) / gap:.0f} %)" if gap > 0 else ""


def parse_options() -> argparse.Namespace:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--fractions", type=float, nargs="+", default=[0.01, 0.03, 0.1, 0.3, 1.0])
    options.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options.add_argument("--alpha", type=float, help="weight of the soft targets (default: goes by the share)")
    options.add_argument("--teacher", help="a classifier that saw all labels, to be taken as it is")
    options.add_argument("--student_hidden_size", type=int, help="hidden dimensions of the student (default: all)")
    options.add_argument("--labeled_share", type=float, help="share of every batch that has labels, where not all have")
    return options.parse_args()


if __name__ == "__main__":
    main()

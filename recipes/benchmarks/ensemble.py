"""How much of an ensemble fits into one model: Hinton et al. 2015, table 1.

N models of different seeds are fine-tuned; the mean of their probabilities is the ensemble. The same model (or a
smaller one) is then trained on the ensemble's soft targets, on those of one teacher, and on the labels alone. In
Hinton's table the model distilled from ten keeps 86 % of the ensemble's gain over a single model.

    python recipes/benchmarks/ensemble.py --model my/minilm --train_file train.tsv --validation_file validation.tsv \\
        --test_file test.tsv --output_dir ensemble --num_teachers 10
"""

import argparse
import statistics

from bench import Bench, draw, gain, parser, percent, publish
from transformers import PreTrainedModel

from hfdistill import EnsembleModel


def main() -> None:
    options = parse_options()
    bench = Bench(options)
    get, rows = bench.figures.get, bench.train_rows
    teachers = [bench.fine_tuned(str(number), 1000 + number, rows) for number in range(options.num_teachers)]
    singles = [get(f"teacher {number}", test_accuracy, bench, [one]) for number, one in enumerate(teachers)]
    sizes = [size for size in (1, 2, 5, 10, 20) if size < len(teachers)] + [len(teachers)]
    ensembles = {size: get(f"ensemble {size}", test_accuracy, bench, teachers[:size]) for size in sizes}
    students = {
        name: [
            get(f"student of {name} {seed}", student_accuracy, bench, name, teachers, seed)
            for seed in range(options.seeds)
        ]
        for name in ("labels alone", "one teacher", "the ensemble")
    }
    publish(bench.folder, table(options, singles, ensembles, students))
    curves = {"ensemble": [(size, [accuracy]) for size, accuracy in ensembles.items()]}
    curves |= {f"student of {name}": [(sizes[-1], values)] for name, values in students.items()}
    draw(curves, bench.folder / "ensemble.png", "teachers in the ensemble")


def test_accuracy(bench: Bench, teachers: list[PreTrainedModel]) -> float:
    """Of one teacher, or of several as an ensemble."""
    return bench.accuracy(EnsembleModel(teachers) if len(teachers) > 1 else teachers[0])


def student_accuracy(bench: Bench, name: str, teachers: list[PreTrainedModel], seed: int) -> float:
    rows, settings = bench.train_rows, {"terms": ["labels"]}
    if name != "labels alone":
        # Each seed's student has another of the teachers for its one.
        own = teachers if name == "the ensemble" else [teachers[seed % len(teachers)]]
        rows, settings = bench.with_soft_targets(rows, own), {"alpha": bench.options.alpha}
    student = bench.new_model(seed, bench.options.student_num_hidden_layers)
    return bench.student_accuracy(student, rows, seed, **settings)


def table(
    options: argparse.Namespace, singles: list[float], ensembles: dict[int, float], students: dict[str, list[float]]
) -> list[str]:
    lines = [
        f"Test accuracy in %; teachers of {options.num_teachers} seeds, students of {options.seeds}.",
        "",
        "| model | accuracy |\n|---|---:|",
        f"| a single teacher | {percent(singles)} |",
        *(f"| ensemble of {size} | {percent([accuracy])} |" for size, accuracy in ensembles.items() if size > 1),
        *(f"| student of {name} | {percent(values)} |" for name, values in students.items()),
    ]
    alone = statistics.mean(students["labels alone"])
    better = ensembles[max(ensembles)] - alone
    if better > 0:
        share = 100 * (statistics.mean(students["the ensemble"]) - alone) / better
        lines += ["", f"The student of the ensemble keeps {share:.0f} % of its gain over that on the labels alone."]
    lines.append("")
    for other in ("labels alone", "one teacher"):
        points = gain(students["the ensemble"], students[other])
        lines.append(f"Seed by seed it gains {points} points over that of {other}.")
    return lines


def parse_options() -> argparse.Namespace:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--num_teachers", type=int, default=10)
    options.add_argument("--alpha", type=float, default=0.5, help="weight of the soft targets")
    return options.parse_args()


if __name__ == "__main__":
    main()

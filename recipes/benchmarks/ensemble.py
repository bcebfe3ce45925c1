"""How much of an ensemble fits into one model: Hinton et al. 2015, table 1.

N models of different seeds are fine-tuned; the mean of their probabilities is the ensemble. The same model (or a
smaller one) is then trained on the ensemble's soft targets, on those of one teacher, and on the labels alone. In
Hinton's table the model distilled from ten keeps 86 % of the ensemble's gain over a single model.

    python recipes/benchmarks/ensemble.py --model my/minilm --train_file train.tsv --validation_file validation.tsv \\
        --test_file test.tsv --output_dir ensemble --num_teachers 10
"""

import argparse
import statistics
from pathlib import Path

from bench import Bench, Figures, draw, gain, parser, percent
from transformers import PreTrainedModel

from hfdistill.teachers import EnsembleModel


def main() -> None:
    options = parse_options()
    folder = Path(options.output_dir)
    bench, figures = Bench(options), Figures(f"{folder}/figures.jsonl")
    teachers = [
        bench.fine_tuned(str(number), 1000 + number, bench.train_rows) for number in range(options.num_teachers)
    ]
    singles = [
        figures.get(f"teacher {number}", lambda one=teacher: test_accuracy(bench, [one]))
        for number, teacher in enumerate(teachers)
    ]
    sizes = [size for size in (1, 2, 5, 10, 20) if size < len(teachers)] + [len(teachers)]
    ensembles = {
        size: figures.get(f"ensemble {size}", lambda size=size: test_accuracy(bench, teachers[:size])) for size in sizes
    }
    students = {
        name: [student_accuracy(bench, figures, name, teachers, seed) for seed in range(options.seeds)]
        for name in ("labels alone", "one teacher", "the ensemble")
    }
    text = table(options, singles, ensembles, students)
    (folder / "table.md").write_text(text, encoding="utf-8")
    curves = {"ensemble": [(size, [accuracy]) for size, accuracy in ensembles.items()]}
    curves |= {f"student of {name}": [(sizes[-1], values)] for name, values in students.items()}
    draw(curves, folder / "ensemble.png", "teachers in the ensemble")
    print(f"\n{text}")


def test_accuracy(bench: Bench, teachers: list[PreTrainedModel]) -> float:
    """Of one teacher, or of several as an ensemble."""
    return bench.accuracy(EnsembleModel(teachers) if len(teachers) > 1 else teachers[0])


def student_accuracy(bench: Bench, figures: Figures, name: str, teachers: list[PreTrainedModel], seed: int) -> float:
    def measure() -> float:
        rows, settings = bench.train_rows, {"terms": ["labels"]}
        if name != "labels alone":
            # Each seed's student has another of the teachers for its one.
            asked = teachers if name == "the ensemble" else [teachers[seed % len(teachers)]]
            rows, settings = bench.answered(asked, rows), {"alpha": bench.options.alpha}
        student = bench.new_model(seed, bench.options.student_num_hidden_layers)
        return bench.train(student, rows, seed, **settings)[1]["test_accuracy"]

    return figures.get(f"student of {name} {seed}", measure)


def table(
    options: argparse.Namespace,
    singles: list[float],
    ensembles: dict[int, float],
    students: dict[str, list[float]],
) -> str:
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
    over = {other: gain(students["the ensemble"], students[other]) for other in ("labels alone", "one teacher")}
    lines += ["", *(f"Seed by seed it gains {points} points over that of {other}." for other, points in over.items())]
    return "\n".join([*lines, ""])


def parse_options() -> argparse.Namespace:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--num_teachers", type=int, default=10)
    options.add_argument("--alpha", type=float, default=0.5, help="weight of the soft targets")
    return options.parse_args()


if __name__ == "__main__":
    main()

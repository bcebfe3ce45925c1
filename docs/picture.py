"""Draws `students.png`, the README's picture: what a student buys, from the figures of `layer_terms.py`.

python docs/picture.py
"""

import json
from pathlib import Path
from statistics import mean, stdev

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FOLDER = Path(__file__).parent
FIGURES = FOLDER.parent / "recipes" / "benchmarks" / "results" / "layer_terms" / "sst2.jsonl"
#: Accuracy in % and milliseconds for one text of the six-layer teacher, measured beside its students.
TEACHER = (90.55, 13.4)
#: The objectives that are drawn: by their name in the figures, label and color.
OBJECTIVES = {"minilm": ("distilled", "#0b7285"), "labels": ("the same students, labels alone", "#d9480f")}
STUDENTS = {"2x128": "4.4M parameters", "3x384": "17.4M"}


def points(objective: str) -> list[tuple[float, float, float]]:
    """Milliseconds, mean accuracy and its standard deviation (0 of one seed) of each student."""
    runs = [json.loads(line) for line in FIGURES.read_text(encoding="utf-8").splitlines()]
    groups = [[run for run in runs if (run["student"], run["objective"]) == (name, objective)] for name in STUDENTS]
    return [(group[0]["latency_ms"], *spread([100 * run["accuracy"] for run in group])) for group in groups]


def spread(values: list[float]) -> tuple[float, float]:
    return mean(values), stdev(values) if len(values) > 1 else 0.0


def draw(path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    for objective, (label, color) in OBJECTIVES.items():
        latencies, accuracies, deviations = zip(*points(objective), strict=True)
        axes.errorbar(latencies, accuracies, deviations, fmt="o-", color=color, label=label, capsize=3)
    for (latency, accuracy, _), text in zip(points("labels"), STUDENTS.values(), strict=True):
        axes.annotate(text, (latency, accuracy), (8, -4), textcoords="offset points", fontsize=8)
    axes.plot(TEACHER[1], TEACHER[0], "s", color="#495057", label="teacher")
    axes.annotate("22.7M", (TEACHER[1], TEACHER[0]), (-8, -14), textcoords="offset points", fontsize=8)
    axes.set_xlabel("milliseconds for one text, one CPU thread")
    axes.set_ylabel("test accuracy on SST-2, %")
    axes.set(xlim=(0, 15), ylim=(81.5, 91.5))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(FOLDER / "assets" / "students.png")

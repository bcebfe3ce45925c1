"""Draws the pictures of the examples from the figures on file: `python docs/examples/pictures.py`.

Measured figures lie in `recipes/benchmarks/results/`, in `model_cards/` and, of the finance example, beside this file.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "recipes" / "benchmarks" / "results"
GRAY = "0.55"


def main() -> None:
    sentiment_on_a_phone()
    support_intents()
    finance_200_labels()
    captions_on_a_server()


def sentiment_on_a_phone() -> None:
    """Accuracy of SST-2 students against the size of their weights, by what they learned from."""
    rows = json_lines(RESULTS / "layer_terms" / "sst2.jsonl")
    figure, axes = new_picture("weights in float32, MB", "test accuracy, %")
    for objective, name in (("labels", "labels alone"), ("logits", "soft targets"), ("two_stages", "layers first")):
        chosen = [row for row in rows if row["objective"] == objective and "/" not in row["student"]]
        sizes = sorted({row["parameters"] for row in chosen})
        scores = [[row["accuracy"] for row in chosen if row["parameters"] == size] for size in sizes]
        with_spread(axes, [4 * size / 1e6 for size in sizes], scores, name)
    axes.axhline(90.55, color=GRAY, linestyle="--")
    axes.annotate("teacher, 91 MB", (6, 90.55), va="bottom", color=GRAY, fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks([5.6, 17.5, 69.6], ["5.6", "17.5", "69.6"])
    axes.minorticks_off()
    save(figure, "sentiment_on_a_phone")


def support_intents() -> None:
    """Accuracy on 77 intents against the share of labels, with and without a teacher of all labels."""
    figures = dict(json_lines(RESULTS / "few_labels_banking77" / "figures.jsonl"))
    shares = (0.01, 0.03, 0.1, 0.3, 1.0)
    figure, axes = new_picture("questions with a label, %", "test accuracy, %")
    for method, name in (("hard", "labels alone"), ("all texts", "with the teacher on all texts")):
        scores = [[figures[f"{method} {share} {seed}"] for seed in range(3)] for share in shares]
        with_spread(axes, [100 * share for share in shares], scores, name)
    teacher = 100 * statistics.mean(figures[f"teacher 1.0 {seed}"] for seed in range(3))
    axes.axhline(teacher, color=GRAY, linestyle="--")
    axes.annotate("teacher", (1, teacher), va="bottom", color=GRAY, fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    axes.minorticks_off()
    save(figure, "support_intents")


def finance_200_labels() -> None:
    """Accuracy of each model of the finance example, a point for each seed."""
    rows = json_lines(HERE / "finance_200_labels.jsonl")
    names = list(dict.fromkeys(row["model"] for row in rows))[::-1]
    figure, axes = new_picture("test accuracy, %", "", height=2.6)
    for place, name in enumerate(names):
        scores = [100 * row["accuracy"] for row in rows if row["model"] == name]
        axes.barh(place, statistics.mean(scores), height=0.55, color="C0" if "headlines" in name else "0.8")
        axes.plot(scores, [place] * len(scores), "o", color="black", markersize=3)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlim(0, 100)
    axes.grid(axis="y", visible=False)
    save(figure, "finance_200_labels")


def captions_on_a_server() -> None:
    """BLEU against sentences a second: teacher, student, student in int8, greedy and by beam search."""
    card = (ROOT / "model_cards" / "multi30k-en-de-1dec.md").read_text(encoding="utf-8")
    figure, axes = new_picture("sentences a second, one CPU thread", "BLEU")
    for search, marker, above in (("greedy", "o", False), ("beam 5", "s", True)):
        teacher, student, _, int8 = zip(
            table_row(card, f"sentences a second, {search}"), table_row(card, f"BLEU, {search}"), strict=True
        )
        points = {"teacher": teacher, "student": student, "student, int8": int8}
        axes.plot(*zip(*points.values(), strict=True), marker=marker, label=search)
        for name, point in points.items():
            offset = {"xytext": (0, 7 if above else -14), "textcoords": "offset points"}
            axes.annotate(name, point, ha="center", fontsize=8, **offset)
    axes.set_xscale("log")
    axes.set_xticks([20, 65, 200, 1200], ["20", "65", "200", "1,200"])
    axes.minorticks_off()
    axes.set_xlim(12, 2500)
    axes.set_ylim(32, 35)
    axes.legend(frameon=False, fontsize=8)
    save(figure, "captions_on_a_server")


def json_lines(path: Path) -> list:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table_row(markdown: str, name: str) -> list[float]:
    """The numbers of a row of a Markdown table."""
    row = next(line for line in markdown.splitlines() if line.startswith(f"| {name} |"))
    return [float(cell.replace(",", "")) for cell in row.strip("| ").split(" | ")[1:]]


def new_picture(x_label: str, y_label: str, height: float = 3.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, height), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def with_spread(axes: Axes, places: Sequence[float], scores: Sequence[Sequence[float]], name: str) -> None:
    """A line through the means, in per cent, with bars of one standard deviation over seeds."""
    means = [100 * statistics.mean(values) for values in scores]
    spreads = [100 * statistics.stdev(values) if len(values) > 1 else 0 for values in scores]
    axes.errorbar(places, means, yerr=spreads, marker="o", capsize=3, label=name)
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def save(figure: Figure, name: str) -> None:
    figure.savefig(HERE / f"{name}.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()

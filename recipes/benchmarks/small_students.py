"""What small students are worth: `hfdistill distill --size`, against labels alone and the number of unlabeled texts.

Each run is the command itself, so the table says what a user gets. With --baseline there is the same student on the
labels alone, for as many steps. The teacher's soft targets are kept, and computed once for all runs.

    python recipes/benchmarks/small_students.py --teacher my/minilm-sst2 --train_file train.tsv \\
        --validation_file validation.tsv --test_file test.tsv --unlabeled_file reviews.parquet \\
        --unlabeled 0 100000 200000 --sizes tiny micro --output_dir small_students
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from bench import draw, draw_on, gain, percent, publish
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

FILES = ("train_file", "validation_file", "test_file")
#: What a student costs: the figure of a run, how it is called, and what one unit is.
COSTS = [
    ("student_parameters", "million parameters", 1e6),
    ("student_latency_ms", "milliseconds for one text", 1),
    ("total_flos", "training, $10^{15}$ operations", 1e15),
]


def main() -> None:
    options, more = parse_options()
    folder = Path(options.output_dir)
    runs = {
        (size, count): [results(options, folder, size, count, seed, more) for seed in range(options.seeds)]
        for size in options.sizes
        for count in options.unlabeled
    }
    publish(folder, table(runs))
    curves = {
        size: [(count, [one["student_accuracy"] for one in runs[size, count]]) for count in options.unlabeled]
        for size in options.sizes
    }
    draw(curves, folder / "curve.png", "unlabeled texts")
    draw_costs(options, runs, folder / "costs.png")


def results(options: argparse.Namespace, folder: Path, size: str, count: int, seed: int, more: list[str]) -> dict:
    """The figures of one run, which is not repeated where they are there."""
    out = folder / f"{size}-{count}-{seed}"
    kept = folder / f"{out.name}.json"
    if not kept.exists():
        words = ["--teacher_name_or_path", options.teacher, "--size", size, "--seed", str(seed), *more]
        words += [word for name in FILES for word in (f"--{name}", getattr(options, name))]
        words += ["--unlabeled_file", options.unlabeled_file, "--max_unlabeled", str(count)] if count else []
        words += ["--baseline"] if options.baseline == count else []
        command = [sys.executable, "-m", "hfdistill", "distill", *words, "--output_dir", str(out)]
        subprocess.run(command, check=True)
        figures = json.loads((out / "all_results.json").read_text(encoding="utf-8"))
        states = [json.loads(path.read_text(encoding="utf-8")) for path in out.glob("checkpoint-*/trainer_state.json")]
        figures["total_flos"] = max(state["total_flos"] for state in states)
        kept.write_text(json.dumps(figures), encoding="utf-8")
    found: dict = json.loads(kept.read_text(encoding="utf-8"))
    return found


def table(runs: dict[tuple[str, int], list[dict]]) -> list[str]:
    teacher = next(iter(runs.values()))[0]
    lines = [
        f"Accuracy on the test texts in %, of the teacher {100 * teacher['teacher_accuracy']:.2f}.",
        "",
        "| size | parameters | unlabeled texts | labels alone | student | gain | 10^15 operations | times as fast |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (size, count), found in runs.items():
        students = [one["student_accuracy"] for one in found]
        alone = [one["baseline_accuracy"] for one in found if "baseline_accuracy" in one]
        cells = [percent(alone) if alone else "", percent(students), gain(students, alone) if alone else ""]
        cells += [f"{mean(found, 'total_flos') / 1e15:.2g}", f"{mean(found, 'speedup'):.1f}"]
        lines.append(f"| {size} | {found[0]['student_parameters']:,} | {count:,} | {' | '.join(cells)} |")
    return lines


def mean(found: list[dict], name: str) -> float:
    """Of the runs of all seeds."""
    return statistics.mean(one[name] for one in found)


def draw_costs(options: argparse.Namespace, runs: dict[tuple[str, int], list[dict]], path: Path) -> None:
    """Accuracy against what a student costs, for each number of unlabeled texts, and the teacher beside them."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = figure.subplots(1, len(COSTS), sharey=True)
    for axes, (name, label, unit) in zip(panels, COSTS, strict=True):
        for size in options.sizes:
            found = [runs[size, count] for count in options.unlabeled]
            points = [(mean(some, name) / unit, [one["student_accuracy"] for one in some]) for some in found]
            draw_on(axes, {size: points}, label)
        teacher = next(iter(runs.values()))[0]
        axes.axhline(100 * teacher["teacher_accuracy"], color="gray", linestyle=":", label="teacher")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
    panels[0].set_ylabel("test accuracy, %")
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def parse_options() -> tuple[argparse.Namespace, list[str]]:
    """These, and all others for the command itself."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    options.add_argument("--teacher", required=True, help="a fine-tuned classifier, Hub name or folder")
    for name in FILES:
        options.add_argument(f"--{name}", required=True)
    options.add_argument("--unlabeled_file", help="texts for the teacher to label")
    options.add_argument(
        "--unlabeled", type=int, nargs="+", default=[0], help="how many of them, of each curve's points"
    )
    options.add_argument("--sizes", nargs="+", default=["tiny", "micro"])
    options.add_argument("--baseline", type=int, help="at this number also the student on the labels alone")
    options.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0")
    options.add_argument("--output_dir", required=True, help="figures, table and plot; an unfinished one is continued")
    return options.parse_known_args()


if __name__ == "__main__":
    main()

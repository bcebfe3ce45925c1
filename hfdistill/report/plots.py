"""Pictures of a run: its losses over the steps, and what the student gives up for its speed."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfdistill.report.figures import TRAINED_ROLES, Comparison
from hfdistill.report.markdown import one_line

#: Grey lines and text on a transparent ground can be read on the Hub's light and dark pages alike.
INK = "#8a8f98"
#: Pairs of classes beyond these could not be read.
SHOWN_PAIRS = 12
#: Longer names would leave no room for the picture.
NAME_LENGTH = 30
#: Names are anybody's: two dollar signs do not make a formula of one.
literally = rc_context({"text.parse_math": False, "text.usetex": False, "axes.formatter.use_mathtext": False})
COLORS = ("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#a855f7", "#06b6d4")
#: A model has one color in all pictures and tables; exports and others get those that are left.
COLOR_OF = dict(zip(TRAINED_ROLES, COLORS, strict=False))
#: How wide a line is, the first drawn the widest: those above it leave its rim.
WIDTHS = (4.0, 2.2, 1.2)


@literally
def plot_losses(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike[str]) -> None:
    """Draws each logged loss over the optimizer steps on axes of its own, for losses of different kinds do not compare.

    Training is a broken line, evaluation a solid one with dots.

    Args:
        runs: By name of a run, such as `student`, its `trainer.state.log_history`.
        path: The PNG to write.
    """
    logged = {run: _loss_names(history) for run, history in runs.items()}
    names = sorted(set().union(*logged.values()), key=lambda name: (name != "loss", name))
    figure, panels = grid(max(len(names), 1))
    colors = model_colors(runs)
    for axes, name in zip(panels, names, strict=False):
        for (run, history), width in zip(runs.items(), itertools.cycle(WIDTHS[1:]), strict=False):
            for log, style in ((name, ":"), (f"eval_{name}", "-")) if name in logged[run] else ():
                _curve(axes, history, log, colors[run], style, width)
        dress(axes, "objective (weighted sum)" if name == "loss" else name, "optimizer step", "")
    handles = [Line2D([], [], color=colors[run], label=_name(run)) for run in runs]
    kinds = [Line2D([], [], color=INK, linestyle=":", label="training")]
    kinds.append(Line2D([], [], color=INK, marker="o", markersize=4, label="evaluation"))
    _legend_below(figure, [*handles, *kinds] if names else [])
    save(figure, path)


@literally
def plot_tradeoff(comparison: Comparison, metric: str, path: str | os.PathLike[str]) -> None:
    """Draws the metric against latency and against the size of the weights, a point for each model.

    Args:
        comparison: The measured models.
        metric: The name of one of its metrics, drawn with its interval where there is one.
        path: The PNG to write.
    """
    figure, (speed, size) = canvas(2)
    colors = model_colors(comparison.models)
    for index, (role, model) in enumerate(comparison.models.items()):
        value = model.metrics[metric]
        low, high = model.intervals.get(metric, (value, value))
        if model.latency_quartiles_ms is not None:
            speed.hlines(value, *model.latency_quartiles_ms, color=colors[role], linewidth=1, alpha=0.6)
        for axes, cost in ((speed, model.latency_ms), (size, model.megabytes)):
            # Student, baseline and ONNX weigh the same: what is above leaves the rim of what is below it.
            axes.scatter(cost, value, s=max(150 - 30 * index, 20), color=colors[role], zorder=3, label=_name(role))
            axes.vlines(cost, low, high, color=colors[role], linewidth=max(5 - 2 * index, 1), zorder=2)
    dress(speed, f"{_name(metric)} and speed", f"latency of one text, ms ({comparison.device})", metric)
    dress(size, f"{_name(metric)} and size", "size of the weights, MB", metric)
    for axes in (speed, size):
        axes.margins(x=0.15, y=0.2)
        axes.set_xlim(left=0)
    _legend_below(figure, speed.get_legend_handles_labels()[0])
    save(figure, path)


@literally
def plot_reliability(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Draws how often each model is right against how sure it is; on the diagonal it is as sure as it should be.

    Args:
        comparison: The measured models; those without a calibration are left out.
        path: The PNG to write.
    """
    figure, [axes] = canvas(1)
    colors = model_colors(comparison.models)
    measured = {role: comparison.models[role].calibration for role in TRAINED_ROLES if role in comparison.models}
    shown = {role: one for role, one in measured.items() if one is not None}
    for (role, one), width in zip(shown.items(), WIDTHS, strict=False):
        axes.plot(one.confidence, one.accuracy, color=colors[role], linewidth=width, label=_name(role))
        axes.scatter(
            one.confidence, one.accuracy, s=[8 + 200 * share for share in one.share], color=colors[role], alpha=0.6
        )
    # With two classes no confidence is below a half: an empty quarter says nothing.
    low = min([value for one in shown.values() for value in (*one.confidence, *one.accuracy)], default=0.0)
    axes.plot([low, 1], [low, 1], color=INK, linestyle=":", linewidth=1)
    dress(axes, "right as often as sure? (larger: more rows)", "confidence", "share of correct predictions")
    _legend_below(figure, axes.get_legend_handles_labels()[0])
    save(figure, path)


@literally
def plot_confusion(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Draws where the student decides otherwise than its teacher: a bar for each pair of classes, the longest first.

    Args:
        comparison: A comparison with `confusion`.
        path: The PNG to write.
    """
    assert comparison.confusion is not None
    differing = comparison.confusion - np.diag(np.diag(comparison.confusion))
    pairs = [(int(count), pair) for pair, count in np.ndenumerate(differing) if count]
    shown = sorted(pairs, key=lambda one: -one[0])[:SHOWN_PAIRS]
    names = [_name(name) for name in comparison.label_names]
    figure, [axes] = canvas(1, height=1.2 + 0.32 * max(len(shown), 1))
    bars = axes.barh(
        [f"{names[teacher]} → {names[student]}" for _, (teacher, student) in shown],
        [count for count, _ in shown],
        color=COLOR_OF["student"],
    )
    axes.bar_label(bars, color=INK, padding=3)
    axes.invert_yaxis()
    dress(axes, "teacher → student, where they differ", f"rows, of {comparison.rows:,}", "")
    axes.grid(False, axis="y")
    save(figure, path)


@literally
def plot_routing(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Draws the main metric against the share of texts that the student passes on to its teacher.

    The dotted line is what passing on texts at random would give.

    Args:
        comparison: A comparison with `routing`.
        path: The PNG to write.
    """
    routing = comparison.routing
    assert routing is not None
    figure, [axes] = canvas(1)
    shares, values = zip(*((100 * point.share, point.metric) for point in routing.curve), strict=True)
    axes.plot(shares, values, color=COLOR_OF["student"], label="least sure first")
    axes.plot((0, 100), (values[0], values[-1]), color=INK, linestyle=":", label="at random")
    axes.axhline(values[-1], color=COLOR_OF["teacher"], linewidth=1, label="teacher")
    if routing.choice is not None and math.isfinite(routing.choice.chosen.threshold):
        chosen = routing.choice.measured
        axes.scatter(100 * chosen.share, chosen.metric, color=COLORS[3], zorder=3, label="threshold of validation")
    dress(axes, "the teacher for what the student is not sure of", "texts passed on, %", routing.metric)
    _legend_below(figure, axes.get_legend_handles_labels()[0])
    save(figure, path)


def _name(text: str) -> str:
    """A name as there is room for it."""
    line = one_line(text)
    return line if len(line) <= NAME_LENGTH else line[: NAME_LENGTH - 1] + "…"


def _legend_below(figure: Figure, handles: Sequence[Any]) -> None:
    columns = 5 if figure.get_figwidth() > 5 else 3
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=10, labelcolor=INK
        )


def _loss_names(history: Sequence[Mapping[str, Any]]) -> set[str]:
    """The losses that were logged; a sum of one part is that part."""
    logs = [entry for entry in history if "train_runtime" not in entry and {"loss", "eval_loss"} & entry.keys()]
    found = {name.removeprefix("eval_") for entry in logs for name in entry if name.endswith("loss")}
    return found - {"loss"} if len(found) == 2 else found


def _curve(axes: Axes, history: Sequence[Mapping[str, Any]], name: str, color: str, style: str, width: float) -> None:
    points = [(entry["step"], entry[name]) for entry in history if name in entry and "train_runtime" not in entry]
    marker = "o" if style == "-" or len(points) == 1 else None
    if points:
        axes.plot(*zip(*points, strict=True), color=color, label=name, ls=style, lw=width, marker=marker, ms=4)


def grid(panels: int) -> tuple[Figure, list[Axes]]:
    """An empty picture of some panels in rows of three at most, each row as wide as the picture."""
    rows = -(-panels // 3)
    counts = [panels // rows + (row < panels % rows) for row in range(rows)]
    figure = Figure(figsize=(10 if panels > 1 else 5, 3.2 * rows + 0.4), layout="constrained")
    parts: Any = figure.subfigures(rows, 1, squeeze=False)
    drawn: list[Axes] = []
    for part, count in zip(parts[:, 0], counts, strict=True):
        part.patch.set_alpha(0)
        drawn += list(part.subplots(1, count, squeeze=False)[0])
    return figure, drawn


def canvas(panels: int, height: float = 3.6) -> tuple[Figure, Sequence[Axes]]:
    """An empty picture of some panels side by side."""
    # A figure without pyplot: nothing global is touched, and no display is needed.
    figure = Figure(figsize=(5 * panels, height), layout="constrained")
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def model_colors(names: Iterable[str]) -> dict[str, str]:
    """The color of each model, by its name."""
    names = list(names)
    left = itertools.cycle(COLORS[len(COLOR_OF) :])
    return {name: COLOR_OF.get(name) or next(left) for name in names}


def dress(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Puts the title, the labels and the look of all pictures on a panel."""
    axes.set_title(one_line(title), color=INK, fontsize=10)
    axes.set_xlabel(one_line(x_label), color=INK)
    axes.set_ylabel(_name(y_label), color=INK)
    axes.tick_params(colors=INK)
    axes.grid(color=INK, alpha=0.2)
    axes.patch.set_alpha(0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a picture as PNG on a transparent ground."""
    figure.savefig(path, dpi=130, transparent=True)

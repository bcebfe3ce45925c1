"""Pictures of a run: its losses over the steps, and what the student gives up for its speed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hfdistill.report.figures import TRAINED_ROLES, Comparison
from hfdistill.report.markdown import one_line

#: Grey lines and text on a transparent ground can be read on the Hub's light and dark pages alike.
INK = "#8a8f98"
#: The total loss solid, its parts broken.
STYLES = (("-", 2.0), ("--", 1.2), (":", 1.4), ("-.", 1.2), ("--", 0.8), (":", 0.8))
#: Of more classes the names could not be read.
SHOWN_CLASSES = 12
#: Longer names would leave no room for the picture.
NAME_LENGTH = 30
#: Names are anybody's: two dollar signs do not make a formula of one.
literally = rc_context({"text.parse_math": False, "text.usetex": False, "axes.formatter.use_mathtext": False})
COLORS = ("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#a855f7", "#06b6d4")


@literally
def plot_losses(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike[str]) -> None:
    """Draws each logged loss over the optimizer steps, training left and evaluation right.

    Args:
        runs: By name of a run, such as `student`, its `trainer.state.log_history`.
        path: The PNG to write.
    """
    figure, (training, evaluation) = canvas(2)
    colors = _colors(runs)
    for run, history in runs.items():
        for axes, first in ((training, "loss"), (evaluation, "eval_loss")):
            for style, name in zip(itertools.cycle(STYLES), _loss_names(history, first), strict=False):
                _curve(axes, history, name, _name(f"{run}: {name.removeprefix('eval_')}"), colors[run], style)
    for axes, title in ((training, "training"), (evaluation, "evaluation")):
        dress(axes, title, "optimizer step", "loss")
    # One legend for both: they name the same curves, and inside it would lie on them.
    _legend_below(figure, training.lines or evaluation.lines)
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
    colors = _colors(comparison.models)
    for index, (role, model) in enumerate(comparison.models.items()):
        value = model.metrics[metric]
        low, high = model.intervals.get(metric, (value, value))
        if model.latency_quartiles_ms is not None:
            speed.hlines(value, *model.latency_quartiles_ms, color=colors[role], linewidth=1)
        for axes, cost in ((speed, model.latency_ms), (size, model.megabytes)):
            # Student, baseline and ONNX weigh the same: a smaller dot leaves the rim of the one below it.
            axes.scatter(cost, value, s=max(150 - 30 * index, 20), color=colors[role], zorder=3, label=_name(role))
            axes.vlines(cost, low, high, color=colors[role], linewidth=1)
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
    colors = _colors(comparison.models)
    axes.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1)
    for role in [role for role in TRAINED_ROLES if role in comparison.models]:
        calibration = comparison.models[role].calibration
        if calibration is not None:
            points = calibration.confidence, calibration.accuracy
            axes.plot(*points, color=colors[role], linewidth=1.4, label=_name(role))
            axes.scatter(*points, s=[8 + 200 * share for share in calibration.share], color=colors[role], alpha=0.6)
    dress(axes, "right as often as sure? (larger: more rows)", "confidence", "share of correct predictions")
    _legend_below(figure, axes.get_legend_handles_labels()[0])
    save(figure, path)


@literally
def plot_confusion(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Draws where the student decides otherwise than its teacher, for the classes with most such rows.

    Args:
        comparison: A comparison with `confusion`.
        path: The PNG to write.
    """
    assert comparison.confusion is not None
    differing = comparison.confusion - np.diag(np.diag(comparison.confusion))
    most = np.argsort(-(differing.sum(0) + differing.sum(1)), kind="stable")[:SHOWN_CLASSES]
    shown = sorted(most)
    counts, names = differing[np.ix_(shown, shown)], [_name(comparison.label_names[index]) for index in shown]
    figure, [axes] = canvas(1)
    axes.imshow(np.where(counts == 0, np.nan, counts), cmap="YlOrBr", vmin=0)
    for row, column in zip(*np.nonzero(counts), strict=True):
        ink = "white" if counts[row, column] > 0.6 * counts.max() else "black"
        axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=ink, fontsize=9)
    axes.set_xticks(
        range(len(names)), names, rotation=45 if len(names) > 3 else 0, ha="right" if len(names) > 3 else "center"
    )
    axes.set_yticks(range(len(names)), names)
    dress(axes, f"rows on which they differ, of {comparison.rows:,}", "student", "teacher")
    axes.grid(False)
    save(figure, path)


def _name(text: str) -> str:
    """A name as there is room for it."""
    line = one_line(text)
    return line if len(line) <= NAME_LENGTH else line[: NAME_LENGTH - 1] + "…"


def _legend_below(figure: Figure, handles: Sequence[Any]) -> None:
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8, labelcolor=INK)


def _loss_names(history: Sequence[Mapping[str, Any]], first: str) -> list[str]:
    """The losses that were logged in the same breath as `first`, that one before its parts."""
    names: dict[str, None] = {}
    for entry in history:
        if first in entry:
            names.update(dict.fromkeys(name for name in entry if name.endswith("loss")))
    return sorted(names, key=lambda name: (name != first, name))


def _curve(
    axes: Axes, history: Sequence[Mapping[str, Any]], name: str, label: str, color: str, style: tuple[str, float]
) -> None:
    points = [(entry["step"], entry[name]) for entry in history if name in entry and "train_runtime" not in entry]
    marker = "o" if len(points) < 12 else None
    axes.plot(
        *zip(*points, strict=True), color=color, label=label, linestyle=style[0], linewidth=style[1], marker=marker
    )


def canvas(panels: int) -> tuple[Figure, Sequence[Axes]]:
    """An empty picture of some panels side by side."""
    # A figure without pyplot: nothing global is touched, and no display is needed.
    figure = Figure(figsize=(5 * panels, 3.6), layout="constrained")
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _colors(names: Mapping[str, Any]) -> dict[str, str]:
    return {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}


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

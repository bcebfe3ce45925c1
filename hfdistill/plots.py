"""Pictures of a run: its losses over the steps, and what the student gives up for its speed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hfdistill.report import Comparison

#: Grey lines and text on a transparent ground can be read on the Hub's light and dark pages alike.
INK = "#8a8f98"
#: The total loss solid, its parts broken.
STYLES = (("-", 2.0), ("--", 1.2), (":", 1.4), ("-.", 1.2), ("--", 0.8), (":", 0.8))
COLOURS = ("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#a855f7")


def plot_losses(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike[str]) -> None:
    """Draws each logged loss over the optimizer steps, training left and evaluation right.

    Args:
        runs: By name of a run, such as `student`, its `trainer.state.log_history`.
        path: The PNG to write.
    """
    figure, (training, evaluation) = _canvas(2)
    colours = _colours(runs)
    for run, history in runs.items():
        for axes, first in ((training, "loss"), (evaluation, "eval_loss")):
            for style, name in zip(itertools.cycle(STYLES), _loss_names(history, first), strict=False):
                _curve(axes, history, name, f"{run}: {name.removeprefix('eval_')}", colours[run], style)
    for axes, title in ((training, "training"), (evaluation, "evaluation")):
        _dress(axes, title, "optimizer step", "loss")
    # One legend for both: they name the same curves, and inside it would lie on them.
    labelled = training if training.lines else evaluation
    if labelled.lines:
        figure.legend(
            handles=labelled.lines, loc="outside lower center", ncols=3, frameon=False, fontsize=8, labelcolor=INK
        )
    _save(figure, path)


def plot_tradeoff(comparison: Comparison, metric: str, path: str | os.PathLike[str]) -> None:
    """Draws the metric against latency and against the number of parameters, a point for each model.

    Args:
        comparison: The measured models.
        metric: The name of one of its metrics.
        path: The PNG to write.
    """
    figure, (speed, size) = _canvas(2)
    colours = _colours(comparison.models)
    for index, (role, model) in enumerate(comparison.models.items()):
        for axes, cost in ((speed, model.latency_ms), (size, model.parameters / 1e6)):
            point = (cost, model.metrics[metric])
            axes.scatter(*point, s=60, color=colours[role], zorder=3)
            # Student and baseline cost the same: their names go above and below their points.
            offset = (8, -12 if index == 2 else 6)
            axes.annotate(role, point, xytext=offset, textcoords="offset points", color=colours[role])
    _dress(speed, f"{metric} and speed", f"latency of one text, ms ({comparison.device})", metric)
    _dress(size, f"{metric} and size", "parameters, millions", metric)
    for axes in (speed, size):
        axes.margins(x=0.3, y=0.2)
        axes.set_xlim(left=0)
    _save(figure, path)


def _loss_names(history: Sequence[Mapping[str, Any]], first: str) -> list[str]:
    """The losses that were logged in the same breath as `first`, that one before its parts."""
    names: dict[str, None] = {}
    for entry in history:
        if first in entry:
            names.update(dict.fromkeys(name for name in entry if name.endswith("loss")))
    return sorted(names, key=lambda name: (name != first, name))


def _curve(
    axes: Axes, history: Sequence[Mapping[str, Any]], name: str, label: str, colour: str, style: tuple[str, float]
) -> None:
    points = [(entry["step"], entry[name]) for entry in history if name in entry and "train_runtime" not in entry]
    marker = "o" if len(points) < 12 else None
    axes.plot(
        *zip(*points, strict=True), color=colour, label=label, linestyle=style[0], linewidth=style[1], marker=marker
    )


def _canvas(panels: int) -> tuple[Figure, Sequence[Axes]]:
    # A figure without pyplot: nothing global is touched, and no display is needed.
    figure = Figure(figsize=(5 * panels, 3.6), layout="constrained")
    return figure, figure.subplots(1, panels)


def _colours(names: Mapping[str, Any]) -> dict[str, str]:
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def _dress(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, color=INK, fontsize=10)
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.tick_params(colors=INK)
    axes.grid(color=INK, alpha=0.2)
    axes.patch.set_alpha(0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    figure.savefig(path, dpi=130, transparent=True)

"""What a search found: candidates, their Pareto front, plots."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from hfdistill.report.plots import COLORS, INK, canvas, dress, literally, save

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

OPTUNA_PLOTS = ("optimization_history", "param_importances", "slice", "parallel_coordinate")


@dataclass(frozen=True)
class Candidate:
    """A student that was trained and judged.

    Args:
        values: What was chosen for it: training arguments and shape.
        score: The task metric on the validation rows.
        latency_ms: Median milliseconds for one text.
        parameters: Its parameters.
    """

    values: dict[str, Any]
    score: float
    latency_ms: float
    parameters: int

    @property
    def settings(self) -> str:
        """Its values to be read, such as `temperature 1.27, layers last`."""
        numbers = {name: f"{value:.3g}" for name, value in self.values.items() if isinstance(value, float)}
        return ", ".join(f"{name} {value}" for name, value in {**self.values, **numbers}.items())


def pareto_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other beats in score and latency at once, the fastest first; of equals the first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda one: (one.latency_ms, -one.score)):
        if not front or candidate.score > front[-1].score:
            front.append(candidate)
    return front


@literally
def plot_front(
    candidates: Sequence[Candidate], front: Sequence[Candidate], metric: str, path: str | os.PathLike[str]
) -> None:
    """Draws searched students by latency and score, and those that no other beats in both as a line.

    Args:
        candidates: All of them.
        front: Those that no other beats.
        metric: What the score is.
        path: The PNG to write.
    """
    figure, [axes] = canvas(1)
    for students, style in ((candidates, {"color": INK, "alpha": 0.6}), (front, {"color": COLORS[0]})):
        axes.scatter([one.latency_ms for one in students], [one.score for one in students], s=30, **style)
    axes.step([one.latency_ms for one in front], [one.score for one in front], where="post", color=COLORS[0])
    dress(axes, "students that were searched", "latency of one text, ms", metric)
    save(figure, path)


def save_search(
    study: Study, candidates: Sequence[Candidate], metric: str, folder: str | os.PathLike[str]
) -> list[Path]:
    """Saves plots of a search as PNG: quality against latency with its Pareto front, and Optuna's own.

    Args:
        study: Optuna's study.
        candidates: The students that were trained to their end; with fewer than two there is nothing to plot.
        metric: What they were judged by.
        folder: Where to put the plots.
    """
    if len(candidates) < 2:
        return []
    Path(folder).mkdir(parents=True, exist_ok=True)
    front = Path(folder) / "search_front.png"
    plot_front(candidates, pareto_front(candidates), metric, front)
    return [front, *(_save_optuna_plot(name, study, metric, Path(folder)) for name in OPTUNA_PLOTS)]


def _save_optuna_plot(name: str, study: Study, metric: str, folder: Path) -> Path:
    from optuna.visualization import matplotlib as visualization

    plot = getattr(visualization, f"plot_{name}")
    target = None
    if len(study.directions) > 1:
        # Of several goals the score is shown. Importances are for reaching low values, where a target is given.
        sign = -1 if name == "param_importances" else 1

        def target(trial: FrozenTrial) -> float:
            return sign * trial.values[0]

    axes: Any = plot(study, target=target, target_name=metric)
    figure = np.atleast_1d(axes).flat[0].figure
    figure.set_size_inches(2.5 * max(4, np.size(axes)), 5)
    for one in figure.axes:
        one.tick_params(axis="x", rotation=30)
        if one.get_xscale() == "log":  # Optuna's labels lie on one another
            one.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            one.xaxis.set_major_formatter(FormatStrFormatter("%g"))
            one.xaxis.set_minor_formatter(NullFormatter())
    path = folder / f"search_{name}.png"
    figure.savefig(path, dpi=100, bbox_inches="tight")
    return path

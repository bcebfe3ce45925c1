"""The core of a comparison, the same for every task: roles, sizes, speed, and what could not be measured.

A task brings its models as `Workload`s and a function that gives its own figures of each; see
`tasks/classification/report.py` and `tasks/translation/report.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from hfdistill.models.wrappers import config_of, device_of
from hfdistill.report.cost import size_beside
from hfdistill.report.failures import Attempts
from hfdistill.report.figures import Comparison, ModelFigures
from hfdistill.report.timing import Timings, Workload, device_name, one_network, speed_figures

AComparison = TypeVar("AComparison", bound=Comparison)


def check_models(models: Mapping[str, Any], loader: str) -> None:
    """Refuses what is no model.

    Args:
        models: By role, those that are no exports.
        loader: The class of `transformers` that loads such a model.

    Raises:
        TypeError: for a name or path in place of a model.
    """
    for role, model in models.items():
        if not isinstance(model, nn.Module) or config_of(model) is None:
            raise TypeError(
                f"compare measures transformers models, and as {role} it got {type(model).__name__}: load "
                f"it first, such as by {loader}.from_pretrained(...)."
            )


def compare_models(
    models: Mapping[str, Workload],
    quality: Callable[[str], Mapping[str, Any]],
    latency: Mapping[str, Timings],
    per_second: Mapping[str, Timings],
    *,
    rows: int,
    split: str,
    attempt: Attempts,
    kinds: tuple[type[AComparison], type[ModelFigures]],
    **found: Any,
) -> AComparison:
    """Puts the figures of all models together.

    Args:
        models: By role, `teacher` and `student` among them.
        quality: The task's own figures of a role: the fields of its kind of `ModelFigures` beside size and speed.
        latency: Milliseconds of each model for one example.
        per_second: How many examples a second each model predicts.
        rows: How many rows the quality is of.
        split: What to call the rows.
        attempt: Where it was noted what could not be measured.
        kinds: The task's kinds of comparison and of figures.
        **found: What else the task's comparison holds.
    """
    comparison, figures = kinds
    student = models["student"].model
    speed = speed_figures(latency, per_second)
    columns = {
        role: figures(
            **quality(role),
            **vars(size_beside(one.model, student)),
            **speed[role],
            engine=getattr(one.model, "engine", ""),
        )
        for role, one in models.items()
    }
    return comparison(
        columns,
        rows,
        split,
        device_name(device_of(student)),
        one_network=one_network(latency),
        not_measured=attempt.notes,
        **found,
    )

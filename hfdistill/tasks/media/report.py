"""What a student that sees or hears keeps of its teacher and what it costs: the same rows, predicted by every model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import EvalPrediction, PreTrainedModel

from hfdistill.data.rows import as_split
from hfdistill.models.inputs import main_input
from hfdistill.models.labels import LabelSpace, names_of
from hfdistill.models.sound import SoundCollator, SoundPadding
from hfdistill.models.wrappers import config_of
from hfdistill.report.comparison import check_models, compare_models
from hfdistill.report.cost import megaflops, peak_megabytes
from hfdistill.report.counted import MeasuredHead
from hfdistill.report.examples import Shown
from hfdistill.report.failures import Attempts
from hfdistill.report.figures import Comparison, ModelFigures
from hfdistill.report.timing import latencies_ms, throughput
from hfdistill.tasks.classification.predictions import Predictions
from hfdistill.tasks.classification.report import labels_of, metrics_of


def compare(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    dataset: Dataset,
    processing_class: Any = None,
    *,
    compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
    baseline: PreTrainedModel | None = None,
    others: Mapping[str, Any] | None = None,
    shown: Callable[[int], Shown] | None = None,
    split: str = "test",
) -> Comparison:
    """Measures classifiers of pictures or sound on the same rows, as `compare` of texts does.

    Args:
        teacher: The teacher; its labels, and those of the other models and of the rows, are put into the student's
            order by name. It reads what the student reads.
        student: The student.
        dataset: Rows with `labels` and what all models read, such as `pixel_values`.
        processing_class: Not read: the rows are processed.
        compute_metrics: As for `Trainer`; by default those of `classification_metrics` for the student's head.
        baseline: The same student trained without the teacher.
        others: More models that read as the student does, by role, such as its exports.
        shown: How a person is shown the row of a number, for the disagreements.
        split: What to call the rows.

    Raises:
        TypeError: for a name or path in place of a model.
        ValueError: when there are no rows, or none with labels, or the models solve different tasks or read different
            columns.
    """
    trained = {"teacher": teacher, "student": student, **({} if baseline is None else {"baseline": baseline})}
    check_models(trained, "AutoModelForImageClassification")
    dataset = as_split(dataset)
    check_rows(trained, dataset)
    config: Any = config_of(student)
    space = LabelSpace.of_config(config)
    labels = labels_of(dataset, space)
    models = {role: workload(model, dataset) for role, model in {**trained, **(others or {})}.items()}
    predictions = Predictions(
        {role: _logits(role, one, space) for role, one in models.items()},
        labels,
        config.problem_type,
        compute_metrics or metrics_of(config),
    )
    attempt = Attempts()

    def quality(role: str) -> dict[str, Any]:
        return {
            **predictions.figures(role),
            "megaflops": attempt(f"the operations of {role}", partial(megaflops, models[role])),
            "peak_megabytes": attempt(f"the peak memory of {role}", partial(peak_megabytes, models[role])),
        }

    return compare_models(
        models,
        quality,
        latencies_ms(models),
        throughput(models),
        rows=len(labels),
        split=split,
        attempt=attempt,
        kinds=(Comparison, ModelFigures),
        **_differences(predictions, names_of(config), models["student"], shown, attempt),
    )


def check_rows(models: Mapping[str, PreTrainedModel], dataset: Dataset) -> None:
    """Refuses rows that lack what a model reads.

    Raises:
        ValueError: naming model and column, or where there are no rows.
    """
    if not len(dataset):
        raise ValueError("compare needs rows to measure on, and the dataset has none.")
    for role, model in models.items():
        if main_input(model) not in dataset.column_names:
            raise ValueError(
                f"the {role} reads {main_input(model)}, which the rows lack; they have "
                f"{', '.join(dataset.column_names)}: bring what its processor makes of each picture or recording."
            )


def workload(model: Any, dataset: Dataset) -> MeasuredHead:
    """A model, and rows of pictures or sound to measure it on."""
    names = [name for name in (main_input(model), "attention_mask") if name in dataset.column_names]
    return MeasuredHead(
        model, dataset.select_columns(names).with_format("numpy"), SoundCollator(SoundPadding.of(model))
    )


def _logits(role: str, one: MeasuredHead, space: LabelSpace) -> np.ndarray:
    order = space.order_in(LabelSpace.of_config(config_of(one.model)), role)
    logits = np.stack(list(one.predictions(role)))
    return logits if order is None else logits[:, order]


def _differences(
    predictions: Predictions, names: list[str], student: MeasuredHead, shown: Any, attempt: Attempts
) -> dict[str, Any]:
    lengths = [student.length(row) for row in student.rows]
    found = attempt("what differs by class", partial(predictions.differences, names, lengths)) or {}
    told = [shown(row) for row in range(len(student.rows))] if shown else []
    examples = attempt("examples of disagreements", partial(predictions.disagreements, names, told)) or []
    both = {
        "doubted_labels": attempt("labels to check", partial(predictions.doubted_labels, names, told)),
        "routing": attempt("both models together", predictions.routing),
    }
    # All pictures are as long as they have colors.
    alike: dict[str, Any] = {"lengths": []} if len(set(lengths)) == 1 else {}
    return {**found, **alike, **both, "disagreements": examples, "label_names": names}

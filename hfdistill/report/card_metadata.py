"""What the Hub reads of a card: license, task, base model, datasets and figures."""

from __future__ import annotations

import math
import os
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from hfdistill.report.card_facts import CardFacts, teacher_base
from hfdistill.report.markdown import one_line
from hfdistill.report.names import is_hub_name, listed, may_be_on_hub, shown


def card_metadata(name: str, facts: CardFacts) -> ModelCardData:
    """The metadata of the card of the student `name`."""
    base_model, tasks = _base_model(facts), listed(facts.task)
    return ModelCardData(
        language=listed(facts.language) or None,
        license=one_line(facts.license) if facts.license else None,
        library_name=facts.form.library,
        pipeline_tag=tasks[0] if tasks else None,
        tags=list(dict.fromkeys(["distillation", "hfdistill", *facts.form.tags, *listed(facts.tags), *tasks[1:]])),
        base_model=base_model,
        base_model_relation=("finetune" if facts.form.base is None else "adapter") if base_model else None,
        datasets=dataset_tags(facts) or None,
        model_name=one_line(name),
        eval_results=_eval_results(facts),
        metrics=list(map(one_line, facts.comparison.models["student"].metrics)) if facts.comparison else None,
        **_emissions(facts),
    )


def _base_model(facts: CardFacts) -> str | None:
    """The one model on the Hub that the student comes from, where that is known; an adapter's is what it is for."""
    if facts.form.base is not None:
        return facts.form.base if is_hub_name(facts.form.base) else None
    if facts.base_model is not None:
        return facts.base_model if may_be_on_hub(facts.base_model) else teacher_base(facts.base_model)
    teachers = listed(facts.teacher)
    if len(teachers) == 1 and os.path.isdir(teachers[0]):
        return teacher_base(teachers[0])
    return teachers[0] if len(teachers) == 1 and is_hub_name(teachers[0]) else None


def dataset_tags(facts: CardFacts) -> list[str]:
    return [name for name in listed(facts.dataset_tags) if may_be_on_hub(name)] or [
        name for name in listed(facts.dataset) if is_hub_name(name)
    ]


def _eval_results(facts: CardFacts) -> list[EvalResult] | None:
    if facts.comparison is None:
        return None
    name = one_line(measured_on(facts)) or "a dataset"
    return [
        EvalResult(
            task_type=next(iter(listed(facts.task)), "other"),
            dataset_type=name if facts.measured_on else next(iter(dataset_tags(facts)), name),
            dataset_name=name,
            dataset_split=one_line(facts.comparison.split),
            metric_type=one_line(metric),
            metric_value=round(value, 4),
        )
        for metric, value in facts.comparison.models["student"].metrics.items()
        if math.isfinite(value)
    ]


def measured_on(facts: CardFacts) -> str:
    """What the dataset of the figures is called."""
    return ", ".join(map(shown, listed(facts.measured_on or facts.dataset)))


def _emissions(facts: CardFacts) -> dict[str, Any]:
    if facts.emissions_grams is None:
        return {}
    measured = {"emissions": round(facts.emissions_grams, 2), "source": "codecarbon", "training_type": "fine-tuning"}
    return {"co2_eq_emissions": measured}

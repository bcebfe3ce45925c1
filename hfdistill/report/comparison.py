"""The comparison itself: the same rows, run by every model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset
from torch import nn
from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.data.rows import as_dataset
from hfdistill.export.onnx_model import OnnxModel
from hfdistill.models.inference import Classifier, predict_logits, token_rows
from hfdistill.models.labels import LABEL_COLUMNS, NO_LABEL, LabelSpace, names_of
from hfdistill.models.vocabularies import check_shared_tokens
from hfdistill.models.wrappers import config_of, device_of
from hfdistill.report.attempts import Attempts
from hfdistill.report.cost import (
    MeasuredModel,
    Size,
    device_name,
    latencies_ms,
    megaflops,
    peak_megabytes,
    size_of,
    throughput,
)
from hfdistill.report.figures import Comparison, ModelFigures
from hfdistill.report.predictions import Predictions
from hfdistill.report.timing import one_network, speed_figures

_GIVEN_AS = "teacher_processing_class=tokenizer"
_OTHER_TOKENIZER = f"compare them on text (text_columns=[...]), with {_GIVEN_AS} for the teacher's own tokenizer."


def compare(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    dataset: Dataset,
    *,
    processing_class: PreTrainedTokenizerBase,
    compute_metrics: Callable[[EvalPrediction], dict[str, float]],
    baseline: PreTrainedModel | None = None,
    others: Mapping[str, Classifier] | None = None,
    text_columns: str | Sequence[str] = (),
    teacher_processing_class: PreTrainedTokenizerBase | None = None,
    split: str = "test",
) -> Comparison:
    """Measures the models on the same rows: task metrics, agreement, calibration, size and speed.

    Speed is measured on the device each model is on, in turns, so that a machine whose speed drifts does not favor
    one of them; models that are one network, as student and baseline, are measured once and show one speed.

    Args:
        teacher: The teacher; its labels, as those of the other models and of the rows, are put into the student's
            order by name.
        student: The student.
        dataset: Rows with `label` or `labels` (−100, and among classes −1, is none), and text or the token columns that
            all models share.
        processing_class: The student's tokenizer.
        compute_metrics: As for `Trainer`.
        baseline: The same student trained without the teacher.
        others: More models that read as the student does, by role: the student as `export_onnx` made it, or another.
        text_columns: The columns of raw text, one or a pair; without them the rows bring their tokens.
        teacher_processing_class: The teacher's tokenizer, when it is another.
        split: What to call the rows.

    Raises:
        TypeError: for a name or path in place of a model.
        ValueError: when there are no rows, they have no labels, none that fit the student or nothing to read, or the
            models or the rows solve different tasks or read the same token ids with different vocabularies.
    """
    trained = {"teacher": teacher, "student": student, **({} if baseline is None else {"baseline": baseline})}
    configs = _configs(trained)
    dataset = as_dataset(dataset)
    text_columns = (text_columns,) if isinstance(text_columns, str) else tuple(text_columns)
    _check_rows(dataset, text_columns)
    space = LabelSpace.of_config(configs["student"])
    labels = _labels(dataset, space)
    if not text_columns or teacher_processing_class is None:  # the teacher reads the student's token ids
        check_shared_tokens(
            teacher, teacher_processing_class, student, processing_class, _OTHER_TOKENIZER, given_as=_GIVEN_AS
        )
    tokenizers = dict.fromkeys(trained, processing_class) | {"teacher": teacher_processing_class or processing_class}
    asked = {
        role: MeasuredModel(model, tokenizers[role], token_rows(model, tokenizers[role], dataset, text_columns))
        for role, model in trained.items()
    }
    asked |= {
        role: MeasuredModel(model, processing_class, asked["student"].rows) for role, model in (others or {}).items()
    }
    logits = {
        role: predict_logits(one.model, one.processing_class, one.rows, description=f"Running the {role}")
        for role, one in asked.items()
    }
    for role, one in asked.items():
        order = space.order_in(LabelSpace.of_config(config_of(one.model)), role)
        logits[role] = logits[role] if order is None else logits[role][:, order]
    predictions = Predictions(logits, labels, configs["student"].problem_type, compute_metrics)
    attempt = Attempts()
    latency = latencies_ms(asked)
    speed = speed_figures(latency, throughput(asked))
    figures = {
        role: ModelFigures(
            **predictions.figures(role),
            **vars(_size(one.model, asked["student"].model)),
            megaflops=attempt(f"the operations of {role}", partial(megaflops, one)),
            peak_megabytes=attempt(f"the peak memory of {role}", partial(peak_megabytes, one)),
            **speed[role],
        )
        for role, one in asked.items()
    }
    names = names_of(configs["student"])
    lengths = [len(row["input_ids"]) for row in asked["student"].rows]
    return Comparison(
        figures,
        len(labels),
        split,
        device_name(device_of(student)),
        **(attempt("what differs by class and length", lambda: predictions.differences(names, lengths)) or {}),
        disagreements=attempt(
            "examples of disagreements", lambda: predictions.disagreements(names, _texts(dataset, text_columns))
        )
        or [],
        label_names=names,
        one_network=one_network(latency),
        not_measured=attempt.notes,
    )


def _configs(models: Mapping[str, Any]) -> dict[str, Any]:
    """The configs of the models, whatever stands around them."""
    configs = {role: config_of(model) if isinstance(model, nn.Module) else None for role, model in models.items()}
    for role, model in models.items():
        if configs[role] is None:
            raise TypeError(
                f"compare measures transformers models, and as {role} it got {type(model).__name__}: load "
                "it first, such as by AutoModelForSequenceClassification.from_pretrained(...)."
            )
    return configs


def _check_rows(dataset: Dataset, text_columns: Sequence[str]) -> None:
    if len(dataset) == 0:
        raise ValueError("compare needs rows to measure on, and the dataset has none.")
    missing = [name for name in text_columns or ("input_ids",) if name not in dataset.column_names]
    if missing:
        way_out = "name the columns of raw text" if text_columns else "tokenize them, or name their text"
        raise ValueError(
            f"compare found no column {', '.join(missing)}; the rows have {', '.join(dataset.column_names)}: {way_out} "
            "with text_columns=[...]."
        )


def _labels(dataset: Dataset, space: LabelSpace) -> np.ndarray:
    """The rows' labels as the student numbers them, -100 where there is none."""
    for column in LABEL_COLUMNS:
        if column in dataset.column_names:
            labels = space.read_column(dataset, column, "the rows")
            numbering = space.numbering_of({column: dataset.features[column]}, "the dataset")
            if numbering is None:
                return labels
            return np.where(labels == NO_LABEL, NO_LABEL, np.asarray(numbering)[np.maximum(labels, 0)])
    raise ValueError(f"compare needs a column label or labels; the rows have {', '.join(dataset.column_names)}.")


def _size(model: Classifier, student: Classifier) -> Size:
    if isinstance(model, nn.Module):
        return size_of(model)
    assert isinstance(model, OnnxModel)
    size = size_of(student)  # the same parameters, in another form
    return Size(size.parameters, size.embedding_parameters, model.path.stat().st_size / 1e6)


def _texts(dataset: Dataset, text_columns: Sequence[str]) -> list[str]:
    return [" | ".join(texts) for texts in zip(*(dataset[name] for name in text_columns), strict=True)]

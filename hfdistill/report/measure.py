"""The comparison itself: the same rows, asked of every model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.inference import Classifier, predict_logits, token_rows
from hfdistill.label_spaces import label_names, label_order
from hfdistill.onnx_model import OnnxModel
from hfdistill.report.answers import Answers
from hfdistill.report.attempts import Attempts
from hfdistill.report.cost import (
    Asked,
    Size,
    device_name,
    latencies_ms,
    megaflops,
    peak_megabytes,
    size_of,
    throughput,
)
from hfdistill.report.figures import Comparison, ModelFigures
from hfdistill.report.timing import one_network, speed_figures


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

    Speed is measured on the device each model is on, in turns, so that a machine whose speed drifts does not favour
    one of them; models that are one network, as student and baseline, are measured once and show one speed.

    Args:
        teacher: The teacher; its labels are put into the student's order by name.
        student: The student.
        dataset: Rows with `label` or `labels`, and text or the token columns that all models share.
        processing_class: The student's tokenizer.
        compute_metrics: As for `Trainer`.
        baseline: The same student trained without the teacher.
        others: More models that read as the student does, by role: the student as `export_onnx` made it, or another.
        text_columns: The columns of raw text, one or a pair; without them the rows bring their tokens.
        teacher_processing_class: The teacher's tokenizer, when it is another.
        split: What to call the rows.

    Raises:
        TypeError: for a name or path in place of a model.
        ValueError: when there are no rows, they have no labels or nothing to read, or teacher and student answer
            different questions.
    """
    trained = {"teacher": teacher, "student": student, **({} if baseline is None else {"baseline": baseline})}
    _check_models(trained)
    text_columns = (text_columns,) if isinstance(text_columns, str) else tuple(text_columns)
    _check_rows(dataset, text_columns)
    labels = _labels(dataset)
    tokenizers = dict.fromkeys(trained, processing_class) | {"teacher": teacher_processing_class or processing_class}
    asked = {
        role: Asked(model, tokenizers[role], token_rows(model, tokenizers[role], dataset, text_columns))
        for role, model in trained.items()
    }
    asked |= {role: Asked(model, processing_class, asked["student"].rows) for role, model in (others or {}).items()}
    logits = {
        role: predict_logits(one.model, one.processing_class, one.rows, description=f"Asking the {role}")
        for role, one in asked.items()
    }
    logits["teacher"] = logits["teacher"][:, _order(teacher.config, student.config)]
    answers = Answers(logits, labels, student.config.problem_type, compute_metrics)
    attempt = Attempts()
    latency = latencies_ms(asked)
    speed = speed_figures(latency, throughput(asked))
    figures = {
        role: ModelFigures(
            **answers.figures(role),
            **vars(_size(one.model, asked["student"].model)),
            megaflops=attempt(f"the operations of {role}", partial(megaflops, one)),
            peak_megabytes=attempt(f"the peak memory of {role}", partial(peak_megabytes, one)),
            **speed[role],
        )
        for role, one in asked.items()
    }
    id2label: Any = student.config.id2label
    names = [str(id2label[index]) for index in sorted(id2label)]
    lengths = [len(row["input_ids"]) for row in asked["student"].rows]
    return Comparison(
        figures,
        len(labels),
        split,
        device_name(student.device),
        **(attempt("what differs by class and length", lambda: answers.differences(names, lengths)) or {}),
        disagreements=attempt(
            "examples of disagreements", lambda: answers.disagreements(names, _texts(dataset, text_columns))
        )
        or [],
        label_names=names,
        one_network=one_network(latency),
        not_measured=attempt.notes,
    )


def _check_models(models: Mapping[str, object]) -> None:
    for role, model in models.items():
        if not hasattr(model, "config"):  # what wraps a model, such as torch.compile, has it, too
            raise TypeError(
                f"compare measures transformers models, and as {role} it got {type(model).__name__}: load "
                "it first, such as by AutoModelForSequenceClassification.from_pretrained(...)."
            )


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


def _labels(dataset: Dataset) -> np.ndarray:
    for column in ("labels", "label"):
        if column in dataset.column_names:
            return np.asarray(dataset[column])
    raise ValueError(f"compare needs a column label or labels; the rows have {', '.join(dataset.column_names)}.")


def _order(teacher: Any, student: Any) -> slice | list[int]:
    order = label_order(label_names(teacher), label_names(student), teacher.num_labels, student.num_labels)
    return slice(None) if order is None else order


def _size(model: Classifier, student: Classifier) -> Size:
    if isinstance(model, PreTrainedModel):
        return size_of(model)
    assert isinstance(model, OnnxModel) and isinstance(student, PreTrainedModel)
    size = size_of(student)  # the same parameters, in another form
    return Size(size.parameters, size.embedding_parameters, model.path.stat().st_size / 1e6)


def _texts(dataset: Dataset, text_columns: Sequence[str]) -> list[str]:
    return [" | ".join(texts) for texts in zip(*(dataset[name] for name in text_columns), strict=True)]

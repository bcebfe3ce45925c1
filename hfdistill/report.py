"""What a student costs and what it keeps: teacher, student and baseline measured side by side on the same rows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.inference import answer, predict_logits, token_rows
from hfdistill.label_spaces import label_names, label_order

WARM_UP = 5
LATENCY_ROUNDS = 50
THROUGHPUT_BATCH = 32
THROUGHPUT_ROUNDS = 7


@dataclass(frozen=True)
class ModelFigures:
    """One model's column of a comparison.

    Args:
        metrics: The task metrics on the compared rows, by name.
        parameters: The number of its parameters.
        embedding_parameters: Those of them in its embedding tables, which cost memory and next to no time.
        megabytes: What its weights take at the dtype it ran in, in 10⁶ bytes.
        latency_ms: Median milliseconds for one text at a time, on the device it ran on.
        examples_per_second: Texts a second in batches of 32.
        agreement: The share of rows on which it decides as the teacher does; `None` for the teacher.
    """

    metrics: dict[str, float]
    parameters: int
    embedding_parameters: int
    megabytes: float
    latency_ms: float
    examples_per_second: float
    agreement: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Teacher, student and, where there is one, the same student trained without a teacher.

    Args:
        models: The figures by role: `teacher`, `student`, `baseline`.
        rows: How many labelled or unlabelled rows they were measured on.
        split: The name of those rows, such as `test`.
        device: What latency and throughput were measured on.
    """

    models: dict[str, ModelFigures]
    rows: int
    split: str = "test"
    device: str = ""

    @property
    def speedup(self) -> float:
        """How many times faster than the teacher the student answers one text."""
        return self.models["teacher"].latency_ms / self.models["student"].latency_ms

    def results(self) -> dict[str, float]:
        """The figures as one flat dictionary, for `all_results.json`."""
        flat: dict[str, float] = {}
        for role, model in self.models.items():
            flat.update({f"{role}_{name}": value for name, value in model.metrics.items()})
            flat[f"{role}_parameters"] = model.parameters
            flat[f"{role}_latency_ms"] = model.latency_ms
            flat[f"{role}_examples_per_second"] = model.examples_per_second
            if role == "baseline" and model.agreement is not None:
                flat["baseline_agreement"] = model.agreement
        agreement = self.models["student"].agreement
        if agreement is not None:
            flat["agreement"] = agreement
        return {**flat, "speedup": self.speedup, "compared_rows": self.rows}

    def table_rows(self) -> tuple[list[str], list[list[str]]]:
        """The header and a row for each figure, as text."""
        header = [f"{self.rows:,} {self.split} rows", *self.models]
        models = list(self.models.values())
        rows = [[name, *(f"{model.metrics[name]:.4f}" for model in models)] for name in models[0].metrics]
        rows += [
            ["agrees with the teacher", *(_share(model.agreement) for model in models)],
            ["parameters", *(_millions(model.parameters) for model in models)],
            ["  of them embeddings", *(_millions(model.embedding_parameters) for model in models)],
            ["size of the weights", *(f"{model.megabytes:.1f} MB" for model in models)],
            ["latency, one text", *(f"{model.latency_ms:.2f} ms" for model in models)],
            [f"throughput, batch {THROUGHPUT_BATCH}", *(f"{model.examples_per_second:,.0f}/s" for model in models)],
        ]
        return header, rows

    def table(self) -> str:
        """The comparison as aligned text for a terminal."""
        header, rows = self.table_rows()
        widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
        line = "  ".join("-" * width for width in widths)
        return "\n".join([_aligned(header, widths), line, *(_aligned(row, widths) for row in rows)])

    def markdown(self) -> str:
        """The comparison as a Markdown table."""
        header, rows = self.table_rows()
        lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
        return "\n".join("| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines)


def compare(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    dataset: Dataset,
    *,
    processing_class: PreTrainedTokenizerBase,
    compute_metrics: Callable[[EvalPrediction], dict[str, float]],
    baseline: PreTrainedModel | None = None,
    text_columns: Sequence[str] = (),
    teacher_processing_class: PreTrainedTokenizerBase | None = None,
    split: str = "test",
) -> Comparison:
    """Measures the models on the same rows: task metrics, agreement, size and speed.

    Speed is measured on the device each model is on, in turns, so that a machine whose speed drifts does not favour
    one of them.

    Args:
        teacher: The teacher; its labels are put into the student's order by name.
        student: The student.
        dataset: Rows with `label` or `labels`, and text or the token columns that all models share.
        processing_class: The student's tokenizer.
        compute_metrics: As for `Trainer`.
        baseline: The same student trained without the teacher.
        text_columns: The columns of raw text, one or a pair; without them the rows bring their tokens.
        teacher_processing_class: The teacher's tokenizer, when it is another.
        split: What to call the rows.

    Raises:
        ValueError: when the rows have no labels, or teacher and student answer different questions.
    """
    labels = _labels(dataset)
    models = {"teacher": teacher, "student": student, **({} if baseline is None else {"baseline": baseline})}
    tokenizers = dict.fromkeys(models, processing_class) | {"teacher": teacher_processing_class or processing_class}
    rows = {role: token_rows(model, tokenizers[role], dataset, text_columns) for role, model in models.items()}
    logits = {
        role: predict_logits(model, tokenizers[role], rows[role], description=f"Asking the {role}")
        for role, model in models.items()
    }
    logits["teacher"] = logits["teacher"][:, _order(teacher.config, student.config)]
    asks = {role: _Asks(models[role], tokenizers[role], rows[role]) for role in models}
    latency, throughput = _latency_ms(asks), _throughput(asks)
    problem_type = student.config.problem_type
    figures = {
        role: ModelFigures(
            metrics=compute_metrics(EvalPrediction(predictions=logits[role], label_ids=labels)),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            embedding_parameters=embedding_parameters(model),
            megabytes=sum(weight.numel() * weight.element_size() for weight in model.parameters()) / 1e6,
            latency_ms=latency[role],
            examples_per_second=throughput[role],
            agreement=None if role == "teacher" else _agreement(logits[role], logits["teacher"], problem_type),
        )
        for role, model in models.items()
    }
    return Comparison(figures, len(labels), split, device_name(student))


def _labels(dataset: Dataset) -> np.ndarray:
    for column in ("labels", "label"):
        if column in dataset.column_names:
            return np.asarray(dataset[column])
    raise ValueError(f"compare needs a column label or labels; the rows have {', '.join(dataset.column_names)}.")


def _order(teacher: Any, student: Any) -> slice | list[int]:
    order = label_order(label_names(teacher), label_names(student), teacher.num_labels, student.num_labels)
    return slice(None) if order is None else order


def embedding_parameters(model: PreTrainedModel) -> int:
    """The parameters in a model's embedding tables, those of tables that share their weight once."""
    tables = {module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    return sum(table.numel() for table in tables)


def _agreement(mine: np.ndarray, theirs: np.ndarray, problem_type: str | None) -> float | None:
    if problem_type == "regression" or mine.shape[-1] == 1:
        return None
    if problem_type == "multi_label_classification":
        return float(((mine > 0) == (theirs > 0)).mean())
    return float((mine.argmax(-1) == theirs.argmax(-1)).mean())


@dataclass(frozen=True)
class _Asks:
    """A model to be timed, and the rows to time it on."""

    model: PreTrainedModel
    processing_class: PreTrainedTokenizerBase
    rows: Sequence[dict[str, list[int]]]

    def seconds(self, start: int, count: int) -> float:
        batch = [self.rows[index % len(self.rows)] for index in range(start, start + count)]
        began = time.perf_counter()
        answer(self.model, self.processing_class, batch)  # ends on the CPU, so the device has finished
        return time.perf_counter() - began


def _latency_ms(asks: Mapping[str, _Asks]) -> dict[str, float]:
    """Median milliseconds for one row, the models in turns on the same rows."""
    times: dict[str, list[float]] = {role: [] for role in asks}
    for row in range(-WARM_UP, LATENCY_ROUNDS):
        for role, ask in asks.items():
            seconds = ask.seconds(abs(row), 1)
            if row >= 0:
                times[role].append(1000 * seconds)
    return {role: statistics.median(seconds) for role, seconds in times.items()}


def _throughput(asks: Mapping[str, _Asks]) -> dict[str, float]:
    """Rows a second in batches of rows as they come, the models in turns, the median of a few batches."""
    times: dict[str, list[float]] = {role: [] for role in asks}
    for turn in range(THROUGHPUT_ROUNDS):
        for role, ask in asks.items():
            times[role].append(ask.seconds(turn * THROUGHPUT_BATCH, THROUGHPUT_BATCH))
    return {role: THROUGHPUT_BATCH / statistics.median(seconds) for role, seconds in times.items()}


def device_name(model: PreTrainedModel) -> str:
    """What a model runs on."""
    if model.device.type == "cuda":
        return torch.cuda.get_device_name(model.device)
    threads = torch.get_num_threads()
    return f"{model.device.type}, {threads} thread{'s' if threads > 1 else ''}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _millions(value: int) -> str:
    return f"{value / 1e6:.2f} M"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])

"""What a comparison found, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from hfdistill.report.examples import Disagreement, DoubtedLabels
from hfdistill.report.markdown import markdown_table
from hfdistill.report.quality import Calibration, PairedTest, Slice
from hfdistill.report.routing import Routing
from hfdistill.report.tables import figure_row, fitting_table, spread_row, text_table
from hfdistill.report.timing import THROUGHPUT_BATCH

TRAINED_ROLES = ("teacher", "student", "baseline")
#: Metrics as people write them; any other is written as it is called.
METRIC_NAMES = {
    **{"bleu": "BLEU", "chrf": "chrF", "f1": "F1", "f1_macro": "macro F1"},
    **{"matthews_correlation": "Matthews correlation", "pearson": "Pearson correlation"},
    **{"spearmanr": "Spearman correlation", "spearman": "Spearman correlation", "mse": "mean squared error"},
    "f1_micro": "micro F1",
}
PEAK, OPERATIONS, DIVERGENCE = f"peak memory, batch {THROUGHPUT_BATCH}", "operations, one text", "KL from the teacher"
#: Rows of the table that are left out where there is room for few.
_DETAILS = {PEAK, OPERATIONS, DIVERGENCE}
#: The columns of a terminal.
WIDTH = 80


@dataclass(frozen=True)
class ModelFigures:
    """One model's column of a comparison. What cannot be measured of a model is `None`.

    Args:
        metrics: The task metrics on the compared rows, by name.
        parameters: The number of its parameters.
        embedding_parameters: Those of them in its embedding tables, which cost memory and next to no time.
        megabytes: What its weights take at the dtype it ran in, in 10⁶ bytes; of an exported model its file.
        latency_ms: Median milliseconds for one text at a time, on the device it ran on.
        examples_per_second: Median texts a second in batches of 32.
        agreement: The share of rows on which it decides as the teacher does; `None` for the teacher.
        intervals: The 95 % interval of each metric over resampled rows (bootstrap).
        latency_p95_ms: The 95th percentile of the same milliseconds.
        divergence: Mean KL(teacher ‖ model) in nats.
        calibration: Whether it is right as often as it is sure, for single labels.
        megaflops: 10⁶ floating-point operations for a text of median length.
        peak_megabytes: The most memory that weights and tensors take at once in a batch of 32, in 10⁶ bytes.
        latency_quartiles_ms: Between which half of the milliseconds lie.
        examples_per_second_quartiles: Between which half of the batches' speeds lie.
        speedup_quartiles: Between which half of the texts' speedups over the teacher lie.
        probe_accuracy: The share of labeled texts whose label is found by an encoder's frozen features.
        engine: What runs an exported model, such as `ONNX Runtime`; empty for PyTorch.
    """

    metrics: dict[str, float]
    parameters: int
    embedding_parameters: int
    megabytes: float
    latency_ms: float
    examples_per_second: float
    agreement: float | None = None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    latency_p95_ms: float | None = None
    divergence: float | None = None
    calibration: Calibration | None = None
    megaflops: float | None = None
    peak_megabytes: float | None = None
    latency_quartiles_ms: tuple[float, float] | None = None
    examples_per_second_quartiles: tuple[float, float] | None = None
    speedup_quartiles: tuple[float, float] | None = None
    probe_accuracy: float | None = None
    engine: str = ""


@dataclass(frozen=True)
class Comparison:
    """Teacher, student and, where there is one, the same student trained without a teacher.

    Args:
        models: The figures by role: `teacher`, `student`, `baseline`, and the formats of an exported student.
        rows: How many labeled or unlabeled rows they were measured on.
        split: The name of those rows, such as `test`.
        device: What latency and throughput were measured on.
        paired: Student against baseline, row by row.
        classes: The score in each class: by default the share of correct predictions.
        lengths: The same of short and long texts.
        disagreements: The rows on which teacher and student differ most, the worst first.
        confusion: How often the teacher decides for a class (row) and the student for another (column).
        label_names: The names of the classes, in the order of `confusion`.
        one_network: Which models have the same speed, for they are one network, which was measured once.
        not_measured: Sentences in Markdown on what could not be measured.
        taught: Whether the student learned from the model in the teacher's column.
        score: What the scores of `classes` and `lengths` are.
        scored: Of what they are.
        routing: What comes of passing on to the teacher what the student is not sure of.
        doubted_labels: The labels that the teacher contradicts.
    """

    #: What the main metric is multiplied by to give points of a hundred.
    points: ClassVar[float] = 100.0

    models: dict[str, ModelFigures]
    rows: int
    split: str = "test"
    device: str = ""
    paired: PairedTest | None = None
    classes: list[Slice] = field(default_factory=list)
    lengths: list[Slice] = field(default_factory=list)
    disagreements: list[Disagreement] = field(default_factory=list)
    confusion: np.ndarray | None = None
    label_names: list[str] = field(default_factory=list)
    one_network: Sequence[Sequence[str]] = ()
    not_measured: Sequence[str] = ()
    taught: bool = True
    score: str = "correct predictions"
    scored: str = "rows"
    routing: Routing | None = None
    doubted_labels: DoubtedLabels | None = None

    @property
    def speedup(self) -> float:
        """How many times faster than the teacher the student is on one text."""
        return self.models["teacher"].latency_ms / self.models["student"].latency_ms

    @property
    def main_metric(self) -> str:
        """The metric that stands for all, which is the first one; empty where there is none."""
        return next(iter(self.models["student"].metrics), "")

    def examples(self) -> list[dict[str, str]]:
        """Texts on which teacher and student differ, the worst first: `text`, `label` and what each predicts."""
        return [{"text": one.text, **one.predictions} for one in self.disagreements]

    def results(self) -> dict[str, float]:
        """The figures as one flat dictionary, for `all_results.json`."""
        flat = {f"{role}_{name}": value for role, model in self.models.items() for name, value in _flat(model).items()}
        for role in [role for role in self.models if role not in ("teacher", "student")]:
            flat[f"{role}_speedup"] = self.models["teacher"].latency_ms / self.models[role].latency_ms
        for name in [name for name in flat if name.startswith("student_speedup")]:
            flat[name.removeprefix("student_")] = flat.pop(name)
        if "student_agreement" in flat:
            flat["agreement"] = flat.pop("student_agreement")
        if self.paired is not None:
            flat["paired_p_value"] = self.paired.p_value
        if self.doubted_labels is not None:
            flat["doubted_labels"] = self.doubted_labels.count
        flat |= self._routing_results()
        return {**flat, "speedup": self.speedup, "compared_rows": self.rows}

    def routed_cost(self, share: float) -> tuple[float, float | None]:
        """Mean milliseconds and 10⁶ operations of a text, where the student reads all and the teacher a share."""
        student, teacher = self.models["student"], self.models["teacher"]
        counted = student.megaflops is not None and teacher.megaflops is not None
        operations = student.megaflops + share * teacher.megaflops if counted else None  # type: ignore[operator]
        return student.latency_ms + share * teacher.latency_ms, operations

    def _routing_results(self) -> dict[str, float]:
        """The curve at each tenth of the rows, and what comes of the threshold that was chosen."""
        if self.routing is None:
            return {}
        metric, choice = self.routing.metric, self.routing.choice
        flat = {f"routing_{metric}_at_{10 * tenth}": self.routing.at(tenth / 10).metric for tenth in range(11)}
        if choice is not None:
            latency, operations = self.routed_cost(choice.measured.share)
            flat |= {"routing_threshold": choice.chosen.threshold, "routing_share": choice.measured.share}
            flat |= {f"routing_{metric}": choice.measured.metric, "routing_latency_ms": latency}
            flat |= {} if operations is None else {"routing_megaflops": operations}
        return flat

    def table_rows(self) -> tuple[list[str], list[list[str]]]:
        """The header and a row for each figure, as text."""
        return self.header, _model_rows(list(self.models.values()))

    @property
    def header(self) -> list[str]:
        """What stands above the columns: the rows that were measured on, and the models."""
        return [f"{self.rows:,} {self.split} rows", *self.models]

    def summary_rows(self) -> tuple[list[str], list[list[str]]]:
        """The header and at most a dozen rows: without spreads, but for the interval of the main metric."""
        header, rows = self.table_rows()
        interval = [row for row in rows[1:2] if row[0].startswith(" ")]
        rest = [row for row in rows[1:] if not row[0].startswith(" ") and row[0] not in _DETAILS]
        return header, [*rows[:1], *interval, *rest][:12]

    def brief_rows(self) -> tuple[list[str], list[list[str]]]:
        """The header and the five rows that a reader looks for first; intervals stand beside the metric."""
        models = list(self.models.values())
        quality = [self._with_interval(model) for model in models]
        parameters, _, size = size_rows(models)
        rows = [
            [metric_name(self.main_metric), *quality],
            figure_row("agrees with the teacher", models, "agreement", "{:.1f} %", 100),
            parameters,
            size,
            figure_row("latency, one text", models, "latency_ms", "{:.2f} ms"),
        ]
        return self.header, [row for row in rows if any(row[1:])]

    def _with_interval(self, model: ModelFigures) -> str:
        """The main metric of a model, such as `0.8670 (0.846 to 0.886)`."""
        if self.main_metric not in model.metrics:
            return ""
        digits = 1 if self.points == 1 else 3
        interval = model.intervals.get(self.main_metric)
        value = f"{model.metrics[self.main_metric]:.{digits if digits == 1 else 4}f}"
        return value if interval is None else f"{value} ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})"

    def table(self) -> str:
        """The comparison as aligned text, all of it."""
        return text_table(*self.table_rows())

    def summary(self) -> str:
        """Its most important rows as aligned text for a terminal, as wide as that is."""
        return fitting_table(*self.summary_rows(), WIDTH)

    __str__ = table

    def markdown(self) -> str:
        """The comparison as a Markdown table."""
        return markdown_table(*self.table_rows())

    def _repr_markdown_(self) -> str:
        """What a notebook shows: the rows of the summary."""
        return markdown_table(*self.summary_rows())


def metric_name(metric: str) -> str:
    """A metric as people write it."""
    return METRIC_NAMES.get(metric, metric)


def _model_rows(models: Sequence[ModelFigures]) -> list[list[str]]:
    """A row for each figure that any of the models has."""
    calibrations = [model.calibration for model in models]
    rows: list[list[str]] = []
    for metric in models[0].metrics:
        rows.append([metric, *(f"{model.metrics[metric]:.4f}" for model in models)])
        intervals = [model.intervals.get(metric) for model in models]
        rows.append(["  95 % interval", *("" if one is None else f"{one[0]:.3f} to {one[1]:.3f}" for one in intervals)])
    rows += [
        figure_row("probe accuracy", models, "probe_accuracy", "{:.4f}"),
        figure_row("agrees with the teacher", models, "agreement", "{:.1f} %", 100),
        figure_row(DIVERGENCE, models, "divergence", "{:.4f}"),
        figure_row("calibration error", calibrations, "error", "{:.1f} %", 100),
        figure_row("  after temperature scaling", calibrations, "scaled_error", "{:.1f} %", 100),
        figure_row("  with the temperature", calibrations, "temperature", "{:.2f}"),
        *size_rows(models),
        figure_row(PEAK, models, "peak_megabytes", "{:.1f} MB"),
        figure_row(OPERATIONS, models, "megaflops", "{:,.0f} MFLOPs"),
        figure_row("latency, one text", models, "latency_ms", "{:.2f} ms"),
        spread_row(models, "latency_quartiles_ms", ".2f", " ms"),
        figure_row("  95th percentile", models, "latency_p95_ms", "{:.2f} ms"),
        figure_row(f"throughput, batch {THROUGHPUT_BATCH}", models, "examples_per_second", "{:,.0f}/s"),
        spread_row(models, "examples_per_second_quartiles", ",.0f", "/s"),
    ]
    return [cells for cells in rows if any(cells[1:])]


def size_rows(models: Sequence[ModelFigures]) -> list[list[str]]:
    """A row each for parameters, embeddings and the size of the weights."""
    return [
        figure_row("parameters", models, "parameters", "{:.2f} M", 1e-6),
        figure_row("  of them embeddings", models, "embedding_parameters", "{:.2f} M", 1e-6),
        figure_row("size of the weights", models, "megabytes", "{:.1f} MB"),
    ]


def _flat(model: ModelFigures) -> dict[str, float]:
    calibration = model.calibration
    measured = {
        "parameters": model.parameters,
        "megabytes": model.megabytes,
        "latency_ms": model.latency_ms,
        "latency_p95_ms": model.latency_p95_ms,
        "examples_per_second": model.examples_per_second,
        "agreement": model.agreement,
        "probe_accuracy": model.probe_accuracy,
        "divergence": model.divergence,
        "calibration_error": None if calibration is None else calibration.error,
        "megaflops": model.megaflops,
        "peak_megabytes": model.peak_megabytes,
    }
    spreads = {
        "latency_ms": model.latency_quartiles_ms,
        "examples_per_second": model.examples_per_second_quartiles,
        "speedup": model.speedup_quartiles,
    }
    measured |= quartile_figures(spreads)
    return {**model.metrics, **{name: value for name, value in measured.items() if value is not None}}


def quartile_figures(spreads: Mapping[str, tuple[float, float] | None]) -> dict[str, float]:
    """The quartiles of what was measured, where they are known, as figures of names of their own."""
    return {
        f"{name}_{quartile}": value
        for name, spread in spreads.items()
        for quartile, value in zip(("q1", "q3"), spread or (), strict=False)
    }

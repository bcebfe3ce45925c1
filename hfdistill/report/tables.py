"""A comparison as a table for a terminal, and as Markdown for the report and the card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hfdistill.report.attempts import Attempts
from hfdistill.report.cost import THROUGHPUT_BATCH
from hfdistill.report.markdown import escaped, markdown_table
from hfdistill.report.quality import Slice

if TYPE_CHECKING:
    from hfdistill.report.figures import Comparison, Disagreement, ModelFigures

#: A text is cut to this length where it stands as an example.
EXAMPLE_LENGTH = 300


def model_rows(models: Sequence[ModelFigures]) -> list[list[str]]:
    """A row for each figure that any of the models has: its name, and the models' values as text."""

    def row(name: str, value: Callable[[ModelFigures], Any], shape: str) -> list[str]:
        return [name, *("" if value(model) is None else shape.format(value(model)) for model in models)]

    def calibration(name: str) -> Callable[[ModelFigures], Any]:
        return lambda model: getattr(model.calibration, name, None)

    rows: list[list[str]] = []
    for metric in models[0].metrics:
        rows.append([metric, *(f"{model.metrics[metric]:.4f}" for model in models)])
        rows.append(["  95 % interval", *(_interval(model, metric) for model in models)])
    rows += [
        row("agrees with the teacher", lambda model: _percent(model.agreement), "{:.1f} %"),
        row("KL from the teacher", lambda model: model.divergence, "{:.4f}"),
        row("calibration error", lambda model: _percent(calibration("error")(model)), "{:.1f} %"),
        row("  after temperature scaling", lambda model: _percent(calibration("scaled_error")(model)), "{:.1f} %"),
        row("  with the temperature", calibration("temperature"), "{:.2f}"),
        row("parameters", lambda model: model.parameters / 1e6, "{:.2f} M"),
        row("  of them embeddings", lambda model: model.embedding_parameters / 1e6, "{:.2f} M"),
        row("size of the weights", lambda model: model.megabytes, "{:.1f} MB"),
        row("peak memory, batch 32", lambda model: model.peak_megabytes, "{:.1f} MB"),
        row("operations, one text", lambda model: model.megaflops, "{:,.0f} MFLOPs"),
        row("latency, one text", lambda model: model.latency_ms, "{:.2f} ms"),
        spread_row([model.latency_quartiles_ms for model in models], ".2f", " ms"),
        row("  95th percentile", lambda model: model.latency_p95_ms, "{:.2f} ms"),
        row(f"throughput, batch {THROUGHPUT_BATCH}", lambda model: model.examples_per_second, "{:,.0f}/s"),
        spread_row([model.examples_per_second_quartiles for model in models], ",.0f", "/s"),
    ]
    return [cells for cells in rows if any(cells[1:])]


def spread_row(quartiles: Sequence[tuple[float, float] | None], shape: str, unit: str) -> list[str]:
    """Between which values half of what was measured of each model lies."""
    return [
        "  half of them",
        *("" if one is None else f"{one[0]:{shape}} to {one[1]:{shape}}{unit}" for one in quartiles),
    ]


def speed_sentence(comparison: Comparison) -> str:
    """What speed was measured on and how."""
    once = "".join(f" As one network were measured: {escaped(', '.join(names))}." for names in comparison.one_network)
    device = escaped(comparison.device)
    return f"Speed was measured on {device}, the models in turns after a warm-up; medians are told.{once}"


def text_table(header: list[str], rows: list[list[str]]) -> str:
    """Aligned columns, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    line = "  ".join("-" * width for width in widths)
    return "\n".join([_aligned(header, widths), line, *(_aligned(row, widths) for row in rows)])


def findings(comparison: Comparison, attempt: Attempts | None = None) -> list[str]:
    """What the table does not show, as paragraphs of Markdown: the paired test, where the models differ, examples.

    Args:
        comparison: The measured models.
        attempt: Where a section that fails is noted.
    """
    attempt = attempt or Attempts()
    parts = [attempt("the paired test", partial(_paired_sentence, comparison))]
    for title, slices in (("By class", comparison.classes), ("By length", comparison.lengths)):
        if slices and (table := attempt(f"the section “{title}”", partial(_slices_table, title, slices))):
            parts += [f"## {title}", table]
    title = "Where teacher and student differ most"
    examples = comparison.disagreements
    if examples and (table := attempt(f"the section “{title}”", partial(_examples, examples))):
        parts += [f"## {title}", table]
    return [part for part in parts if part]


def _paired_sentence(comparison: Comparison) -> str:
    paired = comparison.paired
    if paired is None:
        return ""
    return (
        f"Student against baseline, row by row: the student does better on {paired.better:,} rows and worse on "
        f"{paired.worse:,} (p = {paired.p_value:.2g}). This speaks of these rows and these two runs; other seeds would "
        "differ by more."
    )


def _slices_table(title: str, slices: Sequence[Slice]) -> str:
    roles = list(slices[0].scores)
    rows = [[part.name, f"{part.rows:,}", *(f"{100 * part.scores[role]:.1f} %" for role in roles)] for part in slices]
    return markdown_table([f"Correct predictions {title.lower()}", "rows", *roles], rows)


def _examples(disagreements: Sequence[Disagreement]) -> str:
    roles = list(disagreements[0].predictions)
    rows = [[_short(one.text), *(_short(one.predictions[role]) for role in roles)] for one in disagreements]
    return markdown_table(["text", *roles], rows, align="---")


def _short(text: str) -> str:
    return text if len(text) <= EXAMPLE_LENGTH else text[:EXAMPLE_LENGTH] + "…"


def _interval(model: ModelFigures, metric: str) -> str:
    if metric not in model.intervals:
        return ""
    low, high = model.intervals[metric]
    return f"{low:.3f} to {high:.3f}"


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])

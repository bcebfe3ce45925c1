"""What a run leaves beside its student: `all_results.json`, and `report/` with its page and pictures."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hfdistill.report.failures import Attempts
from hfdistill.report.figures import Comparison
from hfdistill.report.findings import findings, speed_sentence
from hfdistill.report.markdown import escaped
from hfdistill.report.page import report_page
from hfdistill.report.plots import plot_confusion, plot_losses, plot_reliability, plot_routing, plot_tradeoff
from hfdistill.report.verdict import verdict

RESULTS = "all_results.json"
#: The picture that the card shows, too.
TRADE_OFF, TRADE_OFF_CAPTION = "report/tradeoff.png", "what the student gives up for its speed and size"


def write_report(
    folder: str | os.PathLike[str],
    comparison: Comparison,
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    notes: Sequence[str] = (),
    advice: str = "",
) -> list[str]:
    """Leaves `all_results.json` and `report/` with `report.html`, `report.md` and plots in the folder of a run.

    A picture or a section that fails is left out, with a warning and a line in the report.

    Args:
        folder: The folder.
        comparison: The measured models.
        histories: By name of a run, such as `student`, its `trainer.state.log_history`.
        notes: Sentences for the report in Markdown, each a paragraph; what is quoted in them is `escaped`.
        advice: What to try first, in plain text.

    Returns:
        The lines in the report on what failed.
    """
    report = Path(folder) / "report"
    report.mkdir(parents=True, exist_ok=True)
    # JSON knows no NaN, which a correlation with a constant is.
    figures = {name: value if math.isfinite(value) else None for name, value in comparison.results().items()}
    results = json.dumps(figures, indent=2, sort_keys=True, allow_nan=False)
    (Path(folder) / RESULTS).write_text(results + "\n", encoding="utf-8")
    attempt = Attempts()
    pictures = _save_pictures(comparison, histories, report, attempt)
    found = findings(comparison, attempt)
    text = "\n\n".join(
        [
            "# What the student keeps, and what it costs",
            *(escaped(sentences) for sentences in (verdict(comparison), advice) if sentences),
            comparison.markdown(),
            f"{speed_sentence(comparison)} Size is that of the weights at the dtype they ran in.",
            *notes,
            *comparison.not_measured,
            *attempt.notes,
            *found,
            "## Pictures",
            *(f"![{escaped(caption)}]({quote(name)})" for name, caption in pictures.items()),
        ]
    )
    (report / "report.md").write_text(text + "\n", encoding="utf-8")
    told, shown = [*notes, *attempt.notes], {report / name: caption for name, caption in pictures.items()}
    page = attempt("the page report.html", partial(report_page, comparison, shown, told, advice))
    if page is not None:
        (report / "report.html").write_text(page, encoding="utf-8")
    return attempt.notes


def _save_pictures(
    comparison: Comparison,
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    report: Path,
    attempt: Attempts,
) -> dict[str, str]:
    """Saves the pictures that there is something to show in; their captions by file name."""
    metric = comparison.main_metric
    # With its caption, whether there is anything to draw, and how.
    pictures: dict[str, tuple[str, object, Callable[[Path], None]]] = {
        "tradeoff.png": (TRADE_OFF_CAPTION, metric, partial(plot_tradeoff, comparison, metric)),
        # Nothing was trained where finished models are compared.
        "losses.png": ("losses over the steps", any(histories.values()), partial(plot_losses, histories)),
        "reliability.png": (
            "share of correct predictions against confidence",
            comparison.models["student"].calibration is not None,
            partial(plot_reliability, comparison),
        ),
        "confusion.png": (
            "where the student decides otherwise than its teacher",
            comparison.confusion is not None and comparison.confusion.sum() > comparison.confusion.trace(),
            partial(plot_confusion, comparison),
        ),
        "routing.png": (
            "student and teacher together",
            comparison.routing is not None,
            partial(plot_routing, comparison),
        ),
    }
    captions: dict[str, str] = {}
    for name, (caption, there, draw) in pictures.items():
        failed = len(attempt.notes)
        if there:
            attempt(f"the picture {name}", partial(draw, report / name))
            captions |= {name: caption} if len(attempt.notes) == failed else {}
    searched = {path.name: path.stem.replace("_", " ") for path in sorted(report.glob("search_*.png"))}
    return {**captions, **searched}

"""What a comparison's table does not show, as Markdown for the report and the card."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hfdistill.report.examples import Disagreement
from hfdistill.report.failures import Attempts
from hfdistill.report.figures import Comparison, metric_name
from hfdistill.report.markdown import escaped, markdown_table
from hfdistill.report.quality import Slice

#: A text is cut to this length where it stands as an example.
EXAMPLE_LENGTH = 300
#: How many stand on a page that cannot be searched; `report.html` has all of them.
EXAMPLES = 10
#: The shares of texts passed on that a table shows.
ROUTED_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


def speed_sentence(comparison: Comparison) -> str:
    """The device that speed was measured on, how, and which models were measured as one."""
    once = "".join(
        f" Of one architecture, and so measured once: {escaped(', '.join(names))}." for names in comparison.one_network
    )
    device = escaped(comparison.device)
    return f"Speed was measured on {device}, the models in turns after a warm-up; medians are given.{once}"


def findings(comparison: Comparison, attempt: Attempts | None = None) -> list[str]:
    """What the table does not show, as paragraphs of Markdown: the paired test, where the models differ, examples.

    Args:
        comparison: The measured models.
        attempt: Where a section that fails is noted.
    """
    attempt = attempt or Attempts()
    parts = [attempt("the paired test", partial(paired_sentence, comparison))]
    for title, slices in (("By class", comparison.classes), ("By length", comparison.lengths)):
        if slices and (table := attempt(f"the section “{title}”", partial(_slices_table, comparison, title, slices))):
            parts += [f"## {title}", table]
    for title, make in (("Both together", routing_part), ("Labels to check", doubted_part)):
        if part := attempt(f"the section “{title}”", partial(make, comparison)):
            parts += [f"## {title}", part]
    title = "Where teacher and student differ most"
    examples = comparison.disagreements
    if examples and (table := attempt(f"the section “{title}”", partial(_examples, examples[:EXAMPLES]))):
        parts += [f"## {title}", table]
    return [part for part in parts if part]


def paired_sentence(comparison: Comparison) -> str:
    """Whether student and baseline differ beyond chance; empty where that was not tested."""
    paired = comparison.paired
    if paired is None:
        return ""
    found = f"p = {paired.p_value:.2g} by paired bootstrap over the rows"
    if paired.better is not None and paired.worse is not None:
        rows = f"the student does better on {paired.better:,} rows and worse on {paired.worse:,}"
        found = f"row by row, {rows} (p = {paired.p_value:.2g})"
    return (
        f"Student against baseline: {found}. This speaks of these rows and these two runs; other seeds would differ "
        "by more."
    )


# ---- The teacher for what the student is not sure of ----


def routing_part(comparison: Comparison) -> str:
    """The curve as a table, and what comes of the threshold that was chosen; empty where there is none."""
    if comparison.routing is None:
        return ""
    return f"{markdown_table(*routing_rows(comparison))}\n\n{escaped(routing_sentence(comparison))}"


def routing_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """The header, and for some shares of texts that are passed on the metric and the cost of a text."""
    routing = comparison.routing
    assert routing is not None
    rows = []
    for point in dict.fromkeys(routing.at(share) for share in ROUTED_SHARES):
        latency, operations = comparison.routed_cost(point.share)
        told = "" if operations is None else f"{operations:,.0f} MFLOPs"
        rows.append([f"{100 * point.share:.1f} %", f"{point.metric:.4f}", f"{latency:.2f} ms", told])
    return ["passed on to the teacher", metric_name(routing.metric), "latency, a text on average", "operations"], rows


def routing_sentence(comparison: Comparison) -> str:
    """Which texts are passed on, and what that gives, in plain text."""
    routing = comparison.routing
    assert routing is not None
    name, choice = metric_name(routing.metric), routing.choice
    if choice is None:
        return (
            "The student answers where it is sure, and passes on to its teacher what it is least sure of. No threshold "
            "is chosen: that takes labeled rows that nothing is measured on (validation rows beside test rows)."
        )
    points, chosen, measured = f"{100 * choice.tolerance:g} points", choice.chosen, choice.measured
    if chosen.share == 1:
        return f"On the validation rows only passing on every text keeps {name} within {points} of the teacher's."
    goal = f"the smallest share that keeps {name} within {points} of the teacher's"
    if not choice.kept:
        goal = (
            f"the best {name} with at most {100 * choice.max_share:g} % of them, more than {points} below the teacher's"
        )
    which = (
        "No text needs to be passed on"
        if chosen.share == 0
        else (f"Texts of which the student is less than {chosen.threshold:.6g} sure go to the teacher")
    )
    interval = "" if choice.interval is None else f" ({choice.interval[0]:.3f} to {choice.interval[1]:.3f})"
    latency, _ = comparison.routed_cost(measured.share)
    alone = comparison.models["teacher"].latency_ms
    dearer = " Both together are slower than the teacher alone: for so small a loss this student does not pay."
    return (
        f"{which}, as chosen on the validation rows: {goal} there, {100 * chosen.share:.1f} %. On the "
        f"{comparison.split} rows that is {100 * measured.share:.1f} % of the texts and gives {name} "
        f"{measured.metric:.4f}{interval}; the teacher has "
        f"{routing.curve[-1].metric:.4f}, in {latency:.2f} ms a text in place of the teacher's "
        f"{alone:.2f}.{dearer if latency > alone else ''}"
    )


# ---- Labels that the teacher contradicts ----


def doubted_part(comparison: Comparison) -> str:
    """The first rows and a sentence; empty where no label is in doubt."""
    doubted = comparison.doubted_labels
    if doubted is None or not doubted.rows:
        return ""
    return f"{doubted_sentence(comparison)}\n\n{_examples(doubted.rows[:EXAMPLES])}"


def doubted_sentence(comparison: Comparison) -> str:
    """How many labels are in doubt, in Markdown."""
    doubted = comparison.doubted_labels
    assert doubted is not None
    return (
        f"Of {doubted.labeled:,} labels the teacher contradicts {doubted.count:,}: it is as sure of another as in rows "
        "that have that label (confident learning). Some of them may be wrong, and with them the figures above. "
        "`hfdistill review` writes such rows down for a person to correct."
    )


def _slices_table(comparison: Comparison, title: str, slices: Sequence[Slice]) -> str:
    roles, score = list(slices[0].scores), comparison.score[:1].upper() + comparison.score[1:]
    rows = [[part.name, f"{part.rows:,}", *(f"{100 * part.scores[role]:.1f} %" for role in roles)] for part in slices]
    return markdown_table([f"{score} {title.lower()}", comparison.scored, *roles], rows)


def _examples(disagreements: Sequence[Disagreement]) -> str:
    roles = list(disagreements[0].predictions)
    rows = [[_short(one.text), *(_short(one.predictions[role]) for role in roles)] for one in disagreements]
    return markdown_table(["text", *roles], rows, align="---")


def _short(text: str) -> str:
    return text if len(text) <= EXAMPLE_LENGTH else text[:EXAMPLE_LENGTH] + "…"

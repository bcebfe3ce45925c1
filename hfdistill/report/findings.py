"""What a comparison's table does not show, as Markdown for the report and the card."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hfdistill.report.failures import Attempts
from hfdistill.report.figures import Comparison, Disagreement
from hfdistill.report.markdown import escaped, markdown_table
from hfdistill.report.quality import Slice

#: A text is cut to this length where it stands as an example.
EXAMPLE_LENGTH = 300
#: How many stand on a page that cannot be searched; `report.html` has all of them.
EXAMPLES = 10


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

"""The report as one page of HTML that needs nothing beside it: verdict, figures, pictures, texts to sort and filter."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from html import escape
from pathlib import Path

from hfdistill.report.figures import Comparison
from hfdistill.report.findings import (
    doubted_sentence,
    paired_sentence,
    routing_rows,
    routing_sentence,
    speed_sentence,
)
from hfdistill.report.markdown import inline_html, one_line
from hfdistill.report.plots import model_colors
from hfdistill.report.quality import Slice
from hfdistill.report.verdict import verdict

TEMPLATE = Path(__file__).with_name("page.html")
TITLE = "What the student keeps, and what it costs"
#: Texts are cut to this length.
TEXT_LENGTH = 2000
#: Pictures of more pixels than these could not be read on a phone if they were as wide as that.
WIDE = 800
#: Labels in doubt that are shown.
DOUBTED = 20


def report_page(
    comparison: Comparison, pictures: Mapping[Path, str], notes: Sequence[str] = (), advice: str = ""
) -> str:
    """The page.

    Args:
        comparison: The measured models.
        pictures: The caption of each PNG.
        notes: Paragraphs of Markdown.
        advice: What to try first, in plain text.
    """
    told = [speed_sentence(comparison), *notes, *comparison.not_measured]
    parts = {
        "title": TITLE,
        "verdict": _html(verdict(comparison)),
        "advice": f'<p class="advice">{_html(advice)}</p>' if advice else "",
        "brief": _figures(comparison, *comparison.brief_rows()),
        "notes": "".join(f'<p class="note">{inline_html(note)}</p>' for note in told),
        "pictures": "".join(_picture(path, caption) for path, caption in pictures.items()),
        "findings": _findings(comparison),
        "examples": _examples(comparison),
        "figures": _figures(comparison, *comparison.table_rows()),
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    # In one pass: what a text holds is not looked at again.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _html(text: str) -> str:
    """Anybody's text, in one line."""
    return escape(one_line(text))


def _picture(path: Path, caption: str) -> str:
    content = path.read_bytes()
    data = base64.b64encode(content).decode("ascii")
    alt = _html(caption)
    wide = ' class="wide"' if int.from_bytes(content[16:20], "big") > WIDE else ""  # where a PNG has its width
    image = f'<img{wide} alt="{alt}" src="data:image/png;base64,{data}">'
    return f'<figure><figcaption>{alt}</figcaption><div class="scroll">{image}</div></figure>'


def _figures(comparison: Comparison, header: list[str], rows: list[list[str]]) -> str:
    """A table with a column for each model, in its color."""
    colors = model_colors(comparison.models)
    dots = [
        f'<span class="dot" style="background: {colors[name]}"></span>' if name in colors else "" for name in header
    ]
    head = [dot + _html(name) for dot, name in zip(dots, header, strict=True)]
    kinds = [' class="detail"' if row[0].startswith(" ") else "" for row in rows]
    # An interval stands below its figure: beside it, five models would be wider than a page.
    cells = [[_html(name), *(_html(cell).replace(" (", "<br>(") for cell in row)] for name, *row in rows]
    return _table(head, cells, kinds)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str] = ()) -> str:
    body = "".join(
        f"<tr{kind}>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
        for row, kind in zip(rows, kinds or [""] * len(rows), strict=True)
    )
    top = "".join(f"<th>{cell}</th>" for cell in head)
    return (
        f'<div class="scroll"><table class="figures"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _findings(comparison: Comparison) -> str:
    paired = paired_sentence(comparison)
    sections = [f"<p>{inline_html(paired)}</p>"] if paired else []
    for title, slices in (("By class", comparison.classes), ("By length", comparison.lengths)):
        if slices:
            sections.append(f"<h2>{title}</h2>{_slices(comparison, slices)}")
    return "".join([*sections, _routing(comparison), _doubted(comparison)])


def _routing(comparison: Comparison) -> str:
    if comparison.routing is None:
        return ""
    header, rows = routing_rows(comparison)
    table = _table(list(map(_html, header)), [list(map(_html, row)) for row in rows])
    return f"<h2>Both together</h2>{table}<p>{_html(routing_sentence(comparison))}</p>"


def _doubted(comparison: Comparison) -> str:
    doubted = comparison.doubted_labels
    if doubted is None or not doubted.rows:
        return ""
    shown = doubted.rows[:DOUBTED]
    rows = [[_thumbnail(one.picture) + _html(_cut(one.text)), *map(_html, one.predictions.values())] for one in shown]
    table = _table(["text", *map(_html, shown[0].predictions)], rows)
    return f"<h2>Labels to check</h2><p>{inline_html(doubted_sentence(comparison))}</p>{table}"


def _slices(comparison: Comparison, slices: Sequence[Slice]) -> str:
    roles = list(slices[0].scores)
    rows = [[part.name, f"{part.rows:,}", *(f"{100 * part.scores[role]:.1f} %" for role in roles)] for part in slices]
    return _figures(comparison, [comparison.score, comparison.scored, *roles], rows)


# ---- The texts on which they differ ----


def _examples(comparison: Comparison) -> str:
    """A table that can be sorted and filtered; nothing where there are no such texts."""
    examples = comparison.examples()
    if not examples:
        return ""
    thumbnails = [_thumbnail(one.picture) for one in comparison.disagreements] or [""] * len(examples)
    names = list(examples[0])
    labels = sorted({example["label"] for example in examples if example.get("label")})
    head = "".join(f'<th><button type="button">{_html(name)}</button></th>' for name in [*names, "words"])
    rows = "".join(map(_example, examples, thumbnails))
    return (
        f"<section><h2>Where teacher and student differ</h2>{_filters(labels)}"
        f'<div class="scroll"><table id="examples"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        "</section>"
    )


def _filters(labels: Sequence[str]) -> str:
    options = "".join(f'<option value="{_html(label)}">{_html(label)}</option>' for label in labels)
    choice = (
        f'<label>class <select id="class"><option value="">all</option>{options}</select></label>' if labels else ""
    )
    numbers = "".join(
        f'<label>{name} words <input id="{key}" type="number" min="0"></label>'
        for key, name in (("least", "at least"), ("most", "at most"))
    )
    search = '<label>holds <input id="search" type="search"></label>'
    return f'<div class="filters">{search}{choice}{numbers}<output id="count" class="note"></output></div>'


def _thumbnail(picture: bytes) -> str:
    data = base64.b64encode(picture).decode("ascii")
    return f'<img class="thumbnail" alt="" src="data:image/png;base64,{data}"> ' if picture else ""


def _example(example: Mapping[str, str], thumbnail: str) -> str:
    """A row: its first entry is the text, and a prediction is marked as right or wrong where there is a label."""
    text, *_ = example.values()
    words = len(text.split())
    cells = "".join(_cell(name, value, example) for name, value in example.items())
    cells = cells.replace(">", f">{thumbnail}", 1)  # in the cell of the text
    label = _html(example.get("label", ""))
    return f'<tr data-length="{words}" data-label="{label}">{cells}<td data-value="{words}">{words}</td></tr>'


def _cell(name: str, value: str, example: Mapping[str, str]) -> str:
    label, kind = example.get("label"), ""
    if name in ("text", "source", "reference") or "reference" in example:
        kind = "text"
    elif label and name != "label":
        kind = "right" if value == label else "wrong"
    if name not in ("source", "reference") and "reference" in example:
        return f'<td class="{kind}">{_marked(value, example["reference"])}</td>'
    return f'<td class="{kind}">{_html(_cut(value))}</td>'


def _marked(translation: str, reference: str) -> str:
    """A translation in which the words are marked that its reference does not have."""
    words, others = _cut(translation).split(), _cut(reference).split()
    parts = []
    for kind, first, last, *_ in SequenceMatcher(None, words, others, autojunk=False).get_opcodes():
        piece = _html(" ".join(words[first:last]))
        parts += [piece if kind == "equal" else f"<mark>{piece}</mark>"] if piece else []
    return " ".join(parts)


def _cut(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= TEXT_LENGTH else line[:TEXT_LENGTH] + "…"

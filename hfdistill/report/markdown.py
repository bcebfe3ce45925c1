"""Anybody's text in Markdown: it stands there as it is written, whatever it holds."""

from __future__ import annotations

import re
import unicodedata
from html import escape

#: What means something in Markdown, GitHub's and the Hub's tables, formulas and links included, or in HTML; underscores
#: within a word do not.
_MARKUP = re.compile(r"[\\`*\[\]<>|~$&#@!]|(?<![^\W_])_|_(?![^\W_])|(?<=:)(?=//)|(?<=\bwww)(?=\.)", re.IGNORECASE)
#: These turn the direction of the text that follows.
_TURNING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def one_line(text: object) -> str:
    """The text in one line: no line breaks, control characters or halves of characters that no file can hold."""
    return " ".join(_printable(" ".join(str(text).split())).split())


def _printable(line: str) -> str:
    whole = line.translate(_TURNING).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return "".join("�" if unicodedata.category(letter) == "Cc" else letter for letter in whole)


class Markdown(str):
    """A text that is Markdown already."""


def escaped(text: object) -> str:
    """The text for a paragraph, a heading or a table cell."""
    return text if isinstance(text, Markdown) else _MARKUP.sub(lambda found: "\\" + found[0], one_line(text))


def code(text: object) -> str:
    """The text as code within a line; not within a table, whose cells end at every `|`."""
    line = one_line(text)
    fence = _longer_than_any(line, at_least=1)
    room = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{room}{line}{room}{fence}"


def link(address: str) -> str:
    """A web address to be clicked on; any other text as it is."""
    return Markdown(f"<{address}>") if re.fullmatch(r"https?://[\w.~%/-]+", address) else address


def code_block(text: str, language: str) -> str:
    """Lines of code, to be copied: they are kept letter for letter where they can be shown."""
    text = "\n".join(map(_printable, text.split("\n")))
    fence = _longer_than_any(text, at_least=3)
    return f"{fence}{language}\n{text}\n{fence}"


def markdown_table(header: list[str], rows: list[list[str]], align: str = "---:") -> str:
    """A Markdown table of texts, the first column to the left.

    Args:
        header: The names of the columns.
        rows: A text for each column.
        align: How the other columns are aligned: `---:` to the right, as numbers are.
    """
    lines = ["| " + " | ".join(escaped(cell) for cell in line) + " |" for line in (header, *rows)]
    return "\n".join([lines[0], "| " + " | ".join(["---", *[align] * (len(header) - 1)]) + " |", *lines[1:]])


def inline_html(text: str) -> str:
    """A paragraph of this package's own Markdown as HTML: what is escaped, bold, code, links."""
    return "".join(_inline(found) for found in _INLINE.finditer(text))


_INLINE = re.compile(
    r"\\(?P<escaped>.)|\*\*(?P<bold>.+?)\*\*|`(?P<code>[^`]+)`|\[(?P<name>[^\]]+)\]\((?P<link>[\w./-]+)\)|<(?P<web>https?://[^>]+)>"
    r"|(?P<plain>.)",
    re.DOTALL,
)


def _inline(found: re.Match[str]) -> str:
    kind, content = str(found.lastgroup), escape(found[found.lastgroup or 0])
    if kind == "bold":
        return f"<b>{inline_html(found['bold'])}</b>"
    if kind == "code":
        return f"<code>{content}</code>"
    if kind == "link":
        return f'<a href="{content}">{escape(found["name"])}</a>'
    return f'<a href="{content}">{content}</a>' if kind == "web" else content


def _longer_than_any(text: str, at_least: int) -> str:
    """Backticks that nothing within the text ends."""
    return "`" * max(at_least, *(len(run) + 1 for run in re.findall("`+", text)), at_least)

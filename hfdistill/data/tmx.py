"""Translation memories (TMX), read unit by unit however large they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

from hfdistill.data.lines import broken_file_errors, opened
from hfdistill.data.shortening import cut
from hfdistill.models.languages import language_of

_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
#: Inline elements that mark a text; of others, such as `bpt` and `ph`, the content is code of some file format.
_MARKS = ("hi", "sub", "mrk")
#: How a file's lines are laid out is no part of a text; a no-break space is.
_BREAKS = re.compile(r"[ \t\r\n]+")


def tmx_pairs(path: Path, source: str, target: str) -> Iterator[tuple[str, str]]:
    """The texts of both languages of each unit, empty where it lacks one; line breaks within are spaces.

    A language stands for its variants: `en` is also `en-US` or `EN-GB`, of which the first is taken.

    Args:
        path: The file, compressed or not.
        source: The language of the first text.
        target: That of the second.

    Raises:
        ValueError: If it is no whole TMX file, or no unit has both languages.
    """
    broken: tuple[type[Exception], ...] = (ElementTree.ParseError, *broken_file_errors(path))
    seen: Counter[str] = Counter()
    found = False
    try:
        with opened(path) as file:
            for texts in _units(file):
                seen.update(texts.keys())
                pair = _of_language(texts, source), _of_language(texts, target)
                found = found or all(pair)
                yield pair
    except broken as error:
        raise ValueError(f"{path} is not a whole TMX file: {error}.") from None
    if not found:
        languages = cut(", ".join(f"{name or 'none named'} ({count:,} texts)" for name, count in seen.most_common()))
        raise ValueError(
            f"{path} has no unit with both {source!r} and {target!r}; its languages are {languages or 'none'}; name "
            "two with source_lang and target_lang."
        )


def _units(file: BinaryIO) -> Iterator[dict[str, str]]:
    """Of each unit the texts by language; what has been read is let go."""
    body = None
    for event, element in ElementTree.iterparse(file, events=("start", "end")):
        name = _name(element)
        if event == "start":
            body = element if name == "body" else body
        elif name == "tu":
            yield dict(_variant(child) for child in reversed(element) if _name(child) == "tuv")
            if body is not None:
                body.clear()


def _variant(element: ElementTree.Element) -> tuple[str, str]:
    language = element.get(_LANG) or element.get("lang") or ""
    texts = [_text(child) for child in element if _name(child) == "seg"]
    return language, _BREAKS.sub(" ", " ".join(texts)).strip(" ")


def _text(element: ElementTree.Element) -> str:
    inner = (f"{_text(child) if _name(child) in _MARKS else ''}{child.tail or ''}" for child in element)
    return f"{element.text or ''}{''.join(inner)}"


def _of_language(texts: dict[str, str], language: str) -> str:
    """The text of the very language, or of a variant; the last in the dictionary is the first in the file."""
    exact = [text for name, text in texts.items() if _plain(name) == _plain(language)]
    wanted = language_of(language)
    near = [text for name, text in texts.items() if wanted and language_of(name) == wanted]
    return next(reversed(exact or near), "")


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _name(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]

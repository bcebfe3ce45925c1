"""What is wrong with a pair of texts by itself."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

#: The least share of letters among a text's characters. Moderate: OpusFilter's 0.75 (Aulamo et al. 2020,
#: https://aclanthology.org/2020.acl-demos.20) drops headings such as "Bericht Böge (A5-0023/2000)".
MIN_LETTERS = 0.4
#: The most words of a text, as corpora of WMT are cleaned for Transformers (Ott et al. 2018,
#: https://aclanthology.org/W18-6301); languages without spaces are caught by the characters of as many.
MAX_WORDS = 250
MAX_CHARACTERS = 2000

_TAG = re.compile(r"</?[A-Za-z][\w:.-]*(?:\s[^<>]*)?/?>")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\w+")
#: Neither a letter nor white space.
_OTHER = re.compile(r"[\W\d_]")
_WORD = re.compile(r"\w+")


def faults_of_pair(source: str, target: str, min_letters: float, max_words: int) -> Iterator[str]:
    """The rules on single pairs that a pair breaks.

    Args:
        source: The source text, without white space at its ends.
        target: The target text, likewise.
        min_letters: The least share of letters.
        max_words: The most words.
    """
    yield from faults_of_texts((source, target), min_letters, max_words)
    if source == target or _WORD.findall(source.casefold()) == _WORD.findall(target.casefold()):
        yield "copy"


def faults_of_texts(texts: Sequence[str], min_letters: float, max_words: int) -> Iterator[str]:
    """Those of them that a text can break alone, of one text or of both sides.

    Args:
        texts: Without white space at their ends.
        min_letters: The least share of letters.
        max_words: The most words.
    """
    if not all(texts):
        yield "empty"
    elif min(map(share_of_letters, texts)) < min_letters:
        yield "not text"
    if any("<" in text and _TAG.search(text) for text in texts):
        yield "markup"
    if any(len(text) > MAX_CHARACTERS or text.count(" ") >= max_words for text in texts):
        yield "too long"


def share_of_letters(text: str) -> float:
    """The share of letters, and of the marks that belong to letters, outside of web and mail addresses.

    White space does not count.
    """
    rest = _ADDRESS.sub(" ", text) if ("www." in text or "@" in text or "://" in text) else text
    others = [one for one in _OTHER.findall(rest) if not one.isspace()]
    signs = len(others) - sum(unicodedata.category(one)[0] == "M" for one in others if not one.isascii())
    letters = len(rest) - _spaces(rest) - signs
    return letters / max(1, len(text) - _spaces(text))


def _spaces(text: str) -> int:
    return len(text) - len("".join(text.split()))

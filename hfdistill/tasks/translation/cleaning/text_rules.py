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
#: The characters of Windows-1252 that are others in Latin-1, each to that of the same byte.
_LATIN_OF_WINDOWS = {ord(bytes([byte]).decode("cp1252", "ignore") or chr(byte)): byte for byte in range(0x80, 0xA0)}
#: What a text means that decodes into it: accents and punctuation of Latin scripts, or letters of another in a row.
#: "Spaß…" decodes as well, into a single letter of N'Ko, and "CAFÉ…" into one that follows capitals.
_MEANT = re.compile(r"(?<![A-Z]{2})[\u0080-\u024f\u2010-\u206f\u20ac]|[^\W\x00-\u024f]{2}")


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
    elif any(map(is_wrongly_decoded, texts)):
        yield "encoding"
    elif min(map(share_of_letters, texts)) < min_letters:
        yield "not text"
    if any("<" in text and _TAG.search(text) for text in texts):
        yield "markup"
    if any(len(text) > MAX_CHARACTERS or text.count(" ") >= max_words for text in texts):
        yield "too long"


def is_wrongly_decoded(text: str) -> bool:
    """Whether a text has U+FFFD, or is UTF-8 that was read as Latin-1 or Windows-1252: "fÃ¼r" for "für"."""
    if text.isascii():
        return False
    try:
        meant = text.translate(_LATIN_OF_WINDOWS).encode("latin-1").decode()
    except UnicodeError:
        return "\ufffd" in text
    return bool(_MEANT.search(meant))


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

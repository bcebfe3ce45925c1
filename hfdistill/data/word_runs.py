"""What words two texts have in common, in scripts that put spaces between them and in those that do not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

#: Scripts without spaces, and how many of their characters count as one word: Chinese and Japanese words have two or
#: three, those of Thai, Lao, Burmese and Khmer about five, vowel signs among them.
_EAST, _EAST_A_WORD = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    2.5,
)
_SOUTHEAST, _SOUTHEAST_A_WORD = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3",
    5,
)
#: Sizes are counted in fifths of a word, which makes them whole numbers.
_FIFTHS = 5
_IS_EAST = re.compile(f"[{_EAST}]")
_IS_SOUTHEAST = re.compile(f"[{_SOUTHEAST}]")
_WORD = re.compile(rf"[{_EAST}{_SOUTHEAST}]|[^\W{_EAST}{_SOUTHEAST}]+")


def words_of(text: str) -> list[str]:
    """The words of a text without case and punctuation, of a script without spaces its characters; never none."""
    return _WORD.findall(text.casefold()) or [text]


def has_words(words: Sequence[str], least: int) -> bool:
    """Whether there are so many words; of a script without spaces 2.5 or 5 characters make one."""
    return sum(map(_fifths, words)) >= least * _FIFTHS


def runs_of(words: Sequence[str], length: int) -> Iterator[int]:
    """A number for each run of so many words (see `has_words`), for less memory than the words take."""
    sizes, whole = list(map(_fifths, words)), length * _FIFTHS
    end = size = 0
    for start, first in enumerate(sizes):
        while size < whole:
            if end == len(words):
                return
            size += sizes[end]
            end += 1
        yield hash(tuple(words[start:end]))
        size -= first


def _fifths(word: str) -> int:
    first = word[:1]
    if first < "\u0e01":
        return _FIFTHS
    if _IS_EAST.match(first):
        return int(_FIFTHS / _EAST_A_WORD)
    return int(_FIFTHS / _SOUTHEAST_A_WORD) if _IS_SOUTHEAST.match(first) else _FIFTHS

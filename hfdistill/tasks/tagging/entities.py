"""Entities of tags: which scheme labels follow, and which entities a row of them holds, as `seqeval` counts them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

OUTSIDE = "O"
#: Where in an entity a word stands: beginning, inside, end, alone; by the letter of BILOU and IOBES alike.
_PLACES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
_TAG = re.compile(r"([BIMELSU])-(.+)")
#: By scheme, the letters that no other scheme has, and those of the first word, a middle one, the last, a single one.
_SCHEMES = {"IOBES": ("ES", "BIES"), "BILOU": ("LU", "BILU"), "IOB2": ("", "BIIB")}
#: By scheme, what a whole entity looks like.
WELL_FORMED = {"IOB2": re.compile(r"BI*"), "IOBES": re.compile(r"BI*E|S"), "BILOU": re.compile(r"BI*E|S")}


class Entity(NamedTuple):
    """A stretch of words of one kind.

    Args:
        kind: Such as `person`.
        start: The number of its first word.
        end: That of the first word after it.
    """

    kind: str
    start: int
    end: int


def parts_of(tag: str) -> tuple[str, str]:
    """Where in an entity a word stands, and of what kind it is: `("B", "person")` of `B-person`, `("O", "")` of `O`."""
    match = _TAG.fullmatch(tag)
    return (_PLACES[match[1]], match[2]) if match else (OUTSIDE, "")


def entity_kinds(names: Sequence[str] | None) -> list[str] | None:
    """The kinds of entities that these labels name, in their order; `None` where they name none, but parts of speech.

    Raises:
        ValueError: when some follow a scheme (IOB, IOBES, BILOU) and others do not, naming one.
    """
    tagged = [name for name in names or () if _TAG.fullmatch(name)]
    others = [name for name in names or () if name not in tagged and name != OUTSIDE]
    if not tagged:
        return None
    if others:
        raise ValueError(
            f"of the labels some name entities, such as {tagged[0]}, and {others[0]} does not: write B-{others[0]} and "
            f"I-{others[0]} where an entity of that kind begins and goes on, and {OUTSIDE} outside of entities."
        )
    return list(dict.fromkeys(parts_of(name)[1] for name in tagged))


def scheme_of(names: Iterable[Any]) -> str | None:
    """The scheme of labels: `IOBES`, `BILOU`, or `IOB2`, which IOB1 counts as; `None` where they name no entities."""
    letters = {match[1] for name in names if (match := _TAG.fullmatch(str(name)))}
    return next((scheme for scheme, (own, _) in _SCHEMES.items() if letters & set(own or "BIM")), None)


def in_scheme(tags: Sequence[str], scheme: str) -> list[str]:
    """The entities of a row of tags, written in another scheme: `IOBES`, `BILOU` or `IOB2`."""
    written, (first, middle, last, single) = [OUTSIDE] * len(tags), [*_SCHEMES[scheme][1]]
    for one in entities(tags):
        length = one.end - one.start
        letters = single if length == 1 else first + middle * (length - 2) + last
        written[one.start : one.end] = [f"{letter}-{one.kind}" for letter in letters]
    return written


def entities(tags: Sequence[str], scheme: str | None = None) -> list[Entity]:
    """The entities in a row of tags, as `seqeval` and the CoNLL evaluation find them.

    A word goes on with the entity before it where it has its kind, does not begin one, and that has not ended. So
    `I-x` after `O`, which no annotator would write, begins an entity.

    Args:
        tags: In IOB1, IOB2, IOBES or BILOU.
        scheme: One of `WELL_FORMED`, of which only well-formed entities count (`seqeval` in its mode `strict`);
            `None` counts all.
    """
    tagged = [parts_of(tag) for tag in tags]
    found: list[Entity] = []
    forms: list[str] = []
    before = OUTSIDE, ""
    for number, (place, kind) in enumerate(tagged):
        if kind and kind == before[1] and place in "IE" and before[0] in "BI":
            found[-1], forms[-1] = found[-1]._replace(end=number + 1), forms[-1] + place
        elif kind:
            found.append(Entity(kind, number, number + 1))
            forms.append(place)
        before = place, kind
    if scheme is None:
        return found
    return [one for one, form in zip(found, forms, strict=True) if WELL_FORMED[scheme].fullmatch(form)]


def marked(words: Sequence[str], found: Sequence[Entity]) -> str:
    """The words as a text with its entities marked, such as `in [New York | location] today`."""
    starts = {one.start: "[" for one in found}
    ends = {one.end - 1: f" | {one.kind}]" for one in found}
    return " ".join(starts.get(place, "") + word + ends.get(place, "") for place, word in enumerate(words))

"""Rows that a person is shown: where models differ, and whose labels are in doubt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """A row that is no text, as a person is shown it.

    Args:
        name: What it is called, such as its file.
        picture: A small picture of it, PNG.
    """

    name: str
    picture: bytes = b""


@dataclass(frozen=True)
class Disagreement:
    """A row that teacher and student predict differently.

    Args:
        text: The text, or the pair of texts with ` | ` between them.
        predictions: By role, `label` among them: the name of the class, or the number, that was predicted.
        picture: A small picture of it, PNG; empty for none.
    """

    text: str
    predictions: dict[str, str]
    picture: bytes = b""


@dataclass(frozen=True)
class DoubtedLabels:
    """Labels of the compared rows that the teacher contradicts, by confident learning; see `review`.

    Args:
        count: How many.
        labeled: Of how many.
        rows: The most doubtful, with what teacher and student predict.
    """

    count: int
    labeled: int
    rows: list[Disagreement]

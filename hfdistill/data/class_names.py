"""What the classes of a file are called, where its labels are numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers.utils import logging

logger = logging.get_logger(__name__)

#: Found beside a file of texts, it names the classes that are numbered there.
BESIDE = "labels.txt"


def read_class_names(given: Sequence[str] | None, texts: str | Path | None = None) -> tuple[str, ...] | None:
    """The names of the classes in the order of their numbers, `None` where there are none.

    Args:
        given: The names, or one file with a name a line; `None` looks for `labels.txt` beside the texts, and logs
            that it is used, or why not.
        texts: A file of texts.

    Raises:
        ValueError: for a given file or names that name nothing, or something twice.
    """
    if given:
        one_file = len(given) == 1 and Path(given[0]).is_file()
        names = _lines(Path(given[0])) if one_file else tuple(given)
        if len(names) < 2 or _fault(names):
            what = f"{given[0]} has" if one_file else "there are"
            fault = _fault(names) or f"{len(names)} of them; a file of them is not there" * (not one_file)
            raise ValueError(f"--class_names takes the names of two classes or more, each once: {what} {fault}.")
        return names
    found = None if texts is None else Path(texts).parent / BESIDE
    if found is None or not found.is_file():
        return None
    names = _lines(found)
    if len(names) < 2 or _fault(names):
        logger.warning("%s is not taken for the names of classes: it has %s.", found, _fault(names) or len(names))
        return None
    logger.warning("The classes are named by %s: %s.", found, ", ".join(names[:10]) + ", …" * (len(names) > 10))
    return names


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().split("\n"))
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8; save the names of the classes as UTF-8.") from None


def _fault(names: Sequence[str]) -> str:
    """Why these cannot be names of classes; empty where they can."""
    twice = next((name for name in names if names.count(name) > 1), None)
    return f"{twice!r} twice" if twice else ""

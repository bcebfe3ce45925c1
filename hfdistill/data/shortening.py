"""How what a user wrote is shown in a message, whose line it must not fill."""

from __future__ import annotations


def shortened(value: object, length: int = 60) -> str:
    """A value as Python writes it, cut where it is longer."""
    try:
        return cut(repr(value), length)
    except ValueError:  # Python writes no whole number of more than some thousand digits
        return f"a {type(value).__name__} of thousands of digits"


def cut(text: str, length: int = 300) -> str:
    """A text, cut where it is longer."""
    return text if len(text) <= length else f"{text[: length - 20]}… ({len(text)} characters)"

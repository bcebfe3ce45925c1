"""Rows and tables as text: a model a column, a figure a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def figure_row(name: str, models: Sequence[Any], figure: str, shape: str, scale: float = 1) -> list[str]:
    """A figure's name, and its value of each model; nothing where a model has none.

    Args:
        name: What the figure is.
        models: The figures of each model, or a part of them.
        figure: The name of one of them.
        shape: How a value is written, such as `{:.1f} %`.
        scale: What it is multiplied by before.
    """
    values = [getattr(model, figure, None) for model in models]
    return [name, *("" if value is None else shape.format(scale * value) for value in values)]


def spread_row(models: Sequence[Any], figure: str, shape: str, unit: str) -> list[str]:
    """Between which values half of what was measured of each model lies."""
    quartiles = [getattr(model, figure) for model in models]
    return [
        "  half of them",
        *("" if one is None else f"{one[0]:{shape}} to {one[1]:{shape}}{unit}" for one in quartiles),
    ]


def text_table(header: list[str], rows: list[list[str]]) -> str:
    """Aligned columns, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    line = "  ".join("-" * width for width in widths)
    return "\n".join([_aligned(header, widths), line, *(_aligned(row, widths) for row in rows)])


def fitting_table(header: list[str], rows: list[list[str]], width: int) -> str:
    """The same, in several tables one below the other where it would be wider; intervals are the first to go."""
    table = text_table(header, rows)
    if _width(table) <= width:
        return table
    rows = [row for row in rows if not row[0].startswith(" ")]
    count = len(header) - 1
    while count > 1 and _width(text_table(*_columns(header, rows, range(1, count + 1)))) > width:
        count -= 1
    parts = [range(first, min(first + count, len(header))) for first in range(1, len(header), count)]
    return "\n\n".join(text_table(*_columns(header, rows, part)) for part in parts)


def _width(table: str) -> int:
    return len(table.partition("\n")[0])


def _columns(header: list[str], rows: list[list[str]], chosen: range) -> tuple[list[str], list[list[str]]]:
    """The first column and those that are chosen."""
    header, *rows = ([cells[0], *(cells[index] for index in chosen)] for cells in (header, *rows))
    return header, rows


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])

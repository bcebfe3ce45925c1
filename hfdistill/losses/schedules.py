"""Values that change over training: a temperature that cools, an alpha that hands over from teacher to labels."""

import math
from collections.abc import Callable
from dataclasses import dataclass

SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 0.0,
    "linear": lambda progress: progress,
    "cosine": lambda progress: (1 - math.cos(math.pi * progress)) / 2,
}


@dataclass(frozen=True)
class Schedule:
    """A value that goes from `start` to `end` over the whole of training.

    Args:
        start: The value at the first optimizer step.
        end: The value at the last one.
        shape: `"linear"`, `"cosine"` (slow, fast, slow), or `"constant"` (stays at `start`).

    Raises:
        ValueError: if `shape` is none of these.
    """

    start: float
    end: float
    shape: str = "linear"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"schedule {self.shape!r} is unknown; choose from {', '.join(SHAPES)}.")

    def at(self, progress: float) -> float:
        """The value when `progress` (0 to 1) of training is done."""
        return self.start + (self.end - self.start) * SHAPES[self.shape](progress)


def value_at(value: "float | Schedule", progress: float) -> float:
    """A plain number stays itself; a schedule is read at `progress`."""
    return value.at(progress) if isinstance(value, Schedule) else value

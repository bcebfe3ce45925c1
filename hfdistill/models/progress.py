"""What a person sees of a pass over many rows: a bar; or, where a command writes to a file, a line now and then."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any, Protocol

from tqdm.auto import tqdm

#: Seconds from one line to the next.
EVERY = 60.0
_BY_LINES: list[bool] = []


class Bar(Protocol):
    """A pass in sight."""

    n: Any

    def update(self, n: Any = 1, /) -> Any:
        """So many more are done."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: Any) -> Any: ...


def progress_bar(total: int | None, description: str, unit: str, hidden: bool = False) -> Bar:
    """Shows how far a pass has come while it is open.

    Args:
        total: How many there are.
        description: What is done.
        unit: What is counted, in the plural.
        hidden: Of a process whose part is not to be seen.
    """
    if _BY_LINES:
        return Lines(0 if hidden or os.environ.get("RANK", "0") != "0" else total or 0, description, unit)
    # Left out where it may show, so that TQDM_DISABLE has its say.
    more: dict[str, Any] = {"disable": True} if hidden else {}
    return tqdm(total=total, desc=description, unit=f" {unit}", leave=False, **more)


def tell_by_lines() -> None:
    """From now on, where lines cannot be written over, as in a file, passes of minutes print new ones."""
    if not sys.stderr.isatty():
        _BY_LINES[:] = [True]


class Lines:
    """As a bar; each minute a line of what is done, how fast, and how long the rest takes at that rate.

    Args:
        total: How many there are; 0 is silent.
        description: What is done: a command makes several passes, one after the other.
        unit: What is counted.
    """

    def __init__(self, total: int, description: str, unit: str) -> None:
        self.total, self.description, self.unit, self.n = total, description, unit, 0
        self._began = self._told = time.monotonic()

    def update(self, n: int = 1) -> None:
        """So many more are done."""
        self.n += n
        now = time.monotonic()
        if self.total and now - self._told >= EVERY:
            self._told, rate = now, self.n / (now - self._began)
            done, left = f"{self.n:,} of {self.total:,} {self.unit}", duration((self.total - self.n) / rate)
            print(f"  {self.description}: {done}, {rate:.3g} a second, {left} left", flush=True)  # noqa: T201

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to be put away."""


def duration(seconds: float) -> str:
    """Seconds as `4 s`, `1:05` or `2:00:07`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes == 0:
        return f"{whole} s"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"

"""What comes after training: where a part of it fails, the rest is done, and the report says so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from hfdistill.report.local_paths import places_out_of
from hfdistill.report.markdown import escaped, one_line

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class Attempts:
    """Makes things that must not cost a run, such as pictures and exports, and remembers which of them failed."""

    def __init__(self) -> None:
        #: A sentence in Markdown on each thing that failed.
        self.notes: list[str] = []

    def __call__(self, what: str, make: Callable[[], Result]) -> Result | None:
        """What is made; `None` and a warning where that fails.

        Args:
            what: Its name in the warning, such as `the picture losses.png`.
            make: Makes it.
        """
        try:
            return make()
        except Exception as error:  # whatever it is: the student is worth more
            self.failed(what, error)
            return None

    def failed(self, what: str, error: Exception) -> None:
        """Warns, and notes it for the report."""
        reason = one_line(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {one_line(error)}"
        logger.warning("%s could not be made: %s", what, reason)
        self.notes.append(f"**Not made: {escaped(what)}.** {escaped(places_out_of(reason))}")

"""What a run prints, the command that it was started by, and what is put away when it does not come to its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from accelerate import PartialState

#: Texts times the parameters that read them, from which on processors need hours.
SLOW = 1e12

#: What is put away when a command does not come to its end; see `put_away_unfinished`.
LEFT_BEHIND: list[Callable[[], None]] = []


def put_away_unfinished(action: Callable[[], None]) -> None:
    """Has `plain_errors` do this if the command ends by an error or an interruption."""
    LEFT_BEHIND.append(action)


def print_main(text: str) -> None:
    """Prints a line at once, on one process."""
    PartialState().print(text, flush=True)


def say_if_slow(texts: int, parameters: int) -> None:
    """Prints beforehand that a run will take hours, where no accelerator is there to do it in minutes.

    Args:
        texts: The training texts.
        parameters: The teacher's.
    """
    if PartialState().device.type == "cpu" and texts * parameters > SLOW:
        print_main("There is no accelerator, and on processors this takes hours; --demo shows all of it in minutes.")


def own_command() -> list[str]:
    """The words that run this program again: what launched it, on one machine as many processes, and its options.

    A notebook has none: what it was started with is a file of its kernel.
    """
    script, processes = Path(sys.argv[0]), PartialState().num_processes
    if script.name.endswith("kernel_launcher.py"):  # ipykernel's, and Colab's
        return []
    if script.name == "__main__.py":
        program = ["-m", script.parent.name]
    else:
        program = [script.name if script.suffix != ".py" else _as_typed(script)]
    if processes > 1:
        launcher = ["torchrun", "--nproc_per_node", str(processes)]
    elif "ACCELERATE_MIXED_PRECISION" in os.environ:  # which `accelerate launch` sets
        launcher = ["accelerate", "launch"]
    else:
        launcher = ["python"] if script.suffix == ".py" else []
    return [*launcher, *program, *sys.argv[1:]]


def _as_typed(script: Path) -> str:
    """A script's path from here, or its last two parts where it is elsewhere."""
    if not script.is_absolute():
        return str(script)
    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else Path(*script.parts[-2:]))

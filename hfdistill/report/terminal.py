"""What a run prints, the command that it was started by, and what is put away when it does not come to its end."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill

import datasets
import huggingface_hub
from accelerate import PartialState
from transformers.utils.logging import disable_progress_bar

from hfdistill.models.progress import tell_by_lines
from hfdistill.report.figures import WIDTH, Comparison
from hfdistill.report.verdict import verdict

#: Texts times the parameters that read them, from which processors can need hours.
SLOW = 1e12

#: How many stages the run has, and how many of them have begun.
_PLAN = {"count": 0, "begun": 0}

#: What is put away when a command does not come to its end; see `put_away_unfinished`.
LEFT_BEHIND: list[Callable[[], None]] = []


def put_away_unfinished(action: Callable[[], None]) -> None:
    """Has `plain_errors` do this if the command ends by an error or an interruption."""
    LEFT_BEHIND.append(action)


def plan_stages(count: int) -> None:
    """From now on a run's stages are numbered, out of this many."""
    _PLAN.update(count=count, begun=0)


def begin_stage(text: str) -> None:
    """Prints what a run does next, such as `3/6 soft targets`; without a plan, what it does alone."""
    _PLAN["begun"] += 1
    number = f"{min(_PLAN['begun'], _PLAN['count'])}/{_PLAN['count']} " if _PLAN["count"] else ""
    print_main(number + text)


def quiet_libraries() -> None:
    """No bars of other packages, which flicker and tell nothing of the run; downloads have one on a terminal.

    Where all goes to a file, the package's own bars are lines. Warnings of this package come from one process.
    """
    if os.environ.get("RANK", "0") != "0":
        logging.getLogger("hfdistill").setLevel(logging.ERROR)
    tell_by_lines()
    disable_progress_bar()
    datasets.disable_progress_bars()
    if not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()


def print_main(text: str) -> None:
    """Prints a line at once, on one process."""
    PartialState().print(text, flush=True)


def print_outcome(comparison: Comparison, advice: str, notes: Sequence[str], folder: Path) -> None:
    """Prints what a run comes to: the verdict, the most important figures, what is to be known of them, where all is.

    Args:
        comparison: The measured models.
        advice: What to try first, if anything.
        notes: Sentences.
        folder: The run's.
    """
    first = [fill(text, WIDTH) for text in (verdict(comparison), advice) if text]
    where = [f"All figures: {folder}/report/report.html", f"Student, card and report are in {folder}/."]
    print_main("\n".join(["", *first, "", comparison.summary(), "", *notes, *where]))


def say_if_slow(texts: int, parameters: int) -> None:
    """Prints beforehand that a run can take hours, where no accelerator is there to do it in minutes.

    Args:
        texts: The training texts.
        parameters: The teacher's.
    """
    if PartialState().device.type == "cpu" and texts * parameters > SLOW:
        print_main("There is no accelerator, and on processors this can take hours; --demo shows all of it in minutes.")


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

"""What a person sees of a training: one line with rate and time left, or a short line for each log."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

from hfdistill.models.progress import duration
from hfdistill.report.figures import WIDTH

#: Seconds between two looks of the line.
REFRESH = 0.5
#: What is logged and says nothing of the student, or is told otherwise.
_UNTOLD = ("num_input_tokens_seen", "grad_norm", "learning_rate", "epoch", "step", "total_flos", "loss_scale")


def show_progress(trainer: Trainer) -> None:
    """Puts one line in the place of `Trainer`'s bar and dictionaries; in a notebook its table stays."""
    for usual in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(usual)
    if not any(isinstance(one, ProgressLine) for one in trainer.callback_handler.callbacks):
        trainer.add_callback(ProgressLine())


class ProgressLine(TrainerCallback):
    """Tells of a training on the main process: on a terminal in one line that changes, elsewhere in a line a log."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self._began = self._shown = 0.0
        self._first = self._first_tokens = 0
        self._figures: dict[str, float] = {}
        self._wrote = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The clock runs from here; steps of before an interruption are not counted."""
        self._began, self._first = time.monotonic(), state.global_step
        self._first_tokens = state.num_input_tokens_seen
        self.live = self.live and not args.disable_tqdm
        self._figures = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Brings the line up to date, now and then."""
        now = time.monotonic()
        if self.live and state.is_world_process_zero and now - self._shown >= REFRESH:
            self._shown = now
            self._rewrite(self._line(state))

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """A line of what was logged, where lines cannot be written over."""
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        self._figures = told_figures(logs)
        if not self.live and self._figures:
            self._print(self._line(state))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What it took."""
        if not state.is_world_process_zero:
            return
        self._rewrite("")
        steps, seconds = state.global_step - self._first, time.monotonic() - self._began
        if steps:
            rates = ", ".join([f"{steps / seconds:.3g} a second", *self._token_rate(state, seconds)])
            self._print(f"  {steps:,} steps in {duration(seconds)} ({rates})")

    def _line(self, state: Any) -> str:
        done, seconds = state.global_step - self._first, time.monotonic() - self._began
        parts = [f"  step {state.global_step:,} of {state.max_steps:,}"]
        # The rate was told a line before an evaluation's, whose figures need the room.
        if done and (self.live or not any(name.startswith("eval_") for name in self._figures)):
            left = (state.max_steps - state.global_step) * seconds / done
            parts += [f"{done / seconds:.3g} steps/s", *self._token_rate(state, seconds), f"{duration(left)} left"]
        return fitting(parts, [f"{name} {value:.4g}" for name, value in self._figures.items()])

    def _token_rate(self, state: Any, seconds: float) -> list[str]:
        """Tokens a second, where the run counts them (`include_num_input_tokens_seen`)."""
        tokens = state.num_input_tokens_seen - self._first_tokens
        return [f"{tokens / seconds:,.0f} tokens/s"] if tokens else []

    def _rewrite(self, line: str) -> None:
        if self.live and (line or self._wrote):
            # Erases what was there; a line that is longer than the terminal is wide could not be.
            sys.stderr.write(f"\r\x1b[2K{line[: columns() - 1]}")
            sys.stderr.flush()
            self._wrote = bool(line)

    def _print(self, line: str) -> None:
        print(line, flush=True)  # noqa: T201


def fitting(parts: Sequence[str], figures: Sequence[str]) -> str:
    """A line of all parts and of as many figures as 80 columns hold.

    First the whole loss and the task's metrics, then the agreement with the teacher and the terms of the loss. None
    takes the place of a longer one before it, so that each line of a training tells of the same ones.
    """
    line = ", ".join(parts)
    for figure in sorted(figures, key=_rank):
        if len(line) + len(figure) + 2 > WIDTH:
            break
        line += f", {figure}"
    return line


def _rank(figure: str) -> int:
    if "_loss " in figure and not figure.startswith("eval_loss "):
        return 2
    return int(figure.startswith("eval_agreement "))


def told_figures(logs: Mapping[str, Any]) -> dict[str, float]:
    """What a person reads of a log: the losses and metrics, without what `Trainer` times and counts."""
    return {
        name: float(value)
        for name, value in logs.items()
        if isinstance(value, (int, float)) and name not in _UNTOLD and not name.endswith(("_runtime", "_per_second"))
    }


def columns() -> int:
    """How wide the terminal is."""
    return shutil.get_terminal_size().columns

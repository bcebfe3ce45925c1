"""The folder of a run: whether it may be written to, and what is left in it at the end."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from accelerate import PartialState
from transformers import Trainer, TrainingArguments, set_seed

from hfdistill.plots import plot_confusion, plot_losses, plot_reliability, plot_tradeoff
from hfdistill.report import Comparison
from hfdistill.report.attempts import Attempts
from hfdistill.report.markdown import escaped
from hfdistill.report.rendering import findings, speed_sentence

RESULTS = "all_results.json"


def claim_folder(output_dir: str | os.PathLike[str], resume: bool) -> Path:
    """Makes the folder of a run, before anything expensive is begun.

    Args:
        output_dir: The folder.
        resume: Whether an unfinished run in it is to be continued.

    Raises:
        ValueError: when it cannot be written to, or holds something and `resume` is false.
    """
    folder = Path(output_dir)
    if folder.is_dir() and any(folder.iterdir()) and not resume:
        raise ValueError(
            f"{folder} already holds {'a finished run' if (folder / RESULTS).exists() else 'something'}: choose "
            "another --output_dir, or continue the run in it with --resume_from_checkpoint true."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"{folder} cannot be written to ({error.strerror}): choose another --output_dir.") from error
    return folder


def begin_run(args: TrainingArguments) -> tuple[Path, bool]:
    """Claims a run's folder on all processes, and sets its seed.

    Returns:
        The folder, and whether an unfinished run in it is continued (`--resume_from_checkpoint true`).

    Raises:
        ValueError: as `claim_folder`, or when `resume_from_checkpoint` names something.
    """
    word = str(args.resume_from_checkpoint).lower()
    if word not in ("true", "none", "false"):
        raise ValueError("--resume_from_checkpoint takes true: the run in --output_dir goes on where it stopped.")
    with PartialState().main_process_first():
        folder = claim_folder(str(args.output_dir), word == "true" or not PartialState().is_main_process)
    set_seed(args.seed)
    return folder, word == "true"


def last_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """The newest checkpoint in a folder that was written to its end, or `None`.

    A run that is killed while it saves leaves a checkpoint that cannot be resumed from; `trainer_state.json` is the
    last file of one.
    """
    checkpoints = sorted(Path(folder).glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    return next((str(path) for path in reversed(checkpoints) if _is_json(path / "trainer_state.json")), None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return False
    return True


def train_and_save(trainer: Trainer, resume: bool) -> None:
    """Trains, from the last checkpoint in the trainer's folder where a run is continued, and saves the model there."""
    folder = str(trainer.args.output_dir)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder) if resume else None)
    trainer.save_model()


def write_report(
    folder: str | os.PathLike[str],
    comparison: Comparison,
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    notes: Sequence[str] = (),
) -> list[str]:
    """Leaves `all_results.json` and `report/` with `report.md` and its plots in the folder of a run.

    A picture or a section that fails is left out, with a warning and a line in the report.

    Args:
        folder: The folder.
        comparison: The measured models.
        histories: By name of a run, such as `student`, its `trainer.state.log_history`.
        notes: Sentences for the report in Markdown, each a paragraph; what is quoted in them is `escaped`.

    Returns:
        The lines in the report on what failed.
    """
    report = Path(folder) / "report"
    report.mkdir(parents=True, exist_ok=True)
    # JSON knows no NaN, which a correlation with a constant is.
    figures = {name: value if math.isfinite(value) else None for name, value in comparison.results().items()}
    results = json.dumps(figures, indent=2, sort_keys=True, allow_nan=False)
    (Path(folder) / RESULTS).write_text(results + "\n", encoding="utf-8")
    attempt = Attempts()
    pictures = _draw(comparison, histories, report, attempt)
    found = findings(comparison, attempt)
    text = "\n\n".join(
        [
            "# What the student keeps, and what it costs",
            comparison.markdown(),
            f"{speed_sentence(comparison)} Size is that of the weights at the dtype they ran in.",
            *notes,
            *comparison.not_measured,
            *attempt.notes,
            *found,
            "## Pictures",
            *(f"![{escaped(caption)}]({quote(name)})" for name, caption in pictures.items()),
        ]
    )
    (report / "report.md").write_text(text + "\n", encoding="utf-8")
    return attempt.notes


def _draw(
    comparison: Comparison,
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    report: Path,
    attempt: Attempts,
) -> dict[str, str]:
    """Draws what there is to draw; the captions by file name."""
    metric = next(iter(comparison.models["student"].metrics), "")
    # With its caption, whether there is anything to draw, and how.
    pictures: dict[str, tuple[str, object, Callable[[Path], None]]] = {
        "tradeoff.png": (f"{metric} against latency and size", metric, partial(plot_tradeoff, comparison, metric)),
        # Nothing was trained where finished models are compared.
        "losses.png": ("losses over the steps", any(histories.values()), partial(plot_losses, histories)),
        "reliability.png": (
            "share of right answers against confidence",
            comparison.models["student"].calibration is not None,
            partial(plot_reliability, comparison),
        ),
        "confusion.png": (
            "where the student decides otherwise than its teacher",
            comparison.confusion is not None,
            partial(plot_confusion, comparison),
        ),
    }
    captions: dict[str, str] = {}
    for name, (caption, there, draw) in pictures.items():
        failed = len(attempt.notes)
        if there:
            attempt(f"the picture {name}", partial(draw, report / name))
            captions |= {name: caption} if len(attempt.notes) == failed else {}
    searched = {path.name: path.stem.replace("_", " ") for path in sorted(report.glob("search_*.png"))}
    return {**captions, **searched}

"""The folder of a run: whether it may be written to, and what is left in it at the end."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from accelerate import PartialState
from huggingface_hub.utils import httpx
from transformers import Trainer, TrainingArguments, set_seed

from hfdistill.models.hub import HubUnreachableError, check_token
from hfdistill.report import Comparison
from hfdistill.report.attempts import Attempts
from hfdistill.report.markdown import escaped
from hfdistill.report.plots import plot_confusion, plot_losses, plot_reliability, plot_tradeoff
from hfdistill.report.tables import findings, speed_sentence
from hfdistill.report.terminal import put_away_unfinished
from hfdistill.training.checkpoints import last_checkpoint

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
    if not resume and _holds_files(folder):
        raise ValueError(
            f"{folder} already holds {'a finished run' if (folder / RESULTS).exists() else 'something'}: choose "
            "another --output_dir, or continue the run in it with --resume_from_checkpoint true."
        )
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _remove_empty(missing)
        raise ValueError(f"{folder} cannot be written to ({error.strerror}): choose another --output_dir.") from error
    put_away_unfinished(lambda: _remove_empty(missing))
    return folder


def _holds_files(folder: Path) -> bool:
    """Whether there is more in it than the empty folders of a run that was interrupted as it began."""
    return any(path.is_symlink() or not path.is_dir() for path in folder.rglob("*"))


def _remove_empty(made: Sequence[Path]) -> None:
    """Removes folders that a run has made, and those in them, unless they hold files.

    Args:
        made: The folders, inner ones first.
    """
    for folder in made:
        if folder.is_dir() and not _holds_files(folder):
            shutil.rmtree(folder, ignore_errors=True)


def begin_run(args: TrainingArguments) -> tuple[Path, bool]:
    """Claims a run's folder on all processes, and sets its seed.

    Returns:
        The folder, and whether an unfinished run in it is continued (`--resume_from_checkpoint true`).

    Raises:
        ValueError: as `claim_folder`, or when `resume_from_checkpoint` names something.
        OSError: when the student is to be pushed, and could not be (see `check_token`).
    """
    word = str(args.resume_from_checkpoint).lower()
    if word not in ("true", "none", "false"):
        raise ValueError("--resume_from_checkpoint takes true: the run in --output_dir goes on where it stopped.")
    if args.push_to_hub:
        check_token(args.hub_token)
    with PartialState().main_process_first():
        folder = claim_folder(str(args.output_dir), word == "true" or not PartialState().is_main_process)
    set_seed(args.seed)
    return folder, word == "true"


def train_and_save(trainer: Trainer, resume: bool) -> None:
    """Trains, from the last checkpoint in the trainer's folder where a run is continued, and saves the model there.

    With `push_to_hub` the checkpoints are pushed on the way; the model is when all is done (see `push`).
    """
    args = trainer.args
    checkpoint = last_checkpoint(str(args.output_dir), args.process_index, args.world_size) if resume else None
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(_internal_call=True)  # otherwise it is pushed, and lost with its report where that fails


def push(trainer: Trainer) -> None:
    """Pushes a trained student with its card and report to the Hub, on all processes.

    Raises:
        HubUnreachableError: when that failed, saying how to do it again; the student is in its folder.
    """
    try:
        trainer.push_to_hub()
    except (OSError, httpx.HTTPError) as error:
        reason = " ".join(str(error).split())
        raise HubUnreachableError(
            f"the student is in {trainer.args.output_dir}/, but could not be pushed ({reason}): the same command with "
            "--resume_from_checkpoint true pushes it without training it again."
        ) from None


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
            "share of correct predictions against confidence",
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

"""The folder of a run: whether it may be written to, and what is left in it at the end."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from huggingface_hub.utils import httpx
from transformers import Trainer, TrainingArguments, set_seed

from hfdistill.data import HubUnreachableError, check_token
from hfdistill.plots import plot_confusion, plot_losses, plot_reliability, plot_tradeoff
from hfdistill.report import Comparison
from hfdistill.report.rendering import findings

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
    """Trains, from the last checkpoint in the trainer's folder where a run is continued, and saves the model there.

    With `push_to_hub` the checkpoints are pushed on the way; the model is when all is done (see `push`).
    """
    folder = str(trainer.args.output_dir)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder) if resume else None)
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
) -> None:
    """Leaves `all_results.json` and `report/` with `report.md` and its plots in the folder of a run.

    Args:
        folder: The folder.
        comparison: The measured models.
        histories: By name of a run, such as `student`, its `trainer.state.log_history`.
        notes: Sentences for the report, each a paragraph.
    """
    report = Path(folder) / "report"
    report.mkdir(parents=True, exist_ok=True)
    metric = next(iter(comparison.models["student"].metrics))
    pictures = _draw(comparison, histories, metric, report)
    text = "\n\n".join(
        [
            "# What the student keeps, and what it costs",
            comparison.markdown(),
            f"Speed was measured on: {comparison.device}. Size is that of the weights at the dtype they ran in.",
            *notes,
            *findings(comparison),
            "## Pictures",
            *(f"![{caption}]({name})" for name, caption in pictures.items()),
        ]
    )
    (report / "report.md").write_text(text + "\n", encoding="utf-8")
    # JSON knows no NaN, which a correlation with a constant is.
    figures = {name: value if math.isfinite(value) else None for name, value in comparison.results().items()}
    results = json.dumps(figures, indent=2, sort_keys=True, allow_nan=False)
    (Path(folder) / RESULTS).write_text(results + "\n", encoding="utf-8")


def _draw(
    comparison: Comparison, histories: Mapping[str, Sequence[Mapping[str, Any]]], metric: str, report: Path
) -> dict[str, str]:
    """Draws what there is to draw; the captions by file name."""
    captions = {"tradeoff.png": f"{metric} against latency and size"}
    plot_tradeoff(comparison, metric, report / "tradeoff.png")
    if any(histories.values()):  # nothing was trained where finished models are compared
        plot_losses(histories, report / "losses.png")
        captions["losses.png"] = "losses over the steps"
    if comparison.models["student"].calibration is not None:
        plot_reliability(comparison, report / "reliability.png")
        captions["reliability.png"] = "share of right answers against confidence"
    if comparison.confusion is not None:
        plot_confusion(comparison, report / "confusion.png")
        captions["confusion.png"] = "where the student decides otherwise than its teacher"
    searched = {path.name: path.stem.replace("_", " ") for path in sorted(report.glob("search_*.png"))}
    return {**captions, **searched}

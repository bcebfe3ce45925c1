"""A run and its folder: whether it may be written to, training and saving there, pushing to the Hub."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import gather_object
from huggingface_hub.utils import httpx
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer import TRAINER_STATE_NAME

from hfdistill.models.adapters import can_merge, merged_copy
from hfdistill.models.hub import HubUnreachableError, check_token
from hfdistill.models.sharding import put_together
from hfdistill.report.results import RESULTS
from hfdistill.report.terminal import print_main, put_away_unfinished
from hfdistill.training.checkpoints import begin_checkpoint, is_whole, last_checkpoint, settings_of
from hfdistill.training.objective_trainer import ObjectiveTrainer
from hfdistill.training.progress import show_progress


def claim_folder(output_dir: str | os.PathLike[str], resume: bool | None) -> Path:
    """Makes the folder of a run, before anything expensive is begun.

    Args:
        output_dir: The folder.
        resume: Whether an unfinished run in it is to be continued; `None` of a command that continues none.

    Raises:
        ValueError: when it cannot be written to, or holds something and `resume` is false.
    """
    folder = Path(output_dir)
    if not resume and _holds_files(folder):
        there = "a finished run" if (folder / RESULTS).exists() else "something"
        go_on = "" if resume is None else ", or continue the run in it with --resume_from_checkpoint true"
        raise ValueError(f"{folder} already holds {there}: choose another --output_dir{go_on}.")
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
    if word == "true" and not _holds_files(Path(str(args.output_dir))):
        print_main(f"{args.output_dir} holds no run to go on with: this one begins.")
    with PartialState().main_process_first():
        folder = claim_folder(str(args.output_dir), word == "true" or not PartialState().is_main_process)
    set_seed(args.seed)
    return folder, word == "true"


def train_and_save(trainer: ObjectiveTrainer, resume: bool, keep_checkpoints: bool = True) -> None:
    """Trains, from the last checkpoint in the trainer's folder where a run is continued, and saves the model there.

    With `push_to_hub` the checkpoints are pushed on the way; the model is when all is done (see `push`).

    Args:
        trainer: The trainer.
        resume: Whether an unfinished run is continued.
        keep_checkpoints: `False` removes them once the model is saved, as of a teacher or a baseline: optimizer states
            are twice the model. A run that is continued takes the saved model then, and does not train it again.
    """
    args = trainer.args
    folder, where = Path(str(args.output_dir)), (args.process_index, args.world_size)
    show_progress(trainer)
    if not (resume and _is_saved(folder, *where) and trainer.resume_finished(str(folder))):
        checkpoint = last_checkpoint(folder, *where) if resume else None
        if checkpoint is None or not trainer.resume_finished(checkpoint):
            trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_model(_internal_call=True)  # otherwise it is pushed, and lost with its report where that fails
    if trainer.accelerator.is_fsdp2:  # the report is one process's
        trainer.model = trainer.model_wrapped = put_together(trainer.model)
    elif can_merge(trainer.model):  # it is of what was saved
        trainer.model = trainer.model_wrapped = merged_copy(trainer.model).to(args.device)  # type: ignore[arg-type]
    if not keep_checkpoints:
        remove_checkpoints(trainer, folder)


def _is_saved(folder: Path, process: int, processes: int) -> bool:
    """Whether the folder itself is a checkpoint, as `remove_checkpoints` leaves it; all processes agree."""
    saved = (folder / TRAINER_STATE_NAME).is_file() and is_whole(folder, process, processes)
    return all(gather_object([saved])) if processes > 1 else saved


def remove_checkpoints(trainer: Trainer, folder: Path) -> None:
    """Makes a finished run's folder the one checkpoint that is left of it; killed meanwhile, one of them is whole."""
    args = trainer.args
    last = last_checkpoint(folder, args.process_index, args.world_size)
    if last is not None and args.should_save:
        begin_checkpoint(folder, settings_of(last) or {}, processes=0, only_model=True, sharded=False)
        state = copy.copy(trainer.state)
        state.best_model_checkpoint = None  # it is the model that was saved
        state.save_to_json(str(folder / f"{TRAINER_STATE_NAME}.part"))
        os.replace(folder / f"{TRAINER_STATE_NAME}.part", folder / TRAINER_STATE_NAME)
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    trainer.accelerator.wait_for_everyone()


def push(trainer: Trainer) -> None:
    """Pushes a trained student with its card and report to the Hub, on all processes, and prints where it is.

    Raises:
        HubUnreachableError: when that failed, saying how to do it again; the student is in its folder.
    """
    try:
        commit = trainer.push_to_hub()
    except (OSError, httpx.HTTPError) as error:
        reason = " ".join(str(error).split())
        raise HubUnreachableError(
            f"the student is in {trainer.args.output_dir}/, but could not be pushed ({reason}): the same command with "
            "--resume_from_checkpoint true pushes it without training it again."
        ) from None
    if commit is not None:  # on the main process
        print_main(f"The student is at {commit.repo_url}")

"""Which checkpoints of a run were written to their end."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError, safe_open
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.utils import logging

logger = logging.get_logger(__name__)

#: What a checkpoint was made with, and of which files it consists beside the weights.
SETTINGS_FILE = "run_settings.json"


def begin_checkpoint(
    folder: Path, settings: Mapping[str, Any], processes: int, only_model: bool, sharded: bool
) -> None:
    """Says what a checkpoint is going to consist of, before any other of its files is written.

    Args:
        folder: The checkpoint's. Where it holds an earlier one, that counts as unfinished from now on.
        settings: What the run was started with.
        processes: How many write into it.
        only_model: Whether it holds the weights alone.
        sharded: Whether optimizer and schedule are kept in files of FSDP's or DeepSpeed's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)
    files = [] if only_model or sharded else [OPTIMIZER_NAME, SCHEDULER_NAME]
    states = 0 if only_model else processes
    content = {"files": files, "random states": states, "settings": settings}
    (folder / SETTINGS_FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def settings_of(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What a checkpoint's run was started with; `None` where it does not say, as those of earlier versions."""
    content = _json(Path(folder) / SETTINGS_FILE)
    return content["settings"] or None if content else None


def last_checkpoint(folder: str | os.PathLike[str], process: int = 0, processes: int = 1) -> str | None:
    """The newest checkpoint in a folder that is whole, or `None`; all processes ask, and agree.

    A run that is killed while it saves leaves a checkpoint that cannot be resumed from.
    """
    found = {str(path): int(step[1]) for path, step in _numbered(Path(folder))}
    if processes > 1:
        of_each: Sequence[Mapping[str, int]] = gather_object([found])
        found = {path: step for path, step in found.items() if all(path in others for others in of_each)}
    for path in sorted(found, key=lambda path: found[path], reverse=True):
        whole = is_whole(path, process, processes)
        if all(gather_object([whole])) if processes > 1 else whole:
            return path
        logger.warning("%s was not written to its end, or is damaged: it is passed over.", path)
    return None


def has_checkpoints(folder: str | os.PathLike[str]) -> bool:
    """Whether there is any, whole or not."""
    return bool(_numbered(Path(folder)))


def is_whole(folder: str | os.PathLike[str], process: int = 0, processes: int = 1) -> bool:
    """Whether a checkpoint was written to its end, as far as one of its processes can see.

    `Trainer` writes its state last; a process's random state may come later still, and a power cut may shorten what
    was written before. Of torch's files the checksums are looked at, which its own reading does not do.
    """
    folder = Path(folder)
    content = _json(folder / SETTINGS_FILE)
    needed = list(content["files"]) if content else []
    if content and content["random states"] == processes:
        needed.append("rng_state.pth" if processes == 1 else f"rng_state_{process}.pth")
    files = [path for path in folder.rglob("*") if path.is_file()]
    weights = any("model" in str(path.relative_to(folder)) and path.suffix in _WEIGHTS for path in files)
    return (
        _json(folder / TRAINER_STATE_NAME) is not None
        and weights
        and all((folder / name).is_file() for name in needed)
        and all(_WHOLE[path.suffix](path) for path in files if path.suffix in _WHOLE)
        and all(_has_shards(path) for path in files if path.name.endswith(".index.json"))
    )


def _numbered(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    named = [(path, re.fullmatch(r"checkpoint-(\d+)", path.name)) for path in folder.glob("checkpoint-*")]
    return [(path, step) for path, step in named if step and path.is_dir()]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _has_shards(index: Path) -> bool:
    content = _json(index)
    return content is not None and all((index.parent / name).is_file() for name in content["weight_map"].values())


def _is_safetensors(path: Path) -> bool:
    try:
        with safe_open(path, "pt"):  # looks at the header, and whether the file is as long as that says
            return True
    except (OSError, SafetensorError):
        return False


def _is_torch_file(path: Path) -> bool:
    if not torch.serialization.get_crc32_options():  # then they are none that `zipfile` knows
        return zipfile.is_zipfile(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # noqa: BLE001 (a damaged archive may end in any)
        return False


#: How a file of each kind that was cut short or damaged is told from a whole one.
_WHOLE = {
    ".safetensors": _is_safetensors,
    ".pt": _is_torch_file,
    ".pth": _is_torch_file,
    ".bin": _is_torch_file,
}
_WEIGHTS = (*_WHOLE, ".distcp")  # the last is FSDP's

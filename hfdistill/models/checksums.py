"""Tensors in a safetensors file with a checksum: what a disk has changed since is refused, and not computed with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hfdistill.models.fingerprints import hash_of_tensors

_CHECKSUM = "checksum"


def save_checked(tensors: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Writes the tensors and their checksum."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(kept, path, {_CHECKSUM: hash_of_tensors(kept)})


def load_checked(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Reads what `save_checked` wrote; a file of before there were checksums has no metadata, and is read as it is.

    Raises:
        ValueError: when the file is damaged, naming it.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = file.metadata()
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    if metadata and metadata.get(_CHECKSUM) != hash_of_tensors(tensors):
        raise _damaged(path, "its checksum is another")
    return tensors


def load_into(state: Mapping[str, Tensor], path: str | os.PathLike[str], whose: str) -> None:
    """Fills these tensors, in place, with those of a file.

    Raises:
        ValueError: when there is no such file, it is damaged, or it holds tensors of other names or shapes.
    """
    saved = load_checked(path) if Path(path).exists() else {}
    differ = {name for name in state.keys() | saved.keys() if _shape(state, name) != _shape(saved, name)}
    if differ:
        raise ValueError(
            f"{path} does not fit {whose}: they differ in {', '.join(sorted(differ))}; resume with the terms and "
            "models that the run was started with, or start it anew."
        )
    with torch.no_grad():
        for name, tensor in saved.items():
            state[name].copy_(tensor)


def _shape(tensors: Mapping[str, Tensor], name: str) -> torch.Size | None:
    return tensors[name].shape if name in tensors else None


def _damaged(path: str | os.PathLike[str], how: str) -> ValueError:
    return ValueError(
        f"{path} is damaged ({how}): delete {Path(path).parent}, and resume from the checkpoint before it, or copy it "
        "anew from where it is whole."
    )

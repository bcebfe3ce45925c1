"""Weights as a checkpoint names them: some families are saved under other names than their modules have."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from hfdistill.models.wrappers import unwrapped


def load_renamed(model: Any, folder: str | os.PathLike[str]) -> bool:
    """Loads a checkpoint of a model whose family is saved under other names, such as ViT's; others are left alone.

    `Trainer` takes the names in a checkpoint for the modules' own, and leaves what it does not find as it is.

    Args:
        model: What the checkpoint was saved of, whatever is around it.
        folder: The checkpoint's.

    Returns:
        Whether it was loaded.
    """
    inner = unwrapped(model)
    if not isinstance(inner, PreTrainedModel) or _names(Path(folder)) <= inner.state_dict().keys():
        return False
    loaded = type(inner).from_pretrained(folder, dtype=inner.dtype)
    inner.load_state_dict(loaded.state_dict())
    return True


def _names(folder: Path) -> set[str]:
    """The names of a folder's weights, in one file or several; none where they are kept otherwise."""
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if index.is_file():
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    if not (folder / SAFE_WEIGHTS_NAME).is_file():
        return set()
    with safe_open(folder / SAFE_WEIGHTS_NAME, "pt") as weights:
        return set(weights.keys())

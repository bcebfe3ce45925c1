"""Weights as a checkpoint names them: some families are saved under other names than their modules have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

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
    inner, path = unwrapped(model), Path(folder) / SAFE_WEIGHTS_NAME
    if not isinstance(inner, PreTrainedModel) or not path.is_file():
        return False
    with safe_open(path, "pt") as weights:
        if set(weights.keys()) <= inner.state_dict().keys():
            return False
    loaded = type(inner).from_pretrained(folder, dtype=inner.dtype)
    inner.load_state_dict(loaded.state_dict())
    return True

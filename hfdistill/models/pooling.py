"""From an encoder's hidden states to one embedding of a text, as the folder of a sentence encoder says.

Such folders are those of `sentence-transformers`: beside the encoder `modules.json`, which lists what is done to its
hidden states, and `1_Pooling/config.json`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.utils import cached_file

#: Under which name an encoder's config keeps its pooling; other libraries pass over it.
POOLING = "sentence_pooling"
MODES = ("mean", "cls", "max", "lasttoken")
_LEGACY = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
}
_PACKAGE = "sentence_transformers.models"


@dataclass(frozen=True)
class Pooling:
    """How an embedding is made of hidden states.

    Args:
        mode: One of `MODES`: the mean over a text's tokens, the first one, the largest value of each dimension, or the
            last one.
        normalize: Whether embeddings have length 1.

    Raises:
        ValueError: for another mode.
    """

    mode: str = "mean"
    normalize: bool = True

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"pooling must be one of {', '.join(MODES)}; got {self.mode!r}.")

    @classmethod
    def of_config(cls, config: Any) -> Pooling | None:
        """That of an encoder's config; `None` of one that has none."""
        found = getattr(config, POOLING, None)
        return cls(**found) if found else None

    def set_in(self, config: Any) -> None:
        """Notes it in an encoder's config."""
        setattr(config, POOLING, asdict(self))

    def __call__(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """The embeddings of a batch, in float32 at least, shape `(batch, width)`.

        Args:
            states: The last layer's hidden states, `(batch, tokens, width)`.
            mask: Which positions hold a token, `(batch, tokens)`; `None` for all.
        """
        states = states.float() if states.dtype in (torch.float16, torch.bfloat16) else states
        held = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device) if mask is None else mask.bool()
        places = torch.arange(states.shape[1], device=states.device)
        if self.mode == "mean":
            pooled = (states * held[..., None]).sum(1) / held.sum(1, keepdim=True).clamp_min(1)
        elif self.mode == "max":
            pooled = states.masked_fill(~held[..., None], -torch.inf).amax(1)
        else:
            chosen = held.int().argmax(1) if self.mode == "cls" else (held * places).argmax(1)
            pooled = states[torch.arange(len(states), device=states.device), chosen]
        return F.normalize(pooled, dim=-1) if self.normalize else pooled

    @classmethod
    def read(cls, name: str) -> Pooling:
        """That of a sentence encoder's folder or repository; the mean, where it does not say, as others take it.

        Raises:
            ValueError: when more is done there than to pool and normalize.
        """
        modules = _json(name, "modules.json")
        if modules is None:
            return cls("mean", normalize=False)
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
        if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
            raise ValueError(
                f"{name} makes embeddings by {', '.join(kinds)} (modules.json), and here an encoder, its pooling and a "
                "normalization are known: take a teacher of these, or make its embeddings with its own library."
            )
        config = _json(name, f"{modules[1]['path']}/config.json") or {}
        legacy = [mode for key, mode in _LEGACY.items() if config.get(key)]
        mode = config.get("pooling_mode") or (legacy[0] if len(legacy) == 1 else "+".join(legacy))
        return cls(mode or "mean", normalize=kinds[2:] == ["Normalize"])

    def write(self, folder: str | Path, width: int, max_length: int) -> None:
        """Makes an encoder's folder one that `sentence_transformers.SentenceTransformer` loads.

        Args:
            folder: Where the encoder is saved.
            width: The dimensions of an embedding.
            max_length: The most tokens of a text.
        """
        folder = Path(folder)
        paths = {"Transformer": "", "Pooling": "1_Pooling", **({"Normalize": "2_Normalize"} if self.normalize else {})}
        modules = [
            {"idx": number, "name": str(number), "path": path, "type": f"{_PACKAGE}.{kind}"}
            for number, (kind, path) in enumerate(paths.items())
        ]
        modes = {key: mode == self.mode for key, mode in _LEGACY.items()}
        files = {
            "modules.json": modules,
            "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
            "1_Pooling/config.json": {"word_embedding_dimension": width, **modes},
        }
        for path in filter(None, paths.values()):
            (folder / path).mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def is_sentence_encoder(name: str) -> bool:
    """Whether a folder or repository says of itself that it is one."""
    return _json(name, "modules.json") is not None


def max_length_in(name: str) -> int | None:
    """The most tokens that a sentence encoder's folder or repository lets a text have; `None` where it does not say."""
    found = (_json(name, "sentence_bert_config.json") or {}).get("max_seq_length")
    return None if found is None else int(found)


def _json(name: str, file: str) -> Any:
    """A JSON file of a folder or repository; `None` where there is none."""
    path = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))

"""Sound as models read it: how many frames samples become, and sounds of unequal length as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedConfig

from hfdistill.models.causal_lm import IGNORED
from hfdistill.models.inputs import main_input, token_inputs
from hfdistill.models.ragged import Column, Ragged, ragged_of
from hfdistill.models.wrappers import config_of, without_adapters


@dataclass(frozen=True)
class FrameLengths:
    """How many frames a model such as wav2vec 2.0 makes of so many samples; without its weights, for data loaders.

    Args:
        kind: The model's class, whose `_get_feat_extract_output_lengths` is called.
        config: Its config, with the convolutions' kernels and strides.
    """

    kind: Any
    config: PreTrainedConfig

    @classmethod
    def of(cls, model: Any) -> FrameLengths | None:
        """Those of a model that reads samples; `None` of any other."""
        kind, config = type(without_adapters(model)), config_of(model)
        convolves = hasattr(kind, "_get_feat_extract_output_lengths") and main_input(model) == "input_values"
        return cls(kind, config) if convolves and config is not None else None

    def __call__(self, samples: Tensor) -> Tensor:
        """Of some numbers of samples the numbers of frames, 0 where there are too few samples for one."""
        return self.kind._get_feat_extract_output_lengths(self, samples).clamp_min(0).long()

    def of_lengths(self, samples: np.ndarray) -> np.ndarray:
        """The same of an array."""
        return self(torch.from_numpy(np.asarray(samples, np.int64))).numpy()

    def mask(self, batch: Mapping[str, Any]) -> Tensor:
        """Which frames of a batch hold sound, shape `(batch, frames)`."""
        values = batch["input_values"]
        mask = batch.get("attention_mask")
        samples = torch.full((len(values),), values.shape[1], device=values.device) if mask is None else mask.sum(-1)
        frames = int(self(torch.tensor(values.shape[1])))
        return torch.arange(frames, device=values.device) < self(samples)[:, None]


def hears_padding(model: Any) -> bool:
    """Whether a model normalizes over all samples of a batch, so that the silence at the end of a sound counts."""
    return getattr(config_of(model), "feat_extract_norm", None) == "group"


@dataclass(frozen=True)
class SoundPadding:
    """Makes one batch of pictures or sounds of one shape, or of sounds of unequal length, with a mask.

    Args:
        name: What the model reads.
        kind: What kind of model it is, for messages.
        takes_mask: Whether it takes a mask of the padding.
        hears_padding: Whether it hears the padding all the same, as one that was trained without a mask does.
    """

    name: str
    kind: str
    takes_mask: bool
    hears_padding: bool

    @classmethod
    def of(cls, model: Any) -> SoundPadding:
        """That of a model."""
        kind = type(without_adapters(model)).__name__
        return cls(main_input(model), kind, "attention_mask" in token_inputs(model), hears_padding(model))

    def __call__(self, column: Ragged) -> dict[str, Tensor]:
        """The batch, of the numbers of each row, `(entries, ...)`.

        Raises:
            ValueError: for unequal lengths and a model that takes no mask.
        """
        width = int(column.lengths.max())
        batch = {self.name: torch.from_numpy(column.padded(width)).float()}
        if (column.lengths == width).all() or self.hears_padding:
            return batch
        if not self.takes_mask:
            raise ValueError(
                f"rows have {self.name} of {column.lengths.min()} to {width} entries, and a {self.kind} takes no mask "
                "of what is padding: bring them in one shape, as the model's processor makes them."
            )
        mask = torch.arange(width) < torch.from_numpy(column.lengths)[:, None]
        return {**batch, "attention_mask": mask.long()}

    def samples(self, columns: Mapping[str, Any]) -> Column:
        """The numbers of each row without those that its own mask hides.

        Args:
            columns: The column of that name, and `attention_mask` where there is one.
        """
        values, mask = columns[self.name], columns.get("attention_mask")
        if isinstance(values, Ragged) and isinstance(mask, Ragged) and np.array_equal(values.lengths, mask.lengths):
            return values.kept(mask.values != 0)
        return values


@dataclass(frozen=True)
class SoundCollator:
    """Rows of sounds and labels as a batch: sounds padded with a mask, lists of labels with -100.

    Args:
        padding: The student's.
    """

    padding: SoundPadding

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The batch.

        Raises:
            ValueError: naming what is empty, or no array of numbers.
        """
        names = [name for name in (self.padding.name, "attention_mask") if name in features[0]]
        columns = {name: ragged_of([row[name] for row in features]) for name in names}
        sounds = self.padding.samples(columns)
        if not isinstance(sounds, Ragged) or not sounds.lengths.all():
            raise ValueError(f"{self.padding.name} of some row of a batch is empty, or no array of numbers.")
        rest = [name for name in features[0] if name not in columns]
        return self.padding(sounds) | {
            ("labels" if name == "label" else name): _stacked([row[name] for row in features]) for name in rest
        }


def _stacked(values: Sequence[Any]) -> Tensor:
    """One number of each row, or several, filled up with -100."""
    column = ragged_of(values)
    if not isinstance(column, Ragged):
        return torch.as_tensor(np.asarray(values))
    return torch.from_numpy(column.padded(int(column.lengths.max()), IGNORED))

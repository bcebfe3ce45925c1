"""Translations drawn from a teacher's distribution, each by random numbers of its own text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

#: The settings of sampling, and with which of them a teacher's distribution is left whole.
WHOLE_DISTRIBUTION = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
#: Other settings of `transformers.GenerationConfig` that would narrow it.
_OTHERS = ("min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")


def sampling_settings(do_sample: bool, generation: Mapping[str, Any]) -> dict[str, Any]:
    """The settings to sample with: those that are given, and the whole distribution else; none for a search.

    Raises:
        ValueError: for settings that would do nothing, or are out of range.
    """
    given = {name: value for name, value in generation.items() if value is not None}
    idle = [name for name in (*WHOLE_DISTRIBUTION, *_OTHERS) if name in given]
    if not do_sample:
        if idle:
            raise ValueError(f"{', '.join(idle)} would do nothing in a beam search: sample with do_sample=True.")
        return {}
    others = [name for name in idle if name in _OTHERS]
    if others:
        raise ValueError(f"{', '.join(others)} cannot be set: samples are narrowed by temperature, top_k and top_p.")
    settings = {name: given.get(name, whole) for name, whole in WHOLE_DISTRIBUTION.items()}
    if not (settings["temperature"] > 0 and settings["top_k"] >= 0 and 0 < settings["top_p"] <= 1):
        found = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise ValueError(f"temperature must be above 0, top_k 0 (all tokens) or more, top_p in (0, 1]; got {found}.")
    return settings


def sample_seeds(keys: np.ndarray, seed: int, count: int) -> Tensor:
    """The seeds of `count` samples of each row, `(rows · count,)`: more samples leave the first ones as they are.

    Args:
        keys: The rows' keys: the same text gets the same seeds wherever it stands.
        seed: Another one gives others.
        count: How many samples.
    """
    words = keys.view(">u8").astype(np.uint64).reshape(-1, 2).tolist()
    each = (np.random.default_rng([seed, sample, *key]) for key in words for sample in range(count))
    return torch.tensor([int(rng.integers(2**63)) for rng in each])


class OwnDraws(LogitsProcessor):
    """Leaves each sample one token to choose, drawn by random numbers of its own.

    The numbers that `generate` draws itself depend on what else is in a batch. Here each token has one that follows
    from the sample's seed, the step and the token, and the least `E / p` of exponential numbers `E` is drawn with
    probability `p` (the Gumbel-max trick): rounding of `p` changes that only where two are as good as equal.

    Args:
        seeds: As from `sample_seeds`.
        settings: A generation config with `temperature`, `top_k` and `top_p`.
    """

    def __init__(self, seeds: Tensor, settings: Any) -> None:
        self.seeds = seeds
        self._warpers: list[Any] = [TemperatureLogitsWarper(float(settings.temperature))]
        if settings.top_k:
            self._warpers.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1:
            self._warpers.append(TopPLogitsWarper(settings.top_p))

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        for warper in self._warpers:
            scores = warper(input_ids, scores)
        starts = _mixed(self.seeds + torch.full_like(self.seeds, input_ids.shape[1]) * _STEP)
        tokens = torch.arange(1, scores.shape[1] + 1, device=scores.device)
        uniform = (_shifted(_mixed(starts[:, None] + tokens * _STEP), 11).float() * 2.0**-53).clamp(1e-30, 1 - 1e-7)
        chosen = (scores.float() - (-torch.log1p(-uniform)).log()).argmax(-1, keepdim=True)
        return torch.full_like(scores, -math.inf).scatter(-1, chosen, 0.0)


# SplitMix64, Steele et al. 2014, https://doi.org/10.1145/2714064.2660195, in integers with a sign.
_STEP = 0x9E3779B97F4A7C15 - 2**64


def _mixed(numbers: Tensor) -> Tensor:
    numbers = (numbers ^ _shifted(numbers, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    numbers = (numbers ^ _shifted(numbers, 27)) * (0x94D049BB133111EB - 2**64)
    return numbers ^ _shifted(numbers, 31)


def _shifted(numbers: Tensor, bits: int) -> Tensor:
    """To the right, with zeros from the left."""
    return (numbers >> bits) & (2 ** (64 - bits) - 1)

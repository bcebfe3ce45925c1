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


def draws(keys: np.ndarray, seed: int, count: int, length: int) -> Tensor:
    """Random numbers from [0, 1), one for each token of `count` samples of each row, `(rows · count, length)`.

    Args:
        keys: The rows' keys: the same text gets the same numbers wherever it stands.
        seed: Another seed gives others.
        count: How many samples; more of them leave the first ones as they are.
        length: The most tokens of a sample.
    """
    words = keys.view(">u8").astype(np.uint64).reshape(-1, 2).tolist()
    each = [np.random.default_rng([seed, sample, *key]).random(length) for key in words for sample in range(count)]
    return torch.from_numpy(np.stack(each))


class OwnDraws(LogitsProcessor):
    """Leaves each sample one token to choose, drawn by a random number of its own.

    The numbers that `generate` draws itself depend on what else is in a batch.

    Args:
        numbers: As from `draws`.
        settings: A generation config with `temperature`, `top_k` and `top_p`.
    """

    def __init__(self, numbers: Tensor, settings: Any) -> None:
        self.numbers = numbers
        self._warpers: list[Any] = [TemperatureLogitsWarper(float(settings.temperature))]
        if settings.top_k:
            self._warpers.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1:
            self._warpers.append(TopPLogitsWarper(settings.top_p))

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        for warper in self._warpers:
            scores = warper(input_ids, scores)
        cumulative = scores.double().softmax(-1).cumsum(-1)
        number = self.numbers[:, input_ids.shape[1] - 1, None] * cumulative[:, -1:]
        # The first whose sum is above the number: never one of probability zero.
        chosen = torch.searchsorted(cumulative, number, right=True)
        return torch.full_like(scores, -math.inf).scatter(-1, chosen, 0.0)

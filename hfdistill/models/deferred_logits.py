"""Models that stop before their output projection, so that the logits of a whole batch are never held.

Over a vocabulary of 58,000 tokens the logits of 8 sentences of 64 tokens take 119 MB. `deferred_logits` keeps the
hidden states that they would be projected from, and a `Projection` computes them a chunk of target tokens at a time, as
large as memory allows, since every product reads the projection's weights anew.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfdistill.models.intermediate_outputs import check_tokens

#: How many logits of a model there are at once, on a CPU and on an accelerator.
CHUNK_LOGITS = 3_500_000
CHUNK_LOGITS_ACCELERATOR = 16_000_000
#: Of how many of them the loss is taken at once. Few save memory; an accelerator pays for each with launches.
LOSS_CHUNK_LOGITS_CPU = 500_000
LOSS_CHUNK_LOGITS = 8_000_000
#: On an accelerator a product of fewer items than these waits for the weights.
ITEMS_A_PRODUCT = 256
#: The share of an accelerator's memory that the float32 logits of a chunk may take.
SHARE_OF_MEMORY = 1 / 64


@dataclass(frozen=True)
class Projection:
    """Logits that are not computed yet: `hidden @ weight.T + bias`.

    Args:
        hidden: Shape `(items, width)`.
        weight: Shape `(classes, width)`.
        bias: Shape `(classes,)`, or `None`.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None

    def logits(self, items: slice | tuple[slice, ...] = slice(None)) -> Tensor:
        """The logits of some items, shape `(items, classes)`."""
        bias = None if self.bias is None else self.bias.to(self.weight.dtype)
        return F.linear(self.hidden[items].to(self.weight.dtype), self.weight, bias)

    def of(self, items: Tensor) -> Projection:
        """The projection of some items only, by their number: a mask would be counted anew by each tensor it is for."""
        return Projection(self.hidden.flatten(0, -2)[items], self.weight, self.bias)


def chunk_size_of(weight: Tensor) -> int:
    """How many items are projected at once by this matrix.

    By the device's whole memory, not by what is free at the moment: a resumed run adds up the same parts.
    """
    classes = weight.shape[0]
    if weight.device.type == "cpu":
        return max(1, CHUNK_LOGITS // classes)
    fit = int(_memory_of(weight.device) * SHARE_OF_MEMORY) // (4 * classes)
    return max(1, min(fit, max(ITEMS_A_PRODUCT, CHUNK_LOGITS_ACCELERATOR // classes)))


@functools.cache
def _memory_of(device: torch.device) -> int:
    """An accelerator's bytes; of one that does not tell, as many as most have."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 2**33


def chunks(hidden: Tensor, weight: Tensor) -> Iterator[slice]:
    """The items by as many as are projected at once."""
    return _slices(len(hidden), chunk_size_of(weight))


def loss_chunks(logits: Tensor) -> Iterator[slice]:
    """The items by as many as the loss is taken of at once."""
    at_once = LOSS_CHUNK_LOGITS_CPU if logits.device.type == "cpu" else LOSS_CHUNK_LOGITS
    return _slices(len(logits), max(1, at_once // logits.shape[-1]))


def _slices(items: int, at_once: int) -> Iterator[slice]:
    """All items in order; one empty slice where there are none."""
    return (slice(start, start + at_once) for start in range(0, max(1, items), at_once))


#: What configs call that which a model does to its logits beside projecting, and the values for which it is nothing.
_AFTER_PROJECTING = {
    **dict.fromkeys(("final_logit_softcapping", "output_logit_soft_cap", "logits_soft_cap"), (None,)),
    **dict.fromkeys(("logit_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier"), (None, 1)),
}


def projects_alone(model: Any) -> bool:
    """Whether, by its config and its head, a model's logits are a linear map of hidden states, and no more.

    Not, where they are capped or scaled, where something watches or rewrites the head (adapters, parametrizations), or
    where the head is none: FSMT names the table that its decoder reads.
    """
    head = model.get_output_embeddings()
    rewritten = type(head) is not nn.Linear or head._forward_hooks or head._forward_pre_hooks or "forward" in vars(head)
    return not rewritten and not _changes_logits(model.config.to_dict())


def _changes_logits(config: Mapping[str, Any]) -> bool:
    """Whether a config, or one within, names something that is done to logits."""
    if any(name in config and config[name] not in nothing for name, nothing in _AFTER_PROJECTING.items()):
        return True
    return any(_changes_logits(value) for value in config.values() if isinstance(value, Mapping))


class DeferredLogits:
    """What a model would have projected to logits."""

    #: With how large hidden states a head is probed: 0 shows what it adds, the largest what it does to large logits.
    _LARGEST = 1e4

    def __init__(self, model: Any, probed: bool) -> None:
        self.model = model
        self.probed = probed
        self.hidden: Tensor | None = None
        #: All else that the model gave.
        self.prediction: Any = None
        self._taken = 0
        self._probes: Tensor

    def take(self, module: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """Keeps the hidden states `(batch, tokens, width)`, and lets none of them through, or probes, to the head."""
        (self.hidden,) = inputs
        self._taken += 1
        if self.hidden.dim() != 3:
            return inputs  # of several streams (ProphetNet), which the model takes apart: `explains` says no
        if not self.probed:
            return (self.hidden[:, :0],)
        # With its graph: DDP takes the parameters that no output depends on for unused.
        first = self.hidden[:, :1]
        self._probes = first * self._factors(first.detach())
        return (self._probes,)

    @property
    def projection(self) -> Projection:
        """The logits that were held back, shape `(batch, tokens, classes)` once computed."""
        assert self.hidden is not None
        head = self.model.get_output_embeddings()
        biases = [getattr(head, "bias", None), getattr(self.model, "final_logits_bias", None)]
        given = [bias.flatten() for bias in biases if bias is not None]
        return Projection(self.hidden, head.weight, sum(given[1:], given[0]) if given else None)

    @torch.no_grad()
    def _factors(self, hidden: Tensor) -> Tensor:
        """What to multiply a token's hidden states `(batch, 1, width)` by: 0, 1, and as much as makes logits large.

        As large as the dtype of use has: fp16 ends at 65504.
        """
        projection = self.projection
        logits = Projection(hidden, projection.weight, projection.bias).logits().float().abs().max()
        largest = torch.stack([logits, hidden.float().abs().max()]).max().clamp_min(1e-3)
        factors = torch.stack([0 * largest, 0 * largest + 1, (self._LARGEST / largest).clamp_min(1)])
        return factors.to(hidden.dtype)[:, None]

    def explains(self, logits: Tensor | None) -> bool:
        """Whether the logits of the probes are those of the projection, each to rounding."""
        if logits is None or self._taken != 1 or self.hidden is None or self.hidden.dim() != 3:
            return False
        projection = self.projection
        ours = Projection(self._probes, projection.weight, projection.bias).logits()
        if ours.shape != logits.shape:
            return False
        in_full = logits.dtype in (torch.float32, torch.float64) and ours.dtype == logits.dtype
        ours, theirs = ours.float(), logits.float()
        size, difference = (x.abs().amax((0, 2)) for x in (ours, ours - theirs))
        return bool((difference <= (1e-4 if in_full else 2e-2) * size.clamp_min(1e-3)).all())


@contextmanager
def deferred_logits(model: Any, probed: bool = False) -> Iterator[DeferredLogits]:
    """While open, `model` stops before its output projection, and its hidden states are kept. `None` does nothing.

    The model is called as a whole all the same, so that what wraps it (DDP) sees its forward pass.

    Args:
        model: An unwrapped `transformers` model that `projects_alone`, or `None`.
        probed: Whether its head still gets a few tokens, by which `explains` sees what it does.
    """
    held = DeferredLogits(model, probed)
    if model is None:
        yield held
        return
    handle = model.get_output_embeddings().register_forward_pre_hook(held.take)
    try:
        yield held
    finally:
        handle.remove()


@torch.no_grad()
def chunked_logits(model: Any, inputs: Mapping[str, Any], tokens: Tensor) -> Iterator[Tensor]:
    """A model's logits of some target tokens, a part of shape `(items, classes)` at a time.

    Args:
        model: An unwrapped `transformers` encoder-decoder.
        inputs: What it reads.
        tokens: Which target tokens, as a bool tensor `(batch, tokens)`.
    """
    check_tokens(inputs)
    projection = _projection(model, inputs, tokens) if projects_alone(model) else None
    if projection is None:
        logits = model(**inputs).logits[tokens]
        for few in loss_chunks(logits):
            yield logits[few]
        return
    for part in chunks(projection.hidden, projection.weight):
        of_part = projection.logits(part)
        for few in loss_chunks(of_part):
            yield of_part[few]


def _projection(model: Any, inputs: Mapping[str, Any], tokens: Tensor) -> Projection | None:
    """What a model's logits of these tokens are projected from; `None` where it turns out to do more than that."""
    with deferred_logits(model, probed=True) as held:
        first = model(**inputs).logits
    return held.projection.of(tokens.flatten()) if held.explains(first) else None

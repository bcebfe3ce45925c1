"""Models whose parts lie on several devices, in memory or on disk (`device_map`), and what is kept of their weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from hfdistill.models.wrappers import is_quantized, unwrapped


def is_dispatched(model: Any) -> bool:
    """Whether `accelerate` brings inputs and weights to where each part of a model is computed."""
    return any("_hf_hook" in vars(module) for module in unwrapped(model).modules())


def is_fixed(model: Any) -> bool:
    """Whether a model is neither moved nor cast: its weights are integers, or its parts on several devices."""
    return is_quantized(model) or is_dispatched(model)


def placed(model: Any, device: torch.device) -> Any:
    """The model on a device; one that is fixed stays where it is, as it may be of use there alone."""
    return model if is_fixed(model) else model.to(device)


class Weights(Mapping[str, Any]):
    """A model's `state_dict`, in which what lies on disk or elsewhere is read when it is looked at, as it always was.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._here = model.state_dict()
        #: Where the other tensors are, and by which name.
        self._elsewhere: dict[str, tuple[Mapping[str, Any], str]] = {}
        for prefix, module in model.named_modules():
            start = f"{prefix}." if prefix else ""
            for hook in _hooks(module):
                self._elsewhere |= {
                    start + name: (hook.weights_map, name)
                    for name in _names(module)
                    if start + name in self._here and self._here[start + name].is_meta
                }
            # bitsandbytes casts a bias when its layer is first run.
            dtype, bias = getattr(module, "compute_dtype", None), self._here.get(f"{start}bias")
            if isinstance(dtype, torch.dtype) and bias is not None:
                self._here[f"{start}bias"] = bias.to(dtype)
            # Once a processor with AVX-512 has run weights of four bits, their scales are rounded, in another shape.
            if (scales := self._here.get(f"{start}weight.absmax")) is not None and scales.is_floating_point():
                self._here[f"{start}weight.absmax"] = scales.flatten().to(torch.bfloat16)

    def __getitem__(self, name: str) -> Any:
        if name not in self._elsewhere:
            return self._here[name]
        weights, own = self._elsewhere[name]
        return weights[own]

    def __iter__(self) -> Iterator[str]:
        return iter(self._here)

    def __len__(self) -> int:
        return len(self._here)


def _hooks(module: nn.Module) -> list[Any]:
    """Those of a module that bring its weights from elsewhere."""
    hook = vars(module).get("_hf_hook")
    several = getattr(hook, "hooks", (hook,))
    return [one for one in several if getattr(one, "weights_map", None) is not None]


def _names(module: nn.Module) -> list[str]:
    return [name for name, _ in (*module.named_parameters(), *module.named_buffers())]

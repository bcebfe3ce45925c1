"""Linear layers in float32 on AMD processors, where the library that PyTorch multiplies by leaves half of the speed."""

from __future__ import annotations

import functools
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import has_torch_function

#: Rows of a product from which oneDNN is quicker, whatever the layer's width.
FEWEST_ROWS = 32

_of_torch = F.linear
_lock = threading.Lock()
_inside = 0


@contextmanager
def quick_linear() -> Iterator[None]:
    """Within it linear layers in float32 are computed by oneDNN, forward and backward, where that is quicker.

    On AMD's processors with AVX-512 MKL, by which PyTorch multiplies float32, keeps to AVX2. OneDNN, which comes with
    PyTorch too, takes half the time. The results differ by rounding; elsewhere nothing changes.
    """
    global _inside
    if not (torch.backends.mkldnn.enabled and _mkl_keeps_to_avx2()):
        yield
        return
    with _lock:  # of several threads the last to leave puts the function back
        _inside, F.linear = _inside + 1, _linear
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            F.linear = _linear if _inside else _of_torch


@functools.cache
def _mkl_keeps_to_avx2() -> bool:
    has_both = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
    if not has_both or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    described = Path("/proc/cpuinfo")
    return "AuthenticAMD" in (described.read_text(encoding="utf-8") if described.exists() else platform.processor())


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """In place of `F.linear`."""
    if not _suits(input, weight, bias):
        return _of_torch(input, weight, bias)
    # Flattened outside: what a function of one's own returns as a view must not be changed in place.
    rows = input.reshape(-1, input.shape[-1])
    found: Tensor = _Linear.apply(rows, weight, bias) if torch.is_grad_enabled() else _product(rows, weight, bias)
    return found.view(*input.shape[:-1], -1)


def _suits(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu") or has_torch_function((input, weight)):
        return False
    for each in (input, weight, bias) if bias is not None else (input, weight):
        # Not a shard, nor weights that are kept in another form.
        if type(each) not in (Tensor, nn.Parameter) or each.dtype != torch.float32 or each.device.type != "cpu":
            return False
    if weight.dim() != 2 or not weight.numel() or input.numel() < FEWEST_ROWS * weight.shape[1]:
        return False
    return input.shape[-1] == weight.shape[1] and (bias is None or bias.shape == weight.shape[:1])


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`rows @ weight.T + bias` by oneDNN, or by PyTorch where the derivative of a gradient is wanted."""
    if torch.is_grad_enabled():
        return _of_torch(rows, weight, bias)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return found


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _product(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        of_rows, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if of_rows else None,
            _product(gradient.t(), rows.t()) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )

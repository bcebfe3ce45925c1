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
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import has_torch_function
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

#: A product that is oneDNN's has so many rows at least, and a multiple of `ROWS`, or from `MANY_ROWS` on of four times
#: as many: what is missing is filled up.
FEWEST_ROWS = 48
ROWS = 64
MANY_ROWS = 2048

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
    others = F.linear is not _of_torch and F.linear is not _linear  # what another library has put there stays
    if others or not torch.backends.mkldnn.enabled or not _mkl_keeps_to_avx2():
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


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, **more: Any) -> Tensor:
    """In place of `F.linear`."""
    if more or not _suits(input, weight, bias):
        return _of_torch(input, weight, bias, **more)
    rows = input.reshape(-1, input.shape[-1])
    count = len(rows)
    # OneDNN prepares each number of rows anew, which takes longer than to compute a few more.
    rows = F.pad(rows, (0, 0, 0, -count % (ROWS if count < MANY_ROWS else 4 * ROWS))).contiguous()
    found: Tensor = _Linear.apply(rows, weight, bias) if torch.is_grad_enabled() else _product(rows, weight, bias)
    # As PyTorch's own does: no view, so that it may be changed in place.
    return torch.ops.aten._unsafe_view(found[:count], [*input.shape[:-1], len(weight)])


def _suits(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    if not input.is_cpu:  # first, as an accelerator waits for what is asked here
        return False
    given = (input, weight) if bias is None else (input, weight, bias)
    if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling() or _is_watched(given):
        return False
    for each in given:
        # Not a shard, nor weights that are kept in another form.
        if type(each) not in (Tensor, nn.Parameter) or each.layout is not torch.strided:
            return False
        if each.dtype != torch.float32 or each.device.type != "cpu":
            return False
    if weight.dim() != 2 or not weight.numel() or input.numel() < FEWEST_ROWS * weight.shape[1]:
        return False
    dense = weight.is_contiguous() or weight.t().is_contiguous()
    fits = input.shape[-1] == weight.shape[1] and (bias is None or bias.shape == weight.shape[:1])
    return dense and fits and (bias is None or bias.is_contiguous())


def _is_watched(given: tuple[Tensor, ...]) -> bool:
    """Whether something looks at PyTorch's operations, or transforms them, and would not know ours."""
    transformed = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    return transformed or torch.jit.is_tracing() or has_torch_function(given) or is_in_torch_dispatch_mode()


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`rows @ weight.T + bias` by oneDNN, or by PyTorch where the derivative of a gradient is wanted."""
    if torch.is_grad_enabled():
        return _of_torch(rows, weight, bias)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return found


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        for_rows, for_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(rows if for_weight else None, weight if for_rows else None)
        return _product(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        return (
            None if weight is None else _product(gradient, weight.t()),
            None if rows is None else _product(gradient.t(), rows.t()),
            gradient.sum(0) if ctx.needs_input_grad[2] else None,
        )

"""Half precision: the autocast that Accelerate puts around `forward`, and processors that only emulate it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.utils import logging

logger = logging.get_logger(__name__)

#: Up to so many tokens attention is trained quicker operation by operation than fused: see `quick_attention`.
SHORT_TEXT = 128


def warn_if_emulated(dtype: str, option: str) -> None:
    """Warns that a model is going to be slower in half precision, not faster, on a processor without its arithmetic.

    Args:
        dtype: Such as `bfloat16`.
        option: What the user set it by.
    """
    kind = {"bfloat16": "bf16", "float16": "fp16"}.get(dtype)
    if kind is None or torch.accelerator.is_available() or not torch.backends.mkldnn.is_available():
        return
    if not getattr(torch.ops.mkldnn, f"_is_mkldnn_{kind}_supported")():
        logger.warning_once(f"This processor emulates {dtype}, several times slower than float32: leave {option} out.")


def quick_attention(inputs: Mapping[str, Any], device: torch.device) -> AbstractContextManager[Any]:
    """For a step in half precision: torch's attention operation by operation, where the fused one is slow.

    Without dropout the fused one's backward pass is, on a processor: with 16 tokens it takes nine times as long, with
    128 half as long again, and with 256 half the time.

    Args:
        inputs: The batch.
        device: Where the student is.
    """
    ids = [one for name in ("input_ids", "labels") if isinstance(one := inputs.get(name), Tensor) and one.dim() == 2]
    short = device.type == "cpu" and bool(ids) and max(one.shape[1] for one in ids) <= SHORT_TEXT
    return sdpa_kernel(SDPBackend.MATH) if short else nullcontext()


def without_autocast(model: Any) -> Any:
    """The model itself, unwrapped otherwise, with the `forward` that it had before Accelerate prepared it.

    Accelerate's own `keep_fp32_wrapper=False` goes on to what `transformers` has put around `forward`, and then
    `return_dict=False` is an error.
    """
    original = vars(model).pop("_original_forward", None)
    if original is not None:
        del model.forward
        if model.forward != original:  # it was the model's own, not its class's
            model.forward = original
    return model

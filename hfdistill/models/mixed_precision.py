"""The autocast that Accelerate puts around a model's `forward`, and how it comes off again."""

from __future__ import annotations

from typing import Any


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

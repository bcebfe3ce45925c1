"""What stands around a model, and the one place that looks through it.

`torch.compile`, DistributedDataParallel, DataParallel, FSDP and DeepSpeed keep a model in an attribute; PEFT puts
adapters into it and a model of its own around it; quantization replaces its modules or its tensors.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

#: Where the tensors of quantized weights come from.
_QUANTIZERS = frozenset({"bitsandbytes", "hqq", "optimum", "torchao"})
#: Where the model is in what compiles it or spreads it over devices.
_KEPT_IN = ("_orig_mod", "module", "_fsdp_wrapped_module")


def unwrapped(model: Any) -> Any:
    """The model without what compiles it or spreads it over devices, in any order; adapters stay around it."""
    if not isinstance(model, nn.Module):  # such as an exported one
        return model
    # Accelerate looks at every part of the model, and this is asked a dozen times in a step.
    if not any(name in vars(model) or name in model._modules for name in _KEPT_IN):
        return model
    while (inner := extract_model_from_parallel(model, keep_torch_compile=False)) is not model:
        model = inner
    return model


def without_adapters(model: Any) -> Any:
    """The `transformers` model within, also below PEFT: its class, `forward` and parts; adapters stay within it."""
    inner = unwrapped(model)
    if isinstance(inner, PreTrainedModel) or not hasattr(inner, "peft_config"):
        return inner
    # PeftMixedModel has no `get_base_model`.
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner.base_model.model


def config_of(model: Any) -> PreTrainedConfig | None:
    """The configuration of a `transformers` model, whatever stands around it; `None` for a plain module."""
    config = getattr(model, "config", None)
    if not isinstance(config, PreTrainedConfig) and isinstance(model, nn.Module):
        config = getattr(without_adapters(model), "config", None)
    return config if isinstance(config, PreTrainedConfig) else None


def device_of(model: Any) -> torch.device:
    """Where a model's inputs must be."""
    device = getattr(model, "device", None)
    if not isinstance(device, torch.device):
        tensor = next(iter(unwrapped(model).parameters()), None)
        device = torch.device("cpu") if tensor is None else tensor.device
    if device.type != "meta":
        return device
    # Its first part lies on disk, and is run elsewhere.
    hooks = (getattr(module, "_hf_hook", None) for module in unwrapped(model).modules())
    homes = (getattr(hook, "execution_device", None) for hook in hooks)
    return torch.device(next((home for home in homes if home is not None), "cpu"))


def forward_parameters(model: Any) -> tuple[str, ...] | None:
    """The names that a model's `forward` takes; `None` where it takes any, as `forward(**inputs)`."""
    inner = without_adapters(model)
    # Accelerate may have put autocast around `forward`.
    kinds = inspect.signature(vars(inner).get("_original_forward", inner.forward)).parameters
    various = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    names = tuple(name for name, one in kinds.items() if one.kind not in various)
    return names or None


def is_quantized(model: Any) -> bool:
    """Whether some weights are kept as small integers: such a model is neither moved nor cast."""
    inner = without_adapters(model)
    if getattr(inner, "hf_quantizer", None) is not None:
        return True
    tensors = (type(tensor) for tensor in inner.parameters())
    return any(kind.__module__.split(".")[0] in _QUANTIZERS for kind in tensors) or any(
        ".quantized." in type(module).__module__ for module in inner.modules()
    )


def token_table_size(model: Any) -> int | None:
    """How many token ids a model has embeddings for; `None` where it has no such table."""
    try:
        table = without_adapters(model).get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    return getattr(table, "num_embeddings", None)


def weight_tensors(value: Any) -> list[Tensor]:
    """The tensors that hold an entry of a `state_dict`: packed and subclassed ones as what they are made of."""
    if isinstance(value, Tensor):
        # DTensor and the quantized tensors of torchao are made of others.
        names = value.__tensor_flatten__()[0] if hasattr(value, "__tensor_flatten__") else ()
        return [tensor for name in names for tensor in weight_tensors(getattr(value, name))] if names else [value]
    if isinstance(value, (tuple, list)):
        return [tensor for one in value for tensor in weight_tensors(one)]
    return []


def is_plain_module(model: Any) -> bool:
    """Whether it is a torch module that `transformers` has not made, and cannot load again."""
    return isinstance(model, nn.Module) and config_of(model) is None

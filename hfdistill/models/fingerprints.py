"""Fingerprints of models, vocabularies and settings: hashes of their content, the same in every process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
import xxhash
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.models.dispatched import Weights
from hfdistill.models.wrappers import config_of, unwrapped, weight_tensors, without_adapters

_HASH_BYTES = 16
#: How a quick hash begins.
QUICK = "xxh3:"
#: Of a configuration, what changes no prediction.
_NAMES_IN_CONFIG = (
    "_name_or_path",
    "architectures",
    "dtype",
    "id2label",
    "label2id",
    "problem_type",
    "transformers_version",
)


def hash_of_tensors(tensors: Mapping[str, Any], quick: bool = False) -> str:
    """A hash of names, shapes, dtypes and every bit of a `state_dict`, packed weights too, alike in every process.

    Args:
        tensors: By name.
        quick: By XXH3 in place of BLAKE2, as fast as memory is read; the hash begins with `QUICK`.
    """
    digest: Any = xxhash.xxh3_128() if quick else hashlib.blake2b(digest_size=_HASH_BYTES)
    for name in sorted(tensors):
        value = tensors[name]
        parts = weight_tensors(value)
        if not (isinstance(value, Tensor) and len(parts) == 1 and parts[0] is value):
            digest.update(f"{name}{type(value).__name__}".encode())
        for tensor in parts:
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(_bytes_of(tensor.detach().cpu()))
    return (QUICK if quick else "") + digest.hexdigest()


def _bytes_of(tensor: Tensor) -> Any:
    if tensor.is_quantized:  # its integers mean nothing without their scale
        return _bytes_of(tensor.int_repr()).tobytes() + _bytes_of(tensor.dequantize()).tobytes()
    return tensor.contiguous().flatten().view(torch.uint8).numpy()


class WeightsHash(str):
    """A quick hash of a model's weights, which also knows the one that folders were written with before."""

    model: PreTrainedModel

    @classmethod
    def of(cls, model: PreTrainedModel) -> WeightsHash:
        """The hash of this model as it is now."""
        found = cls(hash_of_tensors(Weights(model), quick=True))
        found.model = model
        return found

    def older(self) -> str:
        """The same by BLAKE2."""
        return hash_of_tensors(Weights(self.model))


def describe_teacher(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int) -> dict[str, Any]:
    """What a model's predictions depend on beside the text: the manifest of a folder of soft targets."""
    return {**describe_model(model), "tokenizer": hash_of_vocabulary(tokenizer), "max_length": max_length}


def describe_model(model: PreTrainedModel) -> dict[str, Any]:
    """What a model's predictions depend on beside what it reads."""
    model = unwrapped(model)
    # The number of heads or the activation change predictions and no weight; names and versions change neither.
    own: Any = config_of(model)
    config = {name: value for name, value in own.to_dict().items() if name not in _NAMES_IN_CONFIG}
    adapters = getattr(model, "peft_config", None)  # their scale is no weight
    active = {"teacher adapters": hash_of([adapters, model.active_adapters])} if adapters else {}
    return {
        **active,
        **getattr(model, "fingerprint_settings", {}),
        "teacher class": type(without_adapters(model)).__name__,
        "teacher configuration": hash_of(config),
        "teacher weights": WeightsHash.of(model),
        "teacher dtype": str(model.dtype),
    }


def hash_of(value: Any) -> str:
    """A hash of what can be written as JSON, the same in every process."""
    written = json.dumps(value, sort_keys=True, default=_writable)
    return hashlib.blake2b(written.encode(), digest_size=_HASH_BYTES).hexdigest()


def hash_of_vocabulary(tokenizer: PreTrainedTokenizerBase) -> str:
    """The same for tokenizers that give every token the same id."""
    return hash_of(sorted(tokenizer.get_vocab().items()))


def _writable(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)

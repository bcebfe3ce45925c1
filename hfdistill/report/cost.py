"""What a model costs beside its time (`timing.py`): parameters, bytes, floating-point operations and memory."""

from __future__ import annotations

import copy
import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedTokenizerBase

from hfdistill.models.inference import Classifier, predict
from hfdistill.models.wrappers import device_of, unwrapped, weight_tensors
from hfdistill.report.timing import THROUGHPUT_BATCH

Rows = Sequence[dict[str, list[int]]]


@dataclass(frozen=True)
class Size:
    """What a model takes whatever it reads.

    Args:
        parameters: The number of its parameters.
        embedding_parameters: Those of them in its embedding tables, which cost memory and next to no time.
        megabytes: Its weights on disk at the dtype they run in, in 10⁶ bytes; of an exported model its file.
    """

    parameters: int
    embedding_parameters: int
    megabytes: float


class Measurable(ABC):
    """A model, and rows to measure it on; a subclass says how a batch of them is predicted."""

    model: Any
    rows: Sequence[Any]

    @property
    def inputs(self) -> Any:
        """What its time depends on beside the model: the rows."""
        return self.rows

    @property
    def median_row(self) -> Any:
        """One of median length."""
        return sorted(self.rows, key=self.length)[len(self.rows) // 2]

    def length(self, row: Any) -> int:
        """How long a row is."""
        return len(row["input_ids"])

    def batch(self, number: int, count: int) -> list[Any]:
        """The `number`-th `count` rows; after the last comes the first."""
        return [self.rows[index % len(self.rows)] for index in range(number * count, (number + 1) * count)]

    def predict(self, number: int, count: int) -> None:
        """Predictions, with batch, padding and the way to the device and back."""
        self.predict_rows(self.batch(number, count))

    @abstractmethod
    def predict_rows(self, rows: Sequence[Any]) -> Any:
        """The model's predictions for a batch of rows, in CPU memory."""


@dataclass(frozen=True)
class MeasuredModel(Measurable):
    """A classifier to be timed, and the rows to time it on."""

    model: Classifier
    processing_class: PreTrainedTokenizerBase
    rows: Rows

    def predict_rows(self, rows: Rows) -> np.ndarray:
        return predict(self.model, self.processing_class, rows)


def size_beside(model: Any, student: Any) -> Size:
    """The size of a model; an exported one has the student's parameters in another form, of its own `megabytes`."""
    if isinstance(model, torch.nn.Module):
        return size_of(model)
    return replace(size_of(student), megabytes=model.megabytes)


def size_of(model: Any) -> Size:
    """The size that a torch model really has, quantized or not; what several modules share counts once.

    A quantized weight is as many parameters as it stands for, and as many bytes as it is kept in.
    """
    model = unwrapped(model)
    counted: dict[Any, tuple[int, bool]] = {}
    for module in model.modules():
        embeds = hasattr(module, "num_embeddings")
        for key, count in _weights_of(module):
            counted[key] = (count, embeds or counted.get(key, (0, False))[1])
    kept = {_identity(one): one for value in model.state_dict().values() for one in weight_tensors(value)}
    return Size(
        parameters=sum(count for count, _ in counted.values()),
        embedding_parameters=sum(count for count, embeds in counted.values() if embeds),
        megabytes=sum(_bytes_of(tensor) for tensor in kept.values()) / 1e6,
    )


def _weights_of(module: Any) -> list[tuple[Any, int]]:
    """A module's own weights, each with what identifies it and how many parameters it stands for."""
    own = [(_identity(one), _stands_for(one)) for one in module._parameters.values() if one is not None]
    if callable(getattr(module, "weight", None)):  # torch keeps quantized weights packed, and returns them when called
        bias = getattr(module, "bias", None)
        packed = [module.weight(), bias() if callable(bias) else bias]
        return own + [((id(module), place), one.numel()) for place, one in enumerate(packed) if isinstance(one, Tensor)]
    buffers = [one for one in module._buffers.values() if one is not None]
    integers = any(not one.is_floating_point() and one.dim() == 2 for one in buffers)
    if integers and hasattr(module, "in_features") and "weight" not in module._parameters:
        return [*own, ((id(module), 0), module.in_features * module.out_features)]  # several of them in one integer
    return own


def _stands_for(tensor: Tensor) -> int:
    # bitsandbytes keeps two of four bits in a byte, and the shape beside it.
    shape = getattr(getattr(tensor, "quant_state", None), "shape", None)
    return tensor.numel() if shape is None else math.prod(shape)


def _identity(tensor: Tensor) -> Any:
    """Equal for tensors that are the same place in memory."""
    inner = weight_tensors(tensor)
    if len(inner) != 1 or inner[0] is not tensor:
        return tuple(_identity(one) for one in inner)
    if tensor.is_quantized or tensor.device.type == "meta":
        return id(tensor)
    return tensor.device, tensor.data_ptr(), tensor.shape, tensor.dtype


def _bytes_of(tensor: Tensor) -> int:
    own = tensor.numel() * tensor.element_size()
    if tensor.is_quantized and tensor.qscheme() in (torch.per_channel_affine, torch.per_channel_affine_float_qparams):
        own += sum(
            one.numel() * one.element_size()
            for one in (tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points())
        )
    return own


def megaflops(measured: Measurable) -> float | None:
    """Floating-point operations for one row of median length, in 10⁶; of matrix products, which is nearly all.

    `None` for an exported model, which does not show its inside.
    """
    if not isinstance(measured.model, torch.nn.Module):
        return None
    # Attention as plain matrix products: not every fused kernel is known to the counter.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        _unwrapped(measured).predict_rows([measured.median_row])
    return counter.get_total_flops() / 1e6


def peak_megabytes(measured: Measurable) -> float | None:
    """The most memory that weights and tensors take at once while a batch goes through, in 10⁶ bytes.

    On a GPU the peak of PyTorch's allocator; elsewhere the sum of the tensors alive, without what a kernel uses inside.
    `None` for an exported model.
    """
    if not isinstance(measured.model, torch.nn.Module):
        return None
    measured, device = _unwrapped(measured), device_of(measured.model)
    batch = measured.batch(0, THROUGHPUT_BATCH)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        measured.predict_rows(batch)
        return torch.cuda.max_memory_allocated(device) / 1e6
    with _LiveTensors() as live:
        measured.predict_rows(batch)
    return size_of(measured.model).megabytes + live.peak / 1e6


def _unwrapped(measured: Measurable) -> Measurable:
    other = copy.copy(measured)
    object.__setattr__(other, "model", unwrapped(measured.model))  # the classes are frozen
    return other


class _LiveTensors(TorchDispatchMode):
    """Sums the bytes of tensors that are made within it, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_storage_of(tensor)._cdata for tensor in _tensors((args, kwargs))}
        output = function(*args, **(kwargs or {}))
        for tensor in _tensors(output):
            storage = _storage_of(tensor)
            if storage._cdata not in given and storage._cdata not in self._known:
                self._add(storage)
        return output

    def _add(self, storage: torch.UntypedStorage) -> None:
        self._known.add(storage._cdata)
        self._now += storage.nbytes()
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._remove, storage._cdata, storage.nbytes())

    def _remove(self, identity: int, size: int) -> None:
        self._known.discard(identity)
        self._now -= size


def _storage_of(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]

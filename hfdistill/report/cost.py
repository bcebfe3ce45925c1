"""What a model costs: parameters, bytes, floating-point operations, time and memory."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.inference import Classifier, answer
from hfdistill.report.timing import Job, Timings, interleaved, shape_of

LATENCY_TURNS = 6
LATENCY_ROWS = 10
WARM_UP_ROWS = 3
THROUGHPUT_BATCH = 32
THROUGHPUT_ROUNDS = 7

Rows = Sequence[dict[str, list[int]]]


@dataclass(frozen=True)
class Size:
    """What a model takes whatever it is asked.

    Args:
        parameters: The number of its parameters.
        embedding_parameters: Those of them in its embedding tables, which cost memory and next to no time.
        megabytes: Its weights on disk at the dtype they run in, in 10⁶ bytes; of an exported model its file.
    """

    parameters: int
    embedding_parameters: int
    megabytes: float


@dataclass(frozen=True)
class Asked:
    """A model to be timed, and the rows to time it on."""

    model: Classifier
    processing_class: PreTrainedTokenizerBase
    rows: Rows

    def batch(self, number: int, count: int) -> list[dict[str, list[int]]]:
        """The `number`-th `count` rows; after the last comes the first."""
        return [self.rows[index % len(self.rows)] for index in range(number * count, (number + 1) * count)]

    def answer(self, number: int, count: int) -> None:
        """Answers that batch, padding and the way to the device and back included: it has finished then."""
        answer(self.model, self.processing_class, self.batch(number, count))


def size_of(model: PreTrainedModel) -> Size:
    """A transformers model's size; a table that several modules share counts once."""
    tables = {module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    return Size(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        embedding_parameters=sum(table.numel() for table in tables),
        megabytes=sum(weight.numel() * weight.element_size() for weight in model.parameters()) / 1e6,
    )


def latencies_ms(asked: Mapping[str, Asked]) -> dict[str, Timings]:
    """Milliseconds for one row, on the same rows, as `interleaved` measures them."""
    times = interleaved(_jobs(asked, 1), rounds=LATENCY_TURNS, each=LATENCY_ROWS, warm_up=WARM_UP_ROWS)
    return {role: one.map(lambda seconds: 1000 * seconds) for role, one in times.items()}


def throughput(asked: Mapping[str, Asked]) -> dict[str, Timings]:
    """Rows a second in batches of rows as they come, likewise."""
    times = interleaved(_jobs(asked, THROUGHPUT_BATCH), rounds=THROUGHPUT_ROUNDS)
    return {role: one.map(lambda seconds: THROUGHPUT_BATCH / seconds) for role, one in times.items()}


def _jobs(asked: Mapping[str, Asked], count: int) -> dict[str, Job]:
    """Batches of `count` rows; models of one shape that read the same are one job."""
    rows: list[Rows] = []
    jobs = {}
    for role, one in asked.items():
        if one.rows not in rows:
            rows.append(one.rows)
        jobs[role] = Job(shape_of(one.model, rows.index(one.rows)), partial(one.answer, count=count))
    return jobs


def megaflops(asked: Asked) -> float | None:
    """Floating-point operations for one row of median length, in 10⁶; of matrix products, which is nearly all.

    `None` for an exported model, which does not show its inside.
    """
    if not isinstance(asked.model, PreTrainedModel):
        return None
    by_length = sorted(asked.rows, key=lambda row: len(row["input_ids"]))
    # Attention as plain matrix products: not every fused kernel is known to the counter.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        answer(asked.model, asked.processing_class, [by_length[len(by_length) // 2]])
    return counter.get_total_flops() / 1e6


def peak_megabytes(asked: Asked) -> float | None:
    """The most memory that weights and tensors take at once while a batch goes through, in 10⁶ bytes.

    On a GPU what PyTorch's allocator says; elsewhere the sum of the tensors alive, without what a kernel uses inside.
    `None` for an exported model.
    """
    if not isinstance(asked.model, PreTrainedModel):
        return None
    batch = asked.batch(0, THROUGHPUT_BATCH)
    if asked.model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(asked.model.device)
        answer(asked.model, asked.processing_class, batch)
        return torch.cuda.max_memory_allocated(asked.model.device) / 1e6
    with _LiveTensors() as live:
        answer(asked.model, asked.processing_class, batch)
    return size_of(asked.model).megabytes + live.peak / 1e6


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


def device_name(device: torch.device) -> str:
    """What speed was measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"

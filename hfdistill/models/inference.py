"""A model's predictions for a dataset, in order of length: what a comparison and soft targets both need."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from accelerate.utils import send_to_device
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from hfdistill.models.heads import ITEM_MASK, Head, head_of
from hfdistill.models.inputs import check_token_ids, max_positions, pad_batch, pad_rows, token_inputs
from hfdistill.models.intermediate_outputs import check_tokens
from hfdistill.models.progress import progress_bar
from hfdistill.models.quick_linear import quick_linear
from hfdistill.models.ragged import ragged_of
from hfdistill.models.words import reader_of
from hfdistill.models.wrappers import config_of, device_of, token_table_size

logger = logging.get_logger(__name__)

#: Tokens that a core computes at once in its caches: BERTs of 2 x 128 and of 6 x 384 were fastest at 1,024 to 4,096.
CPU_TOKENS = 2048
#: Tokens that keep an accelerator busy: 1,024 rows of 128, or 8,192 of 16.
ACCELERATOR_TOKENS = 2**17
#: Batches that are read while one is computed.
BATCHES_AHEAD = 3
_ONE_A_ROW = Head()


class Runnable(Protocol):
    """What can be run: a transformers model, or an exported one, which knows its `megabytes`."""

    config: Any

    @property
    def device(self) -> torch.device:
        """Where its inputs must be."""

    def eval(self) -> Any:
        """Itself, in evaluation mode: the same logits each time."""


class Classifier(Runnable, Protocol):
    """What gives logits for a batch."""

    def __call__(self, **inputs: Any) -> Any:
        """An output with `logits` for a padded batch."""


class Translator(Runnable, Protocol):
    """What gives translations for a batch."""

    @property
    def generate(self) -> Any:
        """The method that makes token ids of a padded batch, as that of transformers."""


@dataclass(frozen=True)
class CheckedRows:
    """What an exported model was checked on, so that a comparison of the same rows need not run it again.

    Args:
        rows: What it read.
        logits: Its logits of them, shape `(rows, classes)`.
    """

    rows: Sequence[dict[str, list[int]]]
    logits: np.ndarray


def token_rows(
    model: PreTrainedModel,
    processing_class: PreTrainedTokenizerBase,
    dataset: Dataset,
    text_columns: Sequence[str] = (),
) -> list[dict[str, list[int]]]:
    """What a model reads of each row, without padding: its tokens of the text columns, or the row's own tokens."""
    limit = max_positions(model, processing_class)
    reader = reader_of(head_of(model), processing_class, tuple(text_columns), token_inputs(model), limit)
    columns = reader(dataset.with_format(None)[:])
    names = [name for name in columns if name not in ("cut", ITEM_MASK)]
    return [dict(zip(names, values, strict=True)) for values in zip(*(columns[name] for name in names), strict=True)]


def predict_logits(
    model: Classifier,
    processing_class: PreTrainedTokenizerBase,
    rows: Sequence[dict[str, list[int]]],
    batch_size: int | None = None,
    description: str = "Predicting",
    head: Head = _ONE_A_ROW,
) -> np.ndarray:
    """The logits of every row in their order, shape `(rows, classes)`, float32; the model is left in eval mode.

    Where the head decides by token they are those of each row's tokens, one row after the other, `(tokens, classes)`.

    Args:
        model: The model.
        processing_class: Its tokenizer.
        rows: What it reads of each row.
        batch_size: The most rows of a batch; left out, as many as the device computes well at once.
        description: What the progress bar says.
        head: What it decides, of a model with another head than a classifier's.
    """
    table = token_table_size(model) if isinstance(model, torch.nn.Module) else None
    check_token_ids([row["input_ids"] for row in rows], table, "model", range(len(rows)))
    lengths = np.array([len(row["input_ids"]) for row in rows])
    device = device_of(model)

    def read(chosen: np.ndarray) -> dict[str, Tensor]:
        some = [rows[row] for row in chosen]
        columns = {name: ragged_of([row[name] for row in some]) for name in some[0]}
        return pad_batch(processing_class, columns, "right" if head.by_token else None)

    one_pass = Pass(read, lambda inputs: _stored(head, model, inputs), device, token_budget(model, device), batch_size)
    every: list[np.ndarray] = [np.empty(0, np.float32)] * len(rows)
    with progress_bar(len(rows), description, "examples") as bar:
        for chosen, predictions in one_pass(np.argsort(-lengths, kind="stable"), lengths):
            for row, one in zip(chosen, predictions, strict=True):
                every[row] = one[: lengths[row]] if head.by_token else one
            bar.update(len(chosen))
    return np.concatenate(every) if head.by_token else np.stack(every)


def _stored(head: Head, model: Any, inputs: dict[str, Tensor]) -> Tensor | None:
    """The logits of a batch; of a sentence encoder its embeddings."""
    scores = head.scores(run(model, inputs))
    return None if scores is None else head.stored(scores, inputs)


def predict(
    model: Classifier, processing_class: PreTrainedTokenizerBase, rows: Sequence[dict[str, list[int]]]
) -> np.ndarray:
    """The logits of one batch of rows, shape `(rows, classes)`, float32."""
    inputs = send_to_device(pad_rows(processing_class, rows), device_of(model))
    return logits(model, inputs).float().cpu().numpy()


def logits(model: Classifier, inputs: Mapping[str, Tensor]) -> Tensor:
    """A model's logits for a batch on its device, without a graph."""
    return run(model, inputs).logits


def run(model: Classifier, inputs: Mapping[str, Tensor]) -> Any:
    """A model's output for a batch on its device, without a graph."""
    check_tokens(inputs)
    with torch.inference_mode():
        return model.eval()(**inputs)


@dataclass
class Pass:
    """A model's outputs for many rows, in batches of like length, as fast as the device computes them.

    A background thread reads and pads the next batches meanwhile, and outputs are fetched one batch late, so that an
    accelerator never waits for the host. A batch that does not fit the memory is halved, and so is the budget.

    Args:
        read: Makes a batch of some rows, by their numbers; run in a background thread.
        forward: The model's output for a batch: a tensor, or a sequence that has been fetched already.
        device: Where the batch must be.
        budget: The most tokens of a batch, padding included.
        batch_size: The most rows of a batch; `None` for no limit.
    """

    read: Callable[[np.ndarray], dict[str, Any]]
    forward: Callable[[dict[str, Any]], Any]
    device: torch.device
    budget: int
    batch_size: int | None = None
    _halved: bool = field(default=False, init=False)

    def __call__(self, order: np.ndarray, lengths: np.ndarray) -> Iterator[tuple[np.ndarray, Any]]:
        """Batches of rows and their outputs, in CPU memory, tensors as float32 arrays.

        Args:
            order: The rows to run, the longest first.
            lengths: How many tokens each row has, by its number.
        """
        waiting: tuple[np.ndarray, Any] | None = None
        for rows, inputs in _ahead(self._ready, self._batches(order, lengths)):
            for some, output in self._outputs(rows, inputs, lengths):
                if waiting:
                    yield _fetched(*waiting)
                waiting = some, _sent(output)
                if waiting[1][1] is None:  # it is here already
                    yield _fetched(*waiting)
                    waiting = None
        if waiting:
            yield _fetched(*waiting)

    def _batches(self, order: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
        start = 0
        while start < len(order):
            fitting = max(1, self.budget // max(1, int(lengths[order[start]])))
            rows = order[start : start + min(fitting, self.batch_size or fitting)]
            yield rows
            start += len(rows)

    def _ready(self, rows: np.ndarray) -> dict[str, Any]:
        inputs = self.read(rows)
        if self.device.type != "cuda":
            return inputs
        return {name: one.pin_memory() if isinstance(one, Tensor) else one for name, one in inputs.items()}

    def _outputs(self, rows: np.ndarray, inputs: Any, lengths: np.ndarray) -> Iterator[tuple[np.ndarray, Any]]:
        tokens = len(rows) * int(lengths[rows[0]])
        # One that is beyond the budget was read before that fell.
        output = self._output(inputs, len(rows) == 1) if tokens <= self.budget or len(rows) == 1 else None
        if output is not None:
            yield rows, output
            return
        if tokens <= self.budget:
            self._halve(tokens)
        half = len(rows) // 2
        for some in (rows[:half], rows[half:]):
            yield from self._outputs(some, self._ready(some), lengths)

    def _output(self, inputs: Any, alone: bool) -> Any:
        """The model's output; `None` where the memory does not hold it, unless a single row is too much for it."""
        try:
            with quick_linear():
                return self.forward(send_to_device(inputs, self.device, non_blocking=True))
        except torch.OutOfMemoryError:
            if alone:
                raise
            return None

    def _halve(self, tokens: int) -> None:
        if not self._halved:
            logger.warning(
                "the memory does not hold %d tokens at once: the pass goes on with half as many, or as few as fit.",
                tokens,
            )
        self._halved, self.budget = True, max(1, tokens // 2)
        if self.device.type != "cpu":
            getattr(torch, self.device.type).empty_cache()


def token_budget(model: Any, device: torch.device) -> int:
    """How many tokens of a batch, padding included, a device computes well at once.

    On a processor as many as its caches hold. On an accelerator as many as keep it busy, and as half of the memory that
    is free holds, by a generous guess of what a layer needs.
    """
    if device.type == "cpu":
        return min(CPU_TOKENS * torch.get_num_threads(), ACCELERATOR_TOKENS)
    config: Any = config_of(model)
    hidden = getattr(config, "hidden_size", None) or 1024
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    heads = getattr(config, "num_attention_heads", None) or 16
    # Activations of a layer, and the attention of all heads to 512 tokens, some of them twice.
    bytes_a_token = 4 * (12 * hidden + 4 * inner + 3 * 512 * heads)
    return max(CPU_TOKENS, min(_free_bytes(device) // 2 // bytes_a_token, ACCELERATOR_TOKENS))


def _free_bytes(device: torch.device) -> int:
    backend: Any = getattr(torch, device.type)
    if not hasattr(backend, "mem_get_info"):
        return 2**32
    held = backend.memory_reserved(device) - backend.memory_allocated(device)
    return backend.mem_get_info(device)[0] + held


def _ahead(read: Callable[[np.ndarray], Any], items: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, Any]]:
    """Items and what is read of them, some items ahead in a background thread."""
    waiting: deque[tuple[np.ndarray, Future[Any]]] = deque()
    with ThreadPoolExecutor(1) as thread:
        try:
            for item in items:
                waiting.append((item, thread.submit(read, item)))
                if len(waiting) > BATCHES_AHEAD:
                    rows, batch = waiting.popleft()
                    yield rows, batch.result()
            for rows, batch in waiting:
                yield rows, batch.result()
        finally:
            thread.shutdown(cancel_futures=True)


def _sent(output: Any) -> Any:
    """An output on its way to the CPU, and what says that it has arrived."""
    if not isinstance(output, Tensor) or output.device.type == "cpu":
        return output, None
    if output.device.type != "cuda":
        return output.float().cpu(), None
    return output.float().to("cpu", non_blocking=True), torch.cuda.current_stream(output.device).record_event()


def _fetched(rows: np.ndarray, sent: tuple[Any, Any]) -> tuple[np.ndarray, Any]:
    output, arrival = sent
    if arrival is not None:
        arrival.synchronize()
    return rows, output.float().numpy() if isinstance(output, Tensor) else output

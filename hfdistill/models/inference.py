"""A model's predictions for a dataset, in order of length: what a comparison and soft targets both need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from accelerate.utils import send_to_device
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.models.inputs import TokenReader, check_token_ids, max_positions, pad_rows, token_inputs
from hfdistill.models.intermediate_outputs import check_tokens
from hfdistill.models.wrappers import device_of, token_table_size


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
    reader = TokenReader(processing_class, tuple(text_columns), token_inputs(model), limit)
    columns = reader(dataset.with_format(None)[:])
    names = [name for name in columns if name != "cut"]
    return [dict(zip(names, values, strict=True)) for values in zip(*(columns[name] for name in names), strict=True)]


def predict_logits(
    model: Classifier,
    processing_class: PreTrainedTokenizerBase,
    rows: Sequence[dict[str, list[int]]],
    batch_size: int = 64,
    description: str = "Predicting",
) -> np.ndarray:
    """The logits of every row in their order, shape `(rows, classes)`, float32; the model is left in eval mode."""
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]), reverse=True)
    table = token_table_size(model) if isinstance(model, torch.nn.Module) else None
    check_token_ids([row["input_ids"] for row in rows], table, "model", range(len(rows)))
    predictions: dict[int, np.ndarray] = {}
    with tqdm(total=len(rows), desc=description, unit=" examples", leave=False) as bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            predictions.update(
                zip(chosen, predict(model, processing_class, [rows[row] for row in chosen]), strict=True)
            )
            bar.update(len(chosen))
    return np.stack([predictions[row] for row in range(len(rows))])


def predict(
    model: Classifier, processing_class: PreTrainedTokenizerBase, rows: Sequence[dict[str, list[int]]]
) -> np.ndarray:
    """The logits of one batch of rows, shape `(rows, classes)`, float32."""
    inputs = send_to_device(pad_rows(processing_class, rows), device_of(model))
    check_tokens(inputs)
    with torch.inference_mode():
        return model.eval()(**inputs).logits.float().cpu().numpy()

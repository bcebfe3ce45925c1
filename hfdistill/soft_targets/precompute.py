"""Precomputing a teacher's logits: one pass over the distinct rows of a dataset, on all processes, into a store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.models.fingerprints import describe_teacher
from hfdistill.models.inference import predict
from hfdistill.models.inputs import check_token_ids
from hfdistill.models.wrappers import config_of, placed
from hfdistill.soft_targets.store import SoftTargetStore, default_folder, row_key
from hfdistill.teachers import ModelTeacher
from hfdistill.teachers.columns import check_source_columns, warn_of_cut_rows
from hfdistill.teachers.model import without_logits

#: How often finished rows are written down: what a killed run has to do again.
SECONDS_A_PART = 20.0


class SoftTargetMaker:
    """A teacher on this process's device, and the store of its predictions.

    Another kind of prediction than logits is a subclass with another `store_class` or `predictions`; of something else
    than token ids, one with another `reader`, `manifest`, `read`, `read_window`, `key_columns` or `logits`.
    """

    description = "Soft targets"
    unit = "examples"
    store_class = SoftTargetStore

    def __init__(
        self, teacher: ModelTeacher, batch_size: int, store: str | os.PathLike[str] | None, alone: bool = True
    ) -> None:
        self.teacher = teacher
        self.batch_size = batch_size
        # Without an accelerator the processes of `torchrun` find each other only where the CPU is requested by name.
        self.state = PartialState(cpu=not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"))
        manifest = self.manifest()
        with self.state.main_process_first():
            own = default_folder(manifest)
            folder = own if store is None else store if alone else Path(store) / own.name
            self.store = self.store_class(folder, manifest)

    @property
    def reader(self) -> Callable[[Mapping[str, Sequence[Any]]], dict[str, list[Any]]]:
        """What the teacher reads of dataset rows."""
        return self.teacher.reader

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The teacher's."""
        assert self.teacher.processing_class is not None
        return self.teacher.processing_class

    def manifest(self) -> dict[str, Any]:
        """What the predictions depend on beside the text."""
        return describe_teacher(self.teacher.model, self.tokenizer, self.teacher.max_length)

    def read(self, dataset: Dataset) -> Dataset:
        """What the teacher reads of each row, and `cut`: whether the row was longer than that."""
        return dataset.with_format(None).map(
            self.reader, batched=True, remove_columns=dataset.column_names, desc="Reading for the teacher"
        )

    def read_window(self, rows: Mapping[str, Sequence[Any]]) -> Dataset:
        """The same of some streamed rows, which nothing is kept of."""
        return Dataset.from_dict(self.reader(rows))

    def key_columns(self, tokens: Dataset) -> list[str]:
        """Which columns of what is read tell rows apart."""
        return [name for name in tokens.column_names if name != "cut"]

    def of_dataset(self, dataset: Dataset) -> np.ndarray:
        """The predictions for every row, as `(rows, classes)` logits; all processes share the work."""
        if not len(dataset):
            raise ValueError("soft_targets got a dataset without rows: was everything filtered out of it?")
        with self.state.main_process_first():
            tokens = self.read(dataset)
            self.store.load()
        warn_of_cut_rows(sum(tokens["cut"]), len(tokens), self.teacher.max_length)
        keys, missing = self._keys(tokens)
        # Every process must have seen the same store before one of them adds to it.
        self.state.wait_for_everyone()
        self._run(tokens, keys, [row for row in missing if self._is_of_this_process(keys[row])], len(missing))
        self.state.wait_for_everyone()
        self.store.load()
        return self.store.rows(keys)

    def _is_of_this_process(self, key: bytes) -> bool:
        # By the row's key, not its place: processes that saw different stores still leave no row to nobody.
        return int.from_bytes(key, "big") % self.state.num_processes == self.state.process_index

    def of_window(self, rows: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """The logits of some streamed rows, computed by this process alone."""
        check_source_columns(self.teacher, list(rows))
        tokens = self.read_window(rows)
        keys, missing = self._keys(tokens)
        self._run(tokens, keys, missing)
        return self.store.rows(keys)

    def _keys(self, tokens: Dataset) -> tuple[list[bytes], list[int]]:
        """Each row's key, and the rows to run: the first of each text that is not in the store, the longest first."""
        names = self.key_columns(tokens)
        keys, lengths = [], []
        for batch in tokens.select_columns(names).iter(batch_size=1000):
            for values in zip(*(batch[name] for name in names), strict=True):
                keys.append(row_key(dict(zip(names, values, strict=True))))
                lengths.append(len(values[0]))
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in self.store}
        # The longest first: what is too large for the memory fails at once, and the time left is never understated.
        return keys, sorted(first.values(), key=lambda row: (-lengths[row], row))

    def _run(self, tokens: Dataset, keys: list[bytes], chosen: list[int], total: int | None = None) -> None:
        """Runs the teacher on the chosen rows and keeps its outputs; `total` of all processes shows the progress."""
        model = placed(self.teacher.model, self.state.device).eval()
        hidden = total is None or not self.state.is_main_process
        unsaved: dict[bytes, Any] = {}
        saved_at = time.monotonic()
        with tqdm(total=total, desc=self.description, unit=f" {self.unit}", leave=False, disable=hidden) as bar:
            for start in range(0, len(chosen), self.batch_size):
                rows = chosen[start : start + self.batch_size]
                predictions = self.predictions(model, tokens, rows)
                unsaved.update(zip((keys[row] for row in rows), predictions, strict=True))
                bar.update(min(len(rows) * self.state.num_processes, (total or 0) - bar.n))
                if time.monotonic() - saved_at > SECONDS_A_PART:
                    self._save(unsaved)
                    saved_at = time.monotonic()
            self._save(unsaved)

    def predictions(self, model: PreTrainedModel, tokens: Dataset, rows: list[int]) -> Sequence[Any] | np.ndarray:
        """The teacher's predictions for some rows, in their order.

        Raises:
            ValueError: when it predicts something else than finite logits of one decision a row.
        """
        try:
            logits = self.logits(model, tokens, rows)
        except AttributeError as error:
            if error.name != "logits":
                raise
            raise without_logits(model) from None
        config: Any = config_of(model)
        labels = config.num_labels
        if logits.shape != (len(rows), labels):
            raise ValueError(
                "soft_targets keeps one prediction for a row, logits of shape (rows, labels), and a "
                f"{type(model).__name__} of {labels} labels gives {logits.shape} for {len(rows)} rows: take a "
                "sequence classifier."
            )
        broken = ~np.isfinite(logits).all(axis=-1)
        if broken.any():
            row = int(broken.argmax())
            raise ValueError(
                f"the teacher's logits for row {rows[row]} ({self.row_description(tokens, rows[row])}) are not finite: "
                f"{logits[row].tolist()[:8]}; look at it and at the teacher's weights, or run it with dtype='float32'."
            )
        return logits

    def logits(self, model: PreTrainedModel, tokens: Dataset, rows: list[int]) -> np.ndarray:
        """Its logits for some rows, `(rows, classes)`."""
        columns = tokens.select(rows).remove_columns("cut").to_list()
        self.check_token_ids(columns, rows)
        return predict(model, self.tokenizer, columns)

    def check_token_ids(self, columns: Sequence[Mapping[str, Any]], rows: Sequence[int]) -> None:
        """Refuses token ids that the teacher has no embedding for, by their row in the dataset."""
        check_token_ids([row["input_ids"] for row in columns], self.teacher.table_size, "teacher", rows)

    def row_description(self, tokens: Dataset, row: int) -> str:
        """How an error shows a row."""
        return repr(self.tokenizer.decode(tokens[row]["input_ids"], skip_special_tokens=True)[:80])

    def _save(self, unsaved: dict[bytes, Any]) -> None:
        if unsaved:
            self.store.add(list(unsaved), list(unsaved.values()))
            unsaved.clear()

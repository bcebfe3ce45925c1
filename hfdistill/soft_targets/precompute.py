"""Precomputing a teacher's logits: one pass over the distinct rows of a dataset, on all processes, into a store."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, parse_flag_from_env
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.models.dispatched import placed
from hfdistill.models.fingerprints import describe_teacher
from hfdistill.models.inference import Pass, run, token_budget
from hfdistill.models.inputs import check_token_ids, pad_batch
from hfdistill.models.progress import progress_bar
from hfdistill.models.ragged import Ragged, read_column
from hfdistill.models.wrappers import config_of, device_of
from hfdistill.soft_targets.shards import Shard
from hfdistill.soft_targets.store import SoftTargetStore, TokenLogitStore, own_folder, row_keys
from hfdistill.teachers import ModelTeacher
from hfdistill.teachers.base import advice_on_precision
from hfdistill.teachers.columns import check_source_columns, warn_of_cut_rows
from hfdistill.teachers.model import without_logits

#: How often finished rows are written down: what a killed run has to do again.
SECONDS_A_PART = 20.0


@dataclass(frozen=True)
class KnownRows:
    """What the teacher reads of rows.

    Args:
        tokens: The columns, in Arrow.
        keys: The key of each row.
        lengths: How many tokens each row has.
        cut: How many rows are longer than the teacher can read.
    """

    tokens: Dataset
    keys: np.ndarray
    lengths: np.ndarray
    cut: int


class SoftTargetMaker:
    """A teacher on this process's device, and the store of its predictions.

    Another kind of prediction than logits is a subclass with another `store_class` and `forward`; of something else
    than token ids, one with another `reader`, `manifest`, `read`, `read_window`, `columns` or `inputs`.
    """

    description = "Soft targets"
    unit = "examples"
    #: Rows whose keys are computed at once.
    rows_a_look = 10_000
    #: What its predictions are kept in, where the teacher decides once for a row.
    store_class = SoftTargetStore

    def __init__(
        self, teacher: ModelTeacher, batch_size: int | None, store: str | os.PathLike[str] | None, alone: bool = True
    ) -> None:
        self.teacher = teacher
        self.batch_size = batch_size
        # Without an accelerator the processes of `torchrun` find each other only where the CPU is requested by name.
        self.state = PartialState(cpu=not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"))
        manifest = self.manifest()
        with self.state.main_process_first():
            folder = store if store is not None and alone else own_folder(manifest, store)
            store_class = TokenLogitStore if self.logits_by_token else self.store_class
            self.store = store_class(folder, manifest)
        self._check_shared()

    def _check_shared(self) -> None:
        """Refuses a folder that other processes have not in common with this one, before the teacher is run.

        Raises:
            ValueError: in every process, naming those that do not see what the first one writes.
        """
        if self.state.num_processes == 1:
            return
        mark = self.store.new_mark() if self.state.is_main_process else None
        [mark] = broadcast_object_list([mark])
        blind = [process for process, sees in enumerate(gather_object([self.store.sees(mark)])) if not sees]
        if self.state.is_main_process:
            self.store.remove_mark(mark)
        if blind:
            raise ValueError(
                f"process {', '.join(map(str, blind))} does not see what process 0 writes to {self.store.folder}: with "
                "several machines, name a folder that all of them share with store=..."
            )

    @property
    def logits_by_token(self) -> bool:
        """Whether its predictions are logits for each token of a row."""
        return self.teacher.head.by_token

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
        """What the teacher reads of each row: the rows' own tokens, or those of its tokenizer and `cut`.

        `cut` says whether a row was longer than the teacher can read; the rows' own tokens are cut by `columns`.
        """
        plain = dataset.with_format(None)
        if not self.teacher.text_columns:
            return plain.select_columns(self.teacher.reader.shared_columns(dataset.column_names))
        return self.mapped(plain)

    def mapped(self, dataset: Dataset) -> Dataset:
        """What the reader makes of the rows, in the cache of `datasets`."""
        names = dataset.column_names
        return dataset.map(self.reader, batched=True, remove_columns=names, desc="Reading for the teacher")

    def columns(self, table: pa.Table) -> tuple[dict[str, Any], np.ndarray]:
        """The columns of some rows that were read, and whether each was cut."""
        columns: dict[str, Any] = {name: read_column(table[name]) for name in table.column_names}
        return (columns, np.array(columns.pop("cut"))) if "cut" in columns else self.teacher.reader.shared(columns)

    def read_window(self, rows: Mapping[str, Sequence[Any]]) -> Dataset:
        """The same of some streamed rows, which nothing is kept of."""
        return Dataset.from_dict(self.reader(rows))

    def of_dataset(self, dataset: Dataset) -> Any:
        """The predictions for every row, as `(rows, classes)` logits, or by token; all processes share the work."""
        return self.store.rows(self.keys_of(dataset))

    def keys_of_shard(self, dataset: Dataset, shard: Shard) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the rows in a shard, and their keys, once the predictions for them are in the store."""
        keys = self.keys_of(dataset, shard)
        rows = np.flatnonzero(shard.has(keys))
        if not len(rows):
            raise ValueError(f"shard {shard} has none of the {len(dataset)} rows: name fewer shards.")
        return rows, keys[rows]

    def keys_of(self, dataset: Dataset, shard: Shard | None = None) -> np.ndarray:
        """The keys of all rows, once the predictions for them, or for those of a shard, are in the store."""
        if not len(dataset):
            raise ValueError("soft_targets got a dataset without rows: was everything filtered out of it?")
        with self.state.main_process_first():
            tokens = self.read(dataset)
            self.store.load()
        rows = self._known(tokens)
        warn_of_cut_rows(rows.cut, len(tokens), self.teacher.max_length)
        missing = self._missing(rows)
        if shard is not None:
            missing = missing[shard.has(rows.keys[missing])]
        # Every process must have seen the same store before one of them adds to it.
        self.state.wait_for_everyone()
        # By the row's key, not its place: processes that saw different stores still leave no row to nobody.
        process = rows.keys[missing].view(">u8")[1::2] % self.state.num_processes
        self._run(rows, missing[process == self.state.process_index], len(missing))
        self.state.wait_for_everyone()
        self.store.load()
        return rows.keys

    def of_window(self, rows: Mapping[str, Sequence[Any]]) -> Any:
        """The logits of some streamed rows, computed by this process alone."""
        check_source_columns(self.teacher, list(rows))
        known = self._known(self.read_window(rows))
        self._run(known, self._missing(known))
        return self.store.rows(known.keys)

    def _known(self, tokens: Dataset) -> KnownRows:
        """The rows with their keys and lengths."""
        arrow, keys, lengths, cut = tokens.with_format("arrow"), [], [], 0
        for start in range(0, len(tokens), self.rows_a_look):
            columns, are_cut = self.columns(arrow[start : start + self.rows_a_look])
            keys.append(row_keys(columns))
            lengths.append(self.lengths(columns))
            cut += int(are_cut.sum())
        return KnownRows(arrow, np.concatenate(keys), np.concatenate(lengths), cut)

    def lengths(self, columns: Mapping[str, Any]) -> np.ndarray:
        """How long each row is, in what `token_budget` counts."""
        return next(iter(columns.values())).lengths  # the token ids come first

    def _missing(self, rows: KnownRows) -> np.ndarray:
        """The rows to run: the first of each text that is not in the store, the longest first."""
        _, first = np.unique(rows.keys, return_index=True)
        first = np.sort(first[self.store.places(rows.keys[first]) < 0])
        # The longest first: what is too large for the memory fails at once, and the time left is never understated.
        return first[np.argsort(-rows.lengths[first], kind="stable")]

    def _run(self, rows: KnownRows, chosen: np.ndarray, total: int | None = None) -> None:
        """Runs the teacher on the chosen rows and keeps its outputs; `total` of all processes shows the progress."""
        model: Any = placed(self.teacher.model, self.state.device).eval()
        one_pass = Pass(
            functools.partial(self.inputs, rows),
            functools.partial(self.forward, model),
            device_of(model),
            self.token_budget(model),
            self.batch_size,
        )
        hidden = total is None or not self.state.is_main_process
        unsaved: list[tuple[np.ndarray, Any]] = []
        saved_at = time.monotonic()
        with progress_bar(total, self.description, self.unit, hidden) as bar:
            for some, predictions in one_pass(chosen, rows.lengths):
                predictions = self.kept(rows, some, predictions)
                self.check(rows, some, predictions)
                unsaved.append((rows.keys[some], predictions))
                bar.update(min(len(some) * self.state.num_processes, (total or 0) - bar.n))
                if time.monotonic() - saved_at > SECONDS_A_PART:
                    self._save(unsaved)
                    saved_at = time.monotonic()
            self._save(unsaved)

    def token_budget(self, model: PreTrainedModel) -> int:
        """The most tokens of a batch, padding included."""
        return token_budget(model, device_of(model))

    def inputs(self, rows: KnownRows, some: np.ndarray) -> dict[str, Any]:
        """A batch of some rows, in CPU memory; made in a background thread."""
        columns, _ = self.columns(rows.tokens[some])
        self.check_token_ids(columns, some)
        # By token what is padded on the right is cut off again.
        return dict(pad_batch(self.tokenizer, columns, "right" if self.teacher.head.by_token else None))

    def forward(self, model: PreTrainedModel, inputs: dict[str, Any]) -> Any:
        """The teacher's logits for a batch, `(rows, classes)`, or by token `(rows, tokens, classes)`.

        Raises:
            ValueError: when it predicts something else.
        """
        head = self.teacher.head
        predictions = head.scores(run(model, inputs))
        if predictions is None:
            raise without_logits(model)
        predictions = head.stored(predictions, inputs)
        config: Any = config_of(model)
        rows, *tokens = next(iter(inputs.values())).shape
        wanted = (rows, *(tokens[:1] if head.by_token and not head.by_frame else ()), head.size(config))
        found = tuple(predictions.shape)
        if (*found[:1], *found[2:]) != wanted if head.by_frame else found != wanted:
            raise ValueError(
                f"soft_targets keeps logits of shape {wanted} of this batch, and a {type(model).__name__} of "
                f"{wanted[-1]} labels gives {found}: take a teacher that classifies rows or tokens, or finds answers."
            )
        return predictions

    def kept(self, rows: KnownRows, some: np.ndarray, predictions: Any) -> Any:
        """What is kept of a batch's predictions: by token those of padding are left out."""
        if not self.logits_by_token:
            return predictions
        return Ragged.of_padded(predictions, self.decisions(rows, some))

    def decisions(self, rows: KnownRows, some: np.ndarray) -> np.ndarray:
        """How many tokens or frames of these rows are decided on, by token."""
        return rows.lengths[some]

    def check(self, rows: KnownRows, some: np.ndarray, predictions: Any) -> None:
        """Refuses predictions that are not finite, naming the row."""
        by_token = isinstance(predictions, Ragged)
        values = predictions.values if by_token else predictions
        broken = ~np.isfinite(values).all(axis=-1)
        if broken.any():
            first = int(broken.argmax())
            row = int(np.searchsorted(predictions.ends, first, side="right")) if by_token else first
            raise ValueError(
                f"the teacher's logits for row {some[row]} ({self.row_description(rows, some[row : row + 1])}) are "
                f"not finite: {values[first].tolist()[:8]}; {advice_on_precision(self.teacher.model.dtype, 'dtype')}"
            )

    def check_token_ids(self, columns: Mapping[str, Any], some: np.ndarray) -> None:
        """Refuses token ids that the teacher has no embedding for, by their row in the dataset."""
        ids, table = columns["input_ids"], self.teacher.table_size
        if table is not None and len(ids.values) and not (0 <= ids.values.min() and ids.values.max() < table):
            check_token_ids(ids.tolist(), table, "teacher", some.tolist())

    def row_description(self, rows: KnownRows, one: np.ndarray) -> str:
        """How an error shows a row."""
        [ids] = self.columns(rows.tokens[one])[0]["input_ids"].tolist()
        return repr(self.tokenizer.decode(ids, skip_special_tokens=True)[:80])

    def _save(self, unsaved: list[tuple[np.ndarray, Any]]) -> None:
        if unsaved:
            keys, predictions = zip(*unsaved, strict=True)
            self.store.add(np.concatenate(keys), self.store.joined(predictions))
            unsaved.clear()

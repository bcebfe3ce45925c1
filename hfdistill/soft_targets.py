"""Soft targets, made once: run a teacher over a dataset and give every row its answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, IterableDatasetDict, List, Value
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.inference import answer
from hfdistill.label_spaces import label_names as names_of
from hfdistill.label_spaces import label_order
from hfdistill.soft_target_store import SoftTargetStore, default_folder, describe_teacher, row_key
from hfdistill.teacher_columns import check_text_columns, warn_of_cut_rows
from hfdistill.teachers import ENSEMBLE_LOGITS, SOFT_TARGETS, TEACHER_LOGITS, ModelTeacher, as_teacher

AnyDataset = TypeVar("AnyDataset", Dataset, DatasetDict, IterableDataset, IterableDatasetDict)

#: How often finished rows are written down: what a killed run has to do again.
SECONDS_A_PART = 20.0
#: Rows of a streamed dataset that are sorted by length together.
STREAM_WINDOW = 1024


def soft_targets(
    teacher: Any,
    dataset: AnyDataset,
    processing_class: PreTrainedTokenizerBase | None = None,
    *,
    text_columns: Sequence[str] | None = None,
    label_names: Sequence[str] | None = None,
    batch_size: int = 64,
    dtype: str | None = None,
    store: str | os.PathLike[str] | None = None,
) -> AnyDataset:
    """Runs a teacher over a dataset once and returns the dataset with its logits in a column `teacher_logits`.

    Several teachers are run one after the other, and their logits kept apart: row by row, shape `(teachers, classes)`,
    in the column `ensemble_logits`. The trainer takes their mean at the temperature it trains at. Each has a store of
    its own, so that another teacher costs one pass.

    Rows go through the teacher sorted by length, each distinct text once; under `accelerate launch` all processes
    share the work. The logits are kept on disk under what they depend on (the teacher's weights, the tokenization,
    the text), so that a second call computes only what is new, and a killed call goes on where it was. The result is
    a plain dataset: shuffle it, filter it, `push_to_hub` it.

    Args:
        teacher: A model, a name or path, a `ModelTeacher`, or a list of them.
        dataset: Rows with the teacher's `input_ids`, or with text; a `Dataset`, a dict of splits, or a streamed
            dataset, whose rows are asked about as they come.
        processing_class: The teacher's tokenizer; a teacher given by name brings its own. Of several, those without.
        text_columns: The columns of raw text, one or a pair, for the teacher's tokenizer to read. Without them the
            rows must have `input_ids` that were made with the teacher's vocabulary. Of several, those without.
        label_names: The student's labels in their order; the teacher's are put into it by name. Default: the names
            of the dataset's `ClassLabel` column, otherwise the (first) teacher's own order.
        batch_size: Rows a process gives the teacher at once.
        dtype: The dtype to run the teacher in, such as `bfloat16`; default its own.
        store: The folder to keep the logits in; of several teachers, each in a folder of its own within it. Default:
            one in the Hugging Face cache, named by what they depend on.

    Raises:
        ValueError: when the tokenizer or the columns are missing, the labels differ, or the teacher's answer to a row
            is not finite (naming the row).
        StaleSoftTargets: when `store` holds those of another teacher or tokenization, saying what differs.
    """
    given = as_teacher(teacher, dtype)
    members = given.members if given else ()
    if not members or not all(isinstance(member, ModelTeacher) for member in members):
        raise ValueError(f"soft_targets asks a model, given by object, name or path, not {type(given).__name__}.")
    alone = len(members) == 1
    makers = [
        SoftTargetMaker(_readable(member, processing_class, text_columns, alone), batch_size, store, alone)
        for member in members
    ]
    return _over_splits(makers, dataset, label_names)


def _readable(
    given: Any, processing_class: PreTrainedTokenizerBase | None, text_columns: Sequence[str] | None, alone: bool
) -> ModelTeacher:
    """The teacher with its tokenizer and text columns: what is passed is for the only one, or for those without."""
    if given.model.can_generate():
        raise ValueError(
            f"soft_targets keeps one answer for a row, and a {type(given.model).__name__} answers for each target "
            "token: keep those with token_soft_targets, pass it as the teacher of a Seq2SeqDistillationTrainer, or let "
            "it translate with pseudo_translations."
        )
    tokenizers, columns = (processing_class, given.processing_class), (text_columns, given.text_columns)
    if not alone:
        tokenizers, columns = tokenizers[::-1], columns[::-1]
    tokenizer = tokenizers[0] or tokenizers[1]
    if tokenizer is None:
        raise ValueError("soft_targets needs the teacher's tokenizer: pass processing_class=tokenizer.")
    return ModelTeacher(given.model, tokenizer, columns[0] or columns[1])


def _over_splits(makers: Sequence[SoftTargetMaker], dataset: Any, label_names: Sequence[str] | None) -> Any:
    if isinstance(dataset, dict):
        return type(dataset)({name: _over_splits(makers, split, label_names) for name, split in dataset.items()})
    names = label_names or _class_names(dataset) or names_of(makers[0].teacher.model.config)
    orders = [_order(maker.teacher, names) for maker in makers]
    if isinstance(dataset, IterableDataset):
        return _over_stream(makers, orders, dataset)
    for maker in makers:
        check_text_columns(maker.teacher, dataset.column_names)
    logits = [maker.of_dataset(dataset)[:, order] for maker, order in zip(makers, orders, strict=True)]
    return _with_column(dataset, logits)


def _over_stream(makers: Sequence[SoftTargetMaker], orders: Sequence[Any], dataset: IterableDataset) -> IterableDataset:
    def answers(rows: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
        logits = [maker.of_window(rows)[:, order] for maker, order in zip(makers, orders, strict=True)]
        return {column: logits[0] if len(logits) == 1 else np.stack(logits, axis=1)}

    config: Any = makers[0].teacher.model.config
    column, feature = _column(len(makers), config.num_labels)
    features = dataset.features and Features({**dataset.features, column: feature})
    return dataset.map(answers, batched=True, batch_size=STREAM_WINDOW, features=features)


def _column(teachers: int, labels: int) -> tuple[str, List]:
    """The name and the type of the column that holds the answers of this many teachers."""
    one = List(Value("float32"), length=labels)
    return (TEACHER_LOGITS, one) if teachers == 1 else (ENSEMBLE_LOGITS, List(one, length=teachers))


def _class_names(dataset: Any) -> list[str] | None:
    named = [feature for feature in (dataset.features or {}).values() if isinstance(feature, ClassLabel)]
    return list(named[0].names) if len(named) == 1 else None


def _order(teacher: ModelTeacher, label_names: Sequence[str] | None) -> slice | list[int]:
    config: Any = teacher.model.config
    if label_names is None:
        return slice(None)
    order = label_order(names_of(config), label_names, config.num_labels, len(label_names))
    return slice(None) if order is None else order


def _with_column(dataset: Dataset, logits: Sequence[np.ndarray]) -> Dataset:
    # Of both kinds, or the answers of another teacher would be left beside these.
    dataset = dataset.remove_columns([column for column in SOFT_TARGETS if column in dataset.column_names])
    column, feature = _column(len(logits), logits[0].shape[1])
    rows: list[Any] = list(logits[0]) if len(logits) == 1 else [list(row) for row in np.stack(logits, axis=1)]
    return dataset.add_column(column, rows, feature=feature)


class SoftTargetMaker:
    """A teacher on this process's device, and the store of what it has said.

    Another kind of answer than logits is a subclass with another `store_class`, `reader`, `manifest` or `answers`.
    """

    description = "Soft targets"
    store_class = SoftTargetStore

    def __init__(
        self, teacher: ModelTeacher, batch_size: int, store: str | os.PathLike[str] | None, alone: bool = True
    ) -> None:
        assert teacher.processing_class is not None
        self.teacher = teacher
        self.tokenizer = teacher.processing_class
        self.batch_size = batch_size
        # Without an accelerator the processes of `torchrun` find each other only where the CPU is asked for by name.
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

    def manifest(self) -> dict[str, Any]:
        """What the answers depend on beside the text."""
        return describe_teacher(self.teacher.model, self.tokenizer, self.teacher.max_length)

    def of_dataset(self, dataset: Dataset) -> np.ndarray:
        """The answers to every row, as `(rows, classes)` logits; all processes share the work."""
        if not len(dataset):
            raise ValueError("soft_targets got a dataset without rows: was everything filtered out of it?")
        with self.state.main_process_first():
            tokens = dataset.with_format(None).map(
                self.reader,
                batched=True,
                remove_columns=dataset.column_names,
                desc="Tokens for the teacher",
            )
            self.store.load()
        warn_of_cut_rows(sum(tokens["cut"]), len(tokens), self.teacher.max_length)
        keys, missing = self._keys(tokens)
        # Every process must have seen the same store before one of them adds to it.
        self.state.wait_for_everyone()
        self._ask(tokens, keys, [row for row in missing if self._is_mine(keys[row])], len(missing))
        self.state.wait_for_everyone()
        self.store.load()
        return self.store.rows(keys)

    def _is_mine(self, key: bytes) -> bool:
        # By the row's key, not its place: processes that saw different stores still leave no row to nobody.
        return int.from_bytes(key, "big") % self.state.num_processes == self.state.process_index

    def of_window(self, rows: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """The logits of some streamed rows, asked by this process alone."""
        check_text_columns(self.teacher, list(rows))
        tokens = Dataset.from_dict(self.reader(rows))
        keys, missing = self._keys(tokens)
        self._ask(tokens, keys, missing)
        return self.store.rows(keys)

    def _keys(self, tokens: Dataset) -> tuple[list[bytes], list[int]]:
        """Each row's key, and the rows to ask about: the first of each text that is not in the store, longest first."""
        names = [name for name in tokens.column_names if name != "cut"]
        keys, lengths = [], []
        for batch in tokens.iter(batch_size=1000):
            for values in zip(*(batch[name] for name in names), strict=True):
                keys.append(row_key(dict(zip(names, values, strict=True))))
                lengths.append(len(values[0]))
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in self.store}
        # The longest first: what is too large for the memory fails at once, and the time left is never understated.
        return keys, sorted(first.values(), key=lambda row: (-lengths[row], row))

    def _ask(self, tokens: Dataset, keys: list[bytes], mine: list[int], total: int | None = None) -> None:
        """Asks the teacher about the rows `mine` and keeps the answers; `total` of all processes shows the progress."""
        model = self.teacher.model.to(self.state.device).eval()
        hidden = total is None or not self.state.is_main_process
        unsaved: dict[bytes, Any] = {}
        saved_at = time.monotonic()
        with tqdm(total=total, desc=self.description, unit=" examples", disable=hidden) as bar:
            for start in range(0, len(mine), self.batch_size):
                rows = mine[start : start + self.batch_size]
                answers = self.answers(model, tokens, rows)
                unsaved.update(zip((keys[row] for row in rows), answers, strict=True))
                bar.update(min(len(rows) * self.state.num_processes, (total or 0) - bar.n))
                if time.monotonic() - saved_at > SECONDS_A_PART:
                    self._save(unsaved)
                    saved_at = time.monotonic()
            self._save(unsaved)

    def answers(self, model: PreTrainedModel, tokens: Dataset, rows: list[int]) -> Sequence[Any] | np.ndarray:
        """The teacher's answers to some rows, in their order."""
        columns = tokens.select(rows).remove_columns("cut").to_list()
        logits = answer(model, self.tokenizer, columns)
        broken = ~np.isfinite(logits).all(axis=-1)
        if broken.any():
            row = int(broken.argmax())
            text = self.tokenizer.decode(columns[row]["input_ids"], skip_special_tokens=True)[:80]
            raise ValueError(
                f"the teacher's logits for row {rows[row]} ({text!r}) are not finite: {logits[row].tolist()[:8]}; look "
                "at that text and at the teacher's weights, or run it with dtype='float32'."
            )
        return logits

    def _save(self, unsaved: dict[bytes, Any]) -> None:
        if unsaved:
            self.store.add(list(unsaved), list(unsaved.values()))
            unsaved.clear()

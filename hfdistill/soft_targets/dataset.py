"""Precomputed soft targets: a dataset with the logits of one teacher or several in each row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, IterableDatasetDict, List, Value
from transformers import PreTrainedTokenizerBase

from hfdistill.data.rows import as_dataset
from hfdistill.models.heads import ChoiceHead
from hfdistill.models.labels import LabelSpace
from hfdistill.models.ragged import Ragged
from hfdistill.models.vocabularies import check_shared_tokens
from hfdistill.soft_targets.arrays import ArrayTargetMaker
from hfdistill.soft_targets.choices import ChoiceTargetMaker
from hfdistill.soft_targets.media import MediaTargetMaker
from hfdistill.soft_targets.precompute import SoftTargetMaker
from hfdistill.soft_targets.words import WordTargetMaker
from hfdistill.teachers import (
    ENSEMBLE_LOGITS,
    SOFT_TARGETS,
    TEACHER_DISAGREEMENT,
    TEACHER_LABEL,
    TEACHER_LOGITS,
    MediaTeacher,
    ModelTeacher,
    as_teacher,
    disagreement,
)
from hfdistill.teachers.columns import check_source_columns
from hfdistill.teachers.model import without_logits
from hfdistill.teachers.prompted.verbalized import PromptedForSequenceClassification

AnyDataset = TypeVar("AnyDataset", Dataset, DatasetDict, IterableDataset, IterableDatasetDict)

_OTHER_TOKENIZER = "pass the tokenizer that the teacher was trained with, and let it read text (text_columns=[...])."

#: Rows of a streamed dataset that are sorted by length together.
STREAM_WINDOW = 1024


def soft_targets(
    teacher: Any,
    dataset: AnyDataset,
    processing_class: PreTrainedTokenizerBase | None = None,
    *,
    text_columns: Sequence[str] | None = None,
    label_names: Sequence[str] | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    store: str | os.PathLike[str] | None = None,
) -> AnyDataset:
    """Runs a teacher over a dataset once and returns the dataset with its logits in a column `teacher_logits`.

    What they are follows from the teacher's head: `(classes,)` a row; of a token classifier `(tokens, classes)`; of a
    model that finds answers `(tokens, 2)`, for where an answer begins and ends. A token classifier with another
    tokenizer than the student's reads a column of words, `text_columns=["tokens"]`: its logits of a word stand at the
    student's first token of it, which the column `item_mask` names.

    Several teachers are run one after the other, and their logits kept apart: row by row, shape `(teachers, classes)`,
    in the column `ensemble_logits`. The trainer takes their mean at the temperature it trains at. Each has a store of
    its own, so that another teacher costs one pass. How far apart they are on a row is in `teacher_disagreement`, as
    `disagreement` measures it: such rows are worth a look, or a label.

    Where the labels have names, a column `teacher_label` holds the likeliest one (of several teachers, by their mean
    logits). It is a `ClassLabel`, whose names are the order in which the logits stand: by them the trainer puts the
    logits into the student's order. JSON and CSV keep no such names; `save_to_disk`, parquet and the Hub do.

    Rows go through the teacher sorted by length, each distinct text once; under `accelerate launch` all processes
    share the work. The logits are kept on disk under what they depend on (the teacher's weights, the tokenization,
    the text), so that a second call computes only what is new, and a killed call goes on where it was. The result is
    a plain dataset: shuffle it, filter it, `push_to_hub` it.

    Args:
        teacher: A model, a name or path, a `ModelTeacher`, a `MediaTeacher` of pictures or sound, a `PromptTeacher`
            or `EntailmentTeacher` (which bring tokenizer and text columns), or a list of them.
        dataset: Rows with the teacher's `input_ids`, with text, or with what a `MediaTeacher` looks at; a `Dataset`, a
            dict of splits, or a streamed dataset, whose rows are run on as they come. A list of rows or a torch
            `Dataset` becomes a `Dataset`.
        processing_class: The teacher's tokenizer; a teacher given by name brings its own. Of several, those without.
        text_columns: The columns of raw text, one or a pair, for the teacher's tokenizer to read. Without them the
            rows must have `input_ids` that were made with the teacher's vocabulary. Of several, those without.
        label_names: The student's labels in their order; the teacher's are put into it by name. Default: the names
            of the dataset's `ClassLabel` column `label` or `labels`, otherwise the (first) teacher's own order.
        batch_size: The most rows a process gives the teacher at once. Default: as many as its device computes well,
            by their tokens and the memory that is free.
        dtype: The dtype to run the teacher in, such as `bfloat16`; default its own.
        store: The folder to keep the logits in; of several teachers, each in a folder of its own within it. Default:
            one in the Hugging Face cache, named by what they depend on.

    Raises:
        ValueError: when the tokenizer or the columns are missing, the labels differ, or the teacher's logits for a row
            are not finite (naming the row).
        StaleSoftTargets: when `store` holds those of another teacher or tokenization, saying what differs.
    """
    given = as_teacher(teacher, dtype)
    members = given.members if given else ()
    if not members or not all(isinstance(member, ModelTeacher) for member in members):
        raise ValueError(f"soft_targets runs a model, given by object, name or path, not {type(given).__name__}.")
    alone = len(members) == 1
    readers = [_readable(member, processing_class, text_columns, alone) for member in members]
    makers = [_maker_of(one)(one, batch_size, store, alone) for one in readers]
    return _over_splits(makers, dataset, label_names)


def _maker_of(teacher: ModelTeacher) -> type[SoftTargetMaker]:
    if isinstance(teacher, MediaTeacher):
        return MediaTargetMaker
    if isinstance(teacher.head, ChoiceHead):
        return ChoiceTargetMaker
    if teacher.main_input != "input_ids":
        return ArrayTargetMaker
    return WordTargetMaker if teacher.reads_words else SoftTargetMaker


def _readable(
    given: Any, processing_class: PreTrainedTokenizerBase | None, text_columns: Sequence[str] | None, alone: bool
) -> ModelTeacher:
    """The teacher with its tokenizer and text columns: what is passed is for the only one, or for those without."""
    if isinstance(given, MediaTeacher):
        _check_media(given, alone and (processing_class is not None or bool(text_columns)))
        return given
    if isinstance(given.model, PromptedForSequenceClassification):
        _check_prompted(given, alone and (processing_class is not None or bool(text_columns)))
        return given
    _check_storable(given, alone)
    if given.main_input != "input_ids":
        if text_columns:
            raise ValueError(f"a {type(given.model).__name__} reads {given.main_input}: leave text_columns out.")
        return given
    tokenizers, columns = (processing_class, given.processing_class), (text_columns, given.text_columns)
    if not alone:
        tokenizers, columns = tokenizers[::-1], columns[::-1]
    tokenizer = tokenizers[0] or tokenizers[1]
    if tokenizer is None:
        raise ValueError("soft_targets needs the teacher's tokenizer: pass processing_class=tokenizer.")
    check_shared_tokens(given.model, given.processing_class, None, tokenizer, _OTHER_TOKENIZER, "given tokenizer")
    reader = ModelTeacher(given.model, tokenizer, columns[0] or columns[1])
    if given.head.by_token and reader.text_columns and not reader.reads_words:
        raise ValueError(
            f"a {type(given.model).__name__} decides {given.head.decides}, and of text_columns it would read tokens of "
            "its own: give it rows with the student's input_ids, which its tokenizer makes too."
        )
    return reader


def _check_prompted(given: ModelTeacher, given_twice: bool) -> None:
    if given_twice:
        raise ValueError(
            f"a {type(given).__name__} has its own tokenizer and text_columns: leave processing_class and text_columns "
            "out."
        )


def _check_storable(given: ModelTeacher, alone: bool) -> None:
    if isinstance(given.head, ChoiceHead) and not alone:
        raise ValueError(
            "soft_targets of rows with choices are of one teacher: pass several as teacher=[...] to the trainer, which "
            "runs them in every step."
        )
    if not given.head.gives_logits:
        raise without_logits(given.model)
    if not given.head.storable:
        raise ValueError(
            f"a {type(given.model).__name__} decides {given.head.decides}, and soft targets of whole vocabularies are "
            "not stored: pass it as the teacher of a DistillationTrainer, to be run in every step."
        )
    if given.model.can_generate():
        raise ValueError(
            f"soft_targets keeps one prediction for a row, and a {type(given.model).__name__} predicts for each target "
            "token: keep those with token_soft_targets, pass it as the teacher of a Seq2SeqDistillationTrainer, or let "
            "it translate with pseudo_translations."
        )


def _check_media(given: MediaTeacher, reads_text: bool) -> None:
    if reads_text:
        raise ValueError("a MediaTeacher looks at its media_column: leave processing_class and text_columns out.")
    if given.head.by_token:
        raise ValueError(
            f"a {type(given.model).__name__} decides {given.head.decides}, which stand beside the student's own: give "
            "soft_targets the model itself, and rows with what it reads."
        )


def _over_splits(makers: Sequence[SoftTargetMaker], dataset: Any, label_names: Sequence[str] | None) -> Any:
    dataset = as_dataset(dataset)
    if isinstance(dataset, dict):
        return type(dataset)({name: _over_splits(makers, split, label_names) for name, split in dataset.items()})
    named = LabelSpace.of_features(dataset.features)
    own = LabelSpace.of_config(makers[0].teacher.model.config)
    names = label_names or (named[1].names if named else own.names)
    if makers[0].teacher.head.item is None:  # what it decides on has no names
        names = None
    orders = [_order(maker.teacher, names) for maker in makers]
    if isinstance(dataset, IterableDataset):
        return _over_stream(makers, orders, dataset, names)
    for maker in makers:
        check_source_columns(maker.teacher, dataset.column_names)
    logits = [_in_order(maker.of_dataset(dataset), order) for maker, order in zip(makers, orders, strict=True)]
    return with_soft_targets(dataset, logits, _features(makers, names), makers[0].teacher.problem_type)


def with_soft_targets(
    dataset: Dataset, logits: Sequence[Any], features: Features, problem_type: str | None = None
) -> Dataset:
    """The dataset with the columns of soft targets.

    Args:
        dataset: Rows; earlier soft targets are replaced.
        logits: Of each teacher, in the labels' order.
        features: The columns, as `soft_target_features` has them.
        problem_type: As in `config.problem_type`.
    """
    dataset = dataset.remove_columns(_earlier(dataset))
    for column, values in _columns(logits, features, problem_type).items():
        dataset = dataset.add_column(column, _in_arrow(values), feature=features[column])
    return dataset


def _in_order(logits: Any, order: slice | list[int]) -> Any:
    if isinstance(logits, Ragged):
        return Ragged(logits.values[..., order], logits.lengths)
    return logits[..., order]


def _over_stream(
    makers: Sequence[SoftTargetMaker], orders: Sequence[Any], dataset: IterableDataset, names: Sequence[str] | None
) -> IterableDataset:
    added = _features(makers, names)

    def predictions(rows: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        logits = [_in_order(maker.of_window(rows), order) for maker, order in zip(makers, orders, strict=True)]
        columns = _columns(logits, added, makers[0].teacher.problem_type).items()
        return {name: values.split() if isinstance(values, Ragged) else values for name, values in columns}

    earlier = _earlier(dataset)
    kept = {name: feature for name, feature in (dataset.features or {}).items() if name not in earlier}
    features = dataset.features and Features({**kept, **added})
    return dataset.map(predictions, batched=True, batch_size=STREAM_WINDOW, features=features, remove_columns=earlier)


def _features(makers: Sequence[SoftTargetMaker], names: Sequence[str] | None) -> Features:
    """The columns that hold the predictions of these teachers, and their types; by token lists of them."""
    teacher = makers[0].teacher
    if isinstance(teacher.head, ChoiceHead):
        return Features({TEACHER_LOGITS: List(Value("float32"))})
    features = soft_target_features(teacher.head.size(teacher.model.config), names, len(makers))
    if not teacher.head.by_token:
        return features
    return Features({name: List(one) for name, one in features.items() if name != TEACHER_DISAGREEMENT})


def soft_target_features(size: int, names: Sequence[str] | None, teachers: int = 1) -> Features:
    """The columns that hold one decision a row, and their types.

    Args:
        size: How many classes there are.
        names: Their names, where they have any.
        teachers: Of how many teachers.
    """
    one = List(Value("float32"), length=size)
    columns = {TEACHER_LOGITS: one} if teachers == 1 else {ENSEMBLE_LOGITS: List(one, length=teachers)}
    if names and size > 1:
        columns[TEACHER_LABEL] = ClassLabel(names=list(names))
    if teachers > 1:
        columns[TEACHER_DISAGREEMENT] = Value("float32")
    return Features(columns)


def _columns(logits: Sequence[Any], features: Features, problem_type: str | None = None) -> dict[str, Any]:
    """What is in these columns, of each teacher's logits of shape `(rows, classes)`, or `(tokens, classes)` a row."""
    if isinstance(logits[0], Ragged):
        lengths = logits[0].lengths
        return {
            name: Ragged(values, lengths) for name, values in _columns([one.values for one in logits], features).items()
        }
    if logits[0].ndim == 1:  # of choices
        return {TEACHER_LOGITS: logits[0]}
    several = np.stack(logits, axis=1)
    columns = {TEACHER_LOGITS: logits[0], ENSEMBLE_LOGITS: several, TEACHER_LABEL: several.mean(1).argmax(1)}
    if TEACHER_DISAGREEMENT in features:
        columns[TEACHER_DISAGREEMENT] = disagreement(torch.from_numpy(several).movedim(1, 0), problem_type).numpy()
    return {name: values for name, values in columns.items() if name in features}


def _in_arrow(values: Any) -> Any:
    """An array of rows as an Arrow array of lists, without a Python object for each."""
    if isinstance(values, Ragged):
        offsets = np.append(0, values.ends).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), _in_arrow(values.values))
    flat = pa.array(values.reshape(-1))
    for length in values.shape[:0:-1]:
        flat = pa.FixedSizeListArray.from_arrays(flat, length)
    return flat


def _earlier(dataset: Any) -> list[str]:
    """The columns of all kinds of earlier soft targets: beside the new ones they would be another teacher's."""
    ours = (*SOFT_TARGETS, TEACHER_LABEL, TEACHER_DISAGREEMENT)
    return [column for column in ours if column in (dataset.column_names or ())]


def _order(teacher: ModelTeacher, label_names: Sequence[str] | None) -> slice | list[int]:
    if label_names is None:
        return slice(None)
    order = LabelSpace.of_names(label_names).order_in(LabelSpace.of_config(teacher.model.config))
    return slice(None) if order is None else order

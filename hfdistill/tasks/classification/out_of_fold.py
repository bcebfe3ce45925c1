"""Predictions for rows by models that did not learn their labels: of each part by a model of the others."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import DatasetDict

from hfdistill.models.labels import NO_LABEL
from hfdistill.report.terminal import print_main
from hfdistill.soft_targets import soft_targets
from hfdistill.tasks.classification.data import TextClassificationData
from hfdistill.tasks.models import load_teachers, train_teachers
from hfdistill.teachers import TEACHER_LOGITS
from hfdistill.training.arguments import DistillationTrainingArguments


def out_of_fold_logits(
    name: str,
    data: TextClassificationData,
    args: DistillationTrainingArguments,
    *,
    folds: int = 5,
    resume: bool = False,
    max_length: int | None = None,
    trust_remote_code: bool = False,
) -> np.ndarray:
    """Logits of the rows of `train`, shape `(rows, classes)`, by models that were fine-tuned without these rows.

    The rows are split into parts; for each a model is fine-tuned on the labels of the others, and predicts it
    (cross-validation). So no label is predicted by a model that learned it, and `review` can tell which are wrong.

    Args:
        name: The model to fine-tune: a folder, or a name on the Hub.
        data: The texts; rows without a label are predicted too.
        args: Training arguments; each model is kept in a folder of `output_dir`.
        folds: How many parts, and models.
        resume: Whether an interrupted run in `output_dir` is continued.
        max_length: Tokens that a text is cut to; by default the task's.
        trust_remote_code: Whether code that is kept with the model is run.

    Raises:
        ValueError: for fewer than two parts, or fewer different texts than that.
        HubUnreachableError, OSError: when the model cannot be had.
    """
    rows = data.dataset["train"]
    texts = ["\t".join(pair) for pair in zip(*(rows[column][:] for column in data.text_columns), strict=True)]
    numbers = fold_numbers(texts, rows[data.label_column][:], folds)
    logits = np.empty((len(rows), data.num_labels), np.float32)
    for fold in range(folds):
        held_out, others = np.flatnonzero(numbers == fold), np.flatnonzero(numbers != fold)
        print_main(f"Part {fold + 1} of {folds}: {len(held_out):,} rows, by a model of the other {len(others):,}.")
        # It validates nothing: to choose an epoch by the labels in question would be to learn them.
        splits = DatasetDict(train=rows.select(others), validation=rows.select(held_out))
        part = data.with_splits(splits)
        teachers = load_teachers(name, part, train=True, seed=args.seed, trust_remote_code=trust_remote_code)
        alone: dict[str, Any] = {"eval_strategy": "no", "eval_on_start": False, "load_best_model_at_end": False}
        train_teachers(teachers, part, args.with_output_dir(f"{args.output_dir}/part_{fold + 1}", **alone), resume)
        predicted = soft_targets(teachers[0], splits["validation"], label_names=data.label_names)
        logits[held_out] = predicted[TEACHER_LOGITS][:]
    return logits


def fold_numbers(texts: Sequence[str], labels: Sequence[int], folds: int) -> np.ndarray:
    """The part of each row, from 0, shape `(rows,)`: each class is spread evenly, and equal texts stay together.

    It depends on the texts alone, not on the order of the rows.

    Raises:
        ValueError: for fewer than two parts, or than two labeled texts.
    """
    label_of = dict(zip(texts, labels, strict=True))
    labeled = sum(label != NO_LABEL for label in label_of.values())
    if not 2 <= folds <= labeled:
        raise ValueError(
            f"{labeled} different labeled texts cannot be split into {folds} parts: give 2 folds at least, and as many "
            "as texts at most."
        )
    placed: Counter[int] = Counter()
    number_of = {}
    for text in sorted(label_of, key=lambda one: hashlib.sha256(one.encode()).digest()):
        label = label_of[text]
        # Where a class ends the next goes on, so that small classes do not all begin with the first part.
        number_of[text] = (placed[label] + label) % folds
        placed[label] += 1
    return np.array([number_of[text] for text in texts])

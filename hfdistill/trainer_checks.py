"""What a distillation trainer refuses, and what to do instead."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType, parse_flag_from_env
from datasets import Dataset, IterableDataset
from transformers.utils import logging

from hfdistill.label_spaces import class_column, same_labels, some_names
from hfdistill.objective import Objective
from hfdistill.teachers import Teacher, TeacherSignal
from hfdistill.training_args import DistillationTrainingArguments

logger = logging.get_logger(__name__)


def check_signal(signal: TeacherSignal | None, objective: Objective) -> None:
    """Refuses to train on an objective whose teacher says nothing, or too little.

    Raises:
        ValueError: saying what is missing.
    """
    if signal is None:
        raise ValueError(
            "the objective weighs soft targets, and there is neither a teacher nor a column teacher_logits in the "
            "batch: pass teacher=..., make the column with soft_targets(...) (of target tokens: teacher_tokens with "
            "token_soft_targets(...)), or set alpha=0 to learn from labels."
        )
    if missing := objective.outputs - signal.available:
        raise ValueError(
            f"the objective compares {', '.join(sorted(missing))}, which stored soft targets do not have: pass the "
            "model as teacher=..., to be asked in every step."
        )


def check_problem_types(teacher: str | None, student: str | None) -> None:
    """Refuses a teacher of another kind of question than the student's, where both say which.

    Raises:
        ValueError: naming both.
    """
    if teacher is not None and student is not None and teacher != student:
        raise ValueError(
            f"the teacher's problem_type is {teacher} and the student's {student}: both must answer the same kind of "
            "question; correct config.problem_type, or take another teacher."
        )


def check_class_names(name: str, dataset: Any, student_names: Sequence[str] | None) -> None:
    """Refuses rows, or a dict of them, that number the student's labels otherwise.

    Only where both have names, a `ClassLabel` column and `student_names`, and share some. Where they share none, as
    `neg, pos` and `NEGATIVE, POSITIVE`, a warning says that they are taken to mean the same.

    Raises:
        ValueError: naming both orders.
    """
    if isinstance(dataset, dict):
        for split, rows in dataset.items():
            check_class_names(f"{name}[{split!r}]", rows, student_names)
    found = class_column(dataset.features) if isinstance(dataset, (Dataset, IterableDataset)) else None
    if found is None or student_names is None or same_labels(found[1], student_names):
        return
    column, names = found
    told = f"{name} numbers its labels {some_names(names)} and the student {some_names(student_names)}"
    if not {one.casefold() for one in names} & {one.casefold() for one in student_names}:
        logger.warning("%s: they are taken to mean the same in this order.", told)
        return
    if same_labels(names, student_names, in_order=False):
        way_out = (
            "bring them into the student's order with dataset.align_labels_with_mapping(model.config.label2id, "
            f"{column!r}), or give the student id2label in the order of the dataset"
        )
    else:
        way_out = (
            f"where they mean the same, rename the dataset's with dataset.cast_column({column!r}, "
            "ClassLabel(names=[...])) in its order, or give the student its names as id2label"
        )
    raise ValueError(f"{told}: {way_out}.")


def refuse_what_cannot_work(
    model: Any, args: DistillationTrainingArguments, teacher: Any, kwargs: Mapping[str, Callable[..., Any] | Any]
) -> None:
    """Refuses what a `Trainer` takes and distillation cannot honour.

    Raises:
        ValueError: naming the argument.
        TypeError: for arguments of another trainer.
    """
    if not isinstance(args, DistillationTrainingArguments):
        raise TypeError(
            f"args must be DistillationTrainingArguments here, got {type(args).__name__}: they also say what is "
            "learnt from the teacher."
        )
    if args.n_gpu > 1:
        raise ValueError(
            f"{args.n_gpu} GPUs are visible to one process, and DataParallel is not supported: start one process for "
            "each with `accelerate launch your_script.py`, or show one with CUDA_VISIBLE_DEVICES=0."
        )
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched > 1 and args.world_size == 1:
        raise ValueError(
            f"{launched} processes were started and each would train a student of its own: on a machine without an "
            "accelerator they find each other with use_cpu=True (--use_cpu true)."
        )
    if args.fsdp and launched == 1:
        raise ValueError("fsdp shards a model over several processes, and here is one: start more, or leave it out.")
    if kwargs.get("compute_loss_func") is not None:
        raise ValueError("compute_loss_func would be ignored: give its formula as a term of objective=Objective(...).")
    objective: Any = kwargs.get("objective")
    if objective is not None and args.label_smoothing_factor and not _smooths(objective):
        raise ValueError(
            "label_smoothing_factor would be ignored beside objective=...: give it to the term, as in "
            f"Labels(label_smoothing={args.label_smoothing_factor})."
        )
    if args.labeled_share is not None and not hasattr(kwargs.get("train_dataset"), "__len__"):
        raise ValueError("labeled_share mixes the rows of a Dataset, and this is a stream, whose order is its own.")
    given = teacher if isinstance(teacher, (list, tuple)) else [teacher]
    asked = [member for one in given for member in (one.members if isinstance(one, Teacher) else [one])]
    if model is not None and any(model is one or model is getattr(one, "model", None) for one in asked):
        raise ValueError("teacher and student are the same object: train a copy, such as make_student(teacher, ...).")


def warn_of_ignored_sharding(args: DistillationTrainingArguments, accelerator: Accelerator) -> None:
    """Says that FSDP was asked for and each process holds the whole model, as on processors Accelerate has it."""
    asked = args.fsdp or parse_flag_from_env("ACCELERATE_USE_FSDP")
    if asked and accelerator.distributed_type != DistributedType.FSDP and args.process_index == 0:
        logger.warning(
            "FSDP was asked for (--fsdp, or Accelerate's configuration), and Accelerate does not shard on %s with %d "
            "process(es): each of them trains the whole model.",
            accelerator.device.type,
            args.world_size,
        )


def _smooths(objective: Objective) -> bool:
    return any(getattr(term, "label_smoothing", 0) for _, term in objective.named_terms())

"""What a distillation trainer refuses, and what to do instead."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow.compute as pc
from datasets import Dataset, List, Value
from torch import Tensor, nn
from transformers.utils import is_liger_kernel_available, logging

from hfdistill.models.extras import install_hint
from hfdistill.models.heads import (
    ChoiceHead,
    CTCHead,
    EmbeddingHead,
    Head,
    NextTokenHead,
    SpanHead,
    VocabularyHead,
    head_of,
)
from hfdistill.models.inputs import check_token_ids
from hfdistill.models.packed_texts import SEGMENT_IDS
from hfdistill.models.wrappers import config_of, is_plain_module, token_table_size, without_adapters
from hfdistill.teachers import SOFT_TARGETS, TEACHER_TOKENS, ModelTeacher, Teacher, TeacherSignal
from hfdistill.training.arguments import DistillationTrainingArguments
from hfdistill.training.objective import Objective

logger = logging.get_logger(__name__)

_SAME_TOKENS = "take a teacher with the student's tokenizer, and leave its text_columns out"
_BY_WORD = f"make its soft targets first, with soft_targets, which stores them word by word, or {_SAME_TOKENS}"
#: Rows whose tokens are looked at together.
_ROWS_AT_ONCE = 10_000


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
            "model as teacher=..., to be run in every step."
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


def check_predictions(teacher: Teacher | None, student: nn.Module) -> None:
    """Refuses a teacher that decides something else than the student, or the same of tokens of its own.

    Raises:
        ValueError: naming the teacher's class.
    """
    head = head_of(student)
    for member in () if teacher is None else teacher.members:
        if not isinstance(member, ModelTeacher):
            continue
        name = type(without_adapters(member.model)).__name__
        if isinstance(head, NextTokenHead) and not isinstance(member.head, NextTokenHead):
            raise ValueError(
                f"the student predicts the next token of a text, and the teacher, a {name}, does not: pass "
                "teacher=LanguageModelTeacher.from_pretrained(...), a causal language model of the same vocabulary."
            )
        with_logits = member.head.gives_logits and head.gives_logits  # otherwise `check_heads` has its say
        if with_logits and type(member.head) is not type(head) and not is_plain_module(student):
            raise ValueError(
                f"the teacher, a {name}, decides {member.head.decides}, and the student {head.decides}: take a teacher "
                "with the student's kind of head."
            )
        if isinstance(head, CTCHead):
            _check_letters(config_of(member.model), config_of(student))
        if head.by_token and not member.shares_tokens:
            raise ValueError(
                f"the teacher, a {name}, decides {head.decides}, and it reads the text in tokens of its own, which are "
                f"not the student's: {_BY_WORD if member.reads_words else _SAME_TOKENS}."
            )


def _check_letters(teacher: Any, student: Any) -> None:
    """Refuses a teacher of other letters than the student's, as far as configs tell."""
    found = [(config.vocab_size, config.pad_token_id) for config in (teacher, student)]
    if found[0] != found[1]:
        raise ValueError(
            "the teacher tells {} letters apart and its blank (pad_token_id) is {}, and of the student it is {} and "
            "{}: take a teacher with the student's tokenizer.".format(*found[0], *found[1])
        )


def check_heads(objective: Objective, student: Any, teacher: Teacher | None) -> None:
    """Refuses terms on logits where student or teacher, a bare encoder, gives representations alone.

    Raises:
        ValueError: naming the terms and the model's class.
    """
    if isinstance(head_of(student), ChoiceHead) and objective.outputs:
        raise ValueError(
            f"terms on {', '.join(sorted(objective.outputs))} compare the layers of one text for a row, and of choices "
            "there are several: take terms on logits, such as soft_targets."
        )
    models = [member.model for member in (teacher.members if teacher else ()) if isinstance(member, ModelTeacher)]
    for who, model in (("student", student), *(("teacher", model) for model in models)):
        on_logits = [
            name
            for name, term in objective.named_terms()
            if not term.outputs and (who == "student" or term.uses_teacher)
        ]
        widths = [getattr(config_of(one), "hidden_size", None) for one in (model, student)]
        if on_logits and isinstance(head_of(student), EmbeddingHead) and widths[0] != widths[1]:
            raise ValueError(
                f"the {who}'s embeddings have {widths[0]} dimensions and the student's {widths[1]}, so that "
                f"{', '.join(on_logits)} cannot compare them: take a student of the teacher's width, as make_student "
                "makes it, or terms on pairs of texts, which need none: rkd_distance, rkd_angle, similarity."
            )
        if on_logits and not head_of(model).gives_logits:
            raise ValueError(
                f"the {who}, a {type(without_adapters(model)).__name__}, gives representations and no logits, which "
                f"{', '.join(on_logits)} would compare: take terms on layers, such as terms=['minilm:1'], or load it "
                "with its head, as AutoModelForMaskedLM does."
            )


def refuse_packed(objective: Objective, head: Head, teacher: Teacher | None) -> None:
    """Refuses rows of several texts where a term, or a model, takes a row for one.

    Raises:
        ValueError: naming the terms, or what the model decides.
    """
    by_row = [name for name, term in objective.named_terms() if not (term.logits_only or term.token_wise)]
    if by_row:
        raise ValueError(
            f"rows with {SEGMENT_IDS} hold several texts, and {', '.join(by_row)} would take each row for one: leave "
            "packing off, or take terms by token, such as soft_targets, hidden_states and minilm."
        )
    if isinstance(head, NextTokenHead) or not (head.by_token or not head.gives_logits):
        raise ValueError(
            f"rows with {SEGMENT_IDS} hold several texts, and the student decides {head.decides}: packing is for "
            "encoders that decide by token, such as masked language models; leave it off."
        )
    if any(isinstance(one, ModelTeacher) and not one.shares_tokens for one in (teacher.members if teacher else ())):
        raise ValueError("a teacher with text_columns of its own cannot read packed rows: leave packing off.")


def check_divisible(head: Head, args: DistillationTrainingArguments, objective: Objective | None = None) -> None:
    """Refuses what is a mean over all classes where these are a text's tokens, so that padding would take part in it.

    Args:
        head: What the student decides.
        args: What the objective is made of, where none is given.
        objective: The given one.

    Raises:
        ValueError: naming the argument.
    """
    if isinstance(head, CTCHead):
        _refuse_for_speech(args)
    if not isinstance(head, (SpanHead, ChoiceHead)):
        return
    terms = [] if objective is None else [term for _, term in objective.named_terms()]
    given: list[Any] = terms or [args]
    found = {
        "label_smoothing_factor": any(getattr(one, "label_smoothing", 0) for one in terms)
        or args.label_smoothing_factor > 0,
        "divergence mse": any(getattr(one, "divergence", "") == "mse" for one in given),
        "standardize_logits": any(getattr(one, "standardize_logits", False) for one in given),
    }
    items = "tokens" if isinstance(head, SpanHead) else "choices"
    for name in [name for name, there in found.items() if there]:
        raise ValueError(
            f"{name} is a mean over all classes, and here these are all {items}, those that only fill up a batch too: "
            "leave it out."
        )


def _refuse_for_speech(args: DistillationTrainingArguments) -> None:
    if args.label_smoothing_factor > 0:
        raise ValueError("label_smoothing_factor has no meaning for letters that are spread over frames: leave it out.")
    if "decoupled" in args.terms_with_weight:
        raise ValueError(
            "the term 'decoupled' sets the labeled class apart, and no frame of sound has a label of its own: take "
            "soft_targets."
        )


def refuse_stored_answers(name: str, dataset: Any, head: Head) -> None:
    """Refuses rows, or a dict of them, with stored predictions, beside a student whose soft targets are not stored.

    Raises:
        ValueError: naming the dataset and the columns.
    """
    for split in dataset.values() if isinstance(dataset, dict) else [dataset]:
        supported = {TEACHER_TOKENS} if isinstance(head, VocabularyHead) else set()
        stored = ({*SOFT_TARGETS} - supported) & {*(getattr(split, "column_names", None) or ())}
        if stored:
            raise ValueError(
                f"{name} carries {', '.join(sorted(stored))}, and stored soft targets of {head.decides} are not "
                "supported: remove them, and pass the model as teacher=..., to be run in every step, or of language "
                "models keep parts of their distributions with token_soft_targets."
            )


def check_tokens(name: str, dataset: Any, model: Any, tokenizer: Any) -> None:
    """Refuses rows, or a dict of them, of which the usual collator could make no batch of tokens.

    Raises:
        ValueError: for rows without tokens, with tokens that the model does not know, or of unequal lengths where there
            is no tokenizer to pad them.
    """
    if isinstance(dataset, dict):
        for split, rows in dataset.items():
            check_tokens(f"{name}[{split!r}]", rows, model, tokenizer)
    reads_tokens = getattr(model, "main_input_name", None) == "input_ids"
    if not (reads_tokens and isinstance(dataset, Dataset) and len(dataset)) or dataset.format["type"] == "custom":
        return
    columns = dataset.column_names
    if not {"input_ids", "inputs_embeds"} & set(columns):
        texts = [column for column in columns if dataset.features[column] == Value("string")]
        raise ValueError(
            f"{name} has no input_ids, only {', '.join(columns)}: tokenize it first, as in dataset.map(lambda rows: "
            f"tokenizer(rows[{texts[0] if texts else 'text'!r}], truncation=True), batched=True)."
        )
    if "input_ids" in columns and (table := token_table_size(model)) is not None:
        _check_known_tokens(name, dataset, table)
    if tokenizer is None and "input_ids" in columns:
        tokens = dataset.select_columns("input_ids").with_format("arrow")[:]["input_ids"]
        lengths = pc.min_max(pc.list_value_length(tokens)).as_py()
        if lengths["min"] != lengths["max"]:
            raise ValueError(
                f"the rows of {name} have {lengths['min']} to {lengths['max']} tokens, and there is nothing to pad "
                "them: pass processing_class=tokenizer."
            )


def _check_known_tokens(name: str, dataset: Dataset, table: int) -> None:
    """Refuses the tokens of another tokenizer, such as those of the teacher for a student of fewer."""
    done, nested = 0, isinstance(getattr(dataset.features["input_ids"], "feature", None), List)  # of rows with choices
    for batch in dataset.select_columns("input_ids").with_format("arrow").iter(_ROWS_AT_ONCE):
        largest = pc.max(pc.list_flatten(batch["input_ids"], recursive=True)).as_py()
        if largest is not None and largest >= table:
            rows = range(done, done + len(batch))
            ids = [pc.list_flatten(row.values, recursive=True) if nested else row.values for row in batch["input_ids"]]
            check_token_ids([row.to_pylist() for row in ids], table, "student", rows, name)
        done += len(batch)


def warn_of_idle_terms(objective: Objective, counts: Tensor, step: int) -> None:
    """Warns of terms that count nothing in the first step in which they could teach.

    Args:
        objective: Whose active terms are looked at, each in one step alone: reading a count makes an accelerator wait.
        counts: The items of each active term in this step.
        step: How many optimizer steps came before it with this objective.
    """
    for (name, term), count in zip(objective.named_terms(active_only=True), counts, strict=True):
        if step == term.idle_steps and count == 0:
            logger.warning(
                "The term %r found nothing to count in its first step: do the rows have what it needs, %s? Rows "
                "without it teach nothing here.",
                name,
                term.needs,
            )


def nothing_to_learn(dataset: Any) -> ValueError:
    """What to raise where every term of the objective reads labels, and there are none."""
    columns = getattr(dataset, "column_names", None) or []
    found = f"no row of train_dataset has one, which has the columns {', '.join(columns)}" if columns else "none came"
    return ValueError(
        f"there is nothing to learn from: without a teacher all is learned from labels, and {found}: give them in a "
        "column labels (dataset.rename_column), or pass a teacher."
    )


def refuse_what_cannot_work(
    model: Any, args: DistillationTrainingArguments, teacher: Any, kwargs: Mapping[str, Callable[..., Any] | Any]
) -> None:
    """Refuses what a `Trainer` takes and distillation cannot honor.

    Raises:
        ValueError: naming the argument.
        TypeError: for arguments of another trainer.
        ImportError: when Liger Kernel is asked for and not installed.
    """
    if not isinstance(args, DistillationTrainingArguments):
        raise TypeError(
            f"args must be DistillationTrainingArguments here, got {type(args).__name__}: they also say what is "
            "learned from the teacher."
        )
    if args.use_liger_kernel and not is_liger_kernel_available():
        raise ImportError(f"use_liger_kernel needs Liger Kernel: {install_hint('liger')}.")
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
    if cut := [name for name in ("cp_size", "sp_size") if _parallelism(args, name) > 1]:
        raise ValueError(
            f"{' and '.join(cut)} above 1 cuts a text over processes, and a teacher reads a whole one: leave "
            f"{'them' if len(cut) > 1 else 'it'} at 1 (parallelism_config, or the configuration of accelerate launch)."
        )
    if kwargs.get("compute_loss_func") is not None:
        raise ValueError("compute_loss_func would be ignored: give its formula as a term of objective=Objective(...).")
    objective: Any = kwargs.get("objective")
    if objective is not None and args.label_smoothing_factor and not _smooths(objective):
        raise ValueError(
            "label_smoothing_factor would be ignored beside objective=...: give it to the term, as in "
            f"Labels(label_smoothing={args.label_smoothing_factor})."
        )
    _check_order(args, kwargs.get("train_dataset"))
    given = teacher if isinstance(teacher, (list, tuple)) else [teacher]
    asked = [member for one in given for member in (one.members if isinstance(one, Teacher) else [one])]
    models = [getattr(one, "model", None) if isinstance(one, Teacher) else one for one in asked]
    inner = [without_adapters(one) for one in (model, *models) if isinstance(one, nn.Module)]
    if isinstance(model, nn.Module) and any(inner[0] is one for one in inner[1:]):
        raise ValueError("teacher and student are the same object: train a copy, such as make_student(teacher, ...).")


def _check_order(args: DistillationTrainingArguments, train_dataset: Any) -> None:
    """Refuses more than one say on which rows make a batch, any on those of a stream, and a stream without an end."""
    orders = [name for name in ("labeled_share", "max_tokens_per_batch") if getattr(args, name) is not None]
    streamed = train_dataset is not None and not hasattr(train_dataset, "__len__")
    if streamed and args.max_steps <= 0:
        raise ValueError("a stream of rows does not say how long an epoch is: set max_steps (--max_steps 100000).")
    if orders and streamed:
        raise ValueError(f"{orders[0]} mixes the rows of a Dataset, and this is a stream, whose order is its own.")
    if len(orders) > 1:
        raise ValueError("labeled_share and max_tokens_per_batch both say which rows make a batch: leave one out.")
    if args.max_tokens_per_batch is not None and args.auto_find_batch_size:
        raise ValueError("auto_find_batch_size counts rows, and max_tokens_per_batch tokens: leave one out.")
    if args.max_tokens_per_batch is not None and args.dataloader_drop_last:
        raise ValueError("max_tokens_per_batch leaves no row out, and dataloader_drop_last would: leave one out.")


def _parallelism(args: DistillationTrainingArguments, name: str) -> int:
    """A size of `parallelism_config`, as given, or as `accelerate launch` says."""
    if args.parallelism_config is not None:
        return int(getattr(args.parallelism_config, name, 1))
    launched = os.environ.get("ACCELERATE_USE_PARALLELISM_CONFIG", "false").lower() == "true"
    return int(os.environ.get(f"PARALLELISM_CONFIG_{name.upper()}", 1)) if launched else 1


def _smooths(objective: Objective) -> bool:
    return any(getattr(term, "label_smoothing", 0) for _, term in objective.named_terms())

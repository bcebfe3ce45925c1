"""What a term of the objective is. To add one, subclass `Term`: `forward`, and `valid` unless it counts examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from hfdistill.losses.schedules import Schedule, value_at
from hfdistill.losses.signal import TeacherSignal
from hfdistill.models.packed_texts import SEGMENT_IDS, same_text
from hfdistill.models.sequences import SEQUENCE_MASK

if TYPE_CHECKING:
    from transformers import PreTrainedModel


Batch = Mapping[str, Any]

#: In a batch: which rows count. Without it all do.
COUNTED_ROWS = "counted_rows"


class StudentOutput(Protocol):
    """What a `transformers` model returns: `logits` of shape `(batch, ..., classes)`, and the terms' `outputs`."""

    logits: Tensor


class Term(nn.Module):
    """One named part of an `Objective`: a loss for every item of a batch, and which of the items count.

    A term never averages. It returns one value an item (an example, a token, ...), `valid` says which items count,
    and the objective divides their sum by the number of valid items in the whole optimizer step, over all
    micro-batches and ranks. That is what makes a gradient independent of how a batch is cut, and padding and missing
    labels harmless, for every term at once.

    Class attributes:
        name: How `--terms` calls it.
        log_name: How the logs call it under its own name; `<name>_loss` when empty, or when named otherwise.
        uses_teacher: Whether `forward` reads the teacher's signal; a term that does not trains without a teacher.
        outputs: What student and teacher must return beside their logits: any of `"hidden_states"`, `"attentions"`,
            `"queries"`, `"keys"`, `"values"` (see `hfdistill.models.intermediate_outputs.forward`).
        token_wise: Whether the student is compared with the teacher token by token, so that both must read the same.
        reads_first_token: Whether it takes the first token's hidden state for the row's.
        logits_only: Whether the loss of an item reads only that item's logits and label, so that a few target tokens at
            a time may be computed.
        idle_steps: How many optimizer steps it has to see before it can teach.
        starts_from_data: Whether what the term learns starts from the first step's batches: see `statistics`.
        citation: The paper the formula is from.
        settings: For each parameter of the constructor that a user may set, the name of the training argument.

    Example:
        >>> class Confidence(Term):
        ...     '''Penalizes a student for being sure: Σ q log q (Pereyra et al. 2017).'''
        ...     name, uses_teacher, citation = "confidence", False, "https://huggingface.co/papers/1701.06548"
        ...
        ...     def forward(self, student, teacher, batch):
        ...         log_q = student.logits.float().log_softmax(-1)
        ...         return (log_q.exp() * log_q).sum(-1)
    """

    name: ClassVar[str]
    log_name: ClassVar[str] = ""
    uses_teacher: ClassVar[bool] = True
    outputs: ClassVar[frozenset[str]] = frozenset()
    token_wise: ClassVar[bool] = False
    reads_first_token: ClassVar[bool] = False
    logits_only: ClassVar[bool] = False
    idle_steps: ClassVar[int] = 0
    starts_from_data: bool = False
    citation: ClassVar[str] = ""
    settings: ClassVar[Mapping[str, str]] = {}

    #: How far training has come, from 0 to 1: set by the objective, read by `scheduled`.
    progress: float = 0.0

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], problem_type: str | None = None) -> Term:
        """The term with those values that it names in `settings`; what is left out has its default.

        Args:
            settings: Values by argument name, as `DistillationTrainingArguments.loss_settings` gives them.
            problem_type: As in `config.problem_type`.
        """
        given = {**settings, "problem_type": problem_type}
        return cls(**{parameter: given[name] for parameter, name in cls.settings.items() if name in given})

    def bind(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        """Makes what this term has to learn itself, such as a projection between two widths, as child modules.

        Called before there is an optimizer, with the models that the term's `outputs` will come from; never called
        for a term without `outputs`. What is made here is trained, clipped and kept in checkpoints with the student,
        and is not part of it.

        Raises:
            ValueError: when these two models cannot be compared so.
        """

    def statistics(self, student: StudentOutput, teacher: TeacherSignal | None, valid: Tensor) -> Tensor:
        """What `start` has to know of a batch, as sums over its valid items.

        Computed for every batch of the first step, before it, when `starts_from_data`. The sums of all its
        micro-batches and ranks are added up: the start, as the gradient, does not depend on how the step is cut.
        """
        raise NotImplementedError

    def start(self, statistics: Tensor) -> None:
        """Sets what this term learns, in place, from the added-up `statistics`. A resumed run goes on without it."""
        raise NotImplementedError

    def finish_step(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Called after the last micro-batch of each optimizer step, for a term that remembers what it has seen.

        Args:
            gather: Puts together the rows that all ranks hold of a tensor.
        """

    @property
    def needs(self) -> str:
        """What an item needs to count, for the warning where none does."""
        return "such as labels"

    def valid(self, batch: Batch) -> Tensor:
        """Which items count, as a bool tensor; its shape is that of `forward`'s result. Default: every example.

        One that cannot teach, whatever the student predicts, must not count: its loss of 0 would look learned.
        """
        example = next(value for value in batch.values() if isinstance(value, Tensor))
        return torch.ones(example.shape[0], dtype=torch.bool, device=example.device)

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        """The loss of each item, differentiable in the student's outputs; the shape is that of `valid(batch)`."""
        raise NotImplementedError

    def scheduled(self, value: float | Schedule) -> float:
        """A value at the present point of training."""
        return value_at(value, self.progress)

    def config(self) -> dict[str, Any]:
        """What distinguishes this term from another of its class, for logs and model cards."""
        return {}


def attended(batch: Batch) -> Tensor:
    """Which positions hold a token (a patch, a frame) and no padding, as a bool tensor `(batch, tokens)`."""
    if SEQUENCE_MASK in batch:
        return batch[SEQUENCE_MASK]
    if "attention_mask" in batch:
        return batch["attention_mask"].bool()
    return torch.ones_like(batch["input_ids"], dtype=torch.bool)


def attended_together(batch: Batch) -> Tensor:
    """As `attended`, of texts of two tokens or more: there one token may look at another."""
    return attended(batch) & (related(batch).sum(-1) > 1)


def related(batch: Batch) -> Tensor:
    """Which tokens `(batch, ..., columns)` each token may look at: bool `(batch, 1, tokens)`, as all do the same.

    Where rows hold several texts (`segment_ids`) it is those of its own, `(batch, tokens, tokens)`.
    """
    mask = attended(batch)[:, None]
    return mask & same_text(batch[SEGMENT_IDS]) if SEGMENT_IDS in batch else mask


def check_same_tokens(name: str, student: Tensor, teacher: Tensor) -> None:
    """Refuses to compare `(batch, tokens, ...)` of a student with another number of tokens.

    Raises:
        ValueError: naming the term.
    """
    if student.shape[:2] != teacher.shape[:2]:
        raise ValueError(
            f"the term {name!r} compares token by token (or patch, or frame), and of {len(student)} rows the student "
            f"read {student.shape[1]} tokens and the teacher {teacher.shape[1]}: tokenize with a max_length that both "
            "take, or take models of equal patches or frames."
        )

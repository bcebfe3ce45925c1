"""Terms that compare an example with exemplars: a memory bank of the teacher's vectors of the last rows.

The queue holds the teacher's vectors of the last rows, over all ranks, and moves on only when an optimizer step is
done: all micro-batches of a step are placed among the same exemplars, so that here too the gradient does not depend
on how a batch is cut. It is kept in checkpoints. In the first step it is empty: these terms teach nothing yet, and
nothing counts for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfdistill.losses.base import Batch, StudentOutput, Term
from hfdistill.losses.feature import make_projection
from hfdistill.losses.relation import counted_rows, first_token
from hfdistill.losses.signal import TeacherSignal

if TYPE_CHECKING:
    from transformers import PreTrainedModel


_NEVER = -1e9


class Queue(nn.Module):
    """The last vectors that were added, the newest first.

    Args:
        size: How many it holds.
        width: Their width.
    """

    entries: Tensor
    filled: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("entries", torch.zeros(size, width))
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))

    def add(self, vectors: Tensor) -> None:
        """Adds vectors `(rows, width)`; the oldest make room."""
        size = len(self.entries)
        new = torch.ones(len(vectors), dtype=torch.bool, device=vectors.device)
        self.entries.copy_(torch.cat([vectors, self.entries])[:size])
        self.filled.copy_(torch.cat([new, self.filled])[:size])


class _Placed(Term):
    """A term whose items are examples, placed among the teacher's exemplars."""

    outputs = frozenset({"hidden_states"})
    reads_first_token = True
    idle_steps = 1

    def __init__(self, queue_size: int) -> None:
        super().__init__()
        if queue_size < 1:
            raise ValueError(f"queue_size must be at least 1, got {queue_size}.")
        self.queue_size = queue_size
        self._seen: list[tuple[Tensor, Tensor]] = []

    def bind(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        self.queue = Queue(self.queue_size, teacher.config.hidden_size)
        self._seen = []

    def valid(self, batch: Batch) -> Tensor:
        return super().valid(batch) & self.queue.filled.any()

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        teacher_vectors = F.normalize(first_token(teacher), dim=-1)
        if torch.is_grad_enabled():  # an evaluation leaves no trace
            self._seen.append((teacher_vectors.detach(), counted_rows(batch, super().valid(batch))))
        return self.compare(first_token(student), teacher_vectors)

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of each example, from its vectors `(examples, width)`; the teacher's have length 1."""
        raise NotImplementedError

    def finish_step(self, gather: Callable[[Tensor], Tensor]) -> None:
        vectors, counted = (gather(torch.cat(parts)) for parts in zip(*self._seen, strict=True))
        self.queue.add(vectors[counted].to(self.queue.entries.dtype))
        self._seen = []

    def among_exemplars(self, query: Tensor, own: Tensor, exemplars: Tensor, temperature: float) -> Tensor:
        """Log probabilities of a query's own exemplar, first, and of each in the queue, by their similarity to it.

        Args:
            query: Vectors of length 1, `(examples, width)`.
            own: Each query's own exemplar, of the same shape.
            exemplars: The queue's, `(queue, width)`.
            temperature: Of the softmax over the cosines.

        Returns:
            Shape `(examples, 1 + queue)`.
        """
        others = (query @ exemplars.T / temperature).masked_fill(~self.queue.filled, _NEVER)
        return torch.cat([(query * own).sum(-1, keepdim=True) / temperature, others], dim=-1).log_softmax(-1)


class Exemplars(_Placed):
    """How similar an example is to each of the teacher's exemplars (SEED): `−Σ p_t log p_s`.

    `p = softmax(cos(z, d) / τ)` over the exemplars d, the last rows' and the example's own, all vectors of the
    teacher; the student's z is projected to the teacher's width where they differ. CompRess (Koohpayegani et al. 2020)
    does the same with anchors of the student's own. An item is an example, by its first token's last hidden state.

    Its gain was not measured here.

    Args:
        queue_size: How many exemplars are kept.
        student_temperature: τ of the student, 0.2 in the paper.
        teacher_temperature: τ of the teacher, 0.01 in the paper.

    Returns: One loss for each example, shape `(batch,)`.

    References: SEED, Fang et al. 2021, section 3, https://huggingface.co/papers/2101.04731.

    Relations: `Contrastive` separates an example's own exemplar from the others.

    Example:
        >>> Exemplars(queue_size=64).config()
        {'queue_size': 64, 'student_temperature': 0.2, 'teacher_temperature': 0.01}
    """

    name = "exemplars"
    citation = "https://huggingface.co/papers/2101.04731"

    def __init__(
        self, queue_size: int = 1024, student_temperature: float = 0.2, teacher_temperature: float = 0.01
    ) -> None:
        super().__init__(queue_size)
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature

    def bind(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        super().bind(student, teacher)
        self.projection = make_projection(student, teacher)

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        query, exemplars = F.normalize(self.projection(student), dim=-1), self.queue.entries
        log_q = self.among_exemplars(query, teacher, exemplars, self.student_temperature)
        log_p = self.among_exemplars(teacher, teacher, exemplars, self.teacher_temperature)
        return -(log_p.exp() * log_q).sum(-1)

    def config(self) -> dict[str, Any]:
        return {
            "queue_size": self.queue_size,
            "student_temperature": self.student_temperature,
            "teacher_temperature": self.teacher_temperature,
        }


class Contrastive(_Placed):
    """Nearer to what the teacher makes of the same example than to what it made of others (CRD).

    `−log( exp(cos(g_s, g_t) / τ) / Σ over own and queue of exp(cos(g_s, g_t') / τ) )`, where g are linear embeddings
    of both models' vectors, learned with the student. This is the InfoNCE form of the objective; the paper's own
    separates one pair from N negatives at a time. An item is an example, by its first token's last hidden state.

    Its gain was not measured here.

    Args:
        queue_size: How many negatives are kept. An example that comes again while it is still in the queue is taken
            for another one, so keep this well below the number of training rows.
        temperature: τ, 0.07 in the paper.
        dimensions: The width of the embeddings, 128 in the paper.

    Returns: One loss for each example, shape `(batch,)`.

    References: Tian et al. 2020, section 3, https://huggingface.co/papers/1910.10699.

    Relations: `Exemplars` has soft targets in place of the one exemplar that is the example's own.

    Example:
        >>> Contrastive(queue_size=64).config()
        {'queue_size': 64, 'temperature': 0.07, 'dimensions': 128}
    """

    name = "contrastive"
    citation = "https://huggingface.co/papers/1910.10699"

    def __init__(self, queue_size: int = 1024, temperature: float = 0.07, dimensions: int = 128) -> None:
        super().__init__(queue_size)
        self.temperature = temperature
        self.dimensions = dimensions

    def bind(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        super().bind(student, teacher)
        self.student_embedding = nn.Linear(student.config.hidden_size, self.dimensions)
        self.teacher_embedding = nn.Linear(teacher.config.hidden_size, self.dimensions)

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        query = F.normalize(self.student_embedding(student), dim=-1)
        own, others = (F.normalize(self.teacher_embedding(x), dim=-1) for x in (teacher, self.queue.entries))
        return -self.among_exemplars(query, own, others, self.temperature)[:, 0]

    def config(self) -> dict[str, Any]:
        return {"queue_size": self.queue_size, "temperature": self.temperature, "dimensions": self.dimensions}

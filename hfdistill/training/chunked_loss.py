"""Losses over large vocabularies that never hold the logits of a whole batch.

Over a vocabulary of 58,000 tokens the logits of 8 sentences of 64 tokens take 119 MB, and a distillation loss holds a
dozen tensors of that size. Here both models stop before their output projection, and the objective is computed a few
target tokens at a
time: since it is a sum over tokens, the parts add up to the same loss and the same gradient. The gradient of a part is
taken at once, so that nothing of its size outlives it, as Liger Kernel does for the cross-entropy
(https://huggingface.co/papers/2410.10989).

Two sizes matter. A part of the tokens is projected in one product, as large as memory allows, since every product reads
a projection's weights anew. The loss, which holds many tensors of the size of its logits, is taken of a few of them
after another, and its gradient takes their place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hfdistill.losses import IGNORED
from hfdistill.losses.signal import TeacherSignal
from hfdistill.losses.sparse_distributions import SparseDistribution
from hfdistill.models.deferred_logits import Projection, chunk_size_of, chunks, loss_chunks
from hfdistill.training.fused_loss import can_fuse, fused_loss
from hfdistill.training.objective import Loss, Objective


@dataclass(frozen=True)
class Logits:
    """As much of a model's output as a term on logits reads."""

    logits: Tensor


def chunked_loss(
    objective: Objective,
    student: Projection,
    teacher: Projection | SparseDistribution | None,
    labels: Tensor,
    counts: Tensor,
) -> Loss:
    """The objective over target tokens, its logits computed a part at a time.

    Args:
        objective: All of its active terms must be `logits_only`.
        student: One item for each target token that counts.
        teacher: The same items, or a part of their distributions; `None` when no term needs it.
        labels: The label of each item, shape `(items,)`.
        counts: What each active term is divided by, as from `Objective.counts`.

    Returns:
        The same value and gradient as the objective on the whole logits, to rounding. The gradient is made along with
        the value, so it can be taken once.
    """
    teacher = _in_its_dtype(teacher)
    if can_fuse(objective, student.weight, teacher):
        return _in_fused_chunks(objective, student, teacher, labels, counts)
    terms: dict[str, Tensor] = {}

    def loss_to_gradient(logits: Tensor, part: slice) -> Tensor:
        """The loss of a part, taken of a few items at a time; its gradient takes the place of the logits."""
        predictions = _predictions(teacher, part)
        losses = [
            _value_and_gradient(objective, logits[few], predictions(few), labels[part][few], counts)
            for few in loss_chunks(logits)
        ]
        return _added(losses, terms)

    return Loss(_ChunkedLoss.apply(student.hidden, student.weight, student.bias, loss_to_gradient), terms)


def _in_fused_chunks(objective: Objective, student: Projection, teacher: Any, labels: Tensor, counts: Tensor) -> Loss:
    """As `chunked_loss`, by compiled chunks, all of one size: what fills up the last one does not count."""
    terms: dict[str, Tensor] = {}
    items = len(labels)
    missing = -items % chunk_size_of(student.weight)
    hidden, labels = F.pad(student.hidden, (0, 0, 0, missing)), F.pad(labels, (0, missing), value=IGNORED)
    counted = torch.arange(items + missing, device=labels.device) < items
    if teacher is not None:
        teacher = replace(teacher, hidden=F.pad(teacher.hidden, (0, 0, 0, missing)))

    def loss_to_gradient(logits: Tensor, part: slice) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            predictions = None if teacher is None else teacher.logits(part)
        return _added([fused_loss(objective, logits, predictions, labels[part], counted[part], counts)], terms)

    return Loss(_ChunkedLoss.apply(hidden, student.weight, student.bias, loss_to_gradient), terms)


def _added(losses: list[Loss], terms: dict[str, Tensor]) -> Tensor:
    """The sum of some losses; those of their terms are added to `terms`."""
    for loss in losses:
        for name, value in loss.terms.items():
            terms[name] = terms[name] + value if name in terms else value
    return torch.stack([loss.total for loss in losses]).sum()


def _value_and_gradient(
    objective: Objective, logits: Tensor, teacher: TeacherSignal | None, labels: Tensor, counts: Tensor
) -> Loss:
    """The loss of some items, whose gradient takes the place of their logits."""
    with torch.enable_grad():
        piece = logits.detach().requires_grad_(True)
        loss = objective(Logits(piece), teacher, {"labels": labels}, counts)
        (gradient,) = torch.autograd.grad(loss.total, piece)
    logits.copy_(gradient)
    return Loss(loss.total.detach(), loss.terms)


def _in_its_dtype(teacher: Projection | SparseDistribution | None) -> Projection | SparseDistribution | None:
    """The teacher's projection as its own forward pass would compute it: in float32 only where nothing else is said."""
    if not isinstance(teacher, Projection) or teacher.weight.dtype != torch.float32:
        return teacher
    return Projection(teacher.hidden, teacher.weight.to(_dtype(teacher.weight)), teacher.bias)


def _predictions(
    teacher: Projection | SparseDistribution | None, part: slice
) -> Callable[[slice], TeacherSignal | None]:
    """What the teacher says of some of the items of a part."""
    if teacher is None:
        return lambda items: None
    if isinstance(teacher, SparseDistribution):
        stored = teacher.of(part)
        return lambda items: TeacherSignal(sparse=stored.of(items))
    with torch.autocast(teacher.weight.device.type, enabled=False):
        logits = teacher.logits(part)
    return lambda items: TeacherSignal(logits=logits[items])


class _ChunkedLoss(torch.autograd.Function):
    """`Σ loss(hidden[part] @ weight.T + bias, part)`, with the gradient made in the forward pass.

    `loss_to_gradient` gives the loss of a part, and leaves its gradient where the logits were.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        loss_to_gradient: Callable[[Tensor, slice], Tensor],
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(weight) if needs_weight else None
        grad_bias = torch.zeros_like(bias) if needs_bias and bias is not None else None
        dtype = _dtype(weight)
        projection = Projection(hidden, weight.to(dtype), bias)
        losses = []
        for part in chunks(hidden, weight):
            logits = projection.logits(part)
            losses.append(loss_to_gradient(logits, part))
            if grad_hidden is not None:
                grad_hidden[part] = F.linear(logits, projection.weight.t())
            if grad_weight is not None:
                _add_product(grad_weight, logits, hidden[part].to(dtype))
            if grad_bias is not None:
                grad_bias += logits.sum(0).view_as(grad_bias)
        ctx.gradients = (grad_hidden, grad_weight, grad_bias)
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        if ctx.gradients is None:
            raise RuntimeError("the gradient of a loss in chunks can be taken once: it is not kept afterwards.")
        gradients, ctx.gradients = ctx.gradients, None
        # In place: the weight's gradient is as large as the weight.
        return *(None if gradient is None else gradient.mul_(grad_outputs[0]) for gradient in gradients), None


def _add_product(total: Tensor, gradient: Tensor, hidden: Tensor) -> None:
    """`total += gradient.T @ hidden`, without a second tensor of its size where the dtypes allow."""
    if total.dtype == gradient.dtype:
        total.addmm_(gradient.T, hidden)
    else:
        total += gradient.T @ hidden


def _dtype(weight: Tensor) -> torch.dtype:
    """The dtype in which a projection is computed here, as autocast would choose."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def counted_tokens(labels: Tensor, counted_rows: Tensor | None) -> Tensor:
    """The numbers of the target tokens that count, row after row: those with a label, in rows that count.

    How many there are is the one thing that a step on token targets waits for: it decides the shapes of what follows.
    """
    labeled = labels != IGNORED
    counted = labeled if counted_rows is None else labeled & counted_rows[:, None]
    return counted.flatten().nonzero().squeeze(1)

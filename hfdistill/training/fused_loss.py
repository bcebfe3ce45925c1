"""The loss of a chunk of logits as a few kernels, made by `torch.compile` of the objective itself.

A loss over a large vocabulary is dozens of operations on tensors of the size of the logits, forward and backward. On an
accelerator each of them is a launch, and each reads and writes that memory anew. Compiled, they are a handful of
kernels, of every term, divergence and smoothing alike: there is no second place for a formula.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers.utils import logging

from hfdistill.losses import COUNTED_ROWS
from hfdistill.losses.signal import TeacherSignal
from hfdistill.models.deferred_logits import Projection
from hfdistill.training.objective import Loss, Objective

if TYPE_CHECKING:
    from hfdistill.losses.sparse_distributions import SparseDistribution

logger = logging.get_logger(__name__)

#: How many objectives and sizes are compiled in a process, as in a search, before the rest run uncompiled.
_MOST = 64
#: Set where compiling has failed, as it does without a C compiler.
_broken: list[Exception] = []


def can_fuse(objective: Objective, weight: Tensor, teacher: Projection | SparseDistribution | None) -> bool:
    """Whether compiling pays for the logits of this matrix: on an accelerator, with the teacher's whole distribution.

    A schedule would have it compiled anew for each value.
    """
    whole = teacher is None or isinstance(teacher, Projection)
    return weight.device.type != "cpu" and whole and not objective.scheduled_values() and not _broken


def fused_loss(
    objective: Objective,
    logits: Tensor,
    teacher: Tensor | None,
    labels: Tensor,
    counted: Tensor,
    counts: Tensor,
) -> Loss:
    """The loss of a chunk, whose gradient takes the place of its logits; each shape is compiled once.

    Args:
        objective: All of its active terms must be `logits_only`.
        logits: The student's, shape `(items, classes)`; written over.
        teacher: The teacher's, or `None` when no term needs it.
        labels: Shape `(items,)`.
        counted: Which items count, shape `(items,)`; so that a last chunk may be filled up.
        counts: What each active term is divided by.
    """
    arguments = (objective, logits, teacher, labels, counted, counts)
    if not _broken:
        try:
            with torch._dynamo.config.patch(recompile_limit=_MOST):
                return Loss(*_compiled()(*arguments))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever a compiler ends in; what the objective raises comes again)
            _broken.append(error)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            logger.warning("The loss over the vocabulary is not compiled here, which costs time: %s", reason)
    return Loss(*_value_and_gradient(*arguments))


@functools.cache
def _compiled() -> Callable[..., tuple[Tensor, dict[str, Tensor]]]:
    warnings.filterwarnings("ignore", message="\\s*Online softmax is disabled")  # a remark to its own developers
    return torch.compile(_value_and_gradient, dynamic=False)


@torch.no_grad()
def _value_and_gradient(
    objective: Objective, logits: Tensor, teacher: Tensor | None, labels: Tensor, counted: Tensor, counts: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    signal = None if teacher is None else TeacherSignal(logits=teacher)

    def total(logits: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = objective(TeacherSignal(logits=logits), signal, {"labels": labels, COUNTED_ROWS: counted}, counts)
        return loss.total, loss.terms

    gradient, (value, terms) = torch.func.grad_and_value(total, has_aux=True)(logits)
    logits.copy_(gradient)
    return value, terms

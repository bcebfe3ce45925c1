"""Labels and soft targets over a large vocabulary by Liger Kernel, where its loss says the same.

It goes through the tokens in chunks, as `chunked_loss` does, and has `torch.compile` make a few kernels of what are
dozens of operations there: on a GPU each of them is a launch.

References: Hsu et al. 2024, https://huggingface.co/papers/2410.10989.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hfdistill.losses import Labels, SoftTargets
from hfdistill.losses.schedules import Schedule
from hfdistill.models.deferred_logits import Projection, chunk_size_of
from hfdistill.training.objective import Loss, Objective

if TYPE_CHECKING:
    from hfdistill.losses.sparse_distributions import SparseDistribution


def unknown_to_liger(objective: Objective, student: Projection, teacher: Projection | SparseDistribution | None) -> str:
    """What of an objective on logits Liger's loss does not know; empty where it says the same."""
    if not isinstance(teacher, Projection):
        return "labels alone" if teacher is None else "stored token soft targets"
    terms = dict(objective.named_terms(active_only=True))
    soft_targets, labels = terms.pop("soft_targets", None), terms.pop("labels", Labels())
    if terms or type(soft_targets) is not SoftTargets or type(labels) is not Labels:
        return "other terms than labels and soft_targets"
    if _beta(soft_targets) is None or soft_targets.standardize_logits:
        return f"soft_targets with {soft_targets.config()}"
    if labels.label_smoothing:
        return "label smoothing"
    if objective.scheduled_values():
        return "schedules, for each value of which it would be compiled anew"
    if any(_rounds_softmax(model.weight) for model in (student, teacher)):
        return "half precision here: its softmax would not be computed in float32"
    return ""


def _rounds_softmax(weight: Tensor) -> bool:
    """Whether a softmax of these logits is in half precision: autocast computes it in float32, but not on a CPU."""
    kind = weight.device.type
    return kind == "cpu" if torch.is_autocast_enabled(kind) else weight.dtype != torch.float32


def loss_by_liger(
    objective: Objective,
    student: Projection,
    teacher: Projection | SparseDistribution | None,
    labels: Tensor,
    counts: Tensor,
) -> Loss:
    """As `chunked_loss`, of an objective in which nothing is `unknown_to_liger`."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    terms = dict(objective.named_terms(active_only=True))
    soft_targets = terms["soft_targets"]
    assert isinstance(teacher, Projection) and isinstance(soft_targets, SoftTargets)
    assert not isinstance(soft_targets.temperature, Schedule)
    squared = soft_targets.temperature**2  # Liger's soft loss lacks this factor
    loss = LigerFusedLinearJSDLoss(
        weight_hard_loss=objective.weight("labels") if "labels" in terms else 0.0,
        weight_soft_loss=objective.weight("soft_targets") * squared,
        beta=_beta(soft_targets),
        temperature=soft_targets.temperature,
        chunk_size=chunk_size_of(student.weight),
        return_soft_hard_loss=True,
    )
    total, soft, hard = loss(
        student.hidden, student.weight, teacher.hidden, teacher.weight, labels, student.bias, teacher.bias
    )
    # Liger takes the mean over the items it is given, the objective that over the items of the whole step.
    share = len(labels) / counts[0].clamp_min(1)
    each = {"labels": hard * share, "soft_targets": soft * squared * share}
    names = zip(objective.terms, objective.log_names, strict=True)
    return Loss(total * share, {name: each[term].detach() for term, name in names if term in terms})


def _beta(term: SoftTargets) -> float | None:
    """Liger's name for a divergence: the teacher's share of a mixture, at whose ends it has the two KLs."""
    return {"forward_kl": 0.0, "reverse_kl": 1.0, "js": term.beta}.get(term.divergence)

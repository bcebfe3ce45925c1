"""Terms on the scores of a row's candidates."""

from __future__ import annotations

import torch
from torch import Tensor

from hfdistill.losses.base import Batch, StudentOutput, Term
from hfdistill.losses.divergences import at_least_float32
from hfdistill.losses.signal import TeacherSignal
from hfdistill.models.heads import CHOICE_MASK


class MarginMSE(Term):
    """The teacher's margins as targets: `mean over negatives of ((s₊ − s₋) − (t₊ − t₋))²`.

    An item is a query with its candidates. The positive is the one that `labels` names, and the first where a row has
    no label. The margins alone count: a teacher whose scores are all higher teaches the same.

    Returns: One loss for each query, shape `(batch,)`.

    References: Hofstätter et al. 2020, equation 5, https://arxiv.org/abs/2010.02666.

    Relations: `SoftTargets` compares the distributions over a query's candidates, which also depend on margins alone.

    Example:
        >>> student, teacher = (TeacherSignal(logits=torch.tensor([row])) for row in ([3.0, 1.0, 0.0], [5.0, 2.0, 2.0]))
        >>> MarginMSE()(student, teacher, {"labels": torch.tensor([0])})
        tensor([0.5000])
    """

    name = "margin_mse"
    citation = "https://arxiv.org/abs/2010.02666"

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        assert teacher is not None and teacher.logits is not None
        scores = at_least_float32(student.logits) - at_least_float32(teacher.logits)
        first = scores.new_zeros(len(scores), dtype=torch.long)
        positive = batch["labels"].clamp_min(0).long() if "labels" in batch else first
        mask = batch.get(CHOICE_MASK)
        mask = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
        negatives = mask & (torch.arange(scores.shape[1], device=scores.device) != positive[:, None])
        apart = (scores.gather(1, positive[:, None]) - scores).square().masked_fill(~negatives, 0.0)
        return apart.sum(1) / negatives.sum(1).clamp_min(1)

"""Exact means of the losses over an evaluation set, and how often student and teacher agree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hfdistill.losses import Batch, StudentOutput, has_token_labels, labeled
from hfdistill.training.objective import Objective, row_sums

if TYPE_CHECKING:
    from accelerate import Accelerator

    from hfdistill.teachers import TeacherSignal


class EvaluationSums:
    """Sums row by row over the batches of one evaluation, gathered so that rows repeated to fill a batch count once.

    Args:
        objective: Whose terms are reported.
        problem_type: As in `config.problem_type`; decides what an agreement is.
        accelerator: The one that prepared the dataloader.
    """

    def __init__(self, objective: Objective, problem_type: str | None, accelerator: Accelerator) -> None:
        self.objective = objective
        self.problem_type = problem_type
        self.accelerator = accelerator
        self._batches: list[Tensor] = []
        self._last_batch: Tensor
        self._teacher_ran = True

    def add(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> None:
        """Adds one batch of this rank."""
        sums, counts = row_sums(self.objective, student, teacher, batch)
        agreements, decisions = self._agreement(student, teacher, batch)
        rows = torch.cat([sums, agreements[:, None], counts, decisions[:, None]], dim=1)
        self._last_batch = rows.sum(0)
        self._batches.append(self.accelerator.gather_for_metrics(rows).sum(0))
        self._teacher_ran &= teacher is not None and self.objective.outputs <= teacher.available

    def means(self) -> dict[str, float]:
        """Each term's mean by log name, `agreement`, and `loss`; what had nothing to count is left out."""
        return self._means(torch.stack(self._batches).cpu().double().sum(0)) if self._batches else {}

    def loss_of_last_batch(self) -> float:
        """The `loss` of the batch of this rank that was added last; NaN where it had nothing to count."""
        return self._means(self._last_batch.cpu().double()).get("loss", math.nan)

    def _means(self, sums_and_counts: Tensor) -> dict[str, float]:
        sums, counts = sums_and_counts.chunk(2)
        names = [*self.objective.log_names, "agreement"]
        totals = zip(names, sums.tolist(), counts.tolist(), strict=True)
        means = {name: total / count for name, total, count in totals if count > 0}
        loss = self._loss(means)
        return means if loss is None else {"loss": loss, **means}

    def _loss(self, means: dict[str, float]) -> float | None:
        """The objective, to which a term that counted nothing adds nothing, as in training.

        Where it weighs a teacher's predictions and they were not asked for, the plain sum of what needs no teacher.
        """
        named = zip(self.objective.log_names, self.objective.named_terms(), strict=True)
        terms = [(log, self.objective.weight(name), term) for log, (name, term) in named]
        if self._teacher_ran or not any(weight and term.uses_teacher for _, weight, term in terms):
            parts = [weight * means[log] for log, weight, _ in terms if weight and log in means]
        else:
            parts = [means[log] for log, _, term in terms if not term.uses_teacher and log in means]
        return sum(parts) if parts else None

    def _agreement(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> tuple[Tensor, Tensor]:
        """For each row the number of equal decisions, and of decisions; where each token is one, of labeled tokens."""
        none = torch.zeros(len(student.logits), device=student.logits.device)
        if teacher is None or teacher.logits is None or not self._decides(student.logits):
            return none, none
        mine, theirs = self._decision(student.logits), self._decision(teacher.logits)
        decided = torch.ones_like(mine, dtype=torch.bool)
        if has_token_labels(batch, self.problem_type):
            decided = labeled(batch["labels"])
        return ((mine == theirs) & decided).float().sum(1), decided.float().sum(1)

    def _decides(self, logits: Tensor) -> bool:
        if self.problem_type == "multi_label_classification":
            return True
        return self.problem_type != "regression" and logits.shape[-1] > 1

    def _decision(self, logits: Tensor) -> Tensor:
        """Shape `(rows, decisions)`."""
        if self.problem_type == "multi_label_classification":
            return logits > 0
        return logits.argmax(-1).view(len(logits), -1)

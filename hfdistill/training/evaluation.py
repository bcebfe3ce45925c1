"""Exact means of the losses over an evaluation set, and how often student and teacher agree."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput, default_compute_objective

from hfdistill.losses import Batch, StudentOutput, decided_items
from hfdistill.models.heads import Head
from hfdistill.models.quick_linear import quick_linear
from hfdistill.training.objective import Objective, row_sums
from hfdistill.training.reporting import ReportingTrainer

if TYPE_CHECKING:
    from accelerate import Accelerator

    from hfdistill.losses.signal import TeacherSignal


def own_metrics(objective: Objective) -> list[str]:
    """The names of what a trainer's evaluation has beside `loss` and the task's metrics, in the order of its sums."""
    return [*objective.log_names, "agreement"]


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
        """The means by the names of `own_metrics`, and `loss`; what had nothing to count is left out."""
        return self._means(torch.stack(self._batches).cpu().double().sum(0)) if self._batches else {}

    def loss_of_last_batch(self) -> float:
        """The `loss` of the batch of this rank that was added last; NaN where it had nothing to count."""
        return self._means(self._last_batch.cpu().double()).get("loss", math.nan)

    def _means(self, sums_and_counts: Tensor) -> dict[str, float]:
        sums, counts = sums_and_counts.chunk(2)
        totals = zip(own_metrics(self.objective), sums.tolist(), counts.tolist(), strict=True)
        means = {name: total / count for name, total, count in totals if count > 0}
        loss = self._loss(means)
        return means if loss is None else {"loss": loss, **means}

    def _loss(self, means: dict[str, float]) -> float | None:
        """The objective, to which a term that counted nothing adds nothing, as in training.

        Where it weighs a teacher's predictions and no teacher was run, the plain sum of what needs none.
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
        student_decisions, teacher_decisions = self._decision(student.logits), self._decision(teacher.logits)
        decided = decided_items(batch, self.problem_type)
        if decided is None:
            decided = torch.ones_like(student_decisions, dtype=torch.bool)
        return ((student_decisions == teacher_decisions) & decided).float().sum(1), decided.float().sum(1)

    def _decides(self, logits: Tensor) -> bool:
        if self.problem_type == "multi_label_classification":
            return True
        return self.problem_type != "regression" and logits.shape[-1] > 1

    def _decision(self, logits: Tensor) -> Tensor:
        """Shape `(rows, decisions)`."""
        if self.problem_type == "multi_label_classification":
            return logits > 0
        return logits.argmax(-1).view(len(logits), -1)


class EvaluatingTrainer(ReportingTrainer):
    """A trainer whose metrics have the exact mean of each term and the agreement with the teacher."""

    _evaluation: EvaluationSums | None = None
    #: What the student decides.
    _head = Head(None)

    @abstractmethod
    def _forward_both(
        self, model: nn.Module, inputs: Mapping[str, Any]
    ) -> tuple[Any, TeacherSignal | None, Mapping[str, Any]]:
        """The student's output, the teacher's signal, and the batch as the objective reads it."""

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Any, Any]:
        """The student's logits for a batch; its losses are summed row by row into the evaluation's means."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            student, teacher, batch = self._forward_both(model, inputs)
        if self._evaluation is None:
            self._evaluation = EvaluationSums(self.current_objective, self._problem_type, self.accelerator)
        self._evaluation.add(student, teacher, batch)
        loss = None
        if "loss" in self.args.include_for_metrics:  # only then: reading it out makes an accelerator wait
            loss = torch.tensor(self._evaluation.loss_of_last_batch(), device=self.args.device)
        if prediction_loss_only:
            return loss, None, None
        return loss, self._predictions(student, batch), self._gathered_labels(inputs)

    def _gathered_labels(self, inputs: Mapping[str, Any]) -> Any:
        """What an evaluation gathers for its metrics, as `Trainer`: the column of labels, or a tuple of several."""
        names = self.label_names or ["labels"]
        labels = tuple(inputs.get(name) for name in names)
        if any(column is None for column in labels):
            return None
        return labels[0] if len(labels) == 1 else labels

    def _predictions(self, student: Any, batch: Batch) -> Any:
        """What an evaluation gathers of the student's output, for its metrics."""
        return self._head.predictions(student.logits.detach(), batch)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """The rows in their order, so that predictions stand beside them.

        `Trainer` sorts them by length where training does, and says nowhere in which order its predictions are.
        """
        strategy, self.args.train_sampling_strategy = self.args.train_sampling_strategy, "random"
        try:
            return super().get_test_dataloader(test_dataset)
        finally:
            self.args.train_sampling_strategy = strategy

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """`Trainer`'s loop, with each term's exact mean, the agreement with the teacher and `further_measures`."""
        self._evaluation = None
        with quick_linear():
            output = super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        measured = {**self._take_means(), **self.further_measures()}
        means = {f"{metric_key_prefix}_{name}": value for name, value in measured.items()}
        metrics = dict(output.metrics or {})  # of `compute_metrics`, which take precedence
        if "loss" in self.args.include_for_metrics:  # only then `Trainer` has losses, and takes the mean over batches
            metrics.pop(f"{metric_key_prefix}_loss", None)
        return output._replace(metrics={**means, **metrics})

    def further_measures(self) -> dict[str, float]:
        """What an evaluation says of the student beside its rows, by name; the same on all processes."""
        return {}

    def _take_means(self) -> dict[str, float]:
        evaluation, self._evaluation = self._evaluation, None
        return evaluation.means() if evaluation else {}

    def hyperparameter_search(
        self, hp_space: Any = None, compute_objective: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """As in `Trainer`, but that the default objective leaves out the losses of terms and the agreement.

        It is the sum of the task's own metrics. Without `compute_metrics` it is the loss, for as long as all trials
        have the same one.

        Raises:
            ValueError: when only losses could be compared and two trials are trained on different ones.
        """
        if compute_objective is None:
            compute_objective = _TaskObjective(self)
        return super().hyperparameter_search(hp_space, compute_objective, *args, **kwargs)


class _TaskObjective:
    """What a search is after where the user does not say: the task's metrics, or the loss."""

    def __init__(self, trainer: EvaluatingTrainer) -> None:
        self.trainer = trainer
        self._settings: object = None

    def __call__(self, metrics: dict[str, float]) -> float:
        own = {f"eval_{name}" for name in own_metrics(self.trainer.current_objective)}
        metrics = {name: value for name, value in metrics.items() if name not in own}
        if self.trainer.compute_metrics is None:
            self._check_one_loss()
        return default_compute_objective(metrics)

    def _check_one_loss(self) -> None:
        settings = self.trainer.args.objective_settings
        if self._settings not in (None, settings):
            raise ValueError(
                "the losses of two trials with another temperature, divergence or weights cannot be compared: pass "
                "compute_metrics to the trainer, or compute_objective to the search."
            )
        self._settings = settings

"""The trainer: the objective for each batch, and what an optimizer step consists of. It knows no loss by name."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.trainer_utils import TrainOutput

from hfdistill.data.few_labels import share_of_labels
from hfdistill.losses import COUNTED_ROWS
from hfdistill.models.heads import VocabularyHead
from hfdistill.models.mixed_precision import quick_attention, without_autocast
from hfdistill.models.quick_linear import quick_linear
from hfdistill.models.wrappers import unwrapped
from hfdistill.training.checks import nothing_to_learn, warn_of_idle_terms
from hfdistill.training.deferring import DeferringTrainer
from hfdistill.training.objective_state import average_gradients


class DistillationTrainer(DeferringTrainer):
    """A `transformers.Trainer` whose student learns from a teacher as well as from labels.

    Where the rows carry `teacher_logits` (made once by `soft_targets`), these are the teacher's prediction, unless a
    term needs more than logits; otherwise the teacher is run in every step. The stored logits are put into the
    student's order of labels where the rows name theirs (`teacher_label`).

    The gradient does not depend on how a batch is cut into micro-batches, ranks or padding: each term is a sum over
    its items divided by their number in the whole optimizer step, whatever `average_tokens_across_devices` says.

    Args:
        model: The student. Trained in float32 unless `args.student_dtype` says otherwise. It may be a plain torch
            module whose `forward` returns an output with `logits`: its labels are taken to be the rows' or the
            teacher's, and what is saved is what `Trainer` saves of such a module, without a card.
        args: `DistillationTrainingArguments`.
        teacher: A model, a name or path, any `Teacher`, a list of these (`args.teacher_combination` says how they are
            combined), or `None` when the rows carry `teacher_logits` or `ensemble_logits`, or nothing in the objective
            needs a teacher. It is frozen and never saved.
        objective: An `Objective`; by default the one that `args` describe, read anew whenever they change.
        **kwargs: As for `Trainer`: `train_dataset`, `eval_dataset`, `processing_class`, `compute_metrics`, ...

    Evaluation reports, beside the task metrics, each term's mean over the evaluation set (`eval_label_loss`,
    `eval_soft_target_loss`), and `eval_agreement`, the share of decisions in which student and teacher agree.
    `eval_loss` is the objective where the teacher is consulted, and the labels' loss where it is not. These means are
    over all rows or tokens, where `Trainer` takes one over batches. A metric that `compute_metrics` returns under the
    same name takes the place of ours. Of the student's output an evaluation hands over the logits alone, whatever
    `ignore_keys` says, and its losses are those of the objective, also where a subclass overrides `compute_loss`.

    Raises:
        ValueError: when teacher and student solve different tasks or read different vocabularies, the rows number
            their labels otherwise than the student, several GPUs are used without a launcher, or an argument cannot be
            honored.
        TypeError: when `args` are those of another trainer.
    """

    # Our loss is a sum over the items of a micro-batch divided by their number in the whole step: `Trainer` must not
    # divide it by the accumulation steps again.
    loss_is_scaled_for_ga = True

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As `Trainer.train`; mixed precision ends with it: what is measured, exported or saved then is one student."""
        output = super().train(*args, **kwargs)
        without_autocast(self.accelerator.unwrap_model(self.model, keep_torch_compile=False))
        return output

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Tensor | int | None]:
        """In place of `Trainer.get_batch_samples`: the batches of an optimizer step, and the items that count in them.

        Rows that only fill up the last batch of all ranks are marked, and count for nothing.
        """
        self.stages.zero_grad()
        starts = self.stages.starts(self.state.max_steps)[:-1]
        if self.state.global_step in starts[1:]:
            assert self.optimizer is not None
            self.optimizer.state.clear()  # a stage starts as a run of its own would
        batches = list(itertools.islice(map(self._mark_repeated_rows, epoch_iterator), num_batches))
        counts = self._count_items(batches, device)
        if self.state.global_step in starts:
            self._start_objective(batches)
        return batches, counts

    def _start_objective(self, batches: list[dict[str, Any]]) -> None:
        """What the objective learns starts from a step's batches on all ranks, where it wants to."""
        objective = self.current_objective
        if not (objective.starts_from_data and batches):
            return
        sums, model = [], unwrapped(self.model).eval()  # nothing is learned here, and no rank waits
        for inputs in map(self._prepare_inputs, batches):
            with torch.no_grad(), self.compute_loss_context_manager():
                student = self._student_output(model, inputs, objective.outputs)
                signal = self._teacher_signal(True, inputs)
            sums.append(objective.statistics(student, signal, self._objective_batch(inputs)))
        totals = {name: torch.stack([each[name] for each in sums]).sum(0) for name in sums[0]}
        if self.args.world_size > 1:
            totals = self.accelerator.reduce(totals, reduction="sum")
        objective.start(totals)

    def _mark_repeated_rows(self, batch: dict[str, Any]) -> dict[str, Any]:
        # So that every rank has as many batches, Accelerate repeats rows at the end, as `gather_for_metrics` knows.
        state = self.accelerator.gradient_state
        if self.accelerator.num_processes > 1 and state.end_of_dataloader and state.remainder > 0:
            example = next(value for value in batch.values() if isinstance(value, Tensor))
            rows = torch.arange(len(example), device=example.device) + self.accelerator.process_index * len(example)
            batch[COUNTED_ROWS] = rows < state.remainder
        return batch

    def _count_items(self, batches: list[dict[str, Any]], device: torch.device) -> Tensor | None:
        """The number of items of each term in the whole optimizer step, over all its micro-batches and ranks."""
        if not batches:
            return None
        on_logits = any(not term.outputs for _, term in self.current_objective.named_terms(active_only=True))
        if isinstance(self._head, VocabularyHead) and on_logits and batches[0].get("labels") is None:
            raise ValueError(
                "the batch has no labels, which a language model's texts are given by their collator: pass "
                f"data_collator={self._head.collator}."
            )
        counts = self.current_objective.counts(map(self._objective_batch, batches)).to(device)
        if self.args.world_size > 1:
            counts = self.accelerator.reduce(counts, reduction="sum")
        if self.is_in_train:
            self._check_counts(counts, any("labels" in batch for batch in batches))
        return counts

    def _check_counts(self, counts: Tensor, labeled: bool) -> None:
        """Refuses a first step that teaches nothing, and warns of terms that count nothing in their first one."""
        step = self.state.global_step
        begun = max(s for s in (self._initial_global_step, *self.stages.starts(self.state.max_steps)) if s <= step)
        if step == self._initial_global_step and not counts.any():
            if not labeled or share_of_labels(self.train_dataset, missing=self._label_space.missing) == 0:
                raise nothing_to_learn(self.train_dataset)
        if self.is_world_process_zero():
            warn_of_idle_terms(self.current_objective, counts, step - begun)

    # ---- The loss ----

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective for one micro-batch, scaled so that micro-batches add up and ranks average to the whole step's.

        Args:
            model: The student as wrapped for training.
            inputs: The batch, with `labels` where it has any.
            return_outputs: Whether to return the student's task output as well.
            num_items_in_batch: The items of each active term in the whole step, as this trainer counts them, or one
                number for all; `None` counts this batch alone.
        """
        student, teacher, batch = self._forward_both(model, inputs)
        counts = None if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        objective = self.current_objective
        loss = self._loss(objective, student, teacher, batch, counts)
        # Gradients are averaged over ranks, and the counts are of all ranks.
        scale = 1 if counts is None else self.accelerator.num_processes
        if model.training:
            self._accumulate_logs(objective, loss, scale)
        total = loss.total if scale == 1 else loss.total * scale  # each operation is a launch, forward and backward
        return (total, _task_output(student)) if return_outputs else total

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """As in `Trainer`; after a step's last micro-batch the ranks agree on what the objective has learned."""
        half = self.args.bf16 or self.args.student_dtype == "bfloat16"
        with quick_linear(), quick_attention(inputs, self.args.device) if half else nullcontext():
            loss = super().training_step(model, inputs, *args, **kwargs)
        if self.accelerator.sync_gradients:
            objective = self.current_objective
            if self.args.world_size > 1:
                average_gradients(objective, functools.partial(self.accelerator.reduce, reduction="mean"))
            objective.finish_step(self.accelerator.gather)
        return loss


def _task_output(student: Any) -> SequenceClassifierOutput:
    # Hidden states would be gathered over ranks and kept for a whole evaluation.
    return SequenceClassifierOutput(logits=student.logits)

"""A step of training over a vocabulary, in which the logits of a whole batch are never held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers.utils import logging

from hfdistill.losses import COUNTED_ROWS, TERMS, Term
from hfdistill.models.deferred_logits import DeferredLogits, Projection, deferred_logits, projects_alone
from hfdistill.models.heads import ITEM_MASK, VocabularyHead
from hfdistill.teachers import ModelTeacher, check_finite
from hfdistill.training.chunked_loss import chunked_loss, counted_tokens
from hfdistill.training.forward import ForwardTrainer
from hfdistill.training.liger import loss_by_liger, unknown_to_liger
from hfdistill.training.objective import Loss, Objective

logger = logging.get_logger(__name__)


class DeferringTrainer(ForwardTrainer):
    """A trainer that, where a student chooses among tokens, computes its loss in chunks of those that count.

    Student and teacher stop before their output projection, see `training.chunked_loss`. Of a masked language model
    the logits of a masked token in seven are computed, and those of the others never are.
    """

    #: Whether student and teacher do no more than project hidden states; `None` until a first step has shown it.
    _projects_plainly: bool | None = None

    @property
    def _chooses_tokens(self) -> bool:
        """Whether the student's decisions are tokens of a vocabulary."""
        return isinstance(self._head, VocabularyHead)

    def _forward_both(self, model: nn.Module, inputs: Mapping[str, Any]) -> tuple[Any, Any, Mapping[str, Any]]:
        """As `ForwardTrainer`; where the loss can be computed in chunks the two outputs are `DeferredLogits`."""
        if not (model.training and self._chooses_tokens and self._can_defer_logits(inputs)):
            if model.training and self._chooses_tokens and self.args.use_liger_kernel:
                logger.warning_once("Liger Kernel's loss is not used: here the logits of whole batches are held.")
            return super()._forward_both(model, inputs)
        own = self.accelerator.unwrap_model(model)
        live = self.teacher.model if isinstance(self.teacher, ModelTeacher) else None
        # Whether a model's logits are its hidden states times a matrix, and no more, is probed in the first step.
        probed = self._projects_plainly is None
        with deferred_logits(own, probed) as student_deferred, deferred_logits(live, probed) as teacher_deferred:
            student, teacher, batch = super()._forward_both(model, inputs)
        student_deferred.prediction, teacher_deferred.prediction = student, teacher
        if self._projects_plainly is None:
            logits = None if teacher is None else teacher.logits
            with self.accelerator.autocast():  # as Accelerate runs the student; the loss is outside of it
                teacher_explained = logits is None or teacher_deferred.explains(logits)
                self._projects_plainly = student_deferred.explains(student.logits) and teacher_explained
        if not self._projects_plainly:
            self._warn_of_whole_logits(own)
            return super()._forward_both(model, inputs)
        return student_deferred, None if teacher is None else teacher_deferred, batch

    def _can_defer_logits(self, inputs: Mapping[str, Any]) -> bool:
        """Whether the loss can be computed in chunks of tokens."""
        terms = [term for _, term in self.current_objective.named_terms(active_only=True)]
        # Terms on layers read no logits and are computed beside.
        fit = all(term.logits_only or _reads_layers_alone(term) for term in terms)
        # Wrappers that shard or rewrite the model let nobody use its projection outside of its forward pass, and the
        # loss scale of fp16 would come too late for gradients made along with the loss.
        plain = not (self.is_fsdp_enabled or self.is_deepspeed_enabled or self.args.torch_compile or self.args.fp16)
        known = self.teacher is None or isinstance(self.teacher, ModelTeacher)
        return plain and known and fit and ITEM_MASK not in inputs and self._can_project()

    def _can_project(self) -> bool:
        """Whether the logits of student and teacher are a projection: by what they are, and by the first step's."""
        if self._projects_plainly is None:
            student = self.accelerator.unwrap_model(self.model)
            teacher = self.teacher.model if isinstance(self.teacher, ModelTeacher) else None
            if not all(projects_alone(model) for model in (student, teacher) if model is not None):
                self._warn_of_whole_logits(student)
                self._projects_plainly = False
        return self._projects_plainly is not False

    def _warn_of_whole_logits(self, student: nn.Module) -> None:
        name = type(student).__name__
        logger.warning("%s or its teacher does more than project: the logits of whole batches are held.", name)

    def _loss(
        self, objective: Objective, student: Any, teacher: Any, batch: Mapping[str, Any], counts: Tensor | None
    ) -> Loss:
        """The objective for one micro-batch.

        Args:
            objective: What is learned.
            student: The student's output, or its `DeferredLogits`.
            teacher: Its `TeacherSignal` or `DeferredLogits`; `None` where there is none.
            batch: The batch as the objective reads it.
            counts: What each active term is divided by; `None` counts this batch alone.
        """
        if not isinstance(student, DeferredLogits):
            loss: Loss = objective(student, teacher, batch, counts)
            return loss
        counts = objective.counts([batch]) if counts is None else counts
        chunked = [term.logits_only for _, term in objective.named_terms(active_only=True)]
        losses = []
        if any(chunked):
            losses.append(self._loss_in_chunks(*_part(objective, counts, chunked), student, teacher, batch))
        if not all(chunked):
            on_layers, part_counts = _part(objective, counts, [not yes for yes in chunked])
            signal = None if teacher is None else teacher.prediction
            losses.append(on_layers(student.prediction, signal, batch, part_counts))
        terms = {name: value for loss in losses for name, value in loss.terms.items()}
        return Loss(sum((loss.total for loss in losses[1:]), losses[0].total), terms)

    def _loss_in_chunks(
        self, objective: Objective, counts: Tensor, student: DeferredLogits, teacher: Any, batch: Mapping[str, Any]
    ) -> Loss:
        """The terms on logits, of the tokens that count."""
        counted = counted_tokens(batch["labels"], batch.get(COUNTED_ROWS))
        teacher_part = None if teacher is None else (teacher.prediction.sparse or teacher.projection).of(counted)
        if isinstance(teacher_part, Projection) and self._may_wait_for(teacher_part.hidden):
            check_finite(teacher_part.hidden)
        student_part, labels = student.projection.of(counted), batch["labels"].flatten()[counted]
        with self.accelerator.autocast():
            by_liger = self.args.use_liger_kernel and _known_to_liger(objective, student_part, teacher_part)
            loss_of_tokens = loss_by_liger if by_liger else chunked_loss
            return loss_of_tokens(objective, student_part, teacher_part, labels, counts)


def _reads_layers_alone(term: Term) -> bool:
    """Whether a term reads layers and no logits, as those of this package that read layers do."""
    return bool(term.outputs) and type(term) in TERMS.values()


def _part(objective: Objective, counts: Tensor, chosen: Sequence[bool]) -> tuple[Objective, Tensor]:
    """Those active terms of an objective that are chosen, and what each of them is divided by."""
    numbers = [number for number, yes in enumerate(chosen) if yes]
    names = [name for name, _ in objective.named_terms(active_only=True)]
    return objective.part(names[number] for number in numbers), counts.expand(len(names))[numbers]


def _known_to_liger(objective: Objective, student: Projection, teacher: Any) -> bool:
    unknown = unknown_to_liger(objective, student, teacher)
    if unknown:
        logger.warning_once(
            f"Liger Kernel's loss is not used: it does not know {unknown}. Ours gives the same in chunks."
        )
    return not unknown

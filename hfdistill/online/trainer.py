"""A trainer of students that teach one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import EvalPrediction, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from hfdistill.losses import Batch
from hfdistill.models.checksums import load_into, save_checked
from hfdistill.models.labels import LabelSpace
from hfdistill.online.students import OnlineOutput, OnlineStudents
from hfdistill.report.card_facts import CardFacts
from hfdistill.teachers import TeacherSignal
from hfdistill.training.objective import Loss, Objective
from hfdistill.training.trainer import DistillationTrainer

STATE = "online.safetensors"


class OnlineTrainer(DistillationTrainer):
    """A `DistillationTrainer` whose students have no teacher but one another.

    The loss is the sum of the students' own, each the objective with the others as its teacher: labels and soft
    targets by `alpha`, or by `label_weight` and `soft_target_weight`, which are both 1 in the papers.

    Saved are plain transformers models: the first student in the output folder itself, the others in `peer_2/`, ...
    A checkpoint holds, beside them, what only training needs (`online.safetensors`: the gate of `Branches`).

    Evaluation gives the task metrics of the first student, and of each as `eval_peer_1_accuracy`, ...,
    `eval_ensemble_accuracy`; `predict` returns a tuple of their logits, in that order.

    Args:
        model: `Peers` (deep mutual learning) or `Branches` (ONE).
        **kwargs: As for `DistillationTrainer`; no teacher.

    Raises:
        ValueError: for a teacher, another kind of model, terms on hidden states or attentions, or under FSDP or
            DeepSpeed.

    Example:
        >>> students = Peers([small, smaller])  # doctest: +SKIP
        >>> OnlineTrainer(students, args, train_dataset=train, processing_class=tokenizer).train()  # doctest: +SKIP
    """

    def __init__(self, model: OnlineStudents | None = None, *args: Any, **kwargs: Any) -> None:
        if not isinstance(model, OnlineStudents):
            raise ValueError(f"OnlineTrainer trains Peers([...]) or Branches([...]), not {type(model).__name__}.")
        if kwargs.get("teacher") is not None:
            raise ValueError("students that teach one another take no teacher: use DistillationTrainer with one.")
        if kwargs.get("compute_metrics") is not None:
            kwargs["compute_metrics"] = _OfEach(kwargs["compute_metrics"], model.names)
        super().__init__(model, *args, **kwargs)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ValueError(
                "students that teach one another are saved one by one, and FSDP and DeepSpeed keep none of them whole: "
                "train them with plain data parallelism (accelerate launch --multi_gpu)."
            )
        self._settle_predictions(self.students[0])
        self.label_names = ["labels"]  # which `Trainer` looks for in a plain model's signature
        if self.current_objective.outputs:
            raise ValueError(
                f"students that teach one another compare their predictions, not their "
                f"{', '.join(sorted(self.current_objective.outputs))}: leave such terms out."
            )

    @property
    def students(self) -> list[PreTrainedModel]:
        """The students, plain transformers models."""
        return self._together.each

    @property
    def _label_space(self) -> LabelSpace:
        return LabelSpace.of_model(self.students[0])

    @property
    def _saved_model(self) -> PreTrainedModel:
        return self.students[0]

    def _known_facts(self) -> CardFacts:
        return dataclasses.replace(super()._known_facts(), teacher="no teacher: students that taught one another")

    @property
    def _together(self) -> OnlineStudents:
        together = self.accelerator.unwrap_model(self.model)
        assert isinstance(together, OnlineStudents)
        return together

    # ---- The loss ----

    def _forward_both(
        self, model: nn.Module, inputs: Mapping[str, Any]
    ) -> tuple[OnlineOutput, TeacherSignal | None, Mapping[str, Any]]:
        output, _, batch = super()._forward_both(model, inputs)
        return output, self._together.lessons(output)[0][1], batch

    def _teacher_signal(self, training: bool, inputs: Mapping[str, Any]) -> TeacherSignal | None:
        return None

    def _loss(
        self, objective: Objective, student: Any, teacher: TeacherSignal | None, batch: Any, counts: Tensor | None
    ) -> Loss:
        """The sum of the students' losses; of each term the mean over them."""
        losses = [
            objective(SequenceClassifierOutput(logits=logits), signal, batch, counts)
            for logits, signal in self._together.lessons(student)
        ]
        total = torch.stack([loss.total for loss in losses]).sum()
        terms = {name: torch.stack([loss.terms[name] for loss in losses]).mean() for name in losses[0].terms}
        return Loss(total, terms)

    def _predictions(self, student: Any, batch: Batch) -> tuple[Tensor, ...]:
        ensemble = () if student.ensemble is None else (student.ensemble,)
        return tuple(peer_logits.detach() for peer_logits in (*student.peers, *ensemble))

    # ---- Saving and loading ----

    def _folders(self, folder: str | None) -> list[tuple[PreTrainedModel, Path]]:
        first = Path(folder or str(self.args.output_dir))
        others = [first / f"peer_{number}" for number in range(2, len(self.students) + 1)]
        return list(zip(self.students, [first, *others], strict=True))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        together: Any = self.model
        problem_type: Any = self._problem_type
        try:
            for student, folder in self._folders(output_dir):
                student.config.problem_type = problem_type  # settled for the first alone
                self.model = student
                super()._save(str(folder))
        finally:
            self.model = together

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        for student, folder in self._folders(resume_from_checkpoint):
            student.load_state_dict(type(student).from_pretrained(folder).state_dict())

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        state = self._together_state()
        if state and self.args.should_save:
            save_checked(state, Path(output_dir) / STATE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        state = self._together_state()
        if state and checkpoint is not None:
            load_into(state, Path(checkpoint) / STATE, "these students")

    def _together_state(self) -> dict[str, Tensor]:
        """What belongs to none of the students."""
        state = self._together.state_dict()
        return {name: tensor for name, tensor in state.items() if not name.startswith("students.")}


class _OfEach:
    """The metrics of the first student, and of each under its name."""

    def __init__(self, compute_metrics: Callable[[EvalPrediction], dict[str, float]], names: list[str]) -> None:
        self.compute_metrics = compute_metrics
        self.names = names

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        of_each = [
            self.compute_metrics(EvalPrediction(predictions=peer_logits, label_ids=prediction.label_ids))
            for peer_logits in prediction.predictions
        ]
        named = zip(self.names, of_each, strict=True)
        return {**of_each[0], **{f"{name}_{key}": value for name, one in named for key, value in one.items()}}

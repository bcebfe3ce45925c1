"""A trainer whose loss is an objective: made from the arguments, trained where it learns itself, in checkpoints."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import nn
from transformers import PreTrainedConfig, Trainer
from transformers.trainer_utils import TrainOutput, default_compute_objective
from transformers.utils import logging

from hfdistill.models.labels import LabelSpace
from hfdistill.objective import Objective
from hfdistill.objective_state import add_to_optimizer, load_objective, save_objective
from hfdistill.stages import Stages, staged_scheduler
from hfdistill.teachers import Teacher
from hfdistill.training_args import DistillationTrainingArguments
from hfdistill.transfer_sets import settle_alpha

logger = logging.get_logger(__name__)


class ObjectiveTrainer(Trainer):
    """A `transformers.Trainer` that knows what its student is trained on, and trains the objective's own parameters.

    Projections and learned layer maps are in the optimizer, clipped with the student, and in each checkpoint; they are
    no part of the student. `DistillationTrainer` asks the models and computes the loss.
    """

    args: DistillationTrainingArguments
    teacher: Teacher | None = None
    _given_objective: Objective | None = None
    _stages: Stages | None = None
    _built_from: object = None

    @property
    def current_objective(self) -> Objective:
        """What the student is trained on at this step: the given objective, or the one that the arguments describe."""
        return self.stages.at(self.state.global_step, self.state.max_steps)

    @property
    def stages(self) -> Stages:
        """The objectives of all stages; one, where the arguments name no stages."""
        # A search writes into the arguments between trials, so they are read each time, and built from when changed.
        settings = self._given_objective or (*self.args.objective_settings, self._problem_type)
        if self._stages is None or settings != self._built_from:
            earlier, self._stages = self._stages, self._new_stages()
            if earlier is not None:  # its projections are what the optimizer knows
                for objective, before in zip(self._stages, earlier, strict=False):
                    objective.adopt(before)
            self._built_from = settings
        return self._stages

    def _new_stages(self) -> Stages:
        if self._given_objective is not None:
            stages = Stages([self._given_objective])
        else:
            self.args.check_ranges()
            stages = Stages.from_args(self.args, self._problem_type)
        teacher = getattr(self.teacher, "model", None)
        if self.teacher is not None and teacher is not None:
            student = self.accelerator.unwrap_model(self.model)
            with torch.random.fork_rng(devices=[]):  # the same on each rank, and no draw less for what follows
                torch.default_generator.manual_seed(self.args.seed)
                for objective in stages:
                    objective.bind(student, teacher, same_tokens=not self.teacher.columns)
        return stages.to(self.args.device)

    @property
    def _student_config(self) -> PreTrainedConfig:
        # Read in every step, and to look for wrappers takes milliseconds.
        model: Any = self.model
        return (model if hasattr(model, "config") else self.accelerator.unwrap_model(model)).config

    @property
    def _problem_type(self) -> str | None:
        return getattr(self._student_config, "problem_type", None)

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As in `Trainer`; where alpha is not given it follows from the rows that there are to train on."""
        told = self._settle_alpha()
        if told and self.is_world_process_zero():
            logger.warning(told)
        return super().train(*args, **kwargs)

    def _settle_alpha(self) -> str | None:
        if self._given_objective is not None or self.model is None:  # a search makes its students later
            return None
        return settle_alpha(self.args, self.train_dataset, missing=self._label_space.missing)

    @property
    def _label_space(self) -> LabelSpace:
        """What the student's labels are, and which numbers are none."""
        student = extract_model_from_parallel(self.model, keep_torch_compile=False)
        of_teacher = None if self.teacher is None else self.teacher.problem_type
        space = LabelSpace.of_model(student)
        return dataclasses.replace(space, problem_type=space.problem_type or of_teacher)

    def forget_objective(self) -> None:
        """The next objective starts afresh, with nothing learnt."""
        self._stages = self._built_from = None

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """As in `Trainer`, with the objective's own parameters in groups of their own, after the student's."""
        optimizer = super().create_optimizer(model)
        if self._objective_learns:
            if self.is_fsdp_enabled or self.is_deepspeed_enabled:
                raise ValueError(
                    "a projection or a learned layer map cannot be trained under FSDP or DeepSpeed: use several "
                    "processes without sharding, a student of the teacher's width, or minilm, which has none."
                )
            add_to_optimizer(optimizer, self.stages, self.args.weight_decay)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """As in `Trainer`; with stages, one schedule for each."""
        optimizer = self.optimizer if optimizer is None else optimizer
        if self.args.stages and self.lr_scheduler is None:
            self.lr_scheduler = staged_scheduler(optimizer, self.args, num_training_steps)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

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

    @property
    def _objective_learns(self) -> bool:
        return next(self.stages.parameters(), None) is not None

    def _with_objective(self, model: nn.Module) -> nn.Module:
        return nn.ModuleList([model, self.stages]) if self._objective_learns else model

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        return super()._clip_grad_norm(self._with_objective(model))

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        return super()._get_grad_norm(self._with_objective(model), grad_norm)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            save_objective(self.stages, output_dir)
            if self.teacher is not None:
                self.teacher.save_state(Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_objective(self.stages, checkpoint)
            if self.teacher is not None:
                self.teacher.load_state(Path(checkpoint))
        super()._load_optimizer_and_scheduler(checkpoint)


class _TaskObjective:
    """What a search is after where the user does not say: the task's metrics, or the loss."""

    def __init__(self, trainer: ObjectiveTrainer) -> None:
        self.trainer = trainer
        self._settings: object = None

    def __call__(self, metrics: dict[str, float]) -> float:
        own = {f"eval_{name}" for name in (*self.trainer.current_objective.log_names, "agreement")}
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

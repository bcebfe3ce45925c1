"""A trainer whose loss is an objective: made from the arguments, trained where it learns itself, in checkpoints."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import nn
from transformers import PreTrainedConfig, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput
from transformers.utils import logging

from hfdistill.data.few_labels import settle_alpha
from hfdistill.models.heads import EmbeddingHead, VocabularyHead, head_of
from hfdistill.models.intermediate_outputs import check_shows_layers
from hfdistill.models.labels import LABEL_COLUMNS, LabelSpace
from hfdistill.models.saved_weights import load_renamed
from hfdistill.models.wrappers import config_of, unwrapped
from hfdistill.teachers import Teacher
from hfdistill.training.arguments import DistillationTrainingArguments
from hfdistill.training.checkpoints import begin_checkpoint, has_checkpoints, is_whole, last_checkpoint, settings_of
from hfdistill.training.checks import check_heads
from hfdistill.training.objective import Objective
from hfdistill.training.objective_state import add_to_optimizer, load_objective, save_objective
from hfdistill.training.path_cleaning import PathCleaningTrainer
from hfdistill.training.run_settings import differences, run_settings
from hfdistill.training.stages import Stages, parse_stages, staged_scheduler

logger = logging.get_logger(__name__)


class ObjectiveTrainer(PathCleaningTrainer):
    """A `transformers.Trainer` that knows what its student is trained on, and trains the objective's own parameters.

    Projections and learned layer maps are in the optimizer, clipped with the student, and in each checkpoint; they are
    no part of the student. `DistillationTrainer` runs the models and computes the loss.
    """

    args: DistillationTrainingArguments
    teacher: Teacher | None = None
    _given_objective: Objective | None = None
    _stages: Stages | None = None
    _built_from: object = None
    #: What a plain module, which has no config, would say of its labels.
    _stand_in: PreTrainedConfig | None = None
    _settings: dict[str, Any] | None = None

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """As `Trainer.train`; what is resumed is whole, and goes on with the settings that it was begun with.

        Where alpha is not given it follows from the rows that there are to train on.

        With `True` it is the newest checkpoint in the output folder that was written to its end; where a kill has left
        none such, training begins anew.

        Raises:
            ValueError: when the checkpoint is not whole, or was made with other settings, saying which.
        """
        warning = self._settle_alpha()
        if warning and self.is_world_process_zero():
            logger.warning(warning)
        self._settings = None if self.model is None else self._run_settings()  # `Trainer`'s search makes it later
        checkpoint = self._checkpoint_to_resume(resume_from_checkpoint)
        return super().train(checkpoint, *args, **kwargs)

    def _checkpoint_to_resume(self, given: str | bool | None) -> str | None:
        where = (self.args.process_index, self.args.world_size)
        if given is True:
            folder = str(self.args.output_dir)
            checkpoint = last_checkpoint(folder, *where)
            if checkpoint is None and not has_checkpoints(folder):
                raise ValueError(f"No valid checkpoint found in output directory ({folder})")
            if checkpoint is None:
                logger.warning("No checkpoint in %s is whole: training begins anew.", folder)
        else:
            checkpoint = str(given) if given else None
            if checkpoint is not None and not is_whole(checkpoint, *where):
                raise ValueError(
                    f"{checkpoint} was not written to its end, or is damaged: resume_from_checkpoint=True takes the "
                    "newest checkpoint of output_dir that is whole."
                )
        if checkpoint is not None:
            self._check_settings(checkpoint)
        return checkpoint

    def resume_finished(self, checkpoint: str) -> bool:
        """Takes over a run that was trained to its end, without a step more.

        `Trainer.train` makes one where a run ended within an epoch, as it does with `max_steps`.

        Args:
            checkpoint: A whole checkpoint.

        Returns:
            Whether there is no step left of the run; otherwise nothing is done.
        """
        state, args = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME)), self.args
        by_steps = bool(args.stages) or args.max_steps > 0
        as_long = (
            args.max_steps <= state.global_step if by_steps else args.num_train_epochs <= (state.epoch or 0) + 1e-6
        )
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if state.global_step < state.max_steps or not as_long or sharded or self.model is None:
            return False
        self._settle_alpha()
        self._settings = self._run_settings()
        self._check_settings(checkpoint)
        self._load_from_checkpoint(checkpoint)
        self.state = state
        if args.load_best_model_at_end and state.best_model_checkpoint is not None:
            self._load_best_model()
        return True

    def _run_settings(self) -> dict[str, Any]:
        student = self.accelerator.unwrap_model(self.model)
        return run_settings(self.args, self.stages.describe(), student, self.train_dataset, self._members)

    def _check_settings(self, checkpoint: str) -> None:
        there = settings_of(checkpoint)
        if self._settings is None:
            return
        if there is None:
            logger.warning("%s does not say with which settings it was made: they may be others than now.", checkpoint)
            return
        if differing := differences(there, self._settings):
            raise ValueError(
                f"{checkpoint} was made with other settings: {', '.join(differing)}. A run goes on with those it was "
                "begun with: give these again, or choose another output_dir for a new run."
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
            only_model = self.args.save_only_model
            begin_checkpoint(folder, self._settings or {}, self.args.world_size, only_model, sharded)
        super()._save_checkpoint(model, trial)

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
            of_head = head_of(self.model).settings(self._student_config)
            stages = self.args.make_stages(self._problem_type, **of_head)
        for objective in stages:
            check_heads(objective, self.model, self.teacher)
        teacher = getattr(self.teacher, "model", None)
        if self.teacher is not None and teacher is not None:
            student = unwrapped(self.model)
            with torch.random.fork_rng(devices=[]):  # the same on each rank, and no draw less for what follows
                torch.default_generator.manual_seed(self.args.seed)
                for objective in stages:
                    for model in (student, teacher):
                        check_shows_layers(model, objective.outputs)
                    objective.bind(student, teacher, same_tokens=not self.teacher.columns)
        return stages.to(self.args.device)

    @property
    def _student_config(self) -> PreTrainedConfig:
        config = self._stand_in or config_of(self.model)
        assert config is not None
        return config

    @property
    def _problem_type(self) -> str | None:
        return head_of(self.model).problem_type or getattr(self._student_config, "problem_type", None)

    def _settle_alpha(self) -> str | None:
        if self._given_objective is not None or self.model is None:  # a search makes its students later
            return None
        if isinstance(head_of(self.model), VocabularyHead):  # whose labels are made of the texts themselves
            return None
        columns: list[str] = getattr(self.train_dataset, "column_names", None) or []
        embeds = isinstance(head_of(self.model), EmbeddingHead)
        if embeds and columns and not {*LABEL_COLUMNS} & {*columns}:  # and no collator makes an embedding of a text
            if not self.args.alpha_is_given and self.args.weighs_by_alpha:
                self.args.settle_alpha(0.0)
            return None
        return settle_alpha(self.args, self.train_dataset, missing=self._label_space.missing)

    @property
    def _label_space(self) -> LabelSpace:
        """What the student's labels are, and which numbers are none."""
        student = extract_model_from_parallel(self.model, keep_torch_compile=False)
        of_teacher = None if self.teacher is None else self.teacher.problem_type
        space = LabelSpace.of_model(student, self._student_config)
        return dataclasses.replace(space, problem_type=space.problem_type or of_teacher)

    def forget_objective(self) -> None:
        """The next objective starts afresh, with nothing learned."""
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
            groups = len(optimizer.param_groups)
            add_to_optimizer(optimizer, self.stages, self.args.weight_decay)
            if self.lr_scheduler is not None and len(optimizer.param_groups) > groups:
                raise ValueError(
                    "the schedule in optimizers=(optimizer, schedule) has no learning rate for the objective's own "
                    "projections or learned layer maps: pass optimizers=(optimizer, None) and set lr_scheduler_type."
                )
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """As in `Trainer`; with stages, one schedule for each."""
        optimizer = self.optimizer if optimizer is None else optimizer
        if self.args.stages and self.lr_scheduler is None:
            stages = parse_stages(self.args.stages)
            self.lr_scheduler = staged_scheduler(optimizer, self.args, stages, num_training_steps)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    @property
    def _members(self) -> tuple[Teacher, ...]:
        """The teachers of a run: several in an ensemble, each of which may change and have a state."""
        return self.teacher.members if self.teacher is not None else ()

    @property
    def _objective_learns(self) -> bool:
        return next(self.stages.parameters(), None) is not None

    def _with_objective(self, model: nn.Module) -> nn.Module:
        return nn.ModuleList([model, self.stages]) if self._objective_learns else model

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        return super()._clip_grad_norm(self._with_objective(model))

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        return super()._get_grad_norm(self._with_objective(model), grad_norm)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if sharded or not load_renamed(self.model if model is None else model, resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if sharded or not load_renamed(self.model, str(self.state.best_model_checkpoint)):
            super()._load_best_model()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            save_objective(self.stages, output_dir)
            for teacher in self._members:
                teacher.save_state(Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_objective(self.stages, checkpoint)
            for teacher in self._members:
                teacher.load_state(Path(checkpoint))
        super()._load_optimizer_and_scheduler(checkpoint)

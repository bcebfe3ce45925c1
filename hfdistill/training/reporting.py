"""What a trainer logs of its objective, and the card it writes of its student."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.trainer_utils import TrainOutput
from transformers.utils import logging

from hfdistill.models.wrappers import is_plain_module, without_adapters
from hfdistill.report.card import model_card
from hfdistill.report.card_facts import CardFacts, described_arguments, evaluation_of, task_of
from hfdistill.report.saved_form import saved_form
from hfdistill.training.objective import Loss, Objective
from hfdistill.training.objective_trainer import ObjectiveTrainer

logger = logging.get_logger(__name__)


class ReportingTrainer(ObjectiveTrainer):
    """An `ObjectiveTrainer` that logs the mean of each term, and describes the student it has trained in a card."""

    #: What the student's card has beside what this trainer knows; a recipe sets it after a comparison.
    card_facts: CardFacts | None = None
    #: The terms and arguments of the last training, whatever the arguments are set to since.
    _trained: tuple[list[dict[str, Any]], dict[str, Any]] | None = None
    _logged_objective: Objective

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._forget_logs()

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As `Trainer.train`; what was trained on is kept for the card."""
        output = super().train(*args, **kwargs)
        self._trained = self._training_description()
        return output

    # ---- Logging ----

    def _forget_logs(self) -> None:
        self._logged: dict[str, Tensor] = {}
        self._logged_steps: dict[str, set[int]] = {}

    def _accumulate_logs(self, objective: Objective, loss: Loss, scale: int) -> None:
        self._logged_objective = objective
        for name, value in loss.terms.items():
            # Summed on the device: reading it out each step would make the device wait.
            value = value if scale == 1 else value * scale
            self._logged[name] = self._logged[name] + value if name in self._logged else value
            self._logged_steps.setdefault(name, set()).add(self.state.global_step)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds each term's mean since the last log, and what is scheduled, to the training logs."""
        if "loss" in logs and self._logged:
            means = torch.stack([self._logged[name] / len(self._logged_steps[name]) for name in self._logged])
            values = self.accelerator.reduce(means, reduction="mean").tolist()
            logs.update(zip(self._logged, values, strict=True))
            logs.update(self._logged_objective.scheduled_values())  # of the step that is done, not of the next
            self._forget_logs()
        super().log(logs, start_time)

    # ---- The card ----

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Writes the student's card into the output folder: teacher, objective, figures.

        The figures are those of `card_facts`, or of the last evaluation. The arguments mean what they do in `Trainer`,
        and take precedence over `card_facts`.
        """
        if not self.is_world_process_zero():
            return
        if is_plain_module(self.model):  # nor can `Trainer` describe one
            logger.warning("A %s is no transformers model, so that no card is written.", type(self.model).__name__)
            return
        dataset = dataset_tags if dataset is None else dataset
        given: dict[str, Any] = {"language": language, "license": license, "tags": tags, "base_model": finetuned_from}
        given |= {"task": tasks, "dataset_tags": dataset_tags, "dataset": dataset, "dataset_args": dataset_args}
        facts = self.card_facts or self._known_facts()
        model = self._saved_model
        location = self.hub_model_id or Path(str(self.args.output_dir)).name
        facts = dataclasses.replace(facts, form=saved_form(model), location=location, folder=str(self.args.output_dir))
        given["evaluation"] = facts.evaluation or evaluation_of(self.state, self.args.load_best_model_at_end)
        facts = dataclasses.replace(facts, **{name: value for name, value in given.items() if value is not None})
        name = model_name or Path(self.hub_model_id or self.args.output_dir or "student").name
        card = model_card(name, *(self._trained or self._training_description()), facts)
        card.save(Path(str(self.args.output_dir)) / "README.md")

    def _training_description(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The terms and the arguments of a training, as a card has them."""
        args = copy.copy(self.args)
        args.per_device_train_batch_size = self._train_batch_size  # `auto_find_batch_size` may have found another
        dtype = next((str(weight.dtype).removeprefix("torch.") for weight in self._saved_model.parameters()), "float32")
        return self.stages.describe(), described_arguments(args, dtype)

    @property
    def _saved_model(self) -> nn.Module:
        """What `save_model` leaves in the folder, without what is around it in training."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    def _known_facts(self) -> CardFacts:
        names = [member.name for member in self.teacher.members if member.name] if self.teacher else []
        task = task_of(without_adapters(self._saved_model))
        taught = any(objective.needs_teacher for objective in self.stages.objectives)
        return CardFacts(teacher=names or ("a teacher" if taught else ""), dataset="", task=task)

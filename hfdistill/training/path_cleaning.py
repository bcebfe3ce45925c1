"""A trainer whose saved files do not tell where they were made, and are read by `transformers` 4 as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerState

from hfdistill.models.version_four import make_readable_by_version_4
from hfdistill.report.local_paths import clear_emissions, clear_names, clear_state
from hfdistill.training.merging import MergingTrainer


class PathCleaningTrainer(MergingTrainer):
    """A `transformers.Trainer` that writes no path of this machine into what it saves and pushes.

    Its pickled arguments are the arguments' own affair (`DistillationTrainingArguments.__getstate__`).
    """

    _state: TrainerState

    @property
    def state(self) -> TrainerState:
        """As in `Trainer`."""
        return self._state

    @state.setter
    def state(self, state: TrainerState) -> None:
        # In a checkpoint the best one stands by its name; here it is needed where it lies.
        best = state.best_model_checkpoint
        if best is not None and Path(best).name == best:
            state.best_model_checkpoint = str(Path(str(self.args.output_dir)) / best)
        self._state = state

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer`."""
        output = super().train(*args, **kwargs)
        self._clear(None)
        return output

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer`."""
        self._clear(None)
        return super().push_to_hub(*args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        # `peft` writes the base's path into the adapter's config and card, and needs it until then.
        folder = output_dir or str(self.args.output_dir)
        clear_names(folder, _adapted(self.accelerator.unwrap_model(self.model)))
        if self.args.should_save:
            make_readable_by_version_4(folder)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self._clear(f"{self._get_output_dir(trial=trial)}/checkpoint-{self.state.global_step}")

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        self._clear(checkpoint_folder)
        super()._push_from_checkpoint(checkpoint_folder)

    def _clear(self, checkpoint: str | None) -> None:
        if self.args.should_save:
            clear_emissions(str(self.args.output_dir))
            if checkpoint is not None:
                clear_state(checkpoint)


def _adapted(model: Any) -> list[str]:
    """By which name or path a model's adapters know the model that they are for."""
    adapters = getattr(model, "peft_config", None)
    bases = [one.base_model_name_or_path for one in adapters.values()] if isinstance(adapters, dict) else []
    return [base for base in {*bases, getattr(getattr(model, "config", None), "name_or_path", None)} if base]

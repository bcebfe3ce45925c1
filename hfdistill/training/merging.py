"""A trainer of adapters: its checkpoints hold the adapters, the folder of its student a plain `transformers` model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.utils import logging

from hfdistill.models.adapters import CONFIG_FILE, can_merge, merged_copy, remove_adapter_files
from hfdistill.models.wrappers import without_adapters

logger = logging.get_logger(__name__)


class MergingTrainer(Trainer):
    """A `transformers.Trainer` whose `save_model` merges a student's PEFT adapters into what it saves.

    Checkpoints keep the adapters as they are trained, so that they resume. Adapters that cannot be merged, such as a
    tuned prompt, are saved as adapters, with a warning.
    """

    _in_checkpoint = False

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._in_checkpoint = True
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._in_checkpoint = False

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = output_dir or str(self.args.output_dir)
        merged = self._merged() if self.args.should_save and not self._in_checkpoint else None
        if merged is None:
            super()._save(output_dir, state_dict)
            return
        trained, self.model = self.model, merged
        try:
            super()._save(output_dir)
        finally:
            self.model = trained
        remove_adapter_files(folder)  # a checkpoint's, which was pushed from there

    def _merged(self) -> Any:
        """The student with its adapters in its weights; `None` of one that has none, or that they stay around."""
        if not hasattr(self.accelerator.unwrap_model(self.model, keep_torch_compile=False), "peft_config"):
            return None
        reason: Any = "they are no change of its weights, or these are kept as integers"
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            reason = "it is sharded over processes"
        elif can_merge(self.model):
            try:
                return merged_copy(self.model)
            except (NotImplementedError, ValueError) as error:
                reason = error
        logger.warning(
            "The student's adapters are not merged into it (%s): its folder holds an adapter, which takes PEFT and the "
            "model that it was made for.",
            reason,
        )
        return None

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if model is None and can_merge(self.model) and not (Path(resume_from_checkpoint) / CONFIG_FILE).exists():
            plain: Any = type(without_adapters(self.model))  # a finished run's folder
            self.model = self.model_wrapped = plain.from_pretrained(resume_from_checkpoint).to(self.args.device)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

"""The training arguments of a student that learns from raw text."""

from __future__ import annotations

from dataclasses import dataclass

from hfdistill.tasks.arguments import TaskDefaults
from hfdistill.training.arguments import DistillationTrainingArguments


@dataclass
class LanguageModelingTrainingArguments(TaskDefaults, DistillationTrainingArguments):  # type: ignore[misc]
    """Training arguments for raw text: a learning rate of pretraining, checkpoints by steps, tokens counted."""

    _argument_group_name = "training arguments"

    output_dir: str = "distilled"
    learning_rate: float = 4e-4
    num_train_epochs: float = 1
    weight_decay: float = 0.01
    train_sampling_strategy: str = "random"
    logging_steps: float = 0.05
    eval_strategy: str = "steps"
    eval_steps: float = 0.25
    save_strategy: str = "steps"
    save_steps: float = 0.25
    include_num_input_tokens_seen: str | bool = True

    def __post_init__(self) -> None:
        if self.include_num_input_tokens_seen in (True, "all"):
            self.include_num_input_tokens_seen = "non_padding"  # padding is no text
        super().__post_init__()

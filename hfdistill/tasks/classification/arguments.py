"""The training arguments of a text classifier."""

from __future__ import annotations

from dataclasses import dataclass

from hfdistill.tasks.arguments import TaskDefaults
from hfdistill.training.arguments import DistillationTrainingArguments


@dataclass
class ClassificationTrainingArguments(TaskDefaults, DistillationTrainingArguments):  # type: ignore[misc]
    """Training arguments with BERT's fine-tuning settings as defaults, texts batched by length, nothing reported."""

    _argument_group_name = "training arguments"

    output_dir: str = "distilled"
    learning_rate: float = 5e-5
    num_train_epochs: float = 3
    weight_decay: float = 0.01
    eval_on_start: bool = True
    logging_steps: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_names is not None:
            raise ValueError(
                "--label_names is what `Trainer` calls the columns of labels, and does nothing here: name the classes "
                "in labels.txt beside the texts, or with --class_names of hfdistill distill, and the column with "
                "--label_column."
            )

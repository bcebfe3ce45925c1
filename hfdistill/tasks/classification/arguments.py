"""The training arguments of a text classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hfdistill.training.arguments import DistillationTrainingArguments


@dataclass
class ClassificationTrainingArguments(DistillationTrainingArguments):
    """Training arguments with BERT's fine-tuning settings as defaults, texts batched by length, nothing reported."""

    _argument_group_name = "training arguments"

    output_dir: str = "distilled"
    learning_rate: float = 5e-5
    num_train_epochs: float = 3
    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 64
    warmup_steps: float = 0.06
    weight_decay: float = 0.01
    train_sampling_strategy: str = "group_by_length"
    eval_on_start: bool = True
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    save_total_limit: int = 1
    logging_steps: float = 0.05
    report_to: str = "none"
    dataloader_pin_memory: bool = torch.accelerator.is_available()
    use_cpu: bool = not torch.accelerator.is_available()  # said, or the processes of torchrun do not find each other

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_names is not None:
            raise ValueError(
                "--label_names is what `Trainer` calls the columns of labels, and does nothing here: name the classes "
                "in labels.txt beside the texts, or with --class_names of hfdistill distill, and the column with "
                "--label_column."
            )

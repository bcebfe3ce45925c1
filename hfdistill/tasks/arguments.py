"""The training arguments that the tasks have in common."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class TaskDefaults:
    """Other defaults for training arguments: batches of like length, an evaluation each epoch, nothing reported."""

    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 64
    warmup_steps: float = 0.06
    train_sampling_strategy: str = "group_by_length"
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    save_total_limit: int = 1
    report_to: str = "none"
    dataloader_pin_memory: bool = torch.accelerator.is_available()
    use_cpu: bool = not torch.accelerator.is_available()  # set, or the processes of torchrun do not find each other

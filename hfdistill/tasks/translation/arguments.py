"""The training arguments of a translation student, with defaults for it."""

from dataclasses import dataclass

import torch

from hfdistill.training.arguments import Seq2SeqDistillationTrainingArguments


@dataclass
class TranslationTrainingArguments(Seq2SeqDistillationTrainingArguments):
    """As `Seq2SeqDistillationTrainingArguments`, by default with batches of like length, evaluated by their losses."""

    _argument_group_name = "distillation and training"

    output_dir: str = "distilled-translation"
    learning_rate: float = 3e-4
    num_train_epochs: float = 5
    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 64
    warmup_steps: float = 0.06
    temperature: float = 1.0
    alpha: float = 0.8
    train_sampling_strategy: str = "group_by_length"
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    save_total_limit: int = 1
    logging_steps: float = 0.02
    report_to: str = "none"
    dataloader_pin_memory: bool = torch.accelerator.is_available()
    use_cpu: bool = not torch.accelerator.is_available()  # set, or the processes of torchrun do not find each other

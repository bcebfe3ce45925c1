"""The training arguments of a student that writes down speech, letter by letter or as an encoder-decoder."""

from __future__ import annotations

from dataclasses import dataclass

from hfdistill.tasks.arguments import TaskDefaults
from hfdistill.training.arguments import DistillationTrainingArguments, Seq2SeqDistillationTrainingArguments


@dataclass
class SpeechTrainingArguments(TaskDefaults, DistillationTrainingArguments):  # type: ignore[misc]
    """Training arguments with defaults for CTC: small batches in random order, a temperature of 1."""

    _argument_group_name = "distillation and training"

    output_dir: str = "distilled-speech"
    per_device_train_batch_size: int = 8
    per_device_eval_batch_size: int = 32
    train_sampling_strategy: str = "random"
    learning_rate: float = 1e-4
    num_train_epochs: float = 10
    temperature: float = 1.0
    alpha: float = 0.5
    logging_steps: float = 0.05


@dataclass
class WhisperTrainingArguments(TaskDefaults, Seq2SeqDistillationTrainingArguments):  # type: ignore[misc]
    """Training arguments with defaults for Whisper: those of Distil-Whisper, evaluated by their losses."""

    _argument_group_name = "distillation and training"

    output_dir: str = "distilled-whisper"
    per_device_train_batch_size: int = 16
    per_device_eval_batch_size: int = 32
    train_sampling_strategy: str = "random"
    learning_rate: float = 1e-4
    num_train_epochs: float = 10
    temperature: float = 2.0
    alpha: float = 0.45
    logging_steps: float = 0.05

"""The training arguments of a translation student, with defaults for it."""

from dataclasses import dataclass

from hfdistill.tasks.arguments import TaskDefaults
from hfdistill.training.arguments import Seq2SeqDistillationTrainingArguments


@dataclass
class TranslationTrainingArguments(TaskDefaults, Seq2SeqDistillationTrainingArguments):  # type: ignore[misc]
    """As `Seq2SeqDistillationTrainingArguments`, by default with batches of like length, evaluated by their losses."""

    _argument_group_name = "distillation and training"

    output_dir: str = "distilled-translation"
    learning_rate: float = 3e-4
    num_train_epochs: float = 5
    temperature: float = 1.0
    alpha: float = 0.8
    logging_steps: float = 0.02

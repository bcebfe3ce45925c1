"""The training arguments of a classifier of pictures or sound."""

from __future__ import annotations

from dataclasses import dataclass

from hfdistill.tasks.classification.arguments import ClassificationTrainingArguments


@dataclass
class MediaTrainingArguments(ClassificationTrainingArguments):
    """As of a text classifier, with rows in random order: pictures are of one shape."""

    train_sampling_strategy: str = "random"

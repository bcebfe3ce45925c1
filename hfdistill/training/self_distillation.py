"""A model as its own teacher, generation by generation. (For a teacher that moves along: `MovingAverageTeacher`.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import PreTrainedModel

from hfdistill.training.checkpoints import last_checkpoint
from hfdistill.training.trainer import DistillationTrainer


def born_again(
    new_trainer: Callable[[int, PreTrainedModel | None], DistillationTrainer], generations: int
) -> list[PreTrainedModel]:
    """Born-again networks: each generation is trained anew, with the one before as its teacher.

    Generation 0 has no teacher. An interrupted call goes on where it stopped: a generation with a checkpoint in its
    output folder resumes from it. The generations together are an ensemble that beats the last one in the paper:
    `EnsembleTeacher([ModelTeacher(model) for model in models])`.

    Args:
        new_trainer: Given the generation's number and its teacher, `None` for generation 0, returns the trainer of a
            fresh model, with an output folder of its own.
        generations: How many are taught, 1 or more.

    Returns:
        The models of all generations, generation 0 first.

    Raises:
        ValueError: for no generations, or two of them with one output folder.

    References: Furlanello et al. 2018, https://huggingface.co/papers/1805.04770.
    """
    if generations < 1:
        raise ValueError(f"born_again teaches one generation or more, got {generations}.")
    models: list[Any] = []
    folders: set[str] = set()
    for generation in range(generations + 1):
        trainer = new_trainer(generation, models[-1] if models else None)
        folder = str(trainer.args.output_dir)
        if folder in folders:
            raise ValueError(f"generation {generation} would overwrite {folder}: give each an output_dir of its own.")
        folders.add(folder)
        args = trainer.args
        trainer.train(resume_from_checkpoint=last_checkpoint(folder, args.process_index, args.world_size))
        models.append(trainer.accelerator.unwrap_model(trainer.model))
    return models

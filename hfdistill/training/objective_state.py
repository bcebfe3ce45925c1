"""What an objective learns itself, such as projections: in the optimizer, over ranks, and in checkpoints.

It is trained as the student is and saved beside it, and never becomes part of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from hfdistill.models.checksums import load_into, save_checked

#: The file of a checkpoint that holds what the objective has learned.
OBJECTIVE_FILE = "objective.safetensors"


def add_to_optimizer(optimizer: torch.optim.Optimizer, objective: nn.Module, weight_decay: float) -> None:
    """Adds the parameters that an optimizer does not have yet, after those it has; biases without weight decay."""
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    new = [parameter for parameter in objective.parameters() if parameter.requires_grad and id(parameter) not in known]
    for params, decay in (([p for p in new if p.dim() > 1], weight_decay), ([p for p in new if p.dim() <= 1], 0.0)):
        if params:
            optimizer.add_param_group({"params": params, "weight_decay": decay})


def average_gradients(objective: nn.Module, average: Callable[[Tensor], Tensor]) -> None:
    """Replaces each gradient by the mean over ranks, as DDP does for the student.

    Args:
        objective: Whose gradients.
        average: Gives the mean of a tensor over the ranks.
    """
    for parameter in objective.parameters():
        if parameter.grad is not None:
            parameter.grad.copy_(average(parameter.grad))


def save_objective(objective: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Writes what the objective has learned into a checkpoint; nothing where it has nothing to learn."""
    if state := objective.state_dict():
        save_checked(state, Path(folder) / OBJECTIVE_FILE)


def load_objective(objective: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Restores, in place, what `save_objective` wrote.

    Raises:
        ValueError: when the checkpoint holds nothing of this objective, or of another one, or is damaged.
    """
    state, file = objective.state_dict(), Path(folder) / OBJECTIVE_FILE
    if state or file.exists():
        load_into(state, file, "the objective")

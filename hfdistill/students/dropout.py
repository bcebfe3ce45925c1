"""The dropout of a student: a small one that reads many texts has nothing to be kept from learning by heart."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel


def set_dropout(model: PreTrainedModel, rate: float) -> None:
    """Sets every rate of dropout, of a model and of its config.

    Args:
        model: Changed in place: what is saved and loaded again has the rate, too. Layers are still left out as often as
            the config says (`layerdrop`).
        rate: From 0 for none to less than 1.

    Raises:
        ValueError: when the rate is none.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"a rate of dropout is from 0 to less than 1, not {rate:g}.")
    configs = {id(config): config for config in (model.config, model.config.get_text_config())}
    for owner in (*configs.values(), *model.modules()):
        if isinstance(owner, nn.Dropout):
            owner.p = rate
        for name, value in vars(owner).items():
            if isinstance(value, float) and ("dropout" in name or name.endswith("_pdrop")):
                setattr(owner, name, rate)

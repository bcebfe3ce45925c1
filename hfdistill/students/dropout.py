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
        ValueError: when the rate is none, or the model has no dropout to be set.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"a rate of dropout is from 0 to less than 1, not {rate:g}.")
    configs = {id(config): config for config in (model.config, model.config.get_text_config())}
    found = False
    for owner in (*configs.values(), *model.modules()):
        named = [name for name, value in vars(owner).items() if _is_rate(name, value)]
        named += ["p"] * isinstance(owner, nn.Dropout)
        for name in named:
            setattr(owner, name, rate)
        found = found or bool(named)
    if rate and not found:
        raise ValueError(f"a {type(model).__name__} has no dropout: leave its rate out.")


def _is_rate(name: str, value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)  # a config may say 0
    return number and ("dropout" in name or name.endswith("_pdrop"))

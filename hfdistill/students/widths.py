"""Making a model narrower: fewer hidden dimensions, attention heads and neurons, the most important ones kept.

Which matter is measured on a batch of text, as Minitron does (https://huggingface.co/papers/2407.14679): a neuron or a
dimension of a head by how much it adds to its layer's output, `mean |activation| · ‖outgoing weights‖`, a hidden
dimension by how much it varies from token to token, over all layers. Without a batch the first ones are kept.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from hfdistill.models.families import NAMES, attention_projections, layer_stack, size_field
from hfdistill.models.intermediate_outputs import forward
from hfdistill.models.sequences import SequenceMasks


@dataclass(frozen=True)
class Widths:
    """The widths of a model: hidden dimensions, neurons, attention heads."""

    hidden: int
    intermediate: int
    heads: int

    @property
    def head(self) -> int:
        """The width of one head."""
        return self.hidden // self.heads

    @classmethod
    def of(cls, config: Any) -> Widths:
        """Those of a model's configuration."""
        return cls(config.hidden_size, getattr(config, _intermediate_name(config)), config.num_attention_heads)


@dataclass(frozen=True)
class _Importance:
    """How important each hidden dimension is, and in each layer each attention dimension and each neuron."""

    hidden: Tensor
    attention: list[Tensor]
    neurons: list[Tensor]


def choose_widths(
    config: Any, hidden_size: int | None, intermediate_size: int | None, num_attention_heads: int | None
) -> Widths:
    """The widths of a student; what is not given stays in proportion to the hidden size.

    Heads keep the teacher's head size where the hidden size allows it, otherwise the nearest smaller one.

    Raises:
        ValueError: for a width below 1 or above the teacher's, or heads that do not divide the hidden size or would
            be wider than the teacher's.
    """
    teacher = Widths.of(config)
    hidden = teacher.hidden if hidden_size is None else hidden_size
    _check_range("hidden_size", hidden, teacher.hidden)
    in_proportion = max(1, teacher.intermediate * hidden // teacher.hidden)
    neurons = in_proportion if intermediate_size is None else intermediate_size
    _check_range("intermediate_size", neurons, teacher.intermediate)
    fitting = [n for n in range(1, teacher.heads + 1) if hidden % n == 0 and hidden // n <= teacher.head]
    heads = num_attention_heads if num_attention_heads is not None else min(fitting, default=0)
    if heads not in fitting:
        choice = f"choose from {', '.join(map(str, fitting))}" if fitting else "choose another hidden_size"
        raise ValueError(
            f"num_attention_heads={heads or None} does not go with hidden_size={hidden}: heads must divide it and be "
            f"no wider than the teacher's {teacher.head}: {choice}."
        )
    return Widths(hidden, neurons, heads)


def set_widths(config: PreTrainedConfig, widths: Widths) -> None:
    """Writes widths into a configuration."""
    config.hidden_size = widths.hidden
    config.num_attention_heads = widths.heads
    setattr(config, _intermediate_name(config), widths.intermediate)
    for name, value in (("pooler_hidden_size", widths.hidden), ("head_dim", widths.head)):
        if getattr(config, name, None) is not None:
            setattr(config, name, value)


def narrow_weights(
    teacher: PreTrainedModel, student: PreTrainedModel, layers: Sequence[int], batch: Mapping[str, Tensor] | None = None
) -> None:
    """Fills a narrower student with the teacher's weights.

    Args:
        teacher: The wide model.
        student: A model of the same class; its widths determine what is kept.
        layers: For each student layer the teacher layer it is taken from.
        batch: Tokenized text to measure importance on; without it the first dimensions, heads and neurons are kept.

    Raises:
        ValueError: when the model keeps its parts in a way that is not understood.
    """
    stack = layer_stack(teacher)
    old, new = Widths.of(teacher.config), Widths.of(student.config)
    _check_rotation(teacher.config, old, new)
    axes = _Axes(teacher, stack)
    importance = _measure(teacher, axes, batch) if batch is not None else _equal(teacher, old)
    hidden = _top(importance.hidden, new.hidden)
    attention = [_top_of_heads(importance.attention[layer], old, new) for layer in layers]
    neurons = [_top(importance.neurons[layer], new.intermediate) for layer in layers]
    source = teacher.state_dict()
    for name, tensor in student.state_dict().items():
        number, origin = _origin(name, stack, layers)
        kept = {"hidden": hidden}
        if number is not None:
            kept |= {"attention": attention[number], "neurons": neurons[number]}
        taken = source[origin]
        for dimension, (kind, repeats) in axes.kinds(origin).items():
            if taken.shape[dimension] == tensor.shape[dimension]:
                continue
            if not repeats:  # a part of the hidden dimensions, as of grouped convolutions
                raise _unknown(teacher, origin)
            part = taken.shape[dimension] // repeats
            index = torch.cat([kept[kind] + part * repeat for repeat in range(repeats)])
            taken = taken.index_select(dimension, index.to(taken.device))
        if taken.shape != tensor.shape:
            raise _unknown(teacher, origin)
        tensor.copy_(taken)


class _Axes:
    """Which dimension of each weight runs over hidden dimensions, attention dimensions or neurons."""

    def __init__(self, model: PreTrainedModel, stack: str) -> None:
        self.model, self.stack, widths = model, stack, Widths.of(model.config)
        self.shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
        # Built again with other widths, the dimensions that change show themselves.
        self.wider = _shapes_with(model, Widths(2 * widths.hidden, widths.intermediate, widths.heads))
        self.deeper = _shapes_with(model, Widths(widths.hidden, 2 * widths.intermediate, widths.heads))
        self.widths = widths
        self.projections = [{p.name for p in layer.values()} for layer in attention_projections(model)]
        self.outputs = [self._attention_output(number) for number in range(len(self.projections))]
        self.downs = [self._down(number) for number in range(len(self.projections))]

    def kinds(self, name: str) -> dict[int, tuple[str, int]]:
        """For each dimension of a weight that gets narrower what it runs over, and how many times side by side."""
        shape, found = self.shapes[name], {}
        for dimension, size in enumerate(shape):
            if self.deeper[name][dimension] != size:
                found[dimension] = ("neurons", size // self.widths.intermediate)
            elif self.wider[name][dimension] != size:
                kind = "attention" if self._is_attention(name, dimension) else "hidden"
                found[dimension] = (kind, size // self.widths.hidden)
        return found

    def _is_attention(self, name: str, dimension: int) -> bool:
        module = name.rpartition(".")[0]
        if module in self.outputs:
            return dimension == 1
        made = any(module in names for names in self.projections) or module.rpartition(".")[2].startswith("pos_")
        return made and dimension == 0

    def _linear(self, number: int) -> list[str]:
        prefix = f"{self.stack}.{number}"
        layer = self.model.get_submodule(prefix)
        return [f"{prefix}.{name}" for name, module in layer.named_modules() if isinstance(module, nn.Linear)]

    def _attention_part(self, number: int) -> str:
        prefix = f"{self.stack}.{number}."
        return prefix + min(self.projections[number]).removeprefix(prefix).partition(".")[0] + "."

    def _attention_output(self, number: int) -> str:
        inside = [name for name in self._linear(number) if name.startswith(self._attention_part(number))]
        others = set(inside) - self.projections[number]
        outputs = [name for name in others if not name.rpartition(".")[2].startswith("pos_")]
        by_head = any(name.rpartition(".")[2] in NAMES["thirds of heads"] for name in self.projections[number])
        if len(outputs) != 1 or by_head:
            raise _unknown(self.model, self._attention_part(number) + "*")
        return outputs[0]

    def _down(self, number: int) -> str:
        """The linear map that reads the neurons."""
        names = [name for name in self._linear(number) if self.kinds(f"{name}.weight").get(1) == ("neurons", 1)]
        if len(names) != 1:
            raise _unknown(self.model, f"{self.stack}.{number}")
        return names[0]


def _measure(model: PreTrainedModel, axes: _Axes, batch: Mapping[str, Tensor]) -> _Importance:
    """The importance of all parts of a model, on a batch of text."""
    inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
    if "input_ids" in inputs:
        mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
    else:
        mask = SequenceMasks(model)(inputs)
    read: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            weight: Any = module.weight
            read[name] = args[0][mask].abs().float().mean(0) * weight.float().norm(dim=0)

        return model.get_submodule(name).register_forward_pre_hook(hook)

    was_training = model.training
    with torch.no_grad(), ExitStack() as hooks:
        for name in (*axes.outputs, *axes.downs):
            hooks.callback(note(name).remove)
        states = forward(model.eval(), inputs, frozenset({"hidden_states"})).hidden_states
    model.train(was_training)
    spread = torch.stack([state[mask].float().std(0, unbiased=False) for state in states])
    # Each layer on its own scale, or the last of those without a norm would decide alone.
    hidden = (spread / spread.mean(1, keepdim=True)).mean(0)
    return _Importance(hidden, [read[name] for name in axes.outputs], [read[name] for name in axes.downs])


def _equal(model: PreTrainedModel, widths: Widths) -> _Importance:
    layers = model.config.num_hidden_layers
    return _Importance(
        torch.ones(widths.hidden), [torch.ones(widths.hidden)] * layers, [torch.ones(widths.intermediate)] * layers
    )


def _top(importance: Tensor, count: int) -> Tensor:
    """The indices of the most important, in their order; of equals the first."""
    return importance.argsort(descending=True, stable=True)[:count].sort().values


def _top_of_heads(importance: Tensor, old: Widths, new: Widths) -> Tensor:
    """The most important dimensions of the most important heads."""
    heads = importance.view(old.heads, old.head)
    chosen = _top(heads.sum(1), new.heads).tolist()
    return torch.cat([head * old.head + _top(heads[head], new.head) for head in chosen])


def _shapes_with(model: PreTrainedModel, widths: Widths) -> dict[str, torch.Size]:
    config = copy.deepcopy(model.config)
    set_widths(config, widths)
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in type(model)(config).state_dict().items()}


def _origin(name: str, stack: str, layers: Sequence[int]) -> tuple[int | None, str]:
    """The number of the student's layer that a weight belongs to, if any, and the weight's name in the teacher."""
    if not name.startswith(f"{stack}."):
        return None, name
    number, _, rest = name.removeprefix(f"{stack}.").partition(".")
    return int(number), f"{stack}.{layers[int(number)]}.{rest}"


def _intermediate_name(config: Any) -> str:
    name = size_field(config, "neurons")
    if name is None:
        raise ValueError(
            f"{type(config).__name__} does not say how many neurons a layer has (intermediate_size), so it cannot be "
            "made narrower; choose the number of its layers alone."
        )
    return name


def _check_range(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise ValueError(f"{name}={value} is not possible: the teacher has {most}, so give a number from 1 to {most}.")


def _check_rotation(config: Any, old: Widths, new: Widths) -> None:
    if getattr(config, "rope_parameters", None) is not None and old.head != new.head:
        raise ValueError(
            f"{type(config).__name__} rotates its heads by position, so they must stay {old.head} wide: choose a "
            f"hidden_size that is a multiple of {old.head}, and hidden_size / {old.head} heads."
        )


def _unknown(model: PreTrainedModel, name: str) -> ValueError:
    return ValueError(
        f"{type(model).__name__} cannot be made narrower: {name} is built in a way that is not understood; choose the "
        "number of its layers alone (num_hidden_layers), or start from a small model of its own."
    )

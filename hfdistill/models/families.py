"""How `transformers` models name their sizes, their stacks of layers, and the attention's projections.

A model family that names one of them otherwise is a name more in `NAMES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

#: What one family or another calls things. A size in a config: its layers, attention heads, hidden dimensions and the
#: neurons between the two linear maps of a layer; of a side of an encoder-decoder the names with `{side}` and those
#: behind `side` come first (BART's family, ProphetNet's, T5's). A module: what makes queries, keys and values, each for
#: itself, or all three in thirds, one after the other or so within each head; and the attention to the other side.
NAMES: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers",),
    "heads": ("num_attention_heads",),
    "width": ("hidden_size",),
    "neurons": ("intermediate_size", "hidden_dim"),
    "side layers": ("{side}_layers", "num_{side}_layers"),
    "side heads": ("{side}_attention_heads", "num_{side}_attention_heads", "num_heads"),
    "side width": ("d_model",),
    "side neurons": ("{side}_ffn_dim", "d_ff"),
    "encoder layers": ("num_layers",),
    "queries": ("query", "query_proj", "q_proj", "q_lin", "q", "q_head"),
    "keys": ("key", "key_proj", "k_proj", "k_lin", "k", "k_head"),
    "values": ("value", "value_proj", "v_proj", "v_lin", "v", "v_head"),
    "thirds": ("Wqkv", "c_attn", "qkv_proj", "qkv"),
    "thirds of heads": ("in_proj", "query_key_value"),
    "cross-attention": ("encoder_attn", "EncDecAttention", "cross_attn", "crossattention"),
}
#: What families do otherwise, by the config's `model_type`: `windows` or `blocks`, to which they pad a text within, on
#: the right; and the sides (`""` for a model of one stack) whose queries, keys and values are `(tokens, batch, width)`.
PECULIARITIES: dict[str, tuple[str, ...]] = {
    "longformer": ("windows", ""),
    "led": ("windows", "encoder"),
    "fsmt": ("encoder", "decoder"),
    "big_bird": ("blocks",),
    "bigbird_pegasus": ("blocks",),
}

PROJECTIONS = ("queries", "keys", "values")
#: The two stacks of layers of an encoder-decoder.
SIDES = ("encoder", "decoder")


@dataclass(frozen=True)
class Projection:
    """Where a layer's queries, keys or values come from.

    Args:
        module: The module whose output holds them.
        name: Its name within the model.
        part: Takes that output, `(batch, tokens, ...)`, to the vectors alone, `(batch, tokens, width)`.
    """

    module: nn.Module
    name: str
    part: Callable[[Tensor], Tensor]


def size_field(config: PreTrainedConfig, size: str, side: str = "") -> str | None:
    """How a config names a size; `None` where it does not have it.

    Args:
        config: A model's config; of a side that has its own (T5Gemma), that one is looked at.
        size: `layers`, `heads`, `width` or `neurons`.
        side: Of an encoder-decoder, `encoder` or `decoder`.
    """
    own = side_config(config, side)
    rows = [f"side {size}", f"{side} {size}", size] if side else [size]
    names = [name.format(side=side) for row in rows for name in NAMES.get(row, ())]
    return next((name for name in names if isinstance(getattr(own, name, None), int)), None)


def size_in(config: PreTrainedConfig, size: str, side: str = "") -> int | None:
    """A size in a config, see `size_field`; `None` where it has none."""
    field = size_field(config, size, side)
    return None if field is None else int(getattr(side_config(config, side), field))


def side_of(output: str) -> tuple[str, str]:
    """Splits `decoder_queries` into the side of an encoder-decoder and what is meant there; the side may be empty."""
    side = next((side for side in SIDES if output.startswith(f"{side}_")), "")
    return side, output.removeprefix(f"{side}_")


def layer_stack(model: PreTrainedModel, side: str = "") -> str:
    """The name of the one list of layers in a model, such as `bert.encoder.layer`, or of one side's.

    Raises:
        ValueError: for an encoder-decoder without a side, or when there is no such list (as where layers share their
            weights).
    """
    if side:
        lists = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
        sided = [name for name in lists if name.split(".")[-2:-1] == [side]]
        inner: Any = getattr(model, side, None)
        if len(sided) == 1:
            return sided[0]
        if isinstance(inner, PreTrainedModel) and not inner.config.is_encoder_decoder:  # a model of its own
            return f"{side}.{layer_stack(inner)}"
        raise no_layer_stack(model, side)
    if model.config.is_encoder_decoder:
        raise ValueError(f"{type(model).__name__} is an encoder-decoder; only single stacks of layers can be used.")
    count = size_in(model.config, "layers")
    found = [n for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    # A list within a layer may happen to be as long (say, experts).
    outermost = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    if len(outermost) > 1:  # as many convolutions before the encoder (wav2vec 2.0)
        outermost = [name for name in outermost if name.split(".")[-2:-1] == ["encoder"]]
    if len(outermost) != 1:
        raise no_layer_stack(model)
    return outermost[0]


def no_layer_stack(model: PreTrainedModel, side: str = "") -> ValueError:
    """The error for a model, or a side of one, whose layers cannot be separated."""
    if side:
        return ValueError(
            f"{type(model).__name__} does not keep the layers of its {side} in one list, so there is nothing to choose "
            "from: make its student from a config of fewer layers instead."
        )
    return ValueError(
        f"{type(model).__name__} does not keep its layers in one list with an entry per layer, so there is "
        "nothing to choose from; if its layers share their weights (ALBERT), load it with fewer instead: "
        "from_pretrained(name, num_hidden_layers=...); of a convolutional network take a smaller model of the family."
    )


def attention_projections(model: PreTrainedModel, side: str = "") -> list[dict[str, Projection]]:
    """For each layer, lowest first, where the queries, keys and values of its self-attention come from.

    Args:
        model: The model.
        side: Of an encoder-decoder, `encoder` or `decoder`.

    Raises:
        ValueError: when a layer has no modules of a known name, or several.
    """
    stack = layer_stack(model, side)
    heads = size_in(model.config, "heads", side) or 0
    layers = model.get_submodule(stack).named_children()
    found = [_layer_projections(type(model).__name__, f"{stack}.{name}", layer, heads) for name, layer in layers]
    if side not in PECULIARITIES.get(model.config.model_type, ()):
        return found
    return [{kind: replace(one, part=_batch_first(one.part)) for kind, one in layer.items()} for layer in found]


def side_config(config: PreTrainedConfig, side: str) -> PreTrainedConfig:
    """The config of one side of an encoder-decoder, where the two have their own (T5Gemma), otherwise `config`."""
    own = getattr(config, side, None) if side else None
    return own if isinstance(own, PreTrainedConfig) else config


def unpadded(model: PreTrainedModel, tensor: Tensor, tokens: int, kind: str) -> Tensor:
    """What a model gives of each token, `(batch, tokens, ...)`, without what it has padded within.

    Args:
        model: The model.
        tensor: Its hidden states, queries, keys or values; or attentions, `(batch, heads, tokens, tokens)`.
        tokens: How many tokens it was given.
        kind: Which of these.
    """
    padding = {"windows", "blocks"} & {*PECULIARITIES.get(model.config.model_type, ())}
    if not padding:
        return tensor
    if kind != "attentions":
        return tensor[:, :tokens]
    if padding == {"windows"}:
        raise ValueError(
            f"{type(model).__name__} gives the attention within a window around each token, not between all: take a "
            "term that does not need attentions."
        )
    return tensor[:, :, :tokens, :tokens]


def _layer_projections(model: str, prefix: str, layer: nn.Module, heads: int) -> dict[str, Projection]:
    linear = {
        name: module
        for name, module in layer.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and not any(part in name for part in NAMES["cross-attention"])
    }

    def named(row: str) -> list[tuple[str, nn.Module]]:
        names = NAMES[row]
        return [(f"{prefix}.{name}", module) for name, module in linear.items() if name.rpartition(".")[2] in names]

    separate = {kind: named(kind) for kind in PROJECTIONS}
    if all(len(found) == 1 for found in separate.values()):
        return {kind: Projection(found[0][1], found[0][0], _whole) for kind, found in separate.items()}
    for row, third in (("thirds", _third), ("thirds of heads", _third_of_heads)):
        if len(found := named(row)) == 1:
            name, module = found[0]
            return {kind: Projection(module, name, third(number, heads)) for number, kind in enumerate(PROJECTIONS)}
    raise ValueError(
        f"{model} does not show where layer {prefix} makes its queries, keys and values (it has {', '.join(linear)}): "
        "use a term on hidden_states, or a model with modules named query, key and value."
    )


def _batch_first(part: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda output: part(output.transpose(0, 1).clone())  # Longformer and LED scale theirs in place


def _whole(output: Tensor) -> Tensor:
    return output


def _third(number: int, heads: int) -> Callable[[Tensor], Tensor]:
    return lambda output: output.chunk(3, dim=-1)[number]


def _third_of_heads(number: int, heads: int) -> Callable[[Tensor], Tensor]:
    return lambda output: output.unflatten(-1, (heads, -1)).chunk(3, dim=-1)[number].flatten(-2)

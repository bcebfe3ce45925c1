"""An encoder-decoder as two graphs: its encoder, and a decoder that keeps keys and values from token to token.

The decoder is one graph for the first token and for those after it, as transformers.js and Optimum run it: of the first
one it projects the encoder's output to keys and values, which come back as inputs with every later one. Inputs and
outputs have the names that both libraries look for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel

from hfdistill.export.onnx_graphs import trace
from hfdistill.models.families import NAMES, layer_stack, size_in

#: What is put before the names within the graph that becomes a branch: they must not be names of the other graph.
_BRANCH = "cross_attention."
#: How long texts are while tracing; all lengths differ, or they would be taken for one.
_TEXTS, _SOURCE, _PAST, _TOKENS = 2, 5, 4, 3


class DecoderGraphs(NamedTuple):
    """The two parts of a decoder, `onnx_ir.Model`s in float32.

    Args:
        steps: From tokens, and keys and values of both attentions, to logits and keys and values.
        cross: From the encoder's output to the keys and values of the attention to it.
    """

    steps: Any
    cross: Any


def trace_encoder(model: PreTrainedModel) -> Any:
    """The graph of the encoder in float32, an `onnx_ir.Model`: `input_ids`, `attention_mask` → `last_hidden_state`."""
    inputs = {"input_ids": _tokens(_SOURCE), "attention_mask": _mask()}
    traced = trace(_Encoder(model), inputs, {name: {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} for name in inputs})
    for value in traced.graph.inputs:
        value.shape = _shape("batch_size", "encoder_sequence_length")
    traced.graph.outputs[0].shape = _shape(
        "batch_size", "encoder_sequence_length", size_in(model.config, "width", "encoder")
    )
    return traced


def trace_decoder(model: PreTrainedModel) -> DecoderGraphs:
    """The decoder's graphs in float32."""
    hidden = torch.randn(_TEXTS, _SOURCE, int(size_in(model.config, "width", "encoder") or 0))
    cross = _CrossAttention(model)
    with torch.no_grad():
        states = cross(encoder_hidden_states=hidden)
    inputs: dict[str, Tensor] = {"input_ids": _tokens(_TOKENS), "encoder_attention_mask": _mask()}
    dynamic: dict[str, dict[int, Any]] = {name: {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} for name in inputs}
    layers = len(states) // 2
    for number in range(layers):  # in this order, for Optimum does not go by the names
        pair = {name: states[name] for name in (f"key_{number}", f"value_{number}")}
        inputs |= {f"past_decoder_{name}": torch.randn_like(one[:, :, :_PAST]) for name, one in pair.items()}
        inputs |= {f"past_encoder_{name}": one for name, one in pair.items()}
    dynamic |= {name: {0: Dim.DYNAMIC, 2: Dim.DYNAMIC} for name in inputs if name not in dynamic}
    return DecoderGraphs(
        trace(_Decoder(model, layers), inputs, dynamic),
        trace(cross, {"encoder_hidden_states": hidden}, {"encoder_hidden_states": {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}}),
    )


def merged(steps: Any, cross: Any) -> Any:
    """The decoder as one graph, with `use_cache_branch`: whether keys and values are those that it is given.

    Args:
        steps: As in `DecoderGraphs`, in whatever precision; it becomes the merged graph.
        cross: Likewise; it is used up.
    """
    import onnx_ir as ir

    graph, width = steps.graph, cross.graph.inputs[0].shape[2]
    _name_sizes(graph)
    flag = ir.Value(name="use_cache_branch", shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.BOOL))
    floats = ir.TensorType(ir.DataType.FLOAT)
    shape = _shape("batch_size", "encoder_sequence_length", width)
    hidden = ir.Value(name="encoder_hidden_states", shape=shape, type=floats)

    given = [value for value in graph.inputs if ".encoder." in value.name]
    chosen = [ir.Value(name=_present(value), shape=value.shape, type=value.type) for value in given]
    for value, choice in zip(given, chosen, strict=True):
        value.replace_all_uses_with(choice)
    kept = [ir.node("Identity", [value], name=f"{_BRANCH}kept_{number}") for number, value in enumerate(given)]
    for node in kept:
        node.outputs[0].name, node.outputs[0].type = node.name, floats
    branches = {
        "then_branch": ir.Graph([], [node.outputs[0] for node in kept], nodes=kept, name="kept"),
        "else_branch": _as_branch(cross.graph, hidden, graph, [str(value.name) for value in chosen]),
    }
    graph.insert_before(graph[0], ir.node("If", [flag], branches, outputs=chosen, name=f"{_BRANCH}if"))
    graph.inputs.extend([hidden, flag])
    graph.outputs.extend(chosen)
    return steps


def _as_branch(inner: Any, hidden: Any, graph: Any, names: list[str]) -> Any:
    """The graph of keys and values as a branch of another, which gets its weights."""
    import onnx_ir as ir

    inner.inputs[0].replace_all_uses_with(hidden)
    outputs = {value.name: value for value in inner.outputs}
    weights, nodes = list(inner.initializers.values()), list(inner)
    inner.initializers.clear()
    inner.outputs.clear()
    inner.remove(nodes)
    for value in [*weights, *(output for node in nodes for output in node.outputs)]:
        value.name = f"{_BRANCH}{value.name}"
    for weight in weights:
        graph.register_initializer(weight)
    return ir.Graph([], [outputs[_key(name)] for name in names], nodes=nodes, name="projected")


def _name_sizes(graph: Any) -> None:
    """Names inputs, outputs and their sizes: of a size that it does not know transformers.js makes 0 at the start."""
    lengths = {
        "decoder": ("past_decoder_sequence_length", "past_decoder_sequence_length + decoder_sequence_length"),
        "encoder": ("encoder_sequence_length",) * 2,
    }
    for place, values in enumerate((graph.inputs, graph.outputs)):
        for value in values:
            words = value.name.removeprefix("past_").split("_")
            if len(words) == 3 and words[1] in ("key", "value"):
                side, kind, number = words
                value.name = f"{('past_key_values', 'present')[place]}.{number}.{side}.{kind}"
                value.shape = _shape("batch_size", value.shape[1], lengths[side][place], value.shape[3])
            elif value.name == "logits":
                value.shape = _shape("batch_size", "decoder_sequence_length", value.shape[2])
            else:
                side = "encoder" if value.name == "encoder_attention_mask" else "decoder"
                value.shape = _shape("batch_size", f"{side}_sequence_length")


def _present(value: Any) -> str:
    return str(value.name).replace("past_key_values", "present")


def _key(name: str) -> str:
    """What `_CrossAttention` calls one of the decoder's outputs."""
    _, number, _, kind = name.split(".")
    return f"{kind}_{number}"


def _shape(*sizes: Any) -> Any:
    import onnx_ir

    return onnx_ir.Shape(sizes)


def _tokens(count: int) -> Tensor:
    return torch.arange(4, 4 + _TEXTS * count).reshape(_TEXTS, count)


def _mask() -> Tensor:
    mask = torch.ones(_TEXTS, _SOURCE, dtype=torch.int64)
    mask[1:, -2:] = 0  # a mask without a 0 would be left out
    return mask


class _Encoder(nn.Module):
    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.encoder = model.get_encoder()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return {"last_hidden_state": self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]}


class _CrossAttention(nn.Module):
    """Keys and values of each layer's attention to the encoder, `key_0`, ...: `(batch, heads, tokens, dimensions)`."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.heads = int(size_in(model.config, "heads", "decoder") or 0)
        layers = model.get_submodule(layer_stack(model, "decoder")).children()
        attentions = [_named(layer, "cross-attention") for layer in layers]
        self.projections = nn.ModuleDict(
            {
                f"{kind}_{number}": _named(attention, f"{kind}s")
                for number, attention in enumerate(attentions)
                for kind in ("key", "value")
            }
        )

    def forward(self, encoder_hidden_states: Tensor) -> dict[str, Tensor]:
        states = {name: projection(encoder_hidden_states) for name, projection in self.projections.items()}
        return {name: one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for name, one in states.items()}


class _Decoder(nn.Module):
    """Logits of some tokens, which attend to those before them by keys and values of theirs; and their own."""

    def __init__(self, model: PreTrainedModel, layers: int) -> None:
        super().__init__()
        self.model = model
        self.layers = layers
        self.width = int(size_in(model.config, "width", "encoder") or 0)

    def forward(self, input_ids: Tensor, encoder_attention_mask: Tensor, **states: Tensor) -> dict[str, Tensor]:
        def cache(side: str) -> DynamicCache:
            names = [[f"past_{side}_{kind}_{number}" for kind in ("key", "value")] for number in range(self.layers)]
            return DynamicCache([(states[key], states[value]) for key, value in names])

        decoder = cache("decoder")
        # Of the encoder's output only the size is read: its keys and values are given.
        hidden = encoder_attention_mask[..., None].float().expand(-1, -1, self.width)
        found = self.model(
            attention_mask=encoder_attention_mask,
            encoder_outputs=(hidden,),
            decoder_input_ids=input_ids,
            past_key_values=EncoderDecoderCache(decoder, cache("encoder")),
            use_cache=True,
        )
        outputs = {"logits": found.logits}
        layers: Any = decoder.layers
        for number, layer in enumerate(layers):
            outputs |= {f"decoder_key_{number}": layer.keys, f"decoder_value_{number}": layer.values}
        return outputs


def _named(module: nn.Module, row: str) -> nn.Module:
    """The module within another that a family calls as `NAMES` says."""
    found = [one for name, one in module.named_modules() if name.rpartition(".")[2] in NAMES[row]]
    if len(found) != 1:
        raise ValueError(f"a layer of {type(module).__name__} has {len(found)} modules for its {row}, and not one.")
    return found[0]

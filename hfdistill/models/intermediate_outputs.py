"""Running a model for more than its logits: hidden states, attentions, and each layer's queries, keys and values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hfdistill.models.families import PROJECTIONS, attention_projections, side_of, size_in, unpadded
from hfdistill.models.sequences import no_sequence
from hfdistill.models.wrappers import config_of, unwrapped

#: Intermediate representations that a model can return; an encoder-decoder `encoder_hidden_states`, `decoder_keys`, ...
OUTPUTS = ("hidden_states", "attentions", *PROJECTIONS)


def forward(model: nn.Module, inputs: Mapping[str, Any], outputs: frozenset[str] = frozenset()) -> Any:
    """A model's output for a batch, with all `outputs` as attributes of it.

    Args:
        model: A `transformers` model, wrapped for training or not.
        inputs: Its inputs.
        outputs: Any of `hidden_states` (one tensor `(batch, tokens, width)` for the embeddings and one after each
            layer), `attentions` (one tensor `(batch, heads, tokens, tokens)` a layer; the model runs with eager
            attention this once, as others return none), `queries`, `keys` and `values` (one tensor
            `(batch, tokens, width)` a layer, all heads side by side, as their projections give them: before any
            rotation by position; under every attention implementation). Of an encoder-decoder they begin with
            `encoder_` or `decoder_`; the queries, keys and values are those of self-attention.

    Raises:
        ValueError: when the texts are empty, or the model has nothing to give for one of them, not token by token, or
            without a gradient to train by.
    """
    check_tokens(inputs)
    caught = sorted(name for name in outputs if side_of(name)[1] in PROJECTIONS)
    flags = {f"output_{side_of(name)[1]}": True for name in outputs.difference(caught)}
    with ExitStack() as stack:
        inner: Any = unwrapped(model) if outputs else model
        check_shows_layers(inner, outputs)
        taken = stack.enter_context(_watched(inner, caught))
        if "attentions" in outputs:
            stack.enter_context(_eager(inner))
        prediction = model(**inputs, **flags)
    for name, tensors in taken.items():
        setattr(prediction, name, tuple(tensors.values()))
    for name in outputs:
        given = getattr(prediction, name, None)
        _check(inner, name, given)
        setattr(prediction, name, _of_tokens(inner, name, given, inputs))
    return prediction


def check_tokens(inputs: Mapping[str, Any]) -> None:
    """Refuses a batch of nothing but empty texts, of a tokenizer that adds no tokens of its own.

    Raises:
        ValueError: saying what to do.
    """
    ids = inputs.get("input_ids")
    if isinstance(ids, Tensor) and ids.dim() > 1 and not ids.shape[-1]:
        raise ValueError(
            f"none of the {len(ids)} texts of a batch has a token, so that there is nothing to read: filter rows of "
            "empty input_ids out, or take a tokenizer that marks where a text begins or ends."
        )


def check_shows_layers(model: nn.Module, outputs: frozenset[str]) -> None:
    """Refuses to look for layers where nobody knows where they are.

    Raises:
        ValueError: for any `outputs` of a module that is no `transformers` model.
    """
    if outputs and config_of(model) is None:
        raise ValueError(
            f"a {type(model).__name__} is no transformers model, and {', '.join(sorted(outputs))} are looked for where "
            "those keep them: leave terms on layers out."
        )
    if any(not side_of(name)[0] for name in outputs) and not _has_layers(config_of(model)):
        raise no_sequence(model)


def _has_layers(config: Any) -> bool:
    return config.is_encoder_decoder or None not in (size_in(config, "layers"), size_in(config, "width"))


@contextmanager
def _watched(model: PreTrainedModel, names: list[str]) -> Iterator[dict[str, dict[int, Tensor]]]:
    """While open, each layer's queries, keys and values, as far as they are requested, by kind and layer."""
    taken: dict[str, dict[int, Tensor]] = {name: {} for name in names}
    with ExitStack() as stack:
        for name in names:
            side, kind = side_of(name)
            for number, layer in enumerate(attention_projections(model, side)):
                take = functools.partial(_take, taken[name], number, layer[kind].part)
                stack.callback(layer[kind].module.register_forward_hook(take).remove)
        yield taken


def _take(
    taken: dict[int, Tensor],
    number: int,
    part: Callable[[Tensor], Tensor],
    module: nn.Module,
    args: Any,
    output: Tensor,
) -> None:
    # The first time only: DeBERTa sends its relative positions through the same modules afterwards.
    taken.setdefault(number, part(output))


@contextmanager
def _eager(model: PreTrainedModel) -> Iterator[None]:
    """While open, the attention that has weights to show."""
    usual = model.config._attn_implementation
    if usual == "eager":
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def _of_tokens(model: PreTrainedModel, name: str, tensors: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """The tensors with one entry for each token that the model was given."""
    side, kind = side_of(name)
    read = inputs.get("decoder_input_ids" if side == "decoder" else "input_ids")
    if read is None:  # pictures or sound
        return tuple(tensors)
    given = tuple(unpadded(model, tensor, read.shape[1], kind) for tensor in tensors)
    shapes = [tensor.shape[2:] if kind == "attentions" else tensor.shape[:2] for tensor in given]
    wanted = read.shape[1:] * 2 if kind == "attentions" else read.shape
    if kind != "hidden_states" and any(shape != wanted for shape in shapes):
        raise ValueError(
            f"{type(model).__name__} does not give {name} token by token: of {read.shape[1]} tokens they have the "
            f"shapes {', '.join(str(tuple(tensor.shape)) for tensor in given)}; take a term on "
            f"{f'{side}_' if side else ''}hidden_states, or on logits."
        )
    return given


def _check(model: PreTrainedModel, name: str, tensors: Any) -> None:
    if tensors and not all(tensor is None or isinstance(tensor, Tensor) for tensor in tensors):
        raise ValueError(
            f"{type(model).__name__} gives {name} in a form of its own, not as one tensor a layer: take a term that "
            "does not need them."
        )
    if not tensors or any(tensor is None for tensor in tensors):
        way_out = "take a term that does not need them, or leave torch_compile off"
        if name == "attentions":
            way_out = "load it with from_pretrained(..., attn_implementation='eager')"
        raise ValueError(
            f"{type(model).__name__} gives no {name} with attn_implementation={model.config._attn_implementation!r}, "
            f"and a loss over nothing would teach nothing: {way_out}."
        )
    if not torch.is_grad_enabled() or not any(parameter.requires_grad for parameter in model.parameters()):
        return
    if not any(tensor.requires_grad for tensor in tensors):
        raise ValueError(
            f"the {name} of {type(model).__name__} carry no gradient, so nothing would be learned from them: "
            "activation checkpointing must not be reentrant (gradient_checkpointing_kwargs={'use_reentrant': False}), "
            "and some layer must be left to train."
        )

"""A factorized embedding for small students, whose token embeddings would otherwise be most of their parameters.

The embeddings of `embedding_size` dimensions and the projection from there to the hidden size are those of a
transformers architecture that has both: the teacher's own (ELECTRA, DeBERTa), or ELECTRA in place of BERT, which it is
but for this projection and the head. They come from the eigenvectors of what the teacher's tables add up to.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import ElectraConfig, PreTrainedModel

#: The counterparts of these normalize the sum of the embeddings before the projection, and those of these after it.
_NORM_FIRST = ("bert", "electra")
_NORM_LAST = ("deberta", "deberta-v2")
#: The heads that read hidden states alone, so that the tables may change behind them.
_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")

#: `tanh(u) ≈ a (gelu(k u + m) − gelu(k u − m)) − a m`: least squares over u from −4 to 4, off by less than a tenth.
_SLOPE, _OFFSET, _SCALE = 0.9053, 1.2278, 0.7403


def with_low_rank_embeddings(model: PreTrainedModel, embedding_size: int) -> PreTrainedModel:
    """The same model with embeddings of tokens, positions and token types of `embedding_size` dimensions.

    Where the rows of the tables, each less its mean, span no more than `embedding_size` dimensions (one less for BERT
    and ELECTRA, which normalize there), the hidden states are the same; otherwise the directions in which tokens vary
    most are kept. All layers and the head are carried over, with one exception: ELECTRA's head for sequences has gelu
    where BERT's pooler has tanh. There, the half of the pooler's neurons that weighs most in the classifier is kept,
    each made of two of ELECTRA's, nearly; and in training there is one more dropout, on what the head reads.

    Args:
        model: A BERT, which becomes an ELECTRA, or an ELECTRA, DeBERTa or DeBERTa-v2, with a head for the
            classification of sequences or tokens, or for question answering.
        embedding_size: From 2 to one less than the width of the tables.

    Returns:
        A plain transformers model in float32.

    Raises:
        ValueError: for another architecture or head, or an `embedding_size` out of range.
    """
    kind, name = model.config.model_type, type(model).__name__
    if kind not in (*_NORM_FIRST, *_NORM_LAST) or not name.endswith(_HEADS):
        raise ValueError(
            f"embedding_size: {name} has no counterpart with a low-rank embedding; there is one for BERT, ELECTRA and "
            "DeBERTa that classify sequences or tokens or answer questions."
        )
    width = getattr(model.config, "embedding_size", model.config.hidden_size)
    if not 2 <= embedding_size < width:
        raise ValueError(
            f"embedding_size={embedding_size} is not possible: the embeddings have {width} dimensions, so give a "
            f"number from 2 to {width - 1}."
        )
    low_rank = _counterpart(model, embedding_size)
    weights = _carried_over(model)
    weights |= _norm_first(model, embedding_size) if kind in _NORM_FIRST else _norm_last(model, embedding_size)
    prefix = f"{low_rank.base_model_prefix}."
    # Strict: not one weight may be left as it was initialized.
    low_rank.load_state_dict({name.replace("base.", prefix, 1): tensor for name, tensor in weights.items()})
    return low_rank


def _counterpart(model: PreTrainedModel, embedding_size: int) -> PreTrainedModel:
    config, cls = copy.deepcopy(model.config), type(model)
    if config.model_type == "bert":
        known = config.to_dict()
        known.pop("model_type")
        cls = getattr(transformers, cls.__name__.replace("Bert", "Electra"))
        config = ElectraConfig.from_dict({**known, "architectures": [cls.__name__]})
    config.embedding_size = embedding_size
    return cls(config).float()


def _carried_over(model: PreTrainedModel) -> dict[str, Tensor]:
    """All weights but those of the embeddings, by their names in the counterpart, with `base.` for the model within."""
    within = f"{model.base_model_prefix}."
    embeddings = (f"{within}embeddings.", f"{within}embeddings_project.")
    kept = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(embeddings)}
    if model.config.model_type == "bert" and f"{within}pooler.dense.weight" in kept:
        kept = _as_gelus(kept)
    return {name.replace(within, "base.", 1): tensor for name, tensor in kept.items()}


def _as_gelus(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """BERT's head as one of ELECTRA's: two gelus, one against the other, for each of the better half of the tanhs."""
    reading, shift, predictions = (
        weights.pop(name) for name in ("bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight")
    )
    count = len(shift) // 2
    best = predictions.norm(dim=0).argsort(descending=True)[:count]
    reading, shift, predictions = _SLOPE * reading[best], _SLOPE * shift[best], _SCALE * predictions[:, best]
    idle = len(weights["bert.encoder.layer.0.output.dense.bias"]) - 2 * count
    bias = weights.pop("classifier.bias") - _OFFSET * predictions.sum(1)
    return weights | {
        "classifier.dense.weight": nn.functional.pad(torch.cat([reading, reading]), (0, 0, 0, idle)),
        "classifier.dense.bias": nn.functional.pad(torch.cat([shift + _OFFSET, shift - _OFFSET]), (0, idle)),
        "classifier.out_proj.weight": nn.functional.pad(torch.cat([predictions, -predictions], dim=1), (0, idle)),
        "classifier.out_proj.bias": bias,
    }


def _norm_first(model: PreTrainedModel, size: int) -> dict[str, Tensor]:
    """`P (γ ⊙ norm(x) + β) + p` in fewer dimensions, for a sum of tables x.

    The norm takes the mean from x, so that the rows can be without one. The new dimensions keep it so: a norm of x
    there is that of x here, as long as no direction is lost.
    """
    embeddings: Any = model.base_model.embeddings
    tables = {name: _centred(table) for name, table in _tables(model).items()}
    width = model.config.hidden_size if model.config.model_type == "bert" else model.config.embedding_size
    directions, kept = _directions(list(tables.values()), size - 1)
    basis = directions @ _without_mean(size)
    scale = math.sqrt(size / width)  # as much variance in fewer dimensions
    norm, outer = embeddings.LayerNorm, getattr(model.base_model, "embeddings_project", None)
    project = torch.eye(width).double() if outer is None else outer.weight.detach().double()
    shift = project @ norm.bias.detach().double() + (0 if outer is None else outer.bias.detach().double())
    return {
        **{f"base.embeddings.{name}.weight": scale * table @ basis for name, table in tables.items()},
        "base.embeddings.LayerNorm.weight": torch.ones(size),
        "base.embeddings.LayerNorm.bias": torch.zeros(size),
        "base.embeddings_project.weight": math.sqrt(kept) / scale * project @ (norm.weight.detach()[:, None] * basis),
        "base.embeddings_project.bias": shift,
    }


def _norm_last(model: PreTrainedModel, size: int) -> dict[str, Tensor]:
    """`norm(P x)` in fewer dimensions: both factors from the eigenvectors of P x."""
    embeddings: Any = model.base_model.embeddings
    tables = _tables(model)
    if embeddings.embed_proj is not None:
        tables = {name: table @ embeddings.embed_proj.weight.detach().double().T for name, table in tables.items()}
    tables = {name: _centred(table) for name, table in tables.items()}
    directions, _ = _directions(list(tables.values()), size)
    norm = {f"base.embeddings.LayerNorm.{name}": tensor for name, tensor in embeddings.LayerNorm.state_dict().items()}
    return {
        **{f"base.embeddings.{name}.weight": table @ directions for name, table in tables.items()},
        "base.embeddings.embed_proj.weight": directions,
        **norm,
    }


def _tables(model: PreTrainedModel) -> dict[str, Tensor]:
    embeddings: Any = model.base_model.embeddings
    tables = {name: table for name, table in embeddings.named_children() if isinstance(table, nn.Embedding)}
    return {name: table.weight.detach().double() for name, table in tables.items()}


def _centred(table: Tensor) -> Tensor:
    return table - table.mean(1, keepdim=True)


def _directions(tables: list[Tensor], count: int) -> tuple[Tensor, float]:
    """The main directions of the sum of a row of each table, as columns, and the share of its square that they keep."""
    mean = torch.stack([table.mean(0) for table in tables]).sum(0)
    squares = mean.outer(mean) + sum(table.T.cov(correction=0) for table in tables)
    values, vectors = torch.linalg.eigh(squares)
    return vectors[:, -count:], (values[-count:].sum() / values.sum()).item()


def _without_mean(size: int) -> Tensor:
    """Orthonormal rows of mean zero, `(size - 1, size)`: the cosine transform without its constant."""
    places = (torch.arange(size, dtype=torch.float64) + 0.5) * math.pi / size
    return math.sqrt(2 / size) * torch.cos(torch.arange(1, size, dtype=torch.float64)[:, None] * places)

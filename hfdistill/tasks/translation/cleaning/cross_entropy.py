"""How well two translators, one for each direction, agree on a pair of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.losses import IGNORED
from hfdistill.models.inputs import decoder_positions
from hfdistill.models.wrappers import device_of
from hfdistill.teachers.seq2seq import decoder_inputs

_BATCH = 32


class Translators(NamedTuple):
    """A translator for each direction, each a model and its tokenizer, such as `load_translator` gives.

    Attributes:
        there: From source to target.
        back: From target to source.
    """

    there: tuple[PreTrainedTokenizerBase, PreTrainedModel]
    back: tuple[PreTrainedTokenizerBase, PreTrainedModel]


def adequacies(
    sources: Sequence[str], targets: Sequence[str], translators: Translators, max_length: int = 256
) -> np.ndarray:
    """Of each pair `exp(−(|H_there − H_back| + (H_there + H_back) / 2))`, from 0 to 1; shape `(pairs,)`.

    `H_there` is the cross-entropy of the target text given the source, a mean over its tokens, in nats; `H_back` that
    of the source given the target. Both are low for translations, and differ where one text says more than the other.

    Args:
        sources: The source texts.
        targets: The target texts.
        translators: Both trained on clean texts, of the same kind and, best, on the same ones.
        max_length: Tokens a text is cut to.

    References: dual conditional cross-entropy, Junczys-Dowmunt 2018,
    https://aclanthology.org/W18-6478.
    """
    there = cross_entropies(*translators.there, sources, targets, max_length)
    back = cross_entropies(*translators.back, targets, sources, max_length)
    return np.exp(-(np.abs(there - back) + (there + back) / 2))


def cross_entropies(
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    sources: Sequence[str],
    targets: Sequence[str],
    max_length: int,
) -> np.ndarray:
    """The mean cross-entropy of each target's tokens given its source, in nats; shape `(pairs,)`."""
    order = sorted(range(len(sources)), key=lambda row: len(sources[row]) + len(targets[row]))
    found = np.zeros(len(order))
    was_training = model.training
    model.eval()
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        texts = [sources[row] for row in rows], [targets[row] for row in rows]
        found[rows] = _of_batch(tokenizer, model, *texts, max_length)
    model.train(was_training)
    return found


def _of_batch(tokenizer: Any, model: Any, sources: list[str], targets: list[str], max_length: int) -> np.ndarray:
    limit = min(max_length, tokenizer.model_max_length, decoder_positions(model.config) or max_length)
    how = {"padding": True, "padding_side": "right", "truncation": True, "max_length": limit, "return_tensors": "pt"}
    inputs = tokenizer(sources, **how).to(device_of(model))
    written = tokenizer(text_target=targets, **how).to(device_of(model))
    labels = written["input_ids"].masked_fill(written["attention_mask"] == 0, IGNORED)
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        logits = model(**inputs, decoder_input_ids=decoder_inputs(model, labels)).logits.float()
    losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return (losses.sum(1) / (labels != IGNORED).sum(1)).double().cpu().numpy()

"""Translating many texts: in order of length, a batch at a time, with whatever engine a translator runs on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from hfdistill.models.inference import Translator
from hfdistill.models.progress import progress_bar
from hfdistill.models.quick_linear import quick_linear
from hfdistill.models.wrappers import device_of

BATCH = 32


def translate(
    model: Translator,
    processing_class: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    num_beams: int = 1,
    max_length: int = 128,
    batch_size: int = BATCH,
    description: str = "Translating",
) -> list[str]:
    """A model's translations of some texts, in their order; the model is left in eval mode.

    Args:
        model: An encoder-decoder, or what `export_ctranslate2` made of one.
        processing_class: Its tokenizer.
        texts: The texts; those of like length go through the model together.
        num_beams: Width of the beam search; 1 is greedy.
        max_length: The most tokens of a text on either side.
        batch_size: Texts at once.
        description: The text of the progress bar.
    """
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]), reverse=True)
    written: dict[int, str] = {}
    with progress_bar(len(texts), description, "sentences") as bar:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            with quick_linear():  # not within it, by which translators are timed: users have PyTorch's own speed
                batch = translate_batch(model, processing_class, [texts[row] for row in rows], num_beams, max_length)
            written.update(zip(rows, batch, strict=True))
            bar.update(len(rows))
    return [written[row] for row in range(len(texts))]


def translate_batch(
    model: Translator, processing_class: PreTrainedTokenizerBase, texts: Sequence[str], num_beams: int, max_length: int
) -> list[str]:
    """The translations of texts that go through the model together, as in `translate`."""
    inputs = read_sources(model, processing_class, texts, max_length)
    # A model's own `max_new_tokens` would come before `max_length`.
    settings = {"num_beams": num_beams, "do_sample": False, "max_length": max_length, "max_new_tokens": None}
    with torch.inference_mode():
        tokens = model.eval().generate(**inputs, **settings)
    tokens = getattr(tokens, "sequences", tokens)  # with scores beside them, where the config sets that
    decoded = processing_class.batch_decode(tokens, skip_special_tokens=True)
    return [text.strip() for text in decoded]


def read_sources(
    model: Translator, processing_class: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int
) -> Any:
    """What a model reads of a batch of source texts, on its device."""
    # Padding on the left would shift the texts' positions, each by what else is in the batch.
    return processing_class(
        list(texts), padding=True, padding_side="right", truncation=True, max_length=max_length, return_tensors="pt"
    ).to(device_of(model))

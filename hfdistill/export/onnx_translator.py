"""A translator for ONNX Runtime and transformers.js: its encoder and its decoder as graphs, in float32 and in int8.

The files lie where transformers.js and Optimum look for them: `onnx/encoder_model.onnx` and
`onnx/decoder_model_merged.onnx`, in int8 with `_quantized` behind their names. Beside the config, the generation config
and the tokenizer of a saved student, transformers.js loads the folder as it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.export.base import export_student, plain_copy, register
from hfdistill.export.browser_tokenizer import browser_tokenizer
from hfdistill.export.onnx_graphs import PACKAGES, quantize, save
from hfdistill.export.onnx_translator_model import PARTS, SUFFIXES, OnnxTranslator
from hfdistill.export.seq2seq_graphs import merged, trace_decoder, trace_encoder
from hfdistill.export.token_tables import quantize_tables, share_tables
from hfdistill.export.translator import TranslatorFormat, TranslatorSource

#: By the config's `model_type`: those that transformers.js runs, too.
FAMILIES = ("marian", "bart", "mbart", "m2m_100", "t5", "mt5")


def export_translator(
    model: PreTrainedModel,
    processing_class: PreTrainedTokenizerBase,
    texts: Sequence[str],
    folder: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("onnx", "int8"),
    num_beams: int = 5,
    max_length: int = 128,
) -> dict[str, Any]:
    """Exports a translation model, and compares its translations with the model's.

    `onnx` is in float32. `int8` keeps the weights of matrix products (a scale for each output) and embeddings (a scale
    for each token) in 8 bits, and quantizes activations as they come. Embeddings that are tied to the output projection
    are in the decoder's file once. `ctranslate2` is what `export_ctranslate2` writes.

    Args:
        model: Marian, BART, mBART, M2M100/NLLB, T5 or mT5; it is left as it is, in eval mode.
        processing_class: Its tokenizer.
        texts: Source texts to compare on; a few hundred will do.
        folder: The model's folder, in which the files come to `onnx/`; and `tokenizer.json`, for the browser, where
            Marian's tokenizer has none.
        formats: `onnx`, `int8` and `ctranslate2`, one or more.
        num_beams: Width of the beam search to compare beside greedy.
        max_length: The most tokens of a text on either side.

    Returns:
        The exported model of each format; how close its translations are is its `parity`.

    Raises:
        ExportError: when an export is broken (chrF below `LEAST_CHRF` and more than `MOST_NATS` apart); of that nothing
            is left then.
        ImportError: when a package is missing, saying what to install.
        ValueError: for an unknown format, or a model that cannot be exported.
    """
    search: dict[str, Any] = {"num_beams": num_beams, "max_length": max_length}
    return export_student(model, processing_class, texts, folder, formats=formats, task="translation", **search)


class OnnxTranslatorFormat(TranslatorFormat):
    """The graphs in float32.

    Args:
        name: Its name, one of `SUFFIXES`.
    """

    packages = PACKAGES

    def __init__(self, name: str) -> None:
        super().__init__(name, "onnx")
        self.suffix = SUFFIXES[name]

    def check_model(self, model_type: str) -> None:
        """Refuses another family: its decoder may keep keys and values in another way, and no browser runs it."""
        if model_type not in FAMILIES:
            raise ValueError(
                f"a model of type {model_type!r} cannot be exported to ONNX as a translator; those that can are "
                f"{', '.join(FAMILIES)}."
            )

    def export(self, source: TranslatorSource, path: Path) -> None:
        """Writes both graphs, and a tokenizer that a browser can read where there is none, into a folder."""
        tokenizer = browser_tokenizer(source.processing_class, source.texts)
        path.mkdir()
        for part, graph in zip(PARTS, self.graphs(source), strict=True):
            save(graph, path / f"{part}{self.suffix}.onnx")
        if tokenizer is not None:
            tokenizer.save(str(path / "tokenizer.json"))

    def place(self, unchecked: Path, path: Path) -> None:
        """Moves the files to those of other formats, and the tokenizer to the model's."""
        path.mkdir(exist_ok=True)
        for file in unchecked.iterdir():
            os.replace(file, (path if file.suffix == ".onnx" else path.parent) / file.name)

    def load(self, path: Path, source: TranslatorSource) -> OnnxTranslator:
        """The graphs, run by ONNX Runtime."""
        return OnnxTranslator(path, self.suffix, source.model.config, source.settings)

    def graphs(self, source: TranslatorSource) -> tuple[Any, Any]:
        """The encoder's and the decoder's."""
        encoder, steps, cross = (one.clone() for one in source.once(_traced))
        return encoder, merged(steps, cross)


class QuantizedOnnxTranslatorFormat(OnnxTranslatorFormat):
    """The same graphs with weights in int8."""

    def graphs(self, source: TranslatorSource) -> tuple[Any, Any]:
        """The encoder's and the decoder's."""
        encoder, steps, cross = (quantize(one, op_types_to_quantize=["MatMul"]) for one in source.once(_traced))
        for one in (encoder, steps):
            quantize_tables(one)
        return encoder, merged(steps, cross)


register(OnnxTranslatorFormat("onnx"))
register(QuantizedOnnxTranslatorFormat("int8"))


def _traced(source: TranslatorSource) -> tuple[Any, Any, Any]:
    """The encoder, the decoder's steps, and what they read of the encoder, in float32."""
    model = plain_copy(source.model)
    encoder, decoder = trace_encoder(model), trace_decoder(model)
    share_tables(decoder.steps)
    return encoder, decoder.steps, decoder.cross

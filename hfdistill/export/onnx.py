"""A classifier for ONNX Runtime and transformers.js: its graph in float32 and with int8 weights.

The files lie where the Hub looks for them, `onnx/model.onnx` and `onnx/model_quantized.onnx`. Beside the config and the
tokenizer of a saved student, transformers.js loads the folder as it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.export.base import export_student, register
from hfdistill.export.classifier import ClassifierFormat, ClassifierSource
from hfdistill.export.onnx_graphs import PACKAGES, quantize, save, trace
from hfdistill.export.onnx_model import OnnxModel

#: Tokens of the text that is shown to the tracer; any length is fine, and a short one is fast.
_SAMPLE_TOKENS = 16


def export_onnx(
    model: PreTrainedModel,
    processing_class: PreTrainedTokenizerBase,
    dataset: Dataset,
    folder: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("onnx", "int8"),
    text_columns: Sequence[str] = (),
) -> dict[str, OnnxModel]:
    """Exports a classifier to ONNX, for any batch size and length, and compares its predictions with the model's.

    It may read text, pictures or sound; a model that writes down speech letter by letter (CTC) is exported likewise.

    The graph's norms, activations and projections are fused into ONNX Runtime's own operations, which it has in
    Python, Node and the browser. `int8` keeps the weights of matrix products (a scale for each
    output) and embeddings in 8 bits, and quantizes activations as they come.

    Args:
        model: The model; it is left as it is.
        processing_class: Its tokenizer.
        dataset: Rows to check the export on, with text or with what the model reads; a few hundred will do.
        folder: The model's folder, in which the files come to `onnx/`.
        formats: `onnx` (float32), `int8`, or both.
        text_columns: The columns of raw text, one or a pair; without them the rows bring their tokens.

    Returns:
        The exported model of each format; how close its predictions are is its `parity`.

    Raises:
        ExportError: when the logits of a format differ by more than its tolerance, as in `export_student`.
        ImportError: when a package is missing, saying what to install.
        ValueError: for an unknown format.
    """
    return export_student(model, processing_class, dataset, folder, formats=formats, text_columns=text_columns)


class OnnxFormat(ClassifierFormat):
    """A graph in float32."""

    packages = PACKAGES

    def export(self, source: ClassifierSource, path: Path) -> None:
        """Writes the graph into one file."""
        save(source.once(_trace), path)

    def load(self, path: Path, source: ClassifierSource) -> OnnxModel:
        """The graph, run by ONNX Runtime."""
        return OnnxModel(path, source.model.config)


class QuantizedOnnxFormat(OnnxFormat):
    """The same graph with weights in int8."""

    def export(self, source: ClassifierSource, path: Path) -> None:
        """Writes the quantized graph into one file."""
        save(quantize(source.once(_trace)), path)


register(OnnxFormat("onnx", "onnx/model.onnx", tolerance=1e-2))
register(QuantizedOnnxFormat("int8", "onnx/model_quantized.onnx", tolerance=0.5))


def _trace(source: ClassifierSource) -> Any:
    """The model's graph in float32."""
    return trace(source.model, *source.sample(_SAMPLE_TOKENS))

"""Graphs for ONNX Runtime: traced, with weights in int8, and written to a file."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

#: Of one file, a protocol buffer; the graph beside the weights takes little.
MOST_BYTES = 2**31 - 2**24
#: Python packages that this needs.
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def trace(model: Any, inputs: Mapping[str, Any], dynamic_shapes: Mapping[str, Any]) -> Any:
    """A module's graph, an `onnx_ir.Model`, fused for ONNX Runtime.

    Args:
        model: The module, on the CPU, in float32 and eval mode.
        inputs: An example of what it reads.
        dynamic_shapes: Which sizes of these may be others, as `torch.export` takes it.
    """
    from transformers.exporters import OnnxConfig, OnnxExporter

    config = OnnxConfig(dynamic_shapes=dict(dynamic_shapes), ort_fusions="cpu")
    with _quiet():
        return OnnxExporter().export(model, dict(inputs), config).program


def quantize(graph: Any, **settings: Any) -> Any:
    """The graph with the weights of its matrix products in int8, a scale for each output.

    Args:
        graph: It is left as it is.
        **settings: More of `onnxruntime.quantization.quantize_dynamic`.
    """
    from transformers.exporters import OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer
    from transformers.exporters.configs import ExportFormat

    # Of the weights 7 bits: with 8 the sums overflow, unsaid, on processors that have AVX2 or AVX-512 without VNNI.
    config = OnnxRuntimeDynamicConfig(per_channel=True, reduce_range=True, **settings)
    with _quiet():
        return OnnxRuntimeQuantizer(config).quantize(graph, {}, ExportFormat.ONNX)


def save(graph: Any, path: Path) -> None:
    """Writes a graph into one file, which the Hub's libraries need no configuration to find.

    Raises:
        ValueError: when it is more than such a file can hold.
    """
    import onnx_ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    size = sum(value.const_value.nbytes for value in graph.graph.initializers.values())
    if size > MOST_BYTES:
        raise ValueError(
            f"{path.name} would have {size / 1e9:.1f} GB, and an ONNX file holds at most {MOST_BYTES / 1e9:.1f}: "
            "export int8 alone, or trim the vocabulary first (trim_vocabulary)."
        )

    # Tracing notes at each node the line of code it comes from, with the path of this machine.
    ClearMetadataAndDocStringPass()(graph)
    onnx_ir.save(graph, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides what the exporters log of each of their steps, and of packages that no model here needs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

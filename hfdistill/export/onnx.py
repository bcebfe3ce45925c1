"""A student for ONNX Runtime and transformers.js: its graph in float32 and with int8 weights, checked after export.

The files lie where the Hub looks for them, `onnx/model.onnx` and `onnx/model_quantized.onnx`. Beside the config and the
tokenizer of a saved student, transformers.js loads the folder as it is.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import logging
import os
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import extract_model_from_parallel
from datasets import Dataset
from torch.export import Dim
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.export.onnx_model import OnnxModel
from hfdistill.models.inference import predict_logits, token_rows
from hfdistill.models.mixed_precision import without_autocast
from hfdistill.report.quality import agreement

#: Where each format lies in a model's folder.
FILES = {"onnx": "onnx/model.onnx", "int8": "onnx/model_quantized.onnx"}
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
#: Tokens of the text that is shown to the tracer; any length is fine, and a short one is fast.
_SAMPLE_TOKENS = 16


@dataclass(frozen=True)
class Parity:
    """How close an exported model's predictions are to those of the model it was made of.

    Args:
        max_difference: The largest difference of a logit.
        relative_error: The root mean square of the differences over that of the model's logits.
        agreement: The share of equal decisions; `None` for a regression, which decides nothing.
        rows: On how many rows.
    """

    max_difference: float
    relative_error: float
    agreement: float | None
    rows: int

    def __str__(self) -> str:
        decided = "" if self.agreement is None else f"{100 * self.agreement:.1f} % of the decisions are the model's, "
        return f"{decided}relative error of the logits {self.relative_error:.2g}, {self.rows:,} rows"


#: The most `Parity.relative_error` of each format: what is beyond it is no rounding but a broken graph. How many
#: decisions rounding changes depends on how sure the model is; whether they are too many is for its user to say.
TOLERANCES = {"onnx": 1e-2, "int8": 0.5}


class ExportError(ValueError):
    """An export is broken.

    Args:
        message: Which, and how far off it is.
        exported: The formats that are not, ready to be asked.
    """

    def __init__(self, message: str, exported: dict[str, OnnxModel]) -> None:
        super().__init__(message)
        self.exported = exported


def check_export(formats: Sequence[str]) -> None:
    """Refuses what cannot be exported, before anything expensive is begun.

    Raises:
        ValueError: for an unknown format.
        ImportError: when a package is missing, saying what to install.
    """
    unknown = [name for name in formats if name not in FILES]
    if unknown:
        raise ValueError(f"there is no export format {unknown[0]!r}; the formats are {', '.join(FILES)}.")
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if formats and missing:
        raise ImportError(f"export needs {', '.join(missing)}: pip install 'hfdistill[export]'.")


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

    The graph's norms, activations and projections are fused into ONNX Runtime's own operations, which it has in
    Python, Node and the browser. `int8` keeps the weights of matrix products (a scale for each
    output) and embeddings in 8 bits, and quantizes activations as they come.

    Args:
        model: The model; it is left as it is.
        processing_class: Its tokenizer.
        dataset: Rows to check the export on, with text or with the model's tokens; a few hundred will do.
        folder: The model's folder; `FILES` says where in it each format goes.
        formats: `onnx` (float32), `int8`, or both.
        text_columns: The columns of raw text, one or a pair; without them the rows bring their tokens.

    Returns:
        The exported model of each format, ready to be asked; how close its predictions are is its `parity`.

    Raises:
        ExportError: when the logits of a format differ by more than its tolerance in `TOLERANCES`: it leaves no file.
            The other formats are there, and `exported` of the error.
        ImportError: when a package is missing, saying what to install.
        ValueError: for an unknown format.
    """
    check_export(formats)
    rows = token_rows(model, processing_class, dataset, text_columns)
    # A copy: the model may be on another device, in another dtype, and must not keep what tracing puts around it; nor
    # must the graph hold the mixed precision that a `Trainer` leaves around what it trained.
    copied = extract_model_from_parallel(copy.deepcopy(model), keep_torch_compile=False)
    plain = without_autocast(copied).cpu().float().eval()
    expected = predict_logits(plain, processing_class, rows, description="Running the model")
    graph = _trace(plain, processing_class, rows)
    exported: dict[str, OnnxModel] = {}
    faults = []
    for name in formats:
        path = Path(folder) / FILES[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        unchecked = path.with_name(f"{uuid.uuid4().hex}.unchecked")
        try:
            _save(graph if name == "onnx" else _quantize(graph), unchecked)
            predictions = predict_logits(
                OnnxModel(unchecked, model.config), processing_class, rows, description=f"Checking {name}"
            )
            parity = measure_parity(predictions, expected, model.config.problem_type)
            fault = _fault(name, parity)
            if not fault:
                os.replace(unchecked, path)
                exported[name] = OnnxModel(path, model.config, parity)
        finally:
            unchecked.unlink(missing_ok=True)
        faults += [fault] if fault else []
    if faults:
        raise ExportError(" ".join(faults), exported)
    return exported


def measure_parity(predictions: np.ndarray, expected: np.ndarray, problem_type: str | None) -> Parity:
    """Compares an export's logits with the model's, both of shape `(rows, classes)`."""
    difference = predictions - expected
    return Parity(
        max_difference=float(np.abs(difference).max()),
        relative_error=float(np.sqrt((difference**2).mean()) / max(np.sqrt((expected**2).mean()), 1e-6)),
        agreement=agreement(predictions, expected, problem_type),
        rows=len(expected),
    )


def _fault(name: str, parity: Parity) -> str:
    """Why an export is of no use; empty where it is."""
    # Not `>`: a prediction that is not a number is far off, too.
    if parity.relative_error <= TOLERANCES[name]:
        return ""
    return (
        f"the {name} export is broken: on {parity.rows:,} rows its logits are off by {parity.relative_error:.2g} of "
        f"the model's own size, where rounding makes at most {TOLERANCES[name]:g}; leave {name} out of the formats."
    )


def _trace(
    model: PreTrainedModel, processing_class: PreTrainedTokenizerBase, rows: Sequence[dict[str, list[int]]]
) -> Any:
    """The model's graph in float32, as an `onnx_ir.Model`, fused for ONNX Runtime."""
    from transformers.exporters import OnnxConfig, OnnxExporter

    longest = max(rows, key=lambda row: len(row["input_ids"]))
    sample = {name: values[:_SAMPLE_TOKENS] for name, values in longest.items()}
    shorter = {name: values[:-1] for name, values in sample.items()}
    # Two rows of two lengths: a size of 1, or a mask without a 0, would be taken for a constant.
    inputs = dict(processing_class.pad([sample, shorter], return_tensors="pt"))
    shapes = {name: {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} for name in inputs}
    with _quiet():
        return OnnxExporter().export(model, inputs, OnnxConfig(dynamic_shapes=shapes, ort_fusions="cpu")).program


def _quantize(graph: Any) -> Any:
    from transformers.exporters import OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer
    from transformers.exporters.configs import ExportFormat

    with _quiet():
        return OnnxRuntimeQuantizer(OnnxRuntimeDynamicConfig(per_channel=True)).quantize(graph, {}, ExportFormat.ONNX)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides what the exporters say of each of their steps, and of packages that no classifier needs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _save(graph: Any, path: Path) -> None:
    import onnx_ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    # Tracing notes at each node the line of code it comes from, with the path of this machine.
    ClearMetadataAndDocStringPass()(graph)
    onnx_ir.save(graph, path)  # one file, which the Hub's libraries need no configuration to find

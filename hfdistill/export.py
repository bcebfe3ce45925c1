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

from hfdistill.inference import predict_logits, token_rows
from hfdistill.models.mixed_precision import without_autocast
from hfdistill.onnx_model import OnnxModel
from hfdistill.report.quality import agreement

#: Where each format lies in a model's folder.
FILES = {"onnx": "onnx/model.onnx", "int8": "onnx/model_quantized.onnx"}
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
#: Tokens of the text that is shown to the tracer; any length is fine, and a short one is fast.
_SAMPLE_TOKENS = 16


@dataclass(frozen=True)
class Parity:
    """How close an exported model's answers are to those of the model it was made of.

    Args:
        max_difference: The largest difference of a logit.
        relative_error: The root mean square of the differences over the standard deviation of the model's logits.
        agreement: The share of equal decisions; `None` for a regression, which decides nothing.
        rows: On how many rows.
    """

    max_difference: float
    relative_error: float
    agreement: float | None
    rows: int


@dataclass(frozen=True)
class Tolerance:
    """What an export may change at most. Accuracy cannot fall by more than the share of changed decisions.

    Args:
        relative_error: Of the logits, see `Parity`.
        changed: The share of decisions that may change, one at least.
    """

    relative_error: float
    changed: float


TOLERANCES = {
    "onnx": Tolerance(relative_error=1e-3, changed=0.001),
    "int8": Tolerance(relative_error=0.2, changed=0.02),
}


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
    """Exports a classifier to ONNX, for any batch size and length, and compares its answers with the model's.

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
        The exported model of each format, ready to be asked.

    Raises:
        ImportError: when a package is missing, saying what to install.
        ValueError: for an unknown format, or when the answers differ by more than `TOLERANCES`; no file is left then.
    """
    check_export(formats)
    rows = token_rows(model, processing_class, dataset, text_columns)
    # A copy: the model may be on another device, in another dtype, and must not keep what tracing puts around it; nor
    # must the graph hold the mixed precision that a `Trainer` leaves around what it trained.
    copied = extract_model_from_parallel(copy.deepcopy(model), keep_torch_compile=False)
    plain = without_autocast(copied).cpu().float().eval()
    expected = predict_logits(plain, processing_class, rows, description="Asking the model")
    graph = _trace(plain, processing_class, rows)
    exported = {}
    for name in formats:
        path = Path(folder) / FILES[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        unchecked = path.with_name(f"{uuid.uuid4().hex}.unchecked")
        try:
            _save(graph if name == "onnx" else _quantize(graph), unchecked)
            answers = predict_logits(
                OnnxModel(unchecked, model.config), processing_class, rows, description=f"Checking {name}"
            )
            _refuse_difference(name, measure_parity(answers, expected, model.config.problem_type))
            os.replace(unchecked, path)
        finally:
            unchecked.unlink(missing_ok=True)
        exported[name] = OnnxModel(path, model.config)
    return exported


def measure_parity(answers: np.ndarray, expected: np.ndarray, problem_type: str | None) -> Parity:
    """Compares an export's logits with the model's, both of shape `(rows, classes)`."""
    difference = answers - expected
    return Parity(
        max_difference=float(np.abs(difference).max()),
        relative_error=float(np.sqrt((difference**2).mean()) / max(expected.std(), 1e-6)),
        agreement=agreement(answers, expected, problem_type),
        rows=len(expected),
    )


def _refuse_difference(name: str, parity: Parity) -> None:
    allowed = TOLERANCES[name]
    changed = 0.0 if parity.agreement is None else 1 - parity.agreement
    # Not `>`: an answer that is not a number is far off, too.
    if parity.relative_error <= allowed.relative_error and changed <= max(allowed.changed, 1.01 / parity.rows):
        return
    raise ValueError(
        f"the {name} export answers otherwise than the model on {parity.rows:,} rows: a relative error of "
        f"{parity.relative_error:.2g} (at most {allowed.relative_error:g}), and {100 * changed:.2f} % changed "
        f"decisions (at most {100 * allowed.changed:g} %); leave {name} out of the formats."
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

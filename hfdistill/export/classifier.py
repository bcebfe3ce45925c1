"""What the export formats of classifiers share: the plain model, the rows to check on, the check of the logits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from accelerate.utils import extract_model_from_parallel
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.export.base import Format
from hfdistill.models.inference import CheckedRows, predict_logits, token_rows
from hfdistill.models.mixed_precision import without_autocast
from hfdistill.report.quality import agreement

Made = TypeVar("Made")


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


@dataclass(eq=False)
class ClassifierSource:
    """A classifier to be exported, and the rows to check its exports on.

    Args:
        model: A copy in float32 on the CPU, in eval mode, without wrappers.
        processing_class: Its tokenizer.
        rows: What it reads of each row.
        expected: Its logits, shape `(rows, classes)`.
    """

    model: PreTrainedModel
    processing_class: PreTrainedTokenizerBase
    rows: list[dict[str, list[int]]]
    expected: np.ndarray
    _made: dict[Any, Any] = field(default_factory=dict)

    def once(self, make: Callable[[ClassifierSource], Made]) -> Made:
        """What several formats make of it alike, such as a traced graph."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]


class ClassifierFormat(Format):
    """A format of classifiers.

    Args:
        name: Its name.
        path: The file or folder that it writes within a student's folder.
        tolerance: The most `Parity.relative_error`: what is beyond it is no rounding but a broken graph. How many
            decisions rounding changes depends on how sure the model is; whether they are too many its user decides.
    """

    task = "text-classification"

    def __init__(self, name: str, path: str, tolerance: float) -> None:
        super().__init__(name, path)
        self.tolerance = tolerance

    def prepare(
        self,
        model: PreTrainedModel,
        processing_class: PreTrainedTokenizerBase,
        examples: Dataset,
        *,
        text_columns: Sequence[str] = (),
    ) -> ClassifierSource:
        """The source of every format of this class.

        Args:
            model: The model.
            processing_class: Its tokenizer.
            examples: Rows with text or with the model's tokens.
            text_columns: The columns of raw text, one or a pair; without them the rows bring their tokens.
        """
        rows = token_rows(model, processing_class, examples, text_columns)
        # A copy: the model may be on another device, in another dtype, and must not keep what tracing puts around it;
        # nor must the graph hold the mixed precision that a `Trainer` leaves around what it trained.
        copied = extract_model_from_parallel(copy.deepcopy(model), keep_torch_compile=False)
        plain = without_autocast(copied).cpu().float().eval()
        expected = predict_logits(plain, processing_class, rows, description="Running the model")
        return ClassifierSource(plain, processing_class, rows, expected)

    def check(self, exported: Any, source: ClassifierSource) -> Parity:
        """How far the exported model's logits are off on the source's rows; it keeps them for a comparison."""
        logits = predict_logits(exported, source.processing_class, source.rows, description=f"Checking {self.name}")
        exported.checked = CheckedRows(source.rows, logits)
        return measure_parity(logits, source.expected, source.model.config.problem_type)

    def fault(self, parity: Parity) -> str:
        """Why it is broken: its relative error is beyond the tolerance."""
        # Not `>`: a prediction that is not a number is far off, too.
        if parity.relative_error <= self.tolerance:
            return ""
        return (
            f"the {self.name} export is broken: on {parity.rows:,} rows its logits are off by "
            f"{parity.relative_error:.2g} of the model's own size, where rounding makes at most {self.tolerance:g}; "
            f"leave {self.name} out of the formats."
        )


def measure_parity(logits: np.ndarray, expected: np.ndarray, problem_type: str | None) -> Parity:
    """Compares an export's logits with the model's, both of shape `(rows, classes)`."""
    difference = logits - expected
    return Parity(
        max_difference=float(np.abs(difference).max()),
        relative_error=float(np.sqrt((difference**2).mean()) / max(np.sqrt((expected**2).mean()), 1e-6)),
        agreement=agreement(logits, expected, problem_type),
        rows=len(expected),
    )

"""What the export formats of classifiers share: the plain model, the rows to check on, the check of the logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.export import Dim
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.data.choices import ChoiceCollator
from hfdistill.export.base import Format, Source, plain_copy
from hfdistill.models.heads import (
    CandidateHead,
    ChoiceHead,
    EmbeddingHead,
    Head,
    NextTokenHead,
    SpanHead,
    head_of,
)
from hfdistill.models.inference import CheckedRows, logits, predict_logits, token_rows
from hfdistill.models.inputs import main_input, token_inputs
from hfdistill.models.sound import FrameLengths, SoundCollator, SoundPadding, hears_padding
from hfdistill.models.wrappers import without_adapters
from hfdistill.report.quality import agreement


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
class ClassifierSource(Source):
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
    expected: np.ndarray = field(default_factory=lambda: np.empty(0))

    def predict(self, model: Any, description: str) -> np.ndarray:
        """A model's logits of the rows, shape `(rows, classes)`, or where it decides by token `(tokens, classes)`."""
        return predict_logits(model, self.processing_class, self.rows, description=description, head=self.head)

    @property
    def head(self) -> Head:
        """What is decided of a row; by a reranker a score, of one pair at a time."""
        head = head_of(self.model)
        return Head() if isinstance(head, CandidateHead) else head

    def agreement(self, found: np.ndarray) -> float | None:
        """The share of decisions that are the model's; `None` where there are none."""
        # Where an answer begins and ends is no choice among the two logits of a token, nor is an embedding one.
        if isinstance(self.head, (SpanHead, EmbeddingHead)):
            return None
        return agreement(found, self.expected, getattr(self.model.config, "problem_type", None))

    def sample(self, tokens: int) -> tuple[dict[str, Any], dict[str, dict[int, Any]]]:
        """A batch to trace a graph with, and which sizes of it may be others.

        Args:
            tokens: Of so many tokens a text.
        """
        longest = max(self.rows, key=lambda row: len(row["input_ids"]))
        sample = {name: values[:tokens] for name, values in longest.items()}
        shorter = {name: values[:-1] for name, values in sample.items()}
        # Two rows of two lengths: a size of 1, or a mask without a 0, would be taken for a constant.
        inputs = dict(self.processing_class.pad([sample, shorter], return_tensors="pt"))
        return inputs, {name: {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} for name in inputs}


class ChoiceSource(ClassifierSource):
    """A model that chooses among the texts of a row, which are its `input_ids`, a list for each."""

    def predict(self, model: Any, description: str) -> np.ndarray:
        """The scores of each row's choices, one row below the other, shape `(choices, 1)`."""
        collator, reads = ChoiceCollator(self.processing_class), token_inputs(self.model)
        found = []
        for row in tqdm(self.rows, desc=description, leave=False):
            batch = collator([row])
            found.append(logits(model, {name: batch[name] for name in reads if name in batch}).float().numpy()[0])
        return np.concatenate(found)[:, None]

    def agreement(self, found: np.ndarray) -> float:
        """The share of rows in which the same choice is made."""
        ends = np.cumsum([len(row["input_ids"]) for row in self.rows])[:-1]
        pairs = zip(np.split(found[:, 0], ends), np.split(self.expected[:, 0], ends), strict=True)
        return float(np.mean([one.argmax() == other.argmax() for one, other in pairs]))

    def sample(self, tokens: int) -> tuple[dict[str, Any], dict[str, dict[int, Any]]]:
        rows: list[Any] = self.rows
        longest = max(rows, key=lambda row: len(row["input_ids"][0]))
        whole = {name: values[0][:tokens] for name, values in longest.items()}
        shorter = {name: values[:-1] for name, values in whole.items()}
        # As above; and of choices there may be any number.
        row = {name: [whole[name], shorter[name], whole[name]] for name in whole}
        batch = ChoiceCollator(self.processing_class)([row, row])
        inputs = {name: batch[name] for name in token_inputs(self.model) if name in batch}
        return inputs, {name: dict.fromkeys(range(3), Dim.DYNAMIC) for name in inputs}


class MediaSource(ClassifierSource):
    """A model that sees or hears, such as a classifier, or one that writes down speech letter by letter."""

    def predict(self, model: Any, description: str) -> np.ndarray:
        """Its logits of the rows, one below the other: `(rows, classes)`, or `(rows · frames, letters)`."""
        collator, found = SoundCollator(SoundPadding.of(self.model)), []
        for row in tqdm(self.rows, desc=description, leave=False):
            inputs = collator([row])
            inputs.setdefault("attention_mask", torch.ones(inputs[main_input(self.model)].shape[:2], dtype=torch.int64))
            found.append(logits(model, {name: inputs[name] for name in self._reads if name in inputs}).float().numpy())
        return np.concatenate([one.reshape(-1, one.shape[-1]) for one in found])

    @property
    def _reads(self) -> tuple[str, ...]:
        masked = FrameLengths.of(self.model) is not None and not hears_padding(self.model)
        return (main_input(self.model), *(("attention_mask",) if masked else ()))

    def sample(self, tokens: int) -> tuple[dict[str, Any], dict[str, dict[int, Any]]]:
        name = main_input(self.model)
        longest = max((np.asarray(row[name]) for row in self.rows), key=len)
        sounds = FrameLengths.of(self.model) is not None
        # As above; and of sound the length may be any.
        shorter = longest[: -max(1, len(longest) // 4)] if sounds else longest
        values = [torch.as_tensor(one) for one in (longest, shorter)]
        inputs: dict[str, Any] = {name: pad_sequence(values, batch_first=True).float()}
        if len(self._reads) > 1:
            lengths = torch.tensor([len(one) for one in values])
            inputs["attention_mask"] = (torch.arange(len(longest)) < lengths[:, None]).long()
        sizes = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} if sounds else {0: Dim.DYNAMIC}
        return inputs, dict.fromkeys(inputs, sizes)


def refuse_writer(model: Any) -> None:
    """Refuses a model that writes texts token after token, for which a graph of one pass is not enough.

    Raises:
        ValueError: saying what exports it.
    """
    inner = without_adapters(model)
    encodes_and_writes = getattr(inner.config, "is_encoder_decoder", False) and inner.can_generate()
    if encodes_and_writes or isinstance(head_of(inner), NextTokenHead):
        raise ValueError(
            f"a {type(inner).__name__} writes texts token after token, with a cache that this graph would lack: the "
            "package optimum exports it for ONNX Runtime (optimum-cli export onnx), and export_ctranslate2 a "
            "translator for CTranslate2."
        )


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

        Raises:
            ValueError: for a model that writes texts.
        """
        refuse_writer(model)
        name, head = main_input(model), head_of(model)
        sees, chooses = name != "input_ids", isinstance(head, ChoiceHead) and not isinstance(head, CandidateHead)
        rows: Any = None
        if isinstance(head, ChoiceHead) and not text_columns:
            rows = _rows_of_choices(examples, processing_class)
            rows = rows if chooses else [_choice(row, place) for row in rows for place in range(len(row["input_ids"]))]
        elif chooses:
            raise ValueError("a model of multiple choice is checked on rows as tokenize_choices makes them, not texts.")
        elif not sees:
            rows = token_rows(model, processing_class, examples, text_columns)
        plain: Any = plain_copy(model)
        if isinstance(head, EmbeddingHead) and getattr(plain, "pooler", None) is not None:
            plain.pooler = None  # which no embedding is made of
        if sees:
            if name not in examples.column_names:
                raise ValueError(f"the model reads {name}, which the rows to check exports on lack.")
            rows = list(examples.with_format("numpy").select_columns(name))
        kind = MediaSource if sees else ChoiceSource if chooses else ClassifierSource
        source = kind(plain, processing_class, rows)
        source.expected = source.predict(plain, "Running the model")
        return source

    def check(self, exported: Any, source: ClassifierSource) -> Parity:
        """How far the exported model's logits are off on the source's rows; it keeps them for a comparison."""
        found = source.predict(exported, f"Checking {self.name}")
        exported.checked = CheckedRows(source.rows, found)
        parity = measure_parity(found, source.expected, getattr(source.model.config, "problem_type", None))
        return replace(parity, agreement=source.agreement(found), rows=len(source.rows))

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


def _rows_of_choices(examples: Dataset, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    names = [name for name in tokenizer.model_input_names if name in examples.column_names]
    if "input_ids" not in names:
        raise ValueError("the rows to check exports on lack input_ids: make them with tokenize_choices.")
    return list(examples.with_format(None).select_columns(names))


def _choice(row: Mapping[str, Any], place: int) -> dict[str, list[int]]:
    return {name: values[place] for name, values in row.items()}


def measure_parity(logits: np.ndarray, expected: np.ndarray, problem_type: str | None) -> Parity:
    """Compares an export's logits with the model's, both of shape `(rows, classes)`."""
    difference = logits - expected
    return Parity(
        max_difference=float(np.abs(difference).max()),
        relative_error=float(np.sqrt((difference**2).mean()) / max(np.sqrt((expected**2).mean()), 1e-6)),
        agreement=agreement(logits, expected, problem_type),
        rows=len(expected),
    )

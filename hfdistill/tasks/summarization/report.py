"""What a summarizer's student keeps of its teacher and what it costs: both write of the same texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.data.rows import as_split, has_target, without_padding
from hfdistill.models.inputs import pad_rows
from hfdistill.models.wrappers import device_of, unwrapped
from hfdistill.report.comparison import check_models
from hfdistill.report.counted import MeasuredHead, Outcome, compare_counted
from hfdistill.report.figures import Comparison
from hfdistill.tasks.summarization.metrics import rouge_counts, rouge_means, texts_of

#: How many characters of a text are shown where models differ.
SHOWN = 300


def compare(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    dataset: Dataset,
    processing_class: PreTrainedTokenizerBase,
    *,
    baseline: PreTrainedModel | None = None,
    others: Mapping[str, Any] | None = None,
    split: str = "test",
) -> Comparison:
    """Measures encoder-decoders by what they write of texts: ROUGE, size and speed; translators have a comparison of
    their own, `compare_translations`.

    They write by their own generation config. Agreement is the share of words that student and teacher write alike.

    Args:
        teacher: The teacher, of the student's tokens.
        student: The student.
        dataset: Rows with `input_ids` and `labels`, the tokens of text and summary; rows of -100 are left out, and
            what their `attention_mask` says is padding.
        processing_class: The tokenizer that all share.
        baseline: The same student trained without the teacher.
        others: More models, by role.
        split: What to call the rows.

    Raises:
        TypeError: for a name or path in place of a model.
        ValueError: when there are no rows, or they lack texts or summaries.
    """
    trained = {"teacher": teacher, "student": student, **({} if baseline is None else {"baseline": baseline})}
    check_models(trained, "AutoModelForSeq2SeqLM")
    dataset = as_split(dataset)
    missing = [name for name in ("input_ids", "labels") if name not in dataset.column_names]
    if missing or not len(dataset):
        raise ValueError(
            f"compare needs rows with input_ids and labels, and there are {len(dataset)} with "
            f"{', '.join(dataset.column_names)}: tokenize texts and summaries with tokenizer(texts, text_target=...); "
            "translators are compared on texts, with compare_translations."
        )
    written = np.flatnonzero([has_target(labels) for labels in dataset.with_format(None)["labels"]])
    if not len(written):
        raise ValueError("there is nothing to compare the models by: no row has a summary in its labels.")
    plain = dataset.with_format(None).select(written)
    rows, wanted = without_padding(plain, ["input_ids"]), texts_of(plain["labels"][:], processing_class)
    measured = {
        role: MeasuredSummarizer(unwrapped(model), rows, partial(_padded, processing_class))
        for role, model in {**trained, **(others or {})}.items()
    }
    outcomes = {role: _outcome(role, one, wanted, processing_class) for role, one in measured.items()}
    shown = [text[:SHOWN] for text in texts_of(rows["input_ids"][:], processing_class)]
    return compare_counted(measured, outcomes, rouge_means, texts=shown, labels=wanted, split=split)


class MeasuredSummarizer(MeasuredHead):
    """An encoder-decoder; what it predicts of a row are the tokens that it writes."""

    def predict_rows(self, rows: Sequence[Any]) -> np.ndarray:
        inputs = send_to_device(self.collator([dict(row) for row in rows]), device_of(self.model))
        with torch.inference_mode():
            made = self.model.eval().generate(**inputs)
        return getattr(made, "sequences", made).cpu().numpy()


def _padded(tokenizer: PreTrainedTokenizerBase, rows: Any) -> dict[str, Tensor]:
    # Padding on the left would shift the texts' positions, each by what else is in the batch.
    return dict(pad_rows(tokenizer, rows, padding_side="right"))


def _outcome(role: str, one: MeasuredHead, wanted: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Outcome:
    texts = texts_of([tokens.tolist() for tokens in one.predictions(role)], tokenizer)
    return Outcome(rouge_counts(texts, wanted), [text.split() for text in texts], texts)

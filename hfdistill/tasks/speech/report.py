"""What a student that writes down speech keeps of its teacher and what it costs: transcripts of the same recordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from datasets import Dataset
from transformers import PreTrainedModel

from hfdistill.data.rows import as_split, has_target
from hfdistill.models.sound import FrameLengths
from hfdistill.models.wrappers import device_of
from hfdistill.report.comparison import check_models
from hfdistill.report.counted import MeasuredHead, Outcome, compare_counted
from hfdistill.report.examples import Shown
from hfdistill.report.figures import Comparison
from hfdistill.tasks.media.report import check_rows, workload
from hfdistill.tasks.speech.metrics import error_counts, error_rates, references, transcripts, written_texts


def compare(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    dataset: Dataset,
    processing_class: Any,
    *,
    baseline: PreTrainedModel | None = None,
    others: Mapping[str, Any] | None = None,
    shown: Callable[[int], Shown] | None = None,
    split: str = "test",
) -> Comparison:
    """Measures models that write down speech: word and character error rates, size and speed.

    They write letter by letter (CTC), or as encoder-decoders (Whisper), by their own generation config. Agreement is
    the share of words that student and teacher write alike.

    Args:
        teacher: The teacher, of the student's letters.
        student: The student.
        dataset: Rows with `labels` and what all models read, `input_values` or `input_features`; rows of -100 are left
            out.
        processing_class: The student's processor, or its tokenizer.
        baseline: The same student trained without the teacher.
        others: More models that read as the student does, by role.
        shown: How a person is shown the row of a number, for the transcripts side by side.
        split: What to call the rows.

    Raises:
        TypeError: for a name or path in place of a model.
        ValueError: when there are no rows, or they lack what a model reads.
    """
    trained = {"teacher": teacher, "student": student, **({} if baseline is None else {"baseline": baseline})}
    check_models(trained, "AutoModelForCTC")
    dataset = as_split(dataset)
    check_rows(trained, dataset)
    tokenizer = getattr(processing_class, "tokenizer", processing_class)
    written = [row for row, labels in enumerate(dataset.with_format(None)["labels"]) if has_target(labels)]
    if not written:
        raise ValueError("there is nothing to compare the models by: no row has a transcript in its labels.")
    dataset = dataset.select(written)
    labels = dataset.with_format(None)["labels"][:]
    writes = student.config.is_encoder_decoder
    said = written_texts(labels, tokenizer) if writes else references(labels, tokenizer)
    rows = {role: workload(model, dataset) for role, model in {**trained, **(others or {})}.items()}
    models = {role: MeasuredWriter(**vars(one)) for role, one in rows.items()} if writes else rows
    heard = {role: _heard(role, one, FrameLengths.of(student), tokenizer) for role, one in models.items()}
    outcomes = {
        role: Outcome(error_counts(texts, said), [text.split() for text in texts], texts)
        for role, texts in heard.items()
    }
    names = [shown(row).name if shown else f"row {row}" for row in written]
    return compare_counted(models, outcomes, error_rates, texts=names, labels=said, split=split)


class MeasuredWriter(MeasuredHead):
    """An encoder-decoder that hears; what it predicts of a row are the tokens that it writes."""

    def predict_rows(self, rows: Sequence[Any]) -> np.ndarray:
        inputs = send_to_device(self.collator([dict(row) for row in rows]), device_of(self.model))
        with torch.inference_mode():
            made = self.model.eval().generate(**{name: one.to(self.model.dtype) for name, one in inputs.items()})
        return getattr(made, "sequences", made).cpu().numpy()


def _heard(role: str, one: MeasuredHead, frames: FrameLengths | None, tokenizer: Any) -> list[str]:
    """What a model writes of each row."""
    if isinstance(one, MeasuredWriter):
        return written_texts([tokens.tolist() for tokens in one.predictions(role)], tokenizer)
    texts = []
    for row, logits in zip(one.rows, one.predictions(role), strict=True):
        count = len(logits) if frames is None else int(frames.of_lengths(np.array([one.length(row)]))[0])
        texts += transcripts(logits[None, :count], tokenizer)
    return texts

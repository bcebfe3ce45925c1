"""Sequence-level distillation of speech: the teacher's own transcripts as labels, where they can be trusted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from hfdistill.models.inputs import main_input
from hfdistill.models.sound import SoundCollator, SoundPadding
from hfdistill.models.wrappers import device_of
from hfdistill.report.terminal import print_main
from hfdistill.tasks.speech.metrics import error_counts, written_texts

#: Distil-Whisper's: of transcripts in which more words differ from people's, one of the two is wrong.
MAX_WER = 0.1


def pseudo_transcripts(
    teacher: PreTrainedModel,
    dataset: Dataset,
    processing_class: Any,
    *,
    max_wer: float | None = MAX_WER,
    batch_size: int = 16,
    **generation: Any,
) -> Dataset:
    """The rows with the teacher's transcripts for `labels`, for a student to be trained on.

    Where a row has labels, and the teacher writes something else, one of the two is wrong: rows in which more than
    `max_wer` of the words differ are left out, and counted.

    Args:
        teacher: An encoder-decoder that hears, such as Whisper.
        dataset: Rows of what it reads, `input_features`, with people's transcripts as `labels` or without.
        processing_class: Its processor, or its tokenizer.
        max_wer: The word error rate above which a row is left out; `None` keeps all.
        batch_size: Rows that are written down at once.
        **generation: As for `generate`, such as `language` and `num_beams`.

    Raises:
        ValueError: when the model does not write, the rows lack what it reads, or none is left.

    References: Gandhi et al. 2023, sections 3.3 and 3.4, https://huggingface.co/papers/2311.00430.
    """
    if not teacher.can_generate() or not teacher.config.is_encoder_decoder:
        raise ValueError(f"a {type(teacher).__name__} writes no texts: pass an encoder-decoder such as Whisper.")
    if main_input(teacher) not in dataset.column_names:
        raise ValueError(
            f"the teacher reads {main_input(teacher)}, which the rows lack; they have "
            f"{', '.join(dataset.column_names)}: bring what its processor makes of each recording."
        )
    tokenizer = getattr(processing_class, "tokenizer", processing_class)
    written = _written(teacher, dataset.with_format("numpy"), tokenizer, batch_size, generation)
    kept = np.ones(len(dataset), dtype=bool)
    if max_wer is not None and "labels" in dataset.column_names:
        said = written_texts(dataset.with_format(None)["labels"][:], tokenizer)
        wrong, words, *_ = error_counts(written, said).T
        kept = wrong <= max_wer * words
        print_main(f"{int((~kept).sum())} of {len(kept)} rows are left out: the teacher writes something else.")
    if not kept.any():
        raise ValueError("the teacher's transcripts differ from people's in every row: is it a teacher of this task?")
    others = dataset.remove_columns([name for name in ("labels",) if name in dataset.column_names])
    labels = [tokenizer(text).input_ids for text in written]
    return others.add_column("labels", labels).select(np.flatnonzero(kept))


def _written(model: Any, rows: Dataset, tokenizer: Any, batch_size: int, generation: dict[str, Any]) -> list[str]:
    """What the model writes of each row."""
    name, collator = main_input(model), SoundCollator(SoundPadding.of(model))
    texts: list[str] = []
    for start in tqdm(range(0, len(rows), batch_size), desc="Writing down", leave=False):
        some = [rows[row] for row in range(start, min(start + batch_size, len(rows)))]
        inputs = send_to_device(collator([{name: one[name]} for one in some]), device_of(model))
        with torch.inference_mode():
            made = model.eval().generate(**{key: one.to(model.dtype) for key, one in inputs.items()}, **generation)
        texts += written_texts(getattr(made, "sequences", made).tolist(), tokenizer)
    return texts

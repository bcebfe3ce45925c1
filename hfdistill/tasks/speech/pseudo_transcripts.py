"""Sequence-level distillation of speech: the teacher's own transcripts as labels, where they can be trusted."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from transformers import PreTrainedModel

from hfdistill.data.streamed import row_tuples, streamed_dataset, with_columns
from hfdistill.models.inputs import main_input
from hfdistill.models.speech_prompts import check_prompt, text_labels
from hfdistill.models.vocabularies import vocabulary_key
from hfdistill.report.terminal import print_main
from hfdistill.soft_targets.arrays import ArrayTargetMaker
from hfdistill.soft_targets.precompute import KnownRows
from hfdistill.soft_targets.store import SoftTargetStore
from hfdistill.tasks.speech.metrics import error_counts, written_texts
from hfdistill.teachers import ModelTeacher

#: Distil-Whisper's: of transcripts in which more words differ from people's, one of the two is wrong.
MAX_WER = 0.1

#: Of each row the teacher's transcript, and whether it is near enough to people's.
_TRANSCRIPTS = Features({"labels": List(Value("int64")), "agrees": Value("bool")})
#: Raised when they are made otherwise, so that none that were made before are taken for them.
_VERSION = 1


def pseudo_transcripts(
    teacher: PreTrainedModel,
    dataset: Dataset,
    processing_class: Any,
    *,
    max_wer: float | None = MAX_WER,
    batch_size: int = 16,
    store: str | os.PathLike[str] | None = None,
    **generation: Any,
) -> Dataset:
    """The rows with the teacher's transcripts for `labels`, for a student to be trained on.

    Where a row has labels, and the teacher writes something else, one of the two is wrong: rows in which more than
    `max_wer` of the words differ are left out, and counted. Each recording is written down once; under `accelerate
    launch` all processes share the work, and a killed call goes on where it was.

    Args:
        teacher: An encoder-decoder that hears, such as Whisper.
        dataset: Rows of what it reads, `input_features`, with people's transcripts as `labels` or without.
        processing_class: Its processor, or its tokenizer.
        max_wer: The word error rate above which a row is left out; `None` keeps all.
        batch_size: Rows that are written down at once.
        store: The folder to keep the transcripts in. Default: one in the Hugging Face cache, named by what they depend
            on.
        **generation: As for `generate`, such as `num_beams`; language and task are those of `set_speech_task`.

    Raises:
        ValueError: when the model does not write, the rows lack what it reads, labels made by the tokenizer would begin
            otherwise than the teacher does, or no row is left.
        StaleSoftTargets: when `store` holds the transcripts of another teacher or other settings.

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
    check_prompt(teacher, tokenizer, **generation)
    maker = TranscriptMaker(ModelTeacher(teacher, tokenizer), generation, batch_size, store)
    keys = maker.keys_of(dataset)
    compared = max_wer is not None and "labels" in dataset.column_names
    depends_on = {
        **maker.store.content(keys),
        "begin": text_labels(tokenizer, ""),
        "compared": [dataset._fingerprint, max_wer] if compared else None,
        "version": _VERSION,
    }

    def transcripts() -> Iterator[tuple[list[int], bool]]:
        said = (labels for (labels,) in row_tuples(dataset, ["labels"])) if compared else repeat(None)
        for written, labels in zip(maker.store.each(keys), said, strict=False):
            text = written.decode()
            yield text_labels(tokenizer, text), labels is None or _agree(text, labels, tokenizer, max_wer or 0.0)

    made = streamed_dataset(transcripts, _TRANSCRIPTS, depends_on)
    kept = np.fromiter((agrees for (agrees,) in row_tuples(made, ["agrees"])), bool, len(made))
    if compared:
        print_main(f"{int((~kept).sum())} of {len(kept)} rows are left out: the teacher writes something else.")
    if not kept.any():
        raise ValueError("the teacher's transcripts differ from people's in every row: is it a teacher of this task?")
    others = dataset.remove_columns([name for name in ("labels",) if name in dataset.column_names])
    return with_columns(others, made.select_columns("labels")).select(np.flatnonzero(kept))


def _agree(text: str, labels: Sequence[int], tokenizer: Any, max_wer: float) -> bool:
    """Whether no more of the words differ from people's."""
    [[wrong, words, *_]] = error_counts([text], written_texts([labels], tokenizer))
    return bool(wrong <= max_wer * words)


class _TranscriptStore(SoftTargetStore):
    what = "transcripts"


class TranscriptMaker(ArrayTargetMaker):
    """Transcripts in place of logits; a prediction is a row's text in UTF-8.

    Args:
        teacher: What hears, and its tokenizer.
        generation: Settings of `generate` in place of the teacher's own.
        others: As for `ArrayTargetMaker`.
    """

    description = "Writing down"
    unit = "recordings"
    store_class = _TranscriptStore

    def __init__(self, teacher: ModelTeacher, generation: dict[str, Any], *others: Any) -> None:
        self.generation = generation
        super().__init__(teacher, *others)

    def manifest(self) -> dict[str, Any]:
        settings: Any = copy.deepcopy(self.teacher.model.generation_config)
        written = {**settings.to_diff_dict(), **self.generation}
        written.pop("transformers_version", None)
        how = json.dumps(written, sort_keys=True, default=str)
        return {**super().manifest(), "generation": how, "vocabulary": vocabulary_key(self.tokenizer).hex()}

    def check(self, rows: KnownRows, some: np.ndarray, predictions: Any) -> None:
        """Any text is one."""

    def forward(self, model: PreTrainedModel, inputs: dict[str, Any]) -> np.ndarray:
        writer: Any = model
        with torch.inference_mode():
            made = writer.generate(**inputs, **self.generation)
        texts = written_texts(getattr(made, "sequences", made).tolist(), self.tokenizer)
        return np.array([text.encode() for text in texts])

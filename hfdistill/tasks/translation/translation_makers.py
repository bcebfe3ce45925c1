"""Running a teacher over texts for its translations: by `transformers`, or by CTranslate2."""

from __future__ import annotations

import copy
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from hfdistill.export.ctranslate2 import convert
from hfdistill.export.ctranslate2_model import CTranslate2Model
from hfdistill.export.translator import completed_generation_config
from hfdistill.models.inputs import pad_batch
from hfdistill.soft_targets.precompute import KnownRows, SoftTargetMaker
from hfdistill.soft_targets.store import SoftTargetStore
from hfdistill.teachers import ModelTeacher

#: Settings of a generation config that CTranslate2 honors, and those that change no translation of a beam search.
_HONORED = frozenset(
    {
        *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id"),
        *("forced_eos_token_id", "length_penalty", "repetition_penalty", "no_repeat_ngram_size", "early_stopping"),
        *("bad_words_ids", "num_beams", "num_return_sequences", "max_length", "max_new_tokens", "do_sample"),
        *("use_cache", "cache_implementation", "output_scores", "return_dict_in_generate", "output_attentions"),
        *("output_hidden_states", "transformers_version", "temperature", "top_k", "top_p", "typical_p"),
    }
)


class _TranslationStore(SoftTargetStore):
    what = "translations"


class TranslationMaker(SoftTargetMaker):
    """Translations in place of logits; a prediction is the candidates of a row as JSON.

    Args:
        teacher: The translator and its tokenizer.
        changes: Settings in place of those in its generation config.
        batch_size: As in `pseudo_translations`.
        store: Likewise.
    """

    description = "Translating"
    unit = "sentences"
    store_class = _TranslationStore

    def __init__(
        self, teacher: ModelTeacher, changes: dict[str, Any], batch_size: int, store: str | os.PathLike[str] | None
    ) -> None:
        self.changes = changes
        self.settings: Any = copy.deepcopy(teacher.model.generation_config)
        self.settings.update(**changes)
        super().__init__(teacher, batch_size, store)

    def manifest(self) -> dict[str, Any]:
        settings = self.settings.to_diff_dict()
        settings.pop("transformers_version", None)
        return {**super().manifest(), "generation": json.dumps(settings, sort_keys=True, default=str)}

    def token_budget(self, model: PreTrainedModel) -> int:
        return sys.maxsize  # what counts in generation is the number of rows

    def inputs(self, rows: KnownRows, some: np.ndarray) -> dict[str, Any]:
        # Padding on the left would shift the texts' positions, each by what else is in the batch.
        return pad_batch(self.tokenizer, self.columns(rows.tokens[some])[0], "right")

    def check(self, rows: KnownRows, some: np.ndarray, predictions: Any) -> None:
        """Any text is one."""

    def forward(self, model: PreTrainedModel, inputs: dict[str, Any]) -> np.ndarray:
        translator: Any = model
        with torch.inference_mode():
            # Not as a config: where that says `None`, `generate` takes the teacher's own setting.
            written = translator.generate(**inputs, **self.changes)
        written = getattr(written, "sequences", written)  # with scores beside them, where a config sets that
        return self.candidates(self.tokenizer.batch_decode(written, skip_special_tokens=True), self._finished(written))

    def candidates(self, texts: Sequence[str], finished: Sequence[bool]) -> np.ndarray:
        """The candidates of each row, of those of all rows and whether each has come to its end."""
        each, count = list(zip(texts, finished, strict=True)), self.settings.num_return_sequences
        groups = [each[start : start + count] for start in range(0, len(each), count)]
        return np.array([json.dumps(group, ensure_ascii=False).encode() for group in groups])

    def _finished(self, written: torch.Tensor) -> list[bool]:
        """Whether each text ended by itself: a config may force an end at `max_length`, so an end there is none."""
        ends = torch.as_tensor(self.settings.eos_token_id, device=written.device).view(-1)
        # The first token is the decoder's start, which is the end-of-text token in some models.
        inner = written[:, 1 : self.settings.max_length - 1]
        return torch.isin(inner, ends).any(1).tolist()


class CTranslate2Maker(TranslationMaker):
    """The same by CTranslate2, which searches many times as fast on a processor.

    Args:
        precision: How weights are kept: `float32`, `bfloat16`, `float16` or `int8`.
        others: As for `TranslationMaker`.

    Raises:
        ValueError: for a setting that it does not honor, or a model that it cannot convert.
    """

    def __init__(self, *others: Any, precision: str) -> None:
        self.precision = precision
        super().__init__(*others)
        ignored = sorted(name for name in {*self.settings.to_diff_dict()} - _HONORED if not name.startswith("_"))
        if ignored:
            raise ValueError(
                f"CTranslate2 does not honor {', '.join(ignored)} of the teacher's generation config: reset that, or "
                "leave engine out."
            )
        self._converted: CTranslate2Model | None = None

    def manifest(self) -> dict[str, Any]:
        return {**super().manifest(), "engine": f"ctranslate2 {self.precision}"}

    def forward(self, model: PreTrainedModel, inputs: dict[str, Any]) -> np.ndarray:
        translator = self._converted = self._converted or self._convert(model)
        settings = self.settings
        rows = translator.candidates(
            inputs["input_ids"].cpu(),
            inputs["attention_mask"].cpu(),
            num_beams=settings.num_beams,
            max_length=settings.max_length,
            count=settings.num_return_sequences,
        )
        each = [tokens for row in rows for tokens in row]
        # Start and end count for the length as well, and one that is forced at its very end is no end.
        finished = [len(tokens) <= settings.max_length - 3 for tokens in each]
        return self.candidates(self.tokenizer.batch_decode(each, skip_special_tokens=True), finished)

    def _convert(self, model: PreTrainedModel) -> CTranslate2Model:
        with tempfile.TemporaryDirectory() as folder:  # it is in memory then
            path = Path(folder) / "teacher"
            settings = completed_generation_config(model)
            settings.update(**self.changes)
            convert(model, self.tokenizer, settings, path, self.precision)
            return CTranslate2Model(path, model.config, settings)

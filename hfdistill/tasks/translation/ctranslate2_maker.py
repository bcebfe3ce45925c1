"""Running a teacher over texts for its translations, by CTranslate2."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from hfdistill.export.ctranslate2 import convert
from hfdistill.export.ctranslate2_model import CTranslate2Model
from hfdistill.export.translator import completed_generation_config
from hfdistill.tasks.translation.sampling import WHOLE_DISTRIBUTION
from hfdistill.tasks.translation.translation_makers import Candidate, TranslationMaker
from hfdistill.teachers.translator_ensemble import TranslatorEnsemble

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


class CTranslate2Maker(TranslationMaker):
    """The same by CTranslate2, which searches many times as fast on a processor.

    Several translators do not write together there: each writes what its beam has, and all of that is ordered by the
    mean probabilities of their tokens.

    Args:
        precision: How weights are kept: `float32`, `bfloat16`, `float16` or `int8`.
        others: As for `TranslationMaker`.

    Raises:
        ValueError: for a setting that it does not honor, a model that it cannot convert, or samples of several.
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
        if self.settings.do_sample and isinstance(self.teacher.model, TranslatorEnsemble):
            raise ValueError(
                "CTranslate2 cannot sample from the mean of several translators: leave engine out, or name one of them."
            )
        self._converted: list[CTranslate2Model] = []

    def manifest(self) -> dict[str, Any]:
        return {**super().manifest(), "engine": f"ctranslate2 {self.precision}"}

    def forward(self, model: PreTrainedModel, inputs: dict[str, Any]) -> np.ndarray:
        members: list[Any] = model.members if isinstance(model, TranslatorEnsemble) else [model]
        self._converted = self._converted or [self._convert(one) for one in members]
        sources, mask = inputs["input_ids"].cpu(), inputs["attention_mask"].cpu()
        hypotheses = self._hypotheses(sources, mask)
        which = torch.tensor([row for row, each in enumerate(hypotheses) for _ in each])
        scores = iter(self._scores(sources[which], mask[which], [tokens for each in hypotheses for tokens in each]))
        scored = [[(*next(scores), tokens) for tokens in each] for each in hypotheses]
        if len(members) > 1:
            scored = [self._ranked(each) for each in scored]
        return self.encoded([self._candidate(*one) for one in each] for each in scored)

    def _hypotheses(self, sources: Tensor, mask: Tensor) -> list[list[list[int]]]:
        """The translations of each text as tokens, of several translators all that are different."""
        settings, several = self.settings, len(self._converted) > 1
        how = {"num_beams": settings.num_beams, "max_length": settings.max_length}
        if settings.do_sample:
            how |= {f"sampling_{name.replace('_', '')}": getattr(settings, name) for name in WHOLE_DISTRIBUTION}
        how["count"] = settings.num_beams if several else settings.num_return_sequences
        each = [one.candidates(sources, mask, **how) for one in self._converted]
        if not several:
            return each[0]
        rows = ([tokens for found in row for tokens in found] for row in zip(*each, strict=True))
        return [list(map(list, dict.fromkeys(map(tuple, row)))) for row in rows]

    def _scores(self, sources: Tensor, mask: Tensor, hypotheses: Sequence[list[int]]) -> list[tuple[float, int]]:
        """The sum of each one's log-probabilities, by the mean of all translators, and of how many tokens."""
        ends: Any = self.settings.eos_token_id
        end = ends[0] if isinstance(ends, list) else ends
        closed = [torch.tensor([*tokens, end] if self._ended(tokens) else tokens) for tokens in hypotheses]
        written = pad_sequence(closed, batch_first=True, padding_value=end)
        members = [one.log_probs(sources, mask, written) for one in self._converted]
        first = 0 if self.settings.forced_bos_token_id is None else 1
        found = []
        for tokens, *each in zip(closed, *members, strict=True):
            log_probs = np.array([one[first : len(tokens)] for one in each])
            mean = np.logaddexp.reduce(log_probs, axis=0) - math.log(len(each))
            found.append((float(mean.sum()), len(mean)))
        return found

    def _ranked(self, scored: list[tuple[float, int, list[int]]]) -> list[tuple[float, int, list[int]]]:
        penalty = 1.0 if self.settings.length_penalty is None else self.settings.length_penalty
        ranked = sorted(scored, key=lambda one: one[0] / max(1, one[1]) ** penalty, reverse=True)
        return ranked[: self.settings.num_return_sequences]

    def _ended(self, tokens: Sequence[int]) -> bool:
        # Start and end count for the length as well, and one that is forced at its very end is no end.
        return len(tokens) <= self.settings.max_length - 3

    def _candidate(self, score: float, count: int, tokens: list[int]) -> Candidate:
        text = str(self.tokenizer.decode(tokens, skip_special_tokens=True))
        return Candidate(text, self._ended(tokens), score, count)

    def _convert(self, model: PreTrainedModel) -> CTranslate2Model:
        import ctranslate2

        ctranslate2.set_random_seed(self.seed)  # read by the threads of translators that are made from now on
        with tempfile.TemporaryDirectory() as folder:  # it is in memory then
            path = Path(folder) / "teacher"
            settings = completed_generation_config(model)
            settings.update(**self.changes)
            convert(model, self.tokenizer, settings, path, self.precision)
            return CTranslate2Model(path, model.config, settings)

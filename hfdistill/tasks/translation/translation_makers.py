"""Running a teacher over texts for its translations, by `transformers`."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessorList, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from hfdistill.models.inputs import pad_batch
from hfdistill.soft_targets.precompute import KnownRows, SoftTargetMaker
from hfdistill.soft_targets.store import SoftTargetStore
from hfdistill.tasks.translation.sampling import OwnDraws, sample_seeds
from hfdistill.teachers import ModelTeacher

#: Logits that are scored at once, 128 MiB of them.
_LOGITS_AT_ONCE = 2**25


class Candidate(NamedTuple):
    """A translation.

    Attributes:
        text: Its text.
        finished: Whether the teacher ended it by itself.
        score: The sum of the log-probabilities of its tokens, its end among them, in nats; none where nothing is known.
        tokens: How many tokens that are. What settings force, a language or an end at `max_length`, does not count.
    """

    text: str
    finished: bool
    score: float | None = None
    tokens: int | None = None


class _TranslationStore(SoftTargetStore):
    what = "translations"


class TranslationMaker(SoftTargetMaker):
    """Translations in place of logits; a prediction is the candidates of a row as JSON.

    Args:
        teacher: The translator and its tokenizer.
        changes: Settings in place of those in its generation config.
        batch_size: As in `pseudo_translations`.
        store: Likewise.
        seed: Likewise.
    """

    description = "Translating"
    unit = "sentences"
    store_class = _TranslationStore

    def __init__(
        self,
        teacher: ModelTeacher,
        changes: dict[str, Any],
        batch_size: int,
        store: str | os.PathLike[str] | None,
        seed: int = 0,
    ) -> None:
        self.changes = changes
        self.seed = seed
        self.settings: Any = copy.deepcopy(teacher.model.generation_config)
        self.settings.update(**changes)
        super().__init__(teacher, batch_size, store)

    def manifest(self) -> dict[str, Any]:
        settings = self.settings.to_diff_dict()
        settings.pop("transformers_version", None)
        generation = json.dumps(settings, sort_keys=True, default=str)
        seed = {"seed": self.seed} if self.settings.do_sample else {}
        return {**super().manifest(), "generation": generation, "candidates": ", ".join(Candidate._fields), **seed}

    def token_budget(self, model: PreTrainedModel) -> int:
        return sys.maxsize  # what counts in generation is the number of rows

    def inputs(self, rows: KnownRows, some: np.ndarray) -> dict[str, Any]:
        # Padding on the left would shift the texts' positions, each by what else is in the batch.
        batch: dict[str, Any] = pad_batch(self.tokenizer, self.columns(rows.tokens[some])[0], "right")
        if self.settings.do_sample:
            batch["seeds"] = sample_seeds(rows.keys[some], self.seed, self.settings.num_return_sequences)
        return batch

    def check(self, rows: KnownRows, some: np.ndarray, predictions: Any) -> None:
        """Any text is one."""

    def forward(self, model: PreTrainedModel, inputs: dict[str, Any]) -> np.ndarray:
        translator: Any = model
        how: dict[str, Any] = dict(self.changes)
        if self.settings.do_sample:
            how["logits_processor"] = LogitsProcessorList([OwnDraws(inputs.pop("seeds"), self.settings)])
        with torch.inference_mode():
            # Not as a config: where that says `None`, `generate` takes the teacher's own setting.
            written = translator.generate(**inputs, **how)
            written = getattr(written, "sequences", written)  # with scores beside them, where a config sets that
            # Once more, the whole text at once: the search's own scores are those of its settings, a penalty for
            # repetition among them, and keeping all of its logits to look them up would fill the memory.
            log_probs = token_log_probs(translator, inputs, written)
        own = self._own_tokens(written)
        texts = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        scores = log_probs.masked_fill(~own, 0.0).double().sum(1).tolist()
        columns = (texts, self._finished(written), scores, own.sum(1).tolist())
        each, count = list(map(Candidate._make, zip(*columns, strict=True))), self.settings.num_return_sequences
        return self.encoded(each[start : start + count] for start in range(0, len(each), count))

    def candidates(self, keys: np.ndarray) -> Iterator[list[Candidate]]:
        """Those of rows whose translations are in the store, read a few rows at a time."""
        return (list(map(Candidate._make, json.loads(bytes(row)))) for row in self.store.each(keys))

    def encoded(self, rows: Iterable[list[Candidate]]) -> np.ndarray:
        """The candidates of each row as bytes; samples in the order of their scores, as a search has them."""
        if self.settings.do_sample:
            rows = (sorted(row, key=lambda one: one.score or 0.0, reverse=True) for row in rows)
        return np.array([json.dumps(candidates, ensure_ascii=False).encode() for candidates in rows])

    def _is_end(self, tokens: Tensor) -> Tensor:
        return torch.isin(tokens, torch.as_tensor(self.settings.eos_token_id, device=tokens.device).view(-1))

    def _finished(self, written: Tensor) -> list[bool]:
        """Whether each text ended by itself: a config may force an end at `max_length`, so an end there is none."""
        # The first token is the decoder's start, which is the end-of-text token in some models.
        return self._is_end(written[:, 1 : self.settings.max_length - 1]).any(1).tolist()

    def _own_tokens(self, written: Tensor) -> Tensor:
        """Which of the tokens behind the start are the teacher's own, `(rows, tokens - 1)`."""
        ends = self._is_end(written[:, 1:]).long()
        own = ends.cumsum(1) - ends == 0  # up to the first end
        if self.settings.forced_bos_token_id is not None:
            own[:, 0] = False
        if self.settings.forced_eos_token_id is not None:
            own[:, self.settings.max_length - 2 :] = False
        return own


def token_log_probs(model: Any, inputs: dict[str, Any], written: Tensor) -> Tensor:
    """The log-probability that a model gives each token of some translations, in nats, `(candidates, tokens - 1)`.

    Args:
        model: The encoder-decoder.
        inputs: What its encoder reads of `(rows, source tokens)`.
        written: The translations behind the start token, `(candidates, tokens)`, as many of each row.
    """
    count = len(written) // len(inputs["input_ids"])
    states = model.get_encoder()(**inputs, return_dict=True)[0].repeat_interleave(count, 0)
    mask = inputs["attention_mask"].repeat_interleave(count, 0)
    vocabulary = model.get_output_embeddings().weight.shape[0]
    rows_at_once = max(1, _LOGITS_AT_ONCE // (vocabulary * written.shape[1]))
    found = []
    for start in range(0, len(written), rows_at_once):
        rows = slice(start, start + rows_at_once)
        logits = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states[rows]),
            attention_mask=mask[rows],
            decoder_input_ids=written[rows, :-1],
            use_cache=False,
        ).logits.float()
        found.append(logits.gather(-1, written[rows, 1:, None]).squeeze(-1) - logits.logsumexp(-1))
    return torch.cat(found)

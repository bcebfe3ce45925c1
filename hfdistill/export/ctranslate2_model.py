"""A translation model converted for CTranslate2, called as a transformers model is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import Self


class CTranslate2Model:
    """A converted encoder-decoder on CTranslate2's CPU engine.

    Args:
        path: The converted model's folder.
        config: The config of the model it was made of.
        generation_config: That model's generation config: beginnings, ends and penalties are taken from it.
    """

    device = torch.device("cpu")
    engine = "CTranslate2"
    parity: Any = None

    def __init__(self, path: str | os.PathLike[str], config: Any, generation_config: Any) -> None:
        import ctranslate2

        self.path = Path(path)
        self.config = config
        self.generation_config = generation_config
        # As many threads as PyTorch, to be compared with it.
        self._translator = ctranslate2.Translator(str(path), intra_threads=torch.get_num_threads())
        self._tokens: list[str] = json.loads((self.path / "shared_vocabulary.json").read_text(encoding="utf-8"))
        self._ids = {token: id_ for id_, token in enumerate(self._tokens)}

    @property
    def megabytes(self) -> float:
        """Its weights on disk, in 10⁶ bytes."""
        return (self.path / "model.bin").stat().st_size / 1e6

    def eval(self) -> Self:
        """Nothing to do: it cannot be trained."""
        return self

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        num_beams: int = 1,
        max_length: int = 128,
        do_sample: bool = False,
        max_new_tokens: None = None,
    ) -> Tensor:
        """Translations of a padded batch, as the model's own `generate` gives them: token ids behind the start token.

        Args:
            input_ids: Shape `(batch, tokens)`.
            attention_mask: Likewise, 0 at padding.
            num_beams: Width of the beam search; 1 is greedy.
            max_length: The most tokens of a translation, start and end included.
            do_sample: As in `generate`, where `False` must be passed; nothing is ever sampled here.
            max_new_tokens: As in `generate`, where `None` lets `max_length` count.
        """
        assert not do_sample, "sampling would give other translations than those that were compared"
        start, padding = self.generation_config.decoder_start_token_id, self.generation_config.pad_token_id
        found = self.candidates(input_ids, attention_mask, num_beams=num_beams, max_length=max_length)
        written = [torch.tensor([start, *first]) for first, *_ in found]
        return pad_sequence(written, batch_first=True, padding_value=padding)

    def candidates(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        num_beams: int,
        max_length: int,
        count: int = 1,
        **sampling: Any,
    ) -> list[list[list[int]]]:
        """The likeliest translations of each text, as token ids without the tokens that begin and end one.

        Args:
            input_ids: Shape `(batch, tokens)`.
            attention_mask: Likewise, 0 at padding.
            num_beams: Width of the beam search; 1 is greedy.
            max_length: The most tokens of a translation, start and end included.
            count: How many of the beam's hypotheses, or samples.
            **sampling: How to draw them, with `num_beams` 1: `sampling_topk` and the like of CTranslate2.
        """
        sources = self._named(input_ids, attention_mask.bool())
        predictions = self._translator.translate_batch(
            sources,
            target_prefix=[self._prefix] * len(sources),
            beam_size=num_beams,
            num_hypotheses=count,
            **sampling,
            **self._options(max_length),
        )
        return [[[self._ids[token] for token in tokens] for tokens in one.hypotheses] for one in predictions]

    def log_probs(self, input_ids: Tensor, attention_mask: Tensor, tokens: Tensor) -> list[list[float]]:
        """How likely it finds translations, for each row the log-probability of each token until the first end.

        Args:
            input_ids: Shape `(batch, tokens)`.
            attention_mask: Likewise, 0 at padding.
            tokens: The translations without the start token, shape `(batch, target tokens)`.
        """
        ends = torch.isin(tokens, torch.as_tensor(self.generation_config.eos_token_id, device=tokens.device))
        written = ends.cumsum(-1) == 0
        scores = self._translator.score_batch(
            self._named(input_ids, attention_mask.bool()), self._named(tokens, written)
        )
        # The end that is scored behind a translation without one is none of its tokens.
        return [one.log_probs[: len(row)] for one, row in zip(scores, tokens, strict=True)]

    def _named(self, ids: Tensor, kept: Tensor) -> list[list[str]]:
        return [[self._tokens[id_] for id_ in row[mask].tolist()] for row, mask in zip(ids, kept, strict=True)]

    @property
    def _prefix(self) -> list[str]:
        first = self.generation_config.forced_bos_token_id
        return [] if first is None else [self._tokens[first]]

    def _options(self, max_length: int) -> dict[str, Any]:
        settings = self.generation_config
        # `max_length` counts the start token, and a forced end takes the last place.
        taken = 1 if settings.forced_eos_token_id is None else 2
        return {
            "max_decoding_length": max_length - taken,
            "min_decoding_length": 0,  # an empty translation is one, too
            "length_penalty": 1.0 if settings.length_penalty is None else settings.length_penalty,
            "repetition_penalty": settings.repetition_penalty or 1.0,
            "no_repeat_ngram_size": settings.no_repeat_ngram_size or 0,
            # Without early stopping `generate` goes on as long as a longer hypothesis may win; this comes close.
            "patience": 1.0 if settings.early_stopping is True else 2.0,
        }

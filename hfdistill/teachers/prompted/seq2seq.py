"""Label words scored by an encoder-decoder: whether its decoder writes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hfdistill.models.wrappers import without_adapters
from hfdistill.teachers.prompted.processor import PromptProcessor
from hfdistill.teachers.prompted.prompt import Prompt
from hfdistill.teachers.prompted.verbalized import VerbalizedModel
from hfdistill.teachers.prompted.verbalizer import Verbalizer
from hfdistill.teachers.seq2seq import decoder_inputs


class Seq2SeqVerbalizedModel(VerbalizedModel):
    """An encoder-decoder (T5, FLAN): `log p(w | prompt) = Σ_i log p(w_i | prompt, w_1 … w_{i-1})`, its end included.

    The encoder runs once for all words.
    """

    def check(self, prompt: Prompt) -> None:
        """Refuses anything behind the label, which the decoder writes alone."""
        if prompt.after:
            raise ValueError(
                "an encoder-decoder reads the template and writes the label: leave what stands behind {label} out."
            )

    def make_processor(self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> PromptProcessor:
        return PromptProcessor(tokenizer, prompt, word=None, closed=True)

    def word_tokens(
        self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, verbalizer: Verbalizer
    ) -> list[list[int]]:
        return verbalizer.tokens(lambda word: tokenizer(text_target=word)["input_ids"], tokenizer, whole=False)

    def word_scores(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        model: Any = without_adapters(self.prompted)
        encoded = model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask)
        return torch.stack([self._score(word, encoded, attention_mask) for word in self.words], dim=1)

    def _score(self, word: list[int], encoded: Any, attention_mask: Tensor) -> Tensor:
        labels = attention_mask.new_tensor(word).expand(len(attention_mask), -1)
        logits = self.prompted(
            encoder_outputs=encoded,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_inputs(without_adapters(self.prompted), labels),
            use_cache=False,
        ).logits
        return logits.float().log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1).sum(1)

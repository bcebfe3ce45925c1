"""A language model as a classifier: the logits of labels are the log-probabilities of their words."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import SequenceClassifierOutput

from hfdistill.models.fingerprints import hash_of
from hfdistill.models.labels import SINGLE
from hfdistill.models.wrappers import config_of
from hfdistill.teachers.prompted.processor import PromptProcessor
from hfdistill.teachers.prompted.prompt import Prompt
from hfdistill.teachers.prompted.verbalizer import Verbalizer


class PromptedForSequenceClassification(PreTrainedModel):
    """A model within a prompt, as a sequence classifier: it reads what its processor makes of a text.

    Args:
        model: The model.
        label_names: The labels in their order.
        problem_type: As in `config.problem_type`.
        settings: What its logits depend on beside its weights and what it reads, by name: for fingerprints.
    """

    # The model within has its own attention implementation.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init__(
        self, model: Any, label_names: Sequence[str], problem_type: str, settings: dict[str, Any] | None = None
    ) -> None:
        config: Any = copy.deepcopy(config_of(model))
        config.id2label = dict(enumerate(label_names))
        config.label2id = {name: index for index, name in enumerate(label_names)}
        config.problem_type = problem_type
        super().__init__(config)
        self.prompted = model
        self._settings = settings or {}

    @property
    def fingerprint_settings(self) -> dict[str, str]:
        """What its logits depend on beside its weights and what it reads, as a manifest states it."""
        adapters = getattr(self.prompted, "peft_config", None)  # their scale is no weight
        active = {"teacher adapters": [adapters, self.prompted.active_adapters]} if adapters else {}
        return {name: hash_of(value) for name, value in {**self._settings, **active}.items()}

    def get_input_embeddings(self) -> Any:
        """Those of the model within."""
        return self.prompted.get_input_embeddings()


class VerbalizedModel(PromptedForSequenceClassification):
    """A language model whose logits of labels are those of their words, `log Σ_w p(w | prompt)`.

    A word's probability is that of its whole token sequence. `scale` and `bias` calibrate the logits `z` of the labels
    to `scale · z + bias`.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        prompt: The prompt.
        verbalizer: The words.

    Raises:
        ValueError: for a prompt or words that this kind of model cannot be asked.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, verbalizer: Verbalizer) -> None:
        settings = {"prompt": [prompt.before, prompt.after], "label words": list(verbalizer.words.items())}
        super().__init__(model, verbalizer.names, SINGLE, settings)
        self.check(prompt)
        #: The tokens of each word.
        self.words = self.word_tokens(tokenizer, prompt, verbalizer)
        self.processor: PromptProcessor = self.make_processor(tokenizer, prompt)
        self._labels = verbalizer.labels
        self.scale, self.bias = 1.0, [0.0] * len(verbalizer.names)

    @property
    def fingerprint_settings(self) -> dict[str, str]:
        """The prompt, the words and the calibration."""
        return {**super().fingerprint_settings, "calibration": hash_of([self.scale, self.bias])}

    @property
    def longest_word(self) -> int:
        """The most tokens of a word."""
        return max(map(len, self.words))

    @abstractmethod
    def check(self, prompt: Prompt) -> None:
        """Refuses a prompt that this kind of model cannot be asked."""

    @abstractmethod
    def word_tokens(
        self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, verbalizer: Verbalizer
    ) -> list[list[int]]:
        """The tokens of each word."""

    @abstractmethod
    def make_processor(self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> PromptProcessor:
        """What makes the tokens that this model reads of a text."""

    @abstractmethod
    def word_scores(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The log-probability of each word, float32 of shape `(batch, words)`, for prompts padded on the right."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> SequenceClassifierOutput:
        """The labels' logits, shape `(batch, labels)`."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        scores = self.word_scores(input_ids, mask)
        groups = [
            [place for place, one in enumerate(self._labels) if one == label] for label in sorted({*self._labels})
        ]
        logits = torch.stack([scores[:, some].logsumexp(1) for some in groups], dim=1)
        return SequenceClassifierOutput(logits=self.scale * logits + logits.new_tensor(self.bias))

"""Label words scored by a causal language model: how it goes on where the prompt ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from hfdistill.models.causal_lm import takes_positions
from hfdistill.models.wrappers import forward_parameters
from hfdistill.teachers.prompted.processor import PromptProcessor, left_padded
from hfdistill.teachers.prompted.prompt import Prompt
from hfdistill.teachers.prompted.verbalized import VerbalizedModel
from hfdistill.teachers.prompted.verbalizer import Verbalizer

#: Texts that a word's tokens are looked up behind: they must be the same whatever the text.
_PROBES = ("a", "It rained.", "7")


class CausalVerbalizedModel(VerbalizedModel):
    """A causal language model: `log p(w | prompt) = Σ_i log p(w_i | prompt, w_1 … w_{i-1})`.

    What all prompts of a batch begin with is computed once, and each prompt once for all words (both by the cache of
    keys and values). Where the template goes on behind the label, the first token of that belongs to the word.
    """

    def check(self, prompt: Prompt) -> None:
        """Refuses a text behind the label."""
        if not prompt.label_comes_last:
            raise ValueError(
                "a causal language model reads from left to right, and the template has a text behind {label}: put the "
                "label last."
            )

    def make_processor(self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> PromptProcessor:
        return PromptProcessor(tokenizer, prompt, word=None, closed=False, reserve=self.longest_word)

    def word_tokens(
        self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, verbalizer: Verbalizer
    ) -> list[list[int]]:
        processor = PromptProcessor(tokenizer, prompt, word=None, closed=False)

        def of_word(word: str) -> list[int]:
            found = [_continuation(processor, probe, word) for probe in _PROBES]
            if any(one is None or one != found[0] for one in found):
                raise ValueError(
                    f"the label word {word!r} shares a token with what stands before it: end the template before the "
                    "label with ':' or a line break."
                )
            return found[0] or []

        return verbalizer.tokens(of_word, tokenizer, whole=False)

    def word_scores(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        shared = _shared_tokens(input_ids, attention_mask)
        head = self._head(input_ids[:1, :shared], input_ids.shape[1] + self.longest_word) if shared else None
        start = 0 if head is None else shared
        ids, mask = left_padded(input_ids[:, start:], attention_mask[:, start:])
        if head is not None:
            head.batch_repeat_interleave(len(ids))
            mask = torch.cat([mask.new_ones(len(mask), start), mask], dim=1)
        [last], cache = self._run(ids, mask, head, 1, caching=self.longest_word > 1)
        cache = cache if _can_go_back(cache, mask.shape[1] + self.longest_word) else None
        context = (ids, mask, cache)
        return torch.stack([last[:, word[0]] + self._rest(word, context) for word in self.words], dim=1)

    def _rest(self, word: list[int], context: tuple[Tensor, Tensor, Any]) -> Tensor | float:
        """The log-probability of a word's second token and those behind it, given the first, shape `(batch,)`."""
        (ids, mask, cache), more = context, len(word) - 1
        if not more:
            return 0.0
        read = ids.new_tensor(word[:-1]).expand(len(ids), -1)
        mask = torch.cat([mask, mask.new_ones(len(mask), more)], dim=1)
        if cache is None:
            found, _ = self._run(torch.cat([ids, read], dim=1), mask, None, more, caching=False)
        else:
            found, _ = self._run(read, mask, cache, more, caching=True)
            cache.crop(-more)
        return torch.stack([scores[:, token] for scores, token in zip(found, word[1:], strict=True)]).sum(0)

    def _head(self, ids: Tensor, longest: int) -> Any:
        """The cache of tokens that all prompts begin with; `None` where it could not be gone on from."""
        _, cache = self._run(ids, torch.ones_like(ids), None, 1, caching=True)
        return cache if _can_go_back(cache, longest) else None

    def _run(self, ids: Tensor, mask: Tensor, cache: Any, keep: int, caching: bool) -> tuple[list[Tensor], Any]:
        """Log-probabilities at each of the last `keep` tokens, each `(batch, vocabulary)`, and the cache."""
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": caching}
        if cache is not None:
            inputs["past_key_values"] = cache
        if takes_positions(self.prompted):
            inputs["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        if "logits_to_keep" in (forward_parameters(self.prompted) or ()):
            inputs["logits_to_keep"] = keep
        output = self.prompted(**inputs)
        logits = output.logits[:, -keep:].float().log_softmax(-1)
        return list(logits.unbind(1)), getattr(output, "past_key_values", None)


def _continuation(processor: PromptProcessor, text: str, word: str) -> list[int] | None:
    """The tokens of a word behind a prompt; `None` where they are not apart from the prompt's."""
    prompt, texts = processor.prompt, [[text] * len(processor.prompt.places)]
    [before], [with_word] = processor.token_ids(texts), processor.token_ids(texts, prompt.gap + word)
    end = len(with_word)
    if prompt.after:
        [with_word] = processor.token_ids(texts, prompt.gap + word + prompt.after)
        end = min(end + 1, len(with_word))
    return with_word[len(before) : end] if with_word[: len(before)] == before else None


def _shared_tokens(ids: Tensor, mask: Tensor) -> int:
    """How many tokens all prompts begin with, leaving at least one of each."""
    if len(ids) == 1:
        return 0
    alike = (ids == ids[:1]).all(0).cumprod(0).sum()
    return int(torch.minimum(alike, mask.sum(1).min() - 1))


def _can_go_back(cache: Any, longest: int) -> bool:
    """Whether a cache can be gone on from several times: not one that forgets, or of a recurrent model."""
    layers: list[Any] = getattr(cache, "layers", [])
    return bool(layers) and all(
        type(layer) is DynamicLayer or (type(layer) is DynamicSlidingWindowLayer and layer.sliding_window > longest)
        for layer in layers
    )

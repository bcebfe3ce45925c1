"""Label words scored by a masked language model: what it puts in the label's place."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hfdistill.models.deferred_logits import chunked_logits
from hfdistill.teachers.prompted.processor import PromptProcessor
from hfdistill.teachers.prompted.prompt import Prompt
from hfdistill.teachers.prompted.verbalized import VerbalizedModel
from hfdistill.teachers.prompted.verbalizer import Verbalizer


class MaskedVerbalizedModel(VerbalizedModel):
    """A masked language model: `log p(w | prompt) = Σ_i log p(w_i | prompt with as many masks as w has tokens)`.

    References: Schick and Schütze 2021 (PET), https://huggingface.co/papers/2001.07676.
    """

    def check(self, prompt: Prompt) -> None:
        """The label may stand anywhere."""
        self._mask_is_last = prompt.label_comes_last

    def make_processor(self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> PromptProcessor:
        self._mask_id = tokenizer.mask_token_id
        return PromptProcessor(tokenizer, prompt, str(tokenizer.mask_token), closed=True, reserve=self.longest_word - 1)

    def word_tokens(
        self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, verbalizer: Verbalizer
    ) -> list[list[int]]:
        if tokenizer.mask_token is None:
            raise ValueError(f"a {type(tokenizer).__name__} without a mask_token cannot ask a masked language model.")

        def of_word(word: str) -> list[int]:
            [alone] = PromptProcessor(tokenizer, prompt, word, closed=True).token_ids([_NOTHING])
            [masked] = PromptProcessor(tokenizer, prompt, tokenizer.mask_token, closed=True).token_ids([_NOTHING])
            place = masked.index(tokenizer.mask_token_id)
            behind = len(masked) - place - 1
            fits = alone[:place] == masked[:place] and alone[len(alone) - behind :] == masked[place + 1 :]
            if not fits:
                raise ValueError(
                    f"the label word {word!r} shares a token with what stands beside it: put spaces around {{label}}."
                )
            return alone[place : len(alone) - behind]

        return verbalizer.tokens(of_word, tokenizer, whole=True)

    def word_scores(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        found = {
            count: self._masks(input_ids, attention_mask, count) for count in sorted({len(word) for word in self.words})
        }
        scores = [sum(found[len(word)][:, place, token] for place, token in enumerate(word)) for word in self.words]
        return torch.stack([torch.as_tensor(one) for one in scores], dim=1)

    def _masks(self, ids: Tensor, mask: Tensor, count: int) -> Tensor:
        """Log-probabilities at each of `count` masks in the label's place, `(batch, count, vocabulary)`."""
        masks, columns = ids == self._mask_id, torch.arange(ids.shape[1], device=ids.device)
        place = (masks * columns).max(1).values if self._mask_is_last else masks.int().argmax(1)
        wide = torch.arange(ids.shape[1] + count - 1, device=ids.device)
        # The mask again and again, and what stood behind it later.
        source = wide - (wide - place[:, None]).clamp(0, count - 1)
        inputs = {"input_ids": ids.gather(1, source), "attention_mask": mask.gather(1, source)}
        within = (wide >= place[:, None]) & (wide < place[:, None] + count)
        logits = torch.cat(list(chunked_logits(self.prompted, inputs, within)))
        return logits.float().log_softmax(-1).reshape(len(ids), count, -1)


#: Texts of which nothing shows in a prompt.
_NOTHING = ("", "")

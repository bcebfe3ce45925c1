"""A tokenizer that puts each text into a prompt first."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase

from hfdistill.teachers.prompted.prompt import Prompt, Texts


class TextProcessor:
    """What a prompted model reads of a text; all but that is the tokenizer's.

    Args:
        tokenizer: The model's.
    """

    #: However long the prompts of a batch are, they begin in one column.
    padding_side = "right"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        if name == "tokenizer":  # of a copy that has nothing yet
            raise AttributeError(name)
        return getattr(self.tokenizer, name)

    def pad(
        self,
        rows: Sequence[Mapping[str, Any]] | Mapping[str, Any],
        return_tensors: str = "pt",
        padding_side: str | None = None,
        pad_to_multiple_of: int | None = None,
    ) -> BatchEncoding:
        """A batch of rows of tokens, padded on the right."""
        listed = rows["input_ids"] if isinstance(rows, Mapping) else [row["input_ids"] for row in rows]
        width = max(len(ids) for ids in listed)
        width = -(-width // (pad_to_multiple_of or 1)) * (pad_to_multiple_of or 1)
        padding = self.tokenizer.pad_token_id
        filling = padding if padding is not None else self.tokenizer.eos_token_id or 0
        ids = [[*one, *[filling] * (width - len(one))] for one in listed]
        mask = [[1] * len(one) + [0] * (width - len(one)) for one in listed]
        return BatchEncoding({"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)})


class PromptProcessor(TextProcessor):
    """What a prompted language model reads of a text: the tokens of the whole prompt.

    A text that is too long is cut at its end, of a pair the longer one, so that the prompt stays whole.

    Args:
        tokenizer: The model's.
        prompt: The prompt.
        word: What stands in the label's place, such as a mask; `None` ends the prompt before the label.
        closed: Whether the tokenizer ends a text with its special tokens, as encoders read it.
        reserve: Tokens that the label needs beside the prompt.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, word: str | None, closed: bool, reserve: int = 0
    ) -> None:
        super().__init__(tokenizer)
        self.prompt = prompt
        self.word = word
        self.closed = closed and not prompt.is_chat
        self.opening = [] if closed or prompt.is_chat else _opening(tokenizer)
        self.reserve = reserve

    def __call__(
        self, *columns: Sequence[str], truncation: bool = True, max_length: int | None = None
    ) -> BatchEncoding:
        """The tokens of the prompts of these texts, and in `cut` which texts were cut.

        Args:
            *columns: Texts; of pairs, first and second ones.
            truncation: Whether texts are cut.
            max_length: The most tokens, those of the label included.

        Raises:
            ValueError: when there are not as many texts as the prompt has places, a row lacks one, or the prompt alone
                is too long.
        """
        if len(columns) != len(self.prompt.places):
            raise ValueError(
                f"the template has places for {', '.join(self.prompt.places)}, and there are {len(columns)} text "
                "columns: name one column for each place with text_columns=[...]."
            )
        for place, texts in zip(self.prompt.places, columns, strict=True):
            missing = next((number for number, text in enumerate(texts) if text is None), None)
            if missing is not None:
                raise ValueError(f"text {missing} of those for {{{place}}} is missing (None): leave such rows out.")
        rows = list(zip(*columns, strict=True))
        ids = self.token_ids(rows)
        limit = sys.maxsize if max_length is None or not truncation else max_length - self.reserve
        cut = [len(one) > limit for one in ids]
        ids = [self._cut(texts, limit) if is_cut else one for texts, one, is_cut in zip(rows, ids, cut, strict=True)]
        return BatchEncoding({"input_ids": ids, "attention_mask": [[1] * len(one) for one in ids], "cut": cut})

    def token_ids(self, rows: Sequence[Texts], suffix: str = "") -> list[list[int]]:
        """The tokens of each prompt, however long, with a `suffix` written behind it."""
        written = [self._written(texts) + suffix for texts in rows]
        if not written:
            return []
        found = self.tokenizer(written, add_special_tokens=self.closed, verbose=False)["input_ids"]
        return [[*self.opening, *ids] for ids in found]

    def _written(self, texts: Texts) -> str:
        if self.word is None:
            return self.prompt.until_label(texts)
        if self.prompt.is_between:  # a mask in the first text would be taken for that in the label's place
            texts = [text.replace(self.word, self.tokenizer.unk_token or "") for text in texts]
        return self.prompt.whole(texts, self.word)

    def _cut(self, texts: Texts, limit: int) -> list[int]:
        """The tokens of the prompt with as much of the texts as fits; of a pair the longer text is cut first."""
        kept = list(texts)
        for place in sorted(range(len(kept)), key=lambda one: -len(kept[one])):

            def tokens(characters: int, place: int = place) -> list[int]:
                return self.token_ids([[*kept[:place], texts[place][:characters], *kept[place + 1 :]]])[0]

            fitting = bisect_right(range(len(texts[place]) + 1), limit, key=lambda some: len(tokens(some))) - 1
            kept[place] = texts[place][: max(fitting, 0)]
            if fitting >= 0:
                return self.token_ids([kept])[0]
        raise ValueError(
            f"the prompt alone has {len(self.token_ids([kept])[0])} tokens, and the model reads {limit} beside the "
            "label's: shorten the template, or show fewer examples."
        )


def left_padded(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that are padded on the right, padded on the left: their last tokens stand in one column."""
    missing = mask.shape[1] - mask.sum(1, keepdim=True)
    places = (torch.arange(mask.shape[1], device=mask.device) - missing) % mask.shape[1]
    return ids.gather(1, places), mask.gather(1, places)


def _opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that a tokenizer begins a text with."""
    plain, marked = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    starts = range(len(marked) - len(plain) + 1)
    return marked[: next((start for start in starts if marked[start : start + len(plain)] == plain), 0)]

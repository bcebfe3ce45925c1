"""Words as a model's tokens: which token begins each word, on which a token classifier decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerBase

from hfdistill.models.heads import ITEM_MASK, Head
from hfdistill.models.inputs import TokenReader


def tokenize_words(
    processing_class: PreTrainedTokenizerBase, rows: Sequence[Sequence[str]], max_length: int
) -> BatchEncoding:
    """Rows of words as token ids, and in `ITEM_MASK` which tokens begin a word: one of each word that was not cut off.

    A word of which the tokenizer makes no token, such as a zero-width space, is read as an unknown one.

    Raises:
        ValueError: for a tokenizer that cannot tell words apart.
    """
    _check_tells_words(processing_class)
    how: dict[str, Any] = {"is_split_into_words": True, "truncation": True, "max_length": max_length}
    encoding = processing_class([list(row) for row in rows], **how)
    if lost := _lost_words(encoding, rows):
        unknown = processing_class.unk_token or "?"
        kept = [[unknown if (row, place) in lost else word for place, word in enumerate(words)]
                for row, words in enumerate(rows)]  # fmt: skip
        encoding = processing_class(kept, **how)
    encoding[ITEM_MASK] = [_starts(encoding.word_ids(row)) for row in range(len(rows))]
    return encoding


def _lost_words(encoding: BatchEncoding, rows: Sequence[Sequence[str]]) -> set[tuple[int, int]]:
    """The rows and places of words without a token, other than those that were cut off at the end."""
    lost = set()
    for row, words in enumerate(rows):
        found = {word for word in encoding.word_ids(row) if word is not None}
        is_cut = bool(encoding[row].overflowing)
        lost |= {(row, place) for place in range(max(found, default=0) if is_cut else len(words)) if place not in found}
    return lost


def _starts(words: Sequence[int | None]) -> list[bool]:
    return [word is not None and word != before for word, before in zip(words, [None, *words], strict=False)]


def _check_tells_words(processing_class: PreTrainedTokenizerBase) -> None:
    name, backend = type(processing_class).__name__, getattr(processing_class, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(
            f"a {name} does not tell which word a token is of, as fast tokenizers do: take a model that has one."
        )
    splitter = backend.pre_tokenizer
    if type(splitter).__name__ == "ByteLevel" and not splitter.add_prefix_space:
        raise ValueError(
            f"this {name} tells by the space before it where a word begins, and words that are split have none: load "
            "it with AutoTokenizer.from_pretrained(..., add_prefix_space=True)."
        )


class WordReader(TokenReader):
    """What a model reads of a column of words, and where each word begins."""

    def _tokenized(self, rows: Mapping[str, Sequence[Any]]) -> tuple[dict[str, list[Any]], list[bool]]:
        [column] = self.text_columns
        for words in rows[column]:
            if not isinstance(words, Sequence) or isinstance(words, str):
                raise ValueError(
                    f"a token classifier reads lists of words, and the column {column} holds texts: split them into "
                    "words first, such as with str.split."
                )
        encoding = tokenize_words(self.processing_class, rows[column], self.max_length)
        cut = [bool(one.overflowing) for one in encoding.encodings or ()]
        return {name: encoding[name] for name in [*self._names(encoding), ITEM_MASK]}, cut


def reader_of(head: Head, *args: Any) -> TokenReader:
    """What a model with this head reads of dataset rows, words where it decides on each; arguments as `TokenReader`."""
    reader = TokenReader(*args)
    return WordReader(*args) if head.item == "token" and reader.text_columns else reader

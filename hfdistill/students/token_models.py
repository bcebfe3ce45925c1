"""Which tokens a tokenizer's model can do without: WordPiece, BPE and Unigram, as `tokenizer.json` holds them.

A text all of whose tokens are left is cut as before. WordPiece takes the longest token that fits, and Unigram the
likeliest row of tokens: among fewer tokens it is the same one. BPE merges pairs by rank, so that what is merged on the
way to a token has to stay as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

Settings = dict[str, Any]


class TokenModel:
    """A tokenizer's model.

    Args:
        settings: Its part of `tokenizer.json`.
        words: Splits a text into words, as the tokenizer does before its model.
    """

    def __init__(self, settings: Settings, words: Callable[[str], list[str]]) -> None:
        self.settings, self.words = settings, words
        #: The id of each token.
        self.ids: dict[str, int] = settings["vocab"]

    @property
    def unknown(self) -> str | None:
        """The token for what none stands for."""
        return self.settings.get("unk_token")

    @property
    def byte_fallback(self) -> bool:
        """Whether a character without a token is read as bytes."""
        return bool(self.settings.get("byte_fallback"))

    def indispensable(self) -> set[str]:
        """The unknown token and bytes."""
        found = {f"<0x{byte:02X}>" for byte in range(256)} & self.ids.keys() if self.byte_fallback else set()
        return found | ({self.unknown} if self.unknown is not None else set())

    def characters(self) -> dict[str, str]:
        """The tokens of single characters, and which: of them every text is made that can be read."""
        return {token: bare for token in self.ids if len(bare := self.bare(token)) == 1}

    def bare(self, token: str) -> str:
        """What a token stands for in a word, without what says where in the word."""
        prefix, suffix = (self.settings.get(name) or "" for name in ("continuing_subword_prefix", "end_of_word_suffix"))
        bare = token.removeprefix(prefix).removesuffix(suffix)
        return bare or token

    def needed(self, token: str) -> set[str]:
        """The tokens that have to be there for this one to be found in a text, itself included; none if it never is."""
        return {token}

    def trimmed(self, new_ids: Mapping[str, int]) -> Settings:
        """The settings with these tokens alone, in the order of their new ids."""
        return {**self.settings, "vocab": dict(new_ids)}


class WordPiece(TokenModel):
    """The longest token first: https://huggingface.co/papers/1609.08144."""

    def needed(self, token: str) -> set[str]:
        # Such as BERT's `[unused5]`, which is split at its brackets.
        return {token} if self.words(self.bare(token)) == [self.bare(token)] else set()


class BPE(TokenModel):
    """Pairs merged by rank: https://huggingface.co/papers/1508.07909."""

    def __init__(self, settings: Settings, words: Callable[[str], list[str]]) -> None:
        super().__init__(settings, words)
        merges = (pair.split(" ") if isinstance(pair, str) else pair for pair in settings["merges"])
        self.ranks: dict[tuple[str, str], int] = {(left, right): rank for rank, (left, right) in enumerate(merges)}

    def needed(self, token: str) -> set[str]:
        symbols = self._symbols(token)
        made = {*symbols}
        while (place := self._next_merge(symbols)) is not None:
            symbols[place : place + 2] = [self._merged(symbols[place], symbols[place + 1])]
            made.add(symbols[place])
        if symbols == [token]:
            return made
        return {token} if self.settings.get("ignore_merges") else set()

    def trimmed(self, new_ids: Mapping[str, int]) -> Settings:
        merges = [list(pair) for pair in self.ranks if new_ids.keys() >= {*pair, self._merged(*pair)}]
        return {**super().trimmed(new_ids), "merges": merges}

    def _symbols(self, token: str) -> list[str]:
        """The characters that merging begins with."""
        prefix, suffix = (self.settings.get(name) or "" for name in ("continuing_subword_prefix", "end_of_word_suffix"))
        bare = self.bare(token)
        symbols = [prefix * (place > 0) + character for place, character in enumerate(bare)]
        if prefix and token.startswith(prefix):
            symbols[0] = prefix + symbols[0]
        if suffix and token.endswith(suffix):
            symbols[-1] += suffix
        return symbols

    def _next_merge(self, symbols: list[str]) -> int | None:
        """Where the pair of the lowest rank is, the first of equals; `None` where there is nothing to merge."""
        ranked = [(self.ranks[pair], place) for place, pair in enumerate(pairwise(symbols)) if pair in self.ranks]
        return min(ranked)[1] if ranked else None

    def _merged(self, left: str, right: str) -> str:
        return left + right.removeprefix(self.settings.get("continuing_subword_prefix") or "")


class Unigram(TokenModel):
    """The likeliest row of tokens: https://huggingface.co/papers/1804.10959."""

    def __init__(self, settings: Settings, words: Callable[[str], list[str]]) -> None:
        super().__init__(settings, words)
        self.scores: dict[str, float] = dict(settings["vocab"])
        self.ids = {token: number for number, (token, _) in enumerate(settings["vocab"])}

    @property
    def unknown(self) -> str | None:
        number = self.settings["unk_id"]
        return None if number is None else self.settings["vocab"][number][0]

    def indispensable(self) -> set[str]:
        # By the lowest score it is weighed whether a character is better left unknown.
        return super().indispensable() | {min(self.scores, key=self.scores.__getitem__)}

    def trimmed(self, new_ids: Mapping[str, int]) -> Settings:
        vocabulary = [[token, self.scores[token]] for token in new_ids]
        unknown = None if self.unknown is None else new_ids[self.unknown]
        return {**self.settings, "vocab": vocabulary, "unk_id": unknown}


#: By the name that `tokenizer.json` has for them; a model of whole words has nothing to take care of.
TOKEN_MODELS: dict[str, type[TokenModel]] = {
    "WordPiece": WordPiece,
    "BPE": BPE,
    "Unigram": Unigram,
    "WordLevel": TokenModel,
}

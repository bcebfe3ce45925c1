"""A tokenizer with some of its tokens: which ones, by how often they are found in texts, and its files written anew."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from hfdistill.students.token_models import TOKEN_MODELS

#: Texts that are tokenized at once.
_BATCH = 1000
#: Texts that are read once more, with fewer tokens.
SAMPLE = 10_000


class TokenizerParts:
    """What a tokenizer is made of.

    Args:
        tokenizer: Any with a core in Rust.

    Raises:
        ValueError: for one without, or of a kind that is not known.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        core: Any = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(core, Tokenizer):
            raise ValueError(
                f"a {type(tokenizer).__name__} has no core in Rust (tokenizer.json), so its vocabulary cannot be "
                "trimmed: take a tokenizer that has one, or train a small vocabulary of the student's own, as "
                "joint_tokenizer and hfdistill translate --methods sequence --student_vocab_size do for a translator."
            )
        self.tokenizer = tokenizer
        self.settings: dict[str, Any] = json.loads(core.to_str())
        kind = self.settings["model"].get("type")
        if kind not in TOKEN_MODELS:
            raise ValueError(
                f"a tokenizer of the kind {kind} cannot be trimmed, only {', '.join(TOKEN_MODELS)}: train a small "
                "vocabulary of the student's own in its place."
            )
        self.core = plain_core(tokenizer)
        self.model = TOKEN_MODELS[kind](self.settings["model"], self._words)
        #: The id of each token, added ones included.
        self.ids: dict[str, int] = {**self.model.ids, **self.core.get_vocab(with_added_tokens=True)}

    def indispensable(self) -> set[str]:
        """Special and added tokens, the unknown token and bytes."""
        added = {token["content"] for token in self.settings["added_tokens"]}
        special = {*self.tokenizer.all_special_tokens, *_tokens_around(self.settings["post_processor"])}
        bytes_ = set() if self._has_unknown_characters else self.model.characters().keys()
        return self.model.indispensable() | added | (special & self.ids.keys()) | bytes_

    def characters_in(self, tokens: Iterable[int]) -> set[str]:
        """The tokens, at any place in a word, of the single characters that other tokens consist of."""
        numbers = {*tokens}
        found = {char for token, number in self.ids.items() if number in numbers for char in self.model.bare(token)}
        return {token for token, character in self.model.characters().items() if character in found}

    def unreadable(self, kept: set[str]) -> set[str]:
        """The single characters that are unknown, at some place in a word, with these tokens alone."""
        letters = {} if self.model.byte_fallback else self.model.characters()
        return {character for token, character in letters.items() if token not in kept}

    @property
    def _has_unknown_characters(self) -> bool:
        """Whether there can be characters without a token: where they stand for bytes, none is to be missed."""
        by_bytes = "ByteLevel" in json.dumps([self.settings["pre_tokenizer"], self.settings["normalizer"]])
        return not by_bytes and (self.model.byte_fallback or self.model.unknown is not None)

    def with_tokens(self, kept: set[str]) -> tuple[PreTrainedTokenizerBase, tuple[int, ...]]:
        """The tokenizer with these tokens alone, in their order, and the ids that they had."""
        # What is in no model's vocabulary is numbered after it.
        own = sorted(kept & self.model.ids.keys(), key=self.ids.__getitem__)
        order = [*own, *sorted(kept - self.model.ids.keys(), key=self.ids.__getitem__)]
        new_ids = {token: number for number, token in enumerate(order)}
        settings = {**self.settings, "model": self.model.trimmed({token: new_ids[token] for token in own})}
        settings["added_tokens"] = sorted(
            ({**token, "id": new_ids[token["content"]]} for token in self.settings["added_tokens"]),
            key=lambda token: token["id"],
        )
        settings["post_processor"] = _renumbered(self.settings["post_processor"], new_ids)
        settings["padding"] = self._padding(new_ids)
        return _reloaded(self.tokenizer, settings, new_ids), tuple(self.ids[token] for token in order)

    def _padding(self, new_ids: Mapping[str, int]) -> dict[str, Any] | None:
        padding = self.settings["padding"]
        if padding is None or padding["pad_token"] not in new_ids:
            return None
        return {**padding, "pad_id": new_ids[padding["pad_token"]]}

    def _words(self, text: str) -> list[str]:
        splitter = self.core.pre_tokenizer
        return [text] if splitter is None else [word for word, _ in splitter.pre_tokenize_str(text)]


@dataclass
class TokenCounts:
    """How often each token is found in texts, read one after the other; some of the texts, chosen at random, are kept.

    Args:
        tokens: By id.
        texts: How many were read.
        sample: At most `SAMPLE` of them.
    """

    tokens: Counter[int] = field(default_factory=Counter)
    texts: int = 0
    sample: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, core: Tokenizer, texts: Iterable[str]) -> TokenCounts:
        """Counts the tokens of texts.

        Raises:
            TypeError: for one text in place of several, or what is none, with its number.
            ValueError: when there are no tokens, or a text has half of a character.
        """
        counts, rng = cls(), random.Random(0)
        for batch in _batches(check_several(texts, "texts")):
            for text in batch:
                counts._keep(text, rng)
            counts.tokens.update(chain.from_iterable(_ids(core, batch)))
        if not counts.tokens:
            raise ValueError(
                f"there is not one token in the {counts.texts:,} texts by which the vocabulary would be chosen: give "
                "texts such as those that the student will read."
            )
        return counts

    def _keep(self, text: Any, rng: random.Random) -> None:
        """Every text read so far is in the sample with the same probability (Vitter 1985, algorithm R)."""
        check_text(text, f"texts[{self.texts}]")
        self.texts += 1
        if len(self.sample) < SAMPLE:
            self.sample.append(text)
        elif (place := rng.randrange(self.texts)) < SAMPLE:
            self.sample[place] = text


def choose_tokens(parts: TokenizerParts, counts: TokenCounts, size: int, needed: Iterable[int] = ()) -> set[str]:
    """The tokens of a vocabulary of this size: what cannot be left out, then the most frequent ones.

    Single characters are all kept where they leave half of the room to others, and else those of the texts. Tokens that
    are not in the texts come last, of them first single characters, in the order of their ids, which for most
    tokenizers is that of how frequent they were when it was trained.

    Args:
        parts: The tokenizer.
        counts: Of the texts.
        size: How many.
        needed: The ids of tokens that a model's config names.

    Raises:
        ValueError: for a size that leaves no room for words, or takes all tokens.
    """
    named, letters = {*needed}, parts.model.characters()
    kept = parts.indispensable() | {token for token, number in parts.ids.items() if number in named}
    # Of Chinese, or of a hundred languages, there are more characters than a small student has tokens.
    kept |= letters.keys() if 2 * len(kept | letters.keys()) <= size else parts.characters_in(counts.tokens)
    if size >= len(parts.ids):
        raise ValueError(
            f"a vocabulary of {size:,} is no smaller than the tokenizer's, which has {len(parts.ids):,} tokens: give a "
            "smaller size, or leave it out."
        )
    if size < len(kept):
        raise ValueError(
            f"a vocabulary of {size:,} is too small: special and added tokens and single characters of the texts are "
            f"kept, and these are {len(kept):,}. Give a size (--student_vocab_size) from {len(kept)} to "
            f"{len(parts.ids) - 1}."
        )

    def place(token: str) -> tuple[int, bool, int]:
        number = parts.ids[token]
        return -counts.tokens[number], token not in letters, number

    for token in sorted(parts.model.ids, key=place):
        if len(kept) == size:
            break
        found = {token} if counts.tokens[parts.ids[token]] else set()
        missing = (parts.model.needed(token) or found) - kept
        if len(kept) + len(missing) <= size:
            kept |= missing
    return kept


def check_several(texts: Iterable[str], name: str) -> Iterable[str]:
    """The texts; one text in their place, whose characters would be read as such, is refused with a `TypeError`."""
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"{name} is one text: give a list of them, or another iterable, such as dataset['text'].")
    return texts


def check_text(text: Any, name: str) -> None:
    """Refuses what a tokenizer cannot read.

    Raises:
        TypeError: for what is no text.
        ValueError: for half of a character, which UTF-8 does not have.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} is {text!r}, which is no text: leave such rows out.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start : error.end]
        raise ValueError(
            f"{name} holds half of a character ({half!r}), such as an emoji cut in two: mend it, or leave it out."
        ) from None


def unknown_share(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> tuple[int, float]:
    """How many tokens there are in texts, without special ones, and which share of them is unknown."""
    core, number = plain_core(tokenizer), tokenizer.unk_token_id
    counts = Counter(chain.from_iterable(chain.from_iterable(_ids(core, batch) for batch in _batches(texts))))
    total = sum(counts.values())
    return total, (counts[number] if number is not None else 0) / max(1, total)


def plain_core(tokenizer: Any) -> Tokenizer:
    """A copy of the part in Rust, which neither cuts nor pads."""
    core = copy.deepcopy(tokenizer.backend_tokenizer)
    core.no_truncation()
    core.no_padding()
    return core


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(texts)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _ids(core: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in core.encode_batch(texts, add_special_tokens=False)]


def _tokens_around(processor: Mapping[str, Any] | None) -> set[str]:
    """The tokens that are put around a text."""
    if processor is None:
        return set()
    named = {processor[name][0] for name in ("cls", "sep") if name in processor}
    special = chain.from_iterable(one["tokens"] for one in processor.get("special_tokens", {}).values())
    return named.union(special, *map(_tokens_around, processor.get("processors", [])))


def _renumbered(processor: Mapping[str, Any] | None, new_ids: Mapping[str, int]) -> dict[str, Any] | None:
    """What puts tokens around a text, with their new ids."""
    if processor is None:
        return None
    changed = dict(processor)
    for name in {"cls", "sep"} & changed.keys():
        changed[name] = [changed[name][0], new_ids[changed[name][0]]]
    if "special_tokens" in changed:
        changed["special_tokens"] = {
            name: {**one, "ids": [new_ids[token] for token in one["tokens"]]}
            for name, one in changed["special_tokens"].items()
        }
    if "processors" in changed:
        changed["processors"] = [_renumbered(one, new_ids) for one in changed["processors"]]
    return changed


def _reloaded(
    tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any], new_ids: Mapping[str, int]
) -> PreTrainedTokenizerBase:
    """The tokenizer that is loaded from these settings, as it will be from the student's folder.

    Raises:
        ValueError: when its class makes other ids of them.
    """
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        (Path(folder) / "tokenizer.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
        loaded: PreTrainedTokenizerBase = type(tokenizer).from_pretrained(folder, local_files_only=True)
    loaded.name_or_path = ""
    if loaded.get_vocab() != dict(new_ids) or loaded.unk_token != tokenizer.unk_token:
        raise ValueError(
            f"a {type(tokenizer).__name__} does not read a trimmed vocabulary as it was written: load the tokenizer as "
            "a plain PreTrainedTokenizerFast(tokenizer_file='tokenizer.json', ...) and trim that."
        )
    return loaded

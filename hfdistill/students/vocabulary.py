"""Vocabulary trimming: a model and its tokenizer with the tokens that texts are made of, and no others.

In a small student most parameters are token embeddings, and of a vocabulary made for all texts of a language, or of a
hundred languages, one task reads a part.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.models.token_ids import named_token_ids, renumber_tokens, vocabulary_sizes
from hfdistill.models.wrappers import is_quantized, token_table_size
from hfdistill.students.trimmed_tokenizer import (
    SAMPLE,
    TokenCounts,
    TokenizerParts,
    check_several,
    check_text,
    choose_tokens,
    unknown_share,
)

#: From so many times as many tokens on, or so many more unknown ones, a vocabulary is too poor for texts.
MOST_GROWTH, MOST_UNKNOWN = 1.5, 0.01

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrimmedVocabulary:
    """Some of a tokenizer's tokens, for a student of the model that reads with it.

    Args:
        tokenizer: The tokenizer with these tokens alone.
        old_ids: The id that each of them had before.
        old_size: How many tokens there were.
        used: How many of those the texts are made of.
        texts: How many texts were read to choose them.
        growth: How many times as many tokens a text is cut into now.
        unknown: The share of them that is unknown.
        unknown_before: The share that was unknown with all tokens.
        held_out: On how many other texts these three were measured; 0: on those that the tokens were chosen by.
        unreadable: How many single characters have lost their token, and are unknown.
        dropped: How many of the tokens that the texts are made of are not among these.
    """

    tokenizer: PreTrainedTokenizerBase
    old_ids: tuple[int, ...]
    old_size: int
    used: int
    texts: int
    growth: float
    unknown: float
    unknown_before: float
    held_out: int = 0
    unreadable: int = 0
    dropped: int = 0

    @classmethod
    def choose(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        texts: Iterable[str],
        size: int = 8000,
        held_out: Iterable[str] = (),
    ) -> TrimmedVocabulary:
        """Choose the tokens that are most frequent in texts.

        Special and added tokens, those that the model's configs name, bytes and the single characters of the texts are
        kept in any case, and all other single characters where they leave half of the tokens to words; of BPE also what
        is merged on the way to a token. Tokens that are not in the texts come last. A text all of whose tokens are kept
        is cut into the same ones as before.

        Args:
            model: What reads with the tokenizer; left as it is.
            tokenizer: A WordPiece, BPE or Unigram tokenizer with a core in Rust; left as it is.
            texts: Such as the student will read, one after the other; they need not fit into memory.
            size: The most tokens.
            held_out: Other such texts, on which `growth` and `unknown` are measured, on 10,000 at most. Without them it
                is on `texts`, of more than 10,000 on as many chosen at random, which flatters the vocabulary.

        Raises:
            TypeError: `texts` is one text, or has something else among them.
            ValueError: there is no token in the texts, or half of a character; `size` leaves no room for what is kept
                in any case, or is not below the tokenizer's; the tokenizer is of another kind, or does not fit the
                model.
        """
        parts = TokenizerParts(tokenizer)
        _check_ids(model, _table_size(model), max(parts.ids.values()))
        counts = TokenCounts.of(parts.core, texts)
        named = named_token_ids(model.config, _generation(model))
        kept = choose_tokens(parts, counts, size, named)
        trimmed, old_ids = parts.with_tokens(kept)
        others = list(islice(check_several(held_out, "held_out"), SAMPLE))
        for number, text in enumerate(others):
            check_text(text, f"held_out[{number}]")
        before, unknown_before = unknown_share(tokenizer, others or counts.sample)
        after, unknown = unknown_share(trimmed, others or counts.sample)
        return cls(
            tokenizer=trimmed,
            old_ids=old_ids,
            old_size=len(parts.ids),
            used=len(counts.tokens),
            texts=counts.texts,
            growth=after / before if before else 1.0,
            unknown=unknown,
            unknown_before=unknown_before,
            held_out=len(others),
            unreadable=len(parts.unreadable(kept)),
            dropped=len(counts.tokens.keys() - {*old_ids}),
        )

    @property
    def is_poor(self) -> bool:
        """Whether texts are cut into many more tokens than before, or more of them are unknown."""
        return self.growth > MOST_GROWTH or self.unknown - self.unknown_before > MOST_UNKNOWN

    def __str__(self) -> str:
        of_texts = f"the {self.used:,} that {self.texts:,} texts are made of"
        words = f"and the most frequent of {of_texts}" if self.dropped else f"{of_texts}, and others that they lack"
        lost = (
            f" {self.unreadable:,} single characters, which these texts lack, have no token any more: they are unknown."
        )
        advice = (
            " That is poor: keep more tokens (--student_vocab_size), or choose them by more texts of this kind "
            "(--unlabeled_file)."
        )
        return (
            f"The student's vocabulary is trimmed to {len(self.old_ids):,} of {self.old_size:,} tokens: special ones, "
            f"single characters, {words}.{lost if self.unreadable else ''} It cuts "
            f"{f'{self.held_out:,} held-out' if self.held_out else 'these'} texts into {self.growth:.2f} times as many "
            f"tokens, of which {100 * self.unknown:.2g} % are unknown ({100 * self.unknown_before:.2g} % before)."
            f"{advice if self.is_poor else ''}"
        )


def trim_vocabulary(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    size: int = 8000,
    held_out: Iterable[str] = (),
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Keep the tokens that texts are made of, in a model and its tokenizer, and drop the others.

    Of a text whose tokens are all kept the model computes what it did before. How the tokens are chosen is in
    `TrimmedVocabulary.choose`; the share of unknown tokens is logged, as a warning where it is large. For a student of
    fewer layers give `make_student` a `vocabulary`.

    Args:
        model: Any transformers model with one vocabulary: token embeddings, factorized ones too, and the heads tied to
            them are cut alike, and the token ids in its configs become the new ones.
        tokenizer: Its tokenizer, WordPiece, BPE or Unigram.
        texts: Such as the model will read, one after the other.
        size: The most tokens.
        held_out: Other such texts, on which what is logged is measured.

    Returns:
        A plain transformers model of the same class, in float32, on the default device and in train mode, that shares
        no tensor with the one given; and the tokenizer. Both are saved and loaded as any other.

    Raises:
        TypeError: `texts` is one text, or has something else among them.
        ValueError: the tokens cannot be chosen so, or the model or tokenizer cannot be trimmed.
    """
    vocabulary = TrimmedVocabulary.choose(model, tokenizer, texts, size, held_out)
    logger.log(logging.WARNING if vocabulary.is_poor else logging.INFO, "%s", vocabulary)
    return with_vocabulary(model, vocabulary), vocabulary.tokenizer


def with_vocabulary(model: PreTrainedModel, vocabulary: TrimmedVocabulary) -> PreTrainedModel:
    """A copy of a model, in float32, with the embeddings of these tokens alone: in every table and head of tokens.

    Raises:
        TypeError: for anything but a `TrimmedVocabulary`.
        ValueError: when the model's vocabulary is another one, or is used in a way that is not understood.
    """
    if not isinstance(vocabulary, TrimmedVocabulary):
        raise TypeError(
            f"vocabulary is a {type(vocabulary).__name__}: choose the tokens first, by TrimmedVocabulary.choose(...)."
        )
    table = _table_size(model)
    old_ids = torch.tensor(vocabulary.old_ids)
    _check_ids(model, table, int(old_ids.max()))
    config, generation = copy.deepcopy(model.config), copy.deepcopy(_generation(model))
    renumber_tokens(config, generation, {old: new for new, old in enumerate(vocabulary.old_ids)})
    config.dtype, config.name_or_path = torch.float32, ""
    trimmed = type(model)(config).float()
    if generation is not None:
        trimmed.generation_config = generation
    _check_positions(model, trimmed)
    own, weights = trimmed.state_dict(), model.state_dict()
    for name, tensor in weights.items():
        weights[name] = tensor.float().cpu()
        for dimension, (size, wanted) in enumerate(zip(tensor.shape, own[name].shape, strict=True)):
            if size == table and wanted == len(old_ids):
                weights[name] = weights[name].index_select(dimension, old_ids)
    trimmed.load_state_dict(weights)
    _check_weights(trimmed, weights)
    return trimmed


def _generation(model: PreTrainedModel) -> GenerationConfig | None:
    return model.generation_config if model.can_generate() else None


def _table_size(model: PreTrainedModel) -> int:
    """How many tokens a model has embeddings for.

    Raises:
        TypeError: for what is no model of transformers.
        ValueError: for one with no vocabulary, two, or weights that are no plain numbers.
    """
    if not isinstance(model, PreTrainedModel):
        raise TypeError(f"a {type(model).__name__} is no PreTrainedModel of transformers: trim the one within it.")
    if is_quantized(model) or hasattr(model, "peft_config"):
        raise ValueError(
            f"this {type(model).__name__} has quantized weights or adapters: trim it before it is quantized, or merge "
            "its adapters first."
        )
    table, sizes = token_table_size(model), vocabulary_sizes(model.config)
    if table is None or sizes != {table}:
        raise ValueError(
            f"{type(model).__name__} has embeddings for {table} tokens, and its config counts "
            f"{' and '.join(map(str, sorted(sizes))) or 'none'}: only a model of one vocabulary can be trimmed."
        )
    return table


def _check_ids(model: PreTrainedModel, table: int, largest: int) -> None:
    if largest >= table:
        raise ValueError(
            f"the tokenizer has a token of the id {largest}, and the {type(model).__name__} has embeddings for the ids "
            f"0 to {table - 1}: give the model's own tokenizer, or call its resize_token_embeddings first."
        )


def _check_positions(model: PreTrainedModel, trimmed: PreTrainedModel) -> None:
    """RoBERTa and others count positions from the id of the padding token, which must stay what it is."""
    for name, module in model.named_modules():
        before, after = (getattr(one, "padding_idx", None) for one in (module, trimmed.get_submodule(name)))
        if "position" in name.rpartition(".")[2] and before != after:
            raise ValueError(
                f"{type(model).__name__} counts positions from the id of its padding token, which would change from "
                f"{before} to {after} as tokens before it are dropped: its vocabulary cannot be trimmed."
            )


def _check_weights(trimmed: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Of two tables that the config ties and that differ, one would have been lost."""
    for name, tensor in trimmed.state_dict().items():
        if not torch.equal(tensor.cpu(), weights[name]):
            raise ValueError(
                f"the model's {name} differs from the weight that its config ties it to: set tie_word_embeddings to "
                "False in its config, or tie them."
            )

"""The token ids that a model's configurations name, and what they become in a smaller vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from transformers import GenerationConfig, PreTrainedConfig

#: What a config calls the number of its tokens, those of one side of an encoder-decoder included.
_SIZES = ("vocab_size", "decoder_vocab_size", "src_vocab_size", "tgt_vocab_size")
#: Settings of generation that list token ids, and those that list rows of them; without its token an entry is idle.
_LISTS, _LISTS_OF_ROWS = ("suppress_tokens", "begin_suppress_tokens"), ("bad_words_ids",)
#: Those that are not idle without one.
_OTHERS = ("force_words_ids", "forced_decoder_ids", "sequence_bias", "constraints")


def vocabulary_sizes(config: PreTrainedConfig) -> set[int]:
    """How many tokens a config counts, for the whole model or for each side."""
    return {getattr(own, name) for own in _configs(config) for name in _sizes(own)}


def named_token_ids(config: PreTrainedConfig, generation: GenerationConfig | None) -> dict[int, str]:
    """The token ids that a model's config and generation config name, and their names, such as `pad_token_id`."""
    known = range(max(vocabulary_sizes(config), default=0))
    named = (pair for settings in (*_configs(config), generation) for pair in _named(settings).items())
    return {number: name for name, value in named for number in _listed(value) if number in known}


def renumber_tokens(config: PreTrainedConfig, generation: GenerationConfig | None, new_ids: Mapping[int, int]) -> None:
    """Writes a smaller vocabulary into a model's config and generation config: its size, and the ids that they name.

    Args:
        config: Of the model.
        generation: That of how it generates, if it does.
        new_ids: The new id of each token that is kept.

    Raises:
        ValueError: when a token that is named is not among them, or tokens are named in a way that is not understood.
    """
    named = named_token_ids(config, generation)
    if lost := [number for number in named if number not in new_ids]:
        raise ValueError(
            f"the model's {named[lost[0]]} is {lost[0]}, and the trimmed vocabulary lacks that token: choose the "
            "vocabulary for this model (TrimmedVocabulary.choose), or correct its config."
        )
    for settings in (*_configs(config), generation):
        for name, value in _named(settings).items():
            setattr(settings, name, _renumbered(value, new_ids))
    for own in _configs(config):
        for name in _sizes(own):
            setattr(own, name, len(new_ids))
    if generation is not None:
        _renumber_lists(generation, new_ids)


def _renumber_lists(settings: GenerationConfig, new_ids: Mapping[int, int]) -> None:
    if given := [name for name in _OTHERS if getattr(settings, name, None) is not None]:
        raise ValueError(
            f"generation_config has {given[0]}, which names tokens by their ids in the whole vocabulary: set it to "
            "None before, and anew for the trimmed model."
        )
    for name in _LISTS:
        if (listed := getattr(settings, name, None)) is not None:
            setattr(settings, name, [new_ids[number] for number in listed if number in new_ids])
    for name in _LISTS_OF_ROWS:
        if (rows := getattr(settings, name, None)) is not None:
            kept = [[new_ids[number] for number in row] for row in rows if new_ids.keys() >= {*row}]
            setattr(settings, name, kept or None)


def _configs(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    """A config and those within it, such as of each side."""
    yield config
    for value in vars(config).values():
        if isinstance(value, PreTrainedConfig):
            yield from _configs(value)


def _sizes(config: PreTrainedConfig) -> list[str]:
    return [name for name in _SIZES if isinstance(getattr(config, name, None), int)]


def _named(settings: Any) -> dict[str, Any]:
    own = {} if settings is None else vars(settings)
    return {name: value for name, value in own.items() if name.endswith("_token_id") and value is not None}


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _renumbered(value: Any, new_ids: Mapping[int, int]) -> Any:
    """An id, or several; what is no token's, such as −1 for none, stays."""
    if isinstance(value, (list, tuple)):
        return [new_ids.get(number, number) for number in value]
    return new_ids.get(value, value)

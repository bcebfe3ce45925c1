"""What cleaning is given: refused where it would not be read as it is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset

#: The splits that training texts are held against.
READ = ("validation", "test")


def check_given(dataset: Any, rules: Sequence[str], skip: Any, held_out: Any) -> None:
    """Refuses what is no dataset, no list of rules, or no splits that models are measured on.

    Args:
        dataset: What is to be cleaned.
        rules: The rules that there are.
        skip: Those that are not to be asked.
        held_out: The splits that models are measured on, by name; or none.

    Raises:
        TypeError: for another kind of value.
        ValueError: for an unknown rule, or a split whose name is none of those that are read.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"cleaning takes a Dataset, such as pairs_dataset reads or the split to train on, not a "
            f"{type(dataset).__name__}."
        )
    if isinstance(skip, str):
        raise TypeError(f"skip is one text: give a list of rules, [{skip!r}].")
    unknown = [rule for rule in skip if rule not in rules]
    if unknown:
        raise ValueError(f"there is no rule {unknown[0]!r}; the rules are {', '.join(rules)}.")
    if not isinstance(held_out or {}, Mapping):
        raise TypeError(f'held_out is a {type(held_out).__name__}: give it by the name of its split, {{"test": ...}}.')
    names = set(held_out or ())
    if names and (names - {*READ, "train"} or not names & {*READ}):
        raise ValueError(
            f"held_out has the splits {', '.join(map(repr, held_out))}, and only {' and '.join(READ)} are read: call "
            "what models are measured on so."
        )

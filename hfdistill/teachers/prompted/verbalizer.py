"""What stands for each label: one or several words, and their tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

#: What a user gives: the word or words of each label by its name, or labels as a command line has them.
VerbalizerLike = Mapping[str, str | Sequence[str]] | Sequence[str]


@dataclass(frozen=True)
class Verbalizer:
    """The words of each label.

    Args:
        words: By the label's name, in the labels' order.
    """

    words: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, given: VerbalizerLike) -> Verbalizer:
        """Reads what a user gives.

        Raises:
            ValueError: for fewer than two labels, a label without a word, or a word of two labels.
        """
        words = words_by_name(given)
        if len(words) < 2:
            raise ValueError(f"a verbalizer has two labels or more; got {', '.join(words) or 'none'}.")
        folded = [name.casefold() for name in words]
        alike = next((name for name in words if folded.count(name.casefold()) > 1), None)
        if alike:
            raise ValueError(f"two labels are called {alike!r} but for their case: labels are matched whatever it is.")
        seen: dict[str, str] = {}
        for name, some in words.items():
            if not some or not all(word.strip() for word in some):
                raise ValueError(f"the verbalizer has no word for the label {name!r}: give one.")
            for word in some:
                if seen.setdefault(word, name) != name or some.count(word) > 1:
                    raise ValueError(f"the verbalizer has the word {word!r} twice: a word stands for one label.")
        return cls(words)

    @property
    def names(self) -> list[str]:
        """The labels in their order."""
        return list(self.words)

    @property
    def flat(self) -> list[str]:
        """All words, label by label."""
        return [word for some in self.words.values() for word in some]

    @property
    def labels(self) -> list[int]:
        """The number of each word's label."""
        return [label for label, some in enumerate(self.words.values()) for _ in some]

    def tokens(self, of_word: Callable[[str], Sequence[int]], tokenizer: Any, whole: bool) -> list[list[int]]:
        """The tokens of all words.

        Args:
            of_word: Gives those of a word.
            tokenizer: The model's.
            whole: Whether the tokens end where the word ends, so that none may begin another.

        Raises:
            ValueError: for a word that the tokenizer does not know, two that it writes alike, or one that begins
                another.
        """
        found = {word: list(of_word(word)) for word in self.flat}
        unknown = tokenizer.unk_token_id
        for word, ids in found.items():
            if not ids or (unknown is not None and unknown in ids):
                raise ValueError(f"the tokenizer does not know the label word {word!r}: give another.")
        for (word, ids), (other, more) in permutations(found.items(), 2):
            if ids == more:
                raise ValueError(
                    f"the label words {word!r} and {other!r} are the same tokens to this tokenizer: give others."
                )
            if not whole and more[: len(ids)] == ids:
                raise ValueError(
                    f"the label word {word!r} begins {other!r}, so that every text of the second would count for the "
                    "first: let the template go on behind the label, as in '{label}.', or give other words."
                )
        return list(found.values())


def words_by_name(given: VerbalizerLike) -> dict[str, tuple[str, ...]]:
    """The words of each label; in a sequence, `positive=good,great`, or `positive` for a name that is its own word.

    Raises:
        ValueError: for a label that is named twice.
    """
    if isinstance(given, Mapping):
        return {str(name): (some,) if isinstance(some, str) else tuple(some) for name, some in given.items()}
    words: dict[str, tuple[str, ...]] = {}
    for one in given:
        name, _, some = one.partition("=")
        if name in words:
            raise ValueError(f"the label {name!r} is named twice: write all its words behind one {name}=.")
        words[name] = tuple(word.strip() for word in (some or name).split(","))
    return words

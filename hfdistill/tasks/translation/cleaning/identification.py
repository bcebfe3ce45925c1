"""Which language a text is in, by py3langid (the extra `translation`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from hfdistill.models.extras import install_hint
from hfdistill.models.languages import language_of

#: By so much more probable must another language be than the expected one. On Europarl a true sentence of five words or
#: more falls below; see docs/results.md.
MARGIN = 0.5
#: Shorter texts, such as names, are in no language in particular.
_FEWEST_CHARACTERS = 20
#: A text's beginning is enough, and takes less time.
_MOST_CHARACTERS = 200
#: Languages that are told apart by little: one for another is no fault.
_ALIKE = (
    *({"no", "nn", "da"}, {"bs", "hr", "sr"}, {"id", "ms"}, {"zh", "wuu", "yue"}, {"ar", "arz", "ary"}),
    *({"fa", "ps"}, {"uz", "uzs"}, {"ku", "sdh"}, {"gl", "pt"}, {"af", "nl"}, {"lb", "de"}),
)
#: What py3langid says of texts in no language.
_NONE = "zxx"


class Judgment(NamedTuple):
    """What is wrong with the languages of a pair.

    Attributes:
        rule: `swapped` or `wrong language`.
        found: The language that was found in place of the expected one.
    """

    rule: str
    found: str


class PairLanguages:
    """Whether both texts of a pair are in their languages.

    Args:
        source: The source language, as `language_of` knows it.
        target: The target language.

    Raises:
        ImportError: without py3langid.
        ValueError: for a language that it does not know.
    """

    def __init__(self, source: str, target: str) -> None:
        self.expected = known_language(source), known_language(target)

    def judge(self, source: str, target: str) -> Judgment | None:
        """What is wrong, or `None`; texts of a few letters are not judged."""
        sides = [_probabilities(text) for text in (source, target)]
        one, other = self.expected
        excess = [_excess(side, own) for side, own in zip(sides, self.expected, strict=True)]
        if all(sides):
            swapped = sides[0][other] - sides[0][one], sides[1][one] - sides[1][other]
            if min(swapped) > 0 and sum(swapped) > 2 * MARGIN:
                return Judgment("swapped", other)
        for found, by in excess:
            if by > MARGIN:
                return Judgment("wrong language", found)
        return None


def known_language(name: str) -> str:
    """The code of a language by one of its names, see `language_of`.

    Raises:
        ImportError: without py3langid.
        ValueError: for a language that it does not know.
    """
    language = language_of(name)
    if language not in set(_identifier().labels):
        raise ValueError(f"{name!r} is no language that py3langid knows.")
    return language


def other_language(text: str, expected: str) -> str | None:
    """The language of a text that is clearly in another than the expected one; a text of a few letters has none."""
    found, by = _excess(_probabilities(text), expected)
    return found if by > MARGIN else None


def languages_of(texts: Iterable[str]) -> Counter[str]:
    """How many of the texts that are long enough are in which language, clearly."""
    found: Counter[str] = Counter()
    for probabilities in map(_probabilities, texts):
        if probabilities:
            language = max(probabilities, key=lambda one: probabilities[one])
            found[language] += probabilities[language] > MARGIN
    return +found


def _excess(probabilities: Mapping[str, float], expected: str) -> tuple[str, float]:
    """The likeliest language, and by how much it is likelier than the expected one; 0 where they are alike."""
    if not probabilities:
        return expected, 0.0
    language = max(probabilities, key=lambda one: probabilities[one])
    alike = any({language, expected} <= group for group in _ALIKE) or language == _NONE
    return language, 0.0 if alike else probabilities[language] - probabilities[expected]


def _probabilities(text: str) -> dict[str, float]:
    """The probability of each language; of too short a text none."""
    return dict(_identifier().rank(text[:_MOST_CHARACTERS])) if len(text) >= _FEWEST_CHARACTERS else {}


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise ImportError(f"languages are identified by py3langid: {install_hint('translation')}.") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

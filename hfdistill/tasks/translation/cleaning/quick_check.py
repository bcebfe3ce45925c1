"""A look at a sample of a corpus, before hours of work: are the columns what they are called, do the lines match?"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from transformers.utils import logging

from hfdistill.models.languages import language_of
from hfdistill.tasks.translation.cleaning.identification import languages_of
from hfdistill.tasks.translation.cleaning.misalignment import ShiftFinder, said_of
from hfdistill.tasks.translation.reading import TextRows, text_tuples

logger = logging.get_logger(__name__)

#: Passages that are looked at, from the top, the middle and the end, and how long each is.
_PASSAGES, _ROWS = 3, 1000
#: Texts of each column whose language is identified, and of how many it must be known to say something.
_IDENTIFIED, _ENOUGH = 100, 20


def warn_of_mismatch(rows: TextRows, source: str, target: str) -> None:
    """Warns in a sentence where most texts are not in the language of their column, or a passage is shifted.

    Args:
        rows: The pairs, in the order of their corpus.
        source: The column of the source texts, and their language.
        target: Likewise of the target texts.
    """
    numbers = _sampled(len(rows.dataset))
    pairs = _sample(rows, numbers, (source, target))
    wrong = _wrong_languages(pairs, (source, target))
    if wrong:
        logger.warning(
            "%s: most texts of %s: name the languages with source_lang and target_lang, or exchange the two files.",
            rows.source,
            wrong,
        )
    finder = ShiftFinder()
    for one, other in pairs:
        finder.add(one, other)
    for block in finder.finish()[:1]:
        said = said_of(block, lambda row: rows.where(int(numbers[row])))
        logger.warning(
            "%s: in a sample, %s: mend the files, where lines of one are missing; of training pairs, clean (--clean) "
            "drops such blocks.",
            rows.source,
            said,
        )


def warn_of_language(rows: TextRows, name: str) -> None:
    """Warns in a sentence where most texts of one language are in another; see `warn_of_mismatch`."""
    wrong = _wrong_languages(_sample(rows, _sampled(len(rows.dataset)), (name,)), (name,))
    if wrong:
        logger.warning("%s: most texts of %s: give texts in the source language.", rows.source, wrong)


def _sample(rows: TextRows, numbers: np.ndarray, names: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(text.strip() for text in texts) for texts in text_tuples(rows.dataset.select(numbers), names)]


def _sampled(count: int) -> np.ndarray:
    """The numbers of some passages' rows, of all where there are few."""
    if count <= _PASSAGES * _ROWS:
        return np.arange(count)
    starts = np.linspace(0, count - _ROWS, _PASSAGES).astype(int)
    return np.concatenate([np.arange(start, start + _ROWS) for start in starts])


def _wrong_languages(rows: list[tuple[str, ...]], names: Sequence[str]) -> str:
    """`'en' are de and of 'de' en`, for the columns whose texts are mostly in another language than their name."""
    if not find_spec("py3langid"):
        return ""
    said = []
    some = [rows[row] for row in np.unique(np.linspace(0, len(rows) - 1, _IDENTIFIED).astype(int))] if rows else []
    for name, texts in zip(names, zip(*some, strict=True), strict=False):
        found = languages_of(texts) if language_of(name) else None
        if found and found.total() >= _ENOUGH:
            language, count = found.most_common(1)[0]
            if language != language_of(name) and count > found.total() / 2:
                said.append(f"{name!r} are {language}")
    return " and of ".join(said)

"""Splits of a data set, for every task: some rows set aside for validation, and texts that are in two splits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from datasets import Dataset, DatasetDict
from transformers.utils import logging

from hfdistill.data.streamed import row_tuples
from hfdistill.data.word_runs import has_words, runs_of, words_of
from hfdistill.models.labels import NO_LABEL, has_label

#: From so many words in a row on a text is taken for a copy of another.
SHARED_WORDS = 8
#: From so many words on a text with one word changed is a near copy; in a shorter one a word makes another text.
_NEAR_COPY_WORDS = 5

logger = logging.get_logger(__name__)


def split_validation(
    train: Dataset, text_columns: Sequence[str], label_column: str, share: float = 0.1, seed: int = 42
) -> tuple[Dataset, Dataset]:
    """Set a share of the labeled texts aside for validation; the other rows remain for training.

    The choice depends on the texts and the seed alone, not on the order of the rows, and equal texts stay together.
    """
    if not 0 < share < 1:
        raise ValueError(f"validation_share must lie between 0 and 1, got {share}.")
    values = train.select_columns(label_column).with_format("arrow")[:][label_column]
    labeled = np.concatenate([has_label(chunk, (NO_LABEL,)) for chunk in values.chunks])
    # Of each text its place in a random order, in eight bytes: the texts themselves would fill the memory.
    places = np.fromiter((_place(seed, key) for key in _text_keys(train, text_columns)), np.uint64, len(train))
    different = np.unique(places[labeled])
    if len(different) < 2:
        raise ValueError(
            f"train has {len(different)} different labeled texts, too few to set some aside; give a validation file."
        )
    count = min(max(1, round(share * len(different))), len(different) - 1)
    chosen = np.isin(places, different[:count])
    held_out, kept = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    logger.info("No validation file: %d of %d training rows are set aside for validation.", len(held_out), len(train))
    return train.select(kept), train.select(held_out)


def warn_of_leaks(splits: DatasetDict, text_columns: Sequence[str], what: str = "texts") -> None:
    """Warn of validation and test texts that are also trained on.

    Args:
        splits: The splits, `train` among them.
        text_columns: The columns whose texts together are one example's.
        what: What the warning calls them.
    """
    for name in ("validation", "test"):
        held_out = list(_text_keys(splits[name], text_columns)) if name in splits else []
        wanted = set(held_out)
        found = {key for key in _text_keys(splits["train"], text_columns) if key in wanted} if wanted else set()
        shared = sum(key in found for key in held_out)
        if shared:
            logger.warning(
                "%d of the %d %s %s are also in train: the figures will flatter the models.",
                shared,
                len(splits[name]),
                name,
                what,
            )


def without_held_out(unlabeled: Dataset, splits: DatasetDict, text_columns: Sequence[str]) -> Dataset:
    """The unlabeled texts but for those that models are measured on; a warning counts what is left out.

    A teacher that labels the very texts of a test tells its student the answers. Left out is what equals a validation
    or test text, case and punctuation aside, or shares `SHARED_WORDS` words in a row with one; of scripts without
    spaces as many characters as make such words, 20 of Chinese and Japanese, 40 of Thai, Lao, Burmese and Khmer.

    Args:
        unlabeled: The texts for a teacher to label.
        splits: The splits, `validation` and `test` among them where there are such.
        text_columns: The columns whose texts together are one example's.
    """
    kept = np.flatnonzero(~are_held_out(unlabeled, splits, text_columns))
    if len(kept) < len(unlabeled):
        logger.warning(
            "%d of the %d unlabeled texts are left out: they are validation or test texts, or share %d words in a row "
            "with one.",
            len(unlabeled) - len(kept),
            len(unlabeled),
            SHARED_WORDS,
        )
    return unlabeled.select(kept)


def without_blank(
    unlabeled: Dataset, text_columns: Sequence[str], blank: Callable[[Iterable[bool]], bool] = all
) -> Dataset:
    """The unlabeled texts but for blank ones, of which nothing can be learned; a warning counts what is left out.

    Args:
        unlabeled: The texts for a teacher to label.
        text_columns: The columns whose texts together are one example's.
        blank: Whether an example is left out where `all` of its texts are blank, or where `any` is.
    """
    found = (blank(not text.strip() for text in texts) for texts in _row_texts(unlabeled, text_columns))
    kept = np.flatnonzero(~np.fromiter(found, bool, len(unlabeled)))
    if len(kept) == len(unlabeled):
        return unlabeled
    count = len(unlabeled) - len(kept)
    logger.warning("%d of the %d unlabeled texts are empty or blank, and left out.", count, len(unlabeled))
    return unlabeled.select(kept)


def are_held_out(
    rows: Dataset, splits: Mapping[str, Dataset], text_columns: Sequence[str], share: float = 0.0
) -> np.ndarray:
    """Which rows are, or share `SHARED_WORDS` words in a row with, a validation or test text; shape `(rows,)`.

    Args:
        rows: The rows.
        splits: The splits, `validation` and `test` among them where there are such.
        text_columns: The columns whose texts together are one example's.
        share: How many of a text's runs of so many words must be shared; one at least.
    """
    held_out = [splits[name] for name in ("validation", "test") if name in splits]
    texts = [words_of(text) for split in held_out for text in _text_keys(split, text_columns)]
    whole, runs = set(map(tuple, texts)), {run for words in texts for run in runs_of(words, SHARED_WORDS)}

    def is_held_out(text: str) -> bool:
        words = words_of(text)
        shared = [run in runs for run in runs_of(words, SHARED_WORDS)]
        return tuple(words) in whole or (any(shared) and sum(shared) >= share * len(shared))

    return np.fromiter(map(is_held_out, _text_keys(rows, text_columns)), bool, len(rows))


def are_near_copies(rows: Dataset, splits: Mapping[str, Dataset], column: str) -> np.ndarray:
    """Which rows differ from a validation or test text by one word at most; shape `(rows,)`.

    A word may be added, left out or replaced, of a script without spaces a character, and their order does not count.
    Texts of fewer than five words are not judged.

    Args:
        rows: The rows.
        splits: The splits, `validation` and `test` among them where there are such.
        column: The column of the texts.
    """
    held_out = [splits[name] for name in ("validation", "test") if name in splits]
    known = {number for split in held_out for text in _text_keys(split, (column,)) for number in _with_a_gap(text)}
    return np.fromiter(
        (not known.isdisjoint(_with_a_gap(text)) for text in _text_keys(rows, (column,))), bool, len(rows)
    )


def _with_a_gap(text: str) -> set[int]:
    """A number for the words of a text, and for what they are without any one; of a short text none."""
    words = words_of(text)
    if not has_words(words, _NEAR_COPY_WORDS):
        return set()
    hashes = [hash(word) for word in words]
    whole = sum(hashes)  # less a word it is what the others give: no need to hash them anew for each
    return {whole, *(whole - one for one in hashes)}


def _place(seed: int, key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\t{key}".encode()).digest()[:8], "big")


def _text_keys(dataset: Dataset, text_columns: Sequence[str]) -> Iterator[str]:
    """What tells texts apart."""
    return map("\t".join, _row_texts(dataset, text_columns))


def _row_texts(dataset: Dataset, text_columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The texts of each row, of columns of text or of words, read a few rows at a time."""
    for texts in row_tuples(dataset, text_columns):
        yield tuple(text if isinstance(text, str) else " ".join(text) for text in texts)

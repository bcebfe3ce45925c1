"""Splits of a data set, for every task: some rows set aside for validation, and texts that are in two splits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

import numpy as np
from datasets import Dataset, DatasetDict
from transformers.utils import logging

from hfdistill.models.labels import NO_LABEL, has_label

#: From so many words in a row on a text is taken for a copy of another.
SHARED_WORDS = 8
_WORD = re.compile(r"\w+")

logger = logging.get_logger(__name__)


def split_validation(
    train: Dataset, text_columns: Sequence[str], label_column: str, share: float = 0.1, seed: int = 42
) -> tuple[Dataset, Dataset]:
    """Set a share of the labeled texts aside for validation; the other rows remain for training.

    The choice depends on the texts and the seed alone, not on the order of the rows, and equal texts stay together.
    """
    if not 0 < share < 1:
        raise ValueError(f"validation_share must lie between 0 and 1, got {share}.")
    keys = _text_keys(train, text_columns)
    values = train.select_columns(label_column).with_format("arrow")[:][label_column]
    there = np.concatenate([has_label(chunk, (NO_LABEL,)) for chunk in values.chunks])
    labeled = {key for key, is_there in zip(keys, there, strict=True) if is_there}
    if len(labeled) < 2:
        raise ValueError(
            f"train has {len(labeled)} different labeled texts, too few to set some aside; give a validation file."
        )
    count = min(max(1, round(share * len(labeled))), len(labeled) - 1)
    chosen = set(sorted(labeled, key=lambda key: hashlib.sha256(f"{seed}\t{key}".encode()).digest())[:count])
    held_out = [index for index, key in enumerate(keys) if key in chosen]
    kept = [index for index, key in enumerate(keys) if key not in chosen]
    logger.info("No validation file: %d of %d training rows are set aside for validation.", len(held_out), len(train))
    return train.select(kept), train.select(held_out)


def warn_of_leaks(splits: DatasetDict, text_columns: Sequence[str], what: str = "texts") -> None:
    """Warn of validation and test texts that are also trained on.

    Args:
        splits: The splits, `train` among them.
        text_columns: The columns whose texts together are one example's.
        what: What the warning calls them.
    """
    train = set(_text_keys(splits["train"], text_columns))
    for name in ("validation", "test"):
        shared = sum(key in train for key in _text_keys(splits[name], text_columns)) if name in splits else 0
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
    or test text, case and punctuation aside, or shares `SHARED_WORDS` words in a row with one.

    Args:
        unlabeled: The texts for a teacher to label.
        splits: The splits, `validation` and `test` among them where there are such.
        text_columns: The columns whose texts together are one example's.
    """
    held_out = [splits[name] for name in ("validation", "test") if name in splits]
    texts = [_words(text) for rows in held_out for text in _text_keys(rows, text_columns)]
    whole, runs = set(map(tuple, texts)), {run for words in texts for run in _runs(words)}

    def is_new(text: str) -> bool:
        words = _words(text)
        return tuple(words) not in whole and runs.isdisjoint(_runs(words))

    kept = [row for row, text in enumerate(_text_keys(unlabeled, text_columns)) if is_new(text)]
    if len(kept) < len(unlabeled):
        logger.warning(
            "%d of the %d unlabeled texts are left out: they are validation or test texts, or share %d words in a row "
            "with one.",
            len(unlabeled) - len(kept),
            len(unlabeled),
            SHARED_WORDS,
        )
    return unlabeled.select(kept)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold()) or [text]


def _runs(words: Sequence[str]) -> Iterator[int]:
    """A number for each run of words, for less memory than the words take."""
    return (hash(tuple(words[start : start + SHARED_WORDS])) for start in range(len(words) - SHARED_WORDS + 1))


def _text_keys(dataset: Dataset, text_columns: Sequence[str]) -> list[str]:
    """What tells texts apart, of columns of text or of words."""
    rows = zip(*(dataset[name][:] for name in text_columns), strict=True)
    return ["\t".join(text if isinstance(text, str) else " ".join(text) for text in texts) for texts in rows]

"""Whether token ids mean the same to two models, by their tokenizers: those given, or those found by a model's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

from hfdistill.models.fingerprints import hash_of_vocabulary
from hfdistill.models.wrappers import config_of

#: Tables are padded to multiples of 64 to 512, so that a vocabulary may lack fewer entries than this.
PADDING = 512

logger = logging.get_logger(__name__)


def check_shared_tokens(
    teacher: Any,
    teacher_tokenizer: Any,
    student: Any,
    tokenizer: Any,
    way_out: str,
    who: str = "student",
    given_as: str = "ModelTeacher(model, tokenizer)",
) -> None:
    """Refuses token ids that mean something else to a teacher than to the tokenizer that the rows were made with.

    Args:
        teacher: The model that is to read them.
        teacher_tokenizer: Its tokenizer; looked for by the model's name where it is none.
        student: The model whose rows they are, `None` where there is none.
        tokenizer: That of the rows; looked for by the name of `student` where it is none.
        way_out: What to do about it.
        who: Whose rows they are.
        given_as: How the teacher's tokenizer is given.

    Raises:
        ValueError: when a token has two ids, or no tokenizer is known and the sizes differ.
    """
    rows = _known(tokenizer) or _by_name(student)
    own = given = _known(teacher_tokenizer)
    if rows is not None and own is None:
        own = _fitting(_by_name(teacher), teacher)
    if rows is not None and own is not None:
        differing = _differing(own.get_vocab(), rows.get_vocab(), exactly=given is not None)
        if differing is None:
            return
        found = f"; the teacher's is taken to be the one at {own.name_or_path}: give another as {given_as}"
        raise ValueError(
            f"teacher and {who} have different vocabularies and share token ids, such as that of {differing!r}"
            f"{'' if given else found}; {way_out}"
        )
    if student is None:  # rows of the teacher's tokenizer
        return
    sizes = [_size(teacher), _size(student) or (rows and len(rows))]
    if None not in sizes and sizes[0] != sizes[1]:
        raise ValueError(
            f"the teacher's vocabulary has {sizes[0]} entries and the {who}'s {sizes[1]}, they share token ids, and no "
            f"tokenizer of the teacher tells whether these mean the same: where they do, give it as {given_as}; "
            f"otherwise {way_out}"
        )


def vocabulary_key(processing_class: PreTrainedTokenizerBase) -> bytes:
    """Eight bytes that are the same for tokenizers that give every token the same id."""
    return bytes.fromhex(hash_of_vocabulary(processing_class))[:8]


def same_tokens(teacher: PreTrainedTokenizerBase, student: PreTrainedTokenizerBase) -> tuple[np.ndarray, np.ndarray]:
    """The ids of all tokens: the student's, rising, and the teacher's of the same names.

    Raises:
        ValueError: when the one knows tokens that the other does not.
    """
    teacher_ids, student_ids = teacher.get_vocab(), student.get_vocab()
    if differing := sorted(teacher_ids.keys() ^ student_ids.keys()):
        raise ValueError(
            f"of the teacher's {len(teacher_ids)} tokens and the student's {len(student_ids)}, {len(differing)} are "
            f"known to one alone, such as {differing[0]!r}: token by token they must share a vocabulary, in any order; "
            "otherwise let the teacher translate the training texts (pseudo_translations)."
        )
    names = sorted(student_ids, key=student_ids.__getitem__)
    return np.array([student_ids[name] for name in names]), np.array([teacher_ids[name] for name in names])


def has_vocabulary(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether it knows a word: for a folder without a vocabulary `transformers` makes up one to which none is known."""
    return len(tokenizer) > len(tokenizer.all_special_ids)


def _known(tokenizer: Any) -> PreTrainedTokenizerBase | None:
    """The tokenizer, also of a processor; `None` for anything else, or one that was made up without a vocabulary."""
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    return inner if isinstance(inner, PreTrainedTokenizerBase) and has_vocabulary(inner) else None


def _by_name(model: Any) -> PreTrainedTokenizerBase | None:
    """The tokenizer where a model was loaded from, if there is one to be had."""
    name = getattr(config_of(model), "name_or_path", "")
    for local in (True, False) if name and not Path(name).exists() else (True,) if name else ():
        try:
            return _known(AutoTokenizer.from_pretrained(name, local_files_only=local, trust_remote_code=False))
        except Exception as error:  # a library that is missing, a format of its own, no network: nothing is known then
            logger.debug("No tokenizer for %s: %s", name, error)
    return None


def _fitting(tokenizer: PreTrainedTokenizerBase | None, model: Any) -> PreTrainedTokenizerBase | None:
    """The tokenizer, where the model's table is as large, or padded to a round number; a resized one has another."""
    size = _size(model)
    if tokenizer is None or size is None or 0 <= size - len(tokenizer) < PADDING:
        return tokenizer
    return None


def _differing(teacher: Mapping[str, int], rows: Mapping[str, int], exactly: bool) -> str | None:
    """A token of the rows that the teacher does not know by its id; `None` where there is none.

    A tokenizer found by name may lack what was added to the one at hand since: there only what both know must agree.
    """
    if exactly:
        return next((token for token, number in rows.items() if teacher.get(token) != number), None)
    tokens = {number: token for token, number in teacher.items()}
    for token, number in rows.items():
        if teacher.get(token, number) != number or tokens.get(number, token) != token:
            return token
    return None


def _size(model: Any) -> int | None:
    return getattr(config_of(model), "vocab_size", None)

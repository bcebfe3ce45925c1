"""Shared token ids: allowed where they mean the same to teacher and student, refused with the way out elsewhere."""

from __future__ import annotations

import copy

import pytest

from hfdistill import ModelTeacher
from hfdistill.teachers import StoredTeacher
from hfdistill.vocabularies import check_vocabularies


def test_the_same_vocabulary_is_accepted(tiny_bert, tokenizer):
    """A check that refuses equal vocabularies in two objects would send everybody the slow way."""
    check_vocabularies(ModelTeacher(tiny_bert(), tokenizer), tiny_bert(), copy.deepcopy(tokenizer))


def test_other_words_of_the_same_number_are_refused(tiny_bert, tokenizer, other_tokenizer):
    """Equal sizes hide it: the teacher would read another text than the student."""
    other_tokenizer.add_tokens([f"filler{number}" for number in range(len(tokenizer) - len(other_tokenizer))])
    assert len(other_tokenizer) == len(tokenizer)
    with pytest.raises(ValueError, match=r"different vocabularies.*text_columns=\['sentence'\]"):
        check_vocabularies(ModelTeacher(tiny_bert(), other_tokenizer), tiny_bert(), tokenizer)


def test_models_of_different_vocabulary_sizes_are_refused(tiny_bert, tokenizer):
    """A teacher given as a bare model brings no tokenizer: only the sizes can tell."""
    teacher = ModelTeacher(tiny_bert(vocab_size=70))
    with pytest.raises(ValueError, match=r"teacher's vocabulary has 70 entries and the student's 120.*text_columns"):
        check_vocabularies(teacher, tiny_bert(), tokenizer)
    with pytest.raises(ValueError, match="70 entries"):
        check_vocabularies(teacher, tiny_bert(), None)


def test_a_vocabulary_padded_to_a_round_number_is_the_same(tiny_bert, tokenizer):
    """Rows that no token uses are not a difference."""
    check_vocabularies(ModelTeacher(tiny_bert(vocab_size=128)), tiny_bert(vocab_size=120), tokenizer)


def test_a_teacher_that_reads_no_shared_ids_may_have_any_vocabulary(tiny_bert, tokenizer, other_tokenizer):
    """The way out that the refusal names must be open."""
    check_vocabularies(ModelTeacher(tiny_bert(vocab_size=80), other_tokenizer, ["sentence"]), tiny_bert(), tokenizer)
    check_vocabularies(StoredTeacher(), tiny_bert(), tokenizer)

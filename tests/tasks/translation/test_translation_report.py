"""Translations do not depend on the batch, nor on limits that the model brings along."""

import pytest
from texts import TEXTS
from tiny_seq2seq import make_translator

from hfdistill.models.generation import translate
from hfdistill.tasks.translation.report import resampled_bleu


@pytest.mark.parametrize("batch_size", [1, 7])
def test_sources_are_padded_on_the_right(batch_size):
    """A tokenizer that pads on the left shifts the positions of short texts, and another batch gave other texts."""
    model, tokenizer = make_translator()
    expected = translate(model, tokenizer, TEXTS, max_length=12)
    tokenizer.padding_side = "left"
    assert translate(model, tokenizer, TEXTS, max_length=12, batch_size=batch_size) == expected
    assert len(set(expected)) > 8 and tokenizer.padding_side == "left"


@pytest.mark.parametrize("own", [3, 60])
def test_the_models_own_limit_does_not_come_before_max_length(own):
    """A `max_new_tokens` of its generation config cut its texts, or ran over its 32 positions after the training."""
    model, tokenizer = make_translator()
    expected = translate(model, tokenizer, TEXTS, max_length=12)
    model.generation_config.max_new_tokens = own
    assert translate(model, tokenizer, TEXTS, max_length=12) == expected


def test_no_difference_proves_nothing():
    """Two students that had learned nothing differed by 0.0 BLEU, "p = 0.001: the teacher did harm"."""
    pytest.importorskip("sacrebleu", reason="the extra `translation` is not installed")
    same = ["of of"] * len(TEXTS)
    paired = resampled_bleu({"teacher": TEXTS, "student": same, "baseline": same}, TEXTS)[1]
    assert paired is not None and paired.p_value == 1.0
    better = resampled_bleu({"teacher": TEXTS, "student": TEXTS, "baseline": same}, TEXTS)[1]
    assert better is not None and better.p_value < 0.01

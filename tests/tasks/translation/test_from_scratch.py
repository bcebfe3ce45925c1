"""Untrained models of a given width."""

import pytest
from tiny_seq2seq import make_seq2seq, make_translator

from hfdistill.tasks.translation.from_scratch import small_marian, untrained_like


@pytest.mark.parametrize("width", [0, -32, 20, 33, 100])
def test_a_width_that_heads_do_not_divide_is_refused(width):
    """A division by zero, or an error of a layer deep within, would not say which widths there are."""
    _, tokenizer = make_translator()
    with pytest.raises(ValueError, match=rf"width must be 32, 64, 96, \.\.\.; got {width}\."):
        small_marian(tokenizer, 1, 1, width=width)
    assert small_marian(tokenizer, 1, 1, width=64).config.encoder_attention_heads == 2


@pytest.mark.parametrize("family, head", [("marian", "encoder_attention_heads"), ("t5", "num_heads")])
def test_a_teacher_shrinks_in_proportion_or_not_at_all(family, head):
    """Heads cannot be halves; a width without heads would fail deep within."""
    teacher = make_seq2seq(family)  # 16 wide, with 2 heads and inner layers of 24
    for width in (0, -8, 4, 20):
        with pytest.raises(ValueError, match=rf"width of 8, 16, 24, \.\.\.; got {width}\."):
            untrained_like(teacher, hidden_size=width)
    student = untrained_like(teacher, hidden_size=8)
    assert getattr(student.config, head) == 1 and student.config.d_model == 8

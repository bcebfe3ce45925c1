"""Half precision where there is no arithmetic for it."""

import pytest
import torch
from tiny_seq2seq import make_pairs, make_seq2seq, make_seq2seq_trainer
from torch.profiler import ProfilerActivity, profile

from hfdistill import ModelTeacher
from hfdistill.models import mixed_precision


@pytest.mark.skipif(torch.accelerator.is_available(), reason="an accelerator has it")
@pytest.mark.parametrize(("dtype", "kind"), [("bfloat16", "bf16"), ("float16", "fp16"), ("float32", None)])
def test_a_processor_that_emulates_it_is_named(tiny_bert, caplog, dtype, kind):
    """A run is not to take ten times as long for an option that promises speed, and nobody told."""
    emulated = kind is not None and not getattr(torch.ops.mkldnn, f"_is_mkldnn_{kind}_supported")()
    mixed_precision.logger.warning_once.cache_clear()
    with caplog.at_level("WARNING", "hfdistill"):
        ModelTeacher(tiny_bert()).cast(dtype)
    said = f"emulates {dtype}, several times slower than float32: leave the teacher's dtype out"
    assert (said in caplog.text) == emulated


@pytest.mark.parametrize(
    ("bf16", "short", "fused"),
    [(True, 32, False), (True, 4, True), (False, 32, True)],
    ids=["short", "long", "float32"],
)
def test_attention_is_trained_as_is_quicker(tmp_path, monkeypatch, bf16, short, fused):
    """The fused one takes nine times as long for short texts in half precision, and half as long for long ones."""
    monkeypatch.setattr(mixed_precision, "SHORT_TEXT", short)
    trainer = make_seq2seq_trainer(tmp_path, make_seq2seq(), make_pairs(8), bf16=bf16, alpha=0.0, max_steps=1)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        trainer.train()
    assert any("flash_attention_for_cpu" in event.key for event in profiler.key_averages()) == fused

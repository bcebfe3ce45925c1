"""Half precision where there is no arithmetic for it."""

import pytest
import torch

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

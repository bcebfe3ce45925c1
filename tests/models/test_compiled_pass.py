"""A teacher compiled for a long pass: the same predictions, on any machine, and the same model afterwards."""

import numpy as np
import pytest
import torch
from tiny import make_model, make_rows, make_tokenizer
from torch._dynamo.utils import counters
from transformers import LongformerConfig, LongformerForSequenceClassification

from hfdistill import ModelTeacher, soft_targets
from hfdistill.models import compiled_pass
from hfdistill.models.compiled_pass import compiled_if_long


def logits(folder):
    rows = make_rows(40).remove_columns("labels")
    teacher = ModelTeacher(make_model(1), make_tokenizer())
    return np.array(soft_targets(teacher, rows, store=folder)["teacher_logits"]), teacher.model


@pytest.mark.slow
def test_a_long_pass_is_compiled_and_says_the_same(tmp_path, monkeypatch):
    plain, _ = logits(tmp_path / "plain")
    monkeypatch.setattr(compiled_pass, "LONG_PASS", 0)
    counters.clear()
    compiled, model = logits(tmp_path / "compiled")
    assert counters["stats"]["unique_graphs"] > 0
    np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-5)
    assert model._compiled_call_impl is None
    with torch.no_grad():  # of other weights it must say something else
        before = model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits
        model.classifier.bias += 1
        assert not torch.equal(model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits, before)


@pytest.mark.slow
def test_what_cannot_be_compiled_as_a_whole_runs_as_it_is(monkeypatch, capfd):
    """A Longformer looks into its mask: torch would compile pieces of it, and print pages."""
    config = LongformerConfig(
        **{"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"intermediate_size": 48, "attention_window": 8, "max_position_embeddings": 80},
    )
    model = LongformerForSequenceClassification(config).eval()
    inputs = {"input_ids": torch.arange(1, 33).reshape(2, 16), "attention_mask": torch.ones(2, 16, dtype=torch.long)}
    monkeypatch.setattr(compiled_pass, "LONG_PASS", 0)
    with torch.inference_mode():
        plain = model(**inputs).logits
        with compiled_if_long(model, 10_000):
            assert model._compiled_call_impl is not None
            torch.testing.assert_close(model(**inputs).logits, plain)
            assert model._compiled_call_impl is None
    assert "Traceback" not in capfd.readouterr().err


def test_without_a_compiler_the_model_runs_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled_pass, "LONG_PASS", 0)
    monkeypatch.setenv("CXX", "/nowhere/c++")
    model = make_model(1).eval()
    with compiled_if_long(model, 10_000):
        assert model._compiled_call_impl is None


def test_a_short_pass_or_one_in_half_precision_is_not_compiled(tmp_path, monkeypatch):
    model = make_model(1).eval()
    for long, dtype, tokens in ((120, torch.float32, 10_000), (0, torch.float32, 0), (0, torch.bfloat16, 10_000)):
        monkeypatch.setattr(compiled_pass, "LONG_PASS", long)
        with compiled_if_long(model.to(dtype), tokens):
            assert model._compiled_call_impl is None

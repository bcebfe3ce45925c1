"""Teachers whose parts lie on several devices, in memory and on disk, as `device_map` leaves them."""

import numpy as np
import pytest
import torch
from tiny import logits_of, make_model, make_rows, make_tokenizer, make_trainer
from tiny_prompts import TEMPLATE, VERBALIZER, make_bpe, make_causal
from tiny_prompts import make_rows as make_texts
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from hfdistill import PromptTeacher, make_student, soft_targets
from hfdistill.models.dispatched import is_dispatched, placed
from hfdistill.models.fingerprints import describe_model
from hfdistill.models.wrappers import device_of
from hfdistill.training.run_settings import _fingerprint

DISK_FIRST = {"bert.embeddings": "disk", "bert.encoder.layer.0": "cpu", "bert.encoder.layer.1": "disk"}
DISK_FIRST |= {"bert.pooler": "cpu", "dropout": "cpu", "classifier": "disk"}
CPU_FIRST = {name: {"disk": "cpu", "cpu": "disk"}[place] for name, place in DISK_FIRST.items()}


@pytest.fixture(params=[DISK_FIRST, CPU_FIRST], ids=["disk_first", "cpu_first"])
def spread(request, tmp_path):
    """A classifier from a folder, some of it on disk."""
    make_model(2).save_pretrained(tmp_path / "whole")
    model = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "whole", device_map=request.param, offload_folder=tmp_path / "offloaded"
    )
    assert is_dispatched(model) and any(one.is_meta for one in model.parameters())
    return model


def test_a_spread_teacher_teaches_live_and_stored(tmp_path, spread):
    """It was moved, which Accelerate refuses, and its hash was of tensors without content."""
    rows, whole = make_rows(8), make_model(2)
    assert device_of(spread).type == "cpu" and placed(spread, torch.device("meta")) is spread
    stored = soft_targets(spread, rows, make_tokenizer())
    np.testing.assert_allclose(stored["teacher_logits"], logits_of(whole, rows), atol=1e-6)
    losses = []
    for teacher in (spread, whole):
        settings = {"teacher": teacher, "given": {"eval_dataset": rows}, "max_steps": 2}
        trainer = make_trainer(tmp_path, make_model(1), rows, **settings)
        trainer.train()
        losses.append(trainer.evaluate()["eval_soft_target_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6) and losses[0] > 0.01


def test_its_fingerprints_are_those_of_the_whole_model(spread):
    """Or its soft targets would be made again once it fits on one device, and a run would not resume there."""
    for describe in (lambda model: describe_model(model)["teacher weights"], _fingerprint):
        assert describe(spread) == describe(make_model(2)) != describe(make_model(3))


def test_a_spread_teacher_runs_in_mixed_precision(tmp_path, spread):
    rows = make_rows(8)
    found = []
    for teacher in (spread, make_model(2)):
        settings = {"teacher": teacher, "given": {"eval_dataset": rows}, "bf16": True}
        found.append(make_trainer(tmp_path, make_model(1), rows, **settings).evaluate()["eval_soft_target_loss"])
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_a_spread_language_model_is_prompted(tmp_path):
    make_causal("llama").save_pretrained(tmp_path / "lm")
    places = {"model.embed_tokens": "disk", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "cpu"}
    places |= {"model.rotary_emb": "cpu", "lm_head": "cpu"}
    spread = AutoModelForCausalLM.from_pretrained(tmp_path / "lm", device_map=places, offload_folder=tmp_path / "off")
    one, other = (
        soft_targets(PromptTeacher(model, make_bpe(), TEMPLATE, VERBALIZER), make_texts())["teacher_logits"]
        for model in (spread, make_causal("llama"))
    )
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_it_cannot_be_is_refused(tmp_path, spread):
    with pytest.raises(ValueError, match=r"several devices \(device_map\) and cannot be cast to bfloat16"):
        make_trainer(tmp_path, make_model(1), make_rows(), teacher=spread, teacher_dtype="bfloat16")
    with pytest.raises(ValueError, match="lie elsewhere than where they are run.*load it without device_map"):
        make_student(spread, 1)

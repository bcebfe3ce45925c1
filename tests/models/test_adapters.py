"""PEFT adapters as teachers, by object and by name: live, stored and merged are one teacher."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import logits_of, make_model, make_rows, make_tokenizer, make_trainer
from tiny_prompts import TEMPLATE, VERBALIZER, make_bpe, make_causal
from tiny_prompts import make_rows as make_texts
from transformers import AutoModelForSequenceClassification

from hfdistill import ModelTeacher, PromptTeacher, make_student, soft_targets
from hfdistill.models.adapters import Adapter, load_config, load_model
from hfdistill.models.hub import HubUnreachableError
from hfdistill.models.loading import label_names_of, load_classifier, load_tokenizer

peft = pytest.importorskip("peft", reason="the extra `peft` is not installed")

LORA = {"task_type": "SEQ_CLS", "r": 2, "target_modules": ["query", "value"], "init_lora_weights": False}


@pytest.fixture
def adapter(tmp_path):
    """A classifier of three labels by adapters, in `adapter`, and `base`, of two, that they are for."""
    make_model(1, num_labels=2).save_pretrained(tmp_path / "base")
    make_tokenizer().save_pretrained(tmp_path / "base")
    base = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "base", num_labels=3, ignore_mismatched_sizes=True
    )
    torch.manual_seed(5)
    model = peft.get_peft_model(base, peft.LoraConfig(**LORA)).eval()
    model.save_pretrained(tmp_path / "adapter")
    return model


def soft_target_loss(folder, rows, teacher=None):
    trainer = make_trainer(folder, make_model(7), rows, teacher=teacher, given={"eval_dataset": rows})
    return trainer.evaluate()["eval_soft_target_loss"]


def test_live_stored_and_merged_are_one_teacher(tmp_path, adapter):
    """By name an adapter of three labels on a base of two ended in an error on sizes."""
    rows, folder = make_rows(8), tmp_path / "adapter"
    tokenizer, merged = load_classifier(str(folder))
    assert type(merged) is type(make_model()) and not hasattr(merged, "peft_config")
    torch.testing.assert_close(logits_of(merged, rows), logits_of(adapter, rows), atol=1e-5, rtol=0)
    stored = soft_targets(adapter, rows, tokenizer)
    by_name = soft_targets(str(folder), rows)
    for one in (stored, by_name):
        np.testing.assert_allclose(one["teacher_logits"], logits_of(adapter, rows), atol=1e-5)
    losses = [soft_target_loss(tmp_path, rows, teacher) for teacher in (adapter, merged, str(folder))]
    losses.append(soft_target_loss(tmp_path, stored))
    assert losses == pytest.approx([losses[0]] * 4, abs=1e-5) and losses[0] > 0.01


def test_a_language_model_with_adapters_is_prompted(tmp_path):
    causal, rows = make_causal(), make_texts()
    for part in (causal, make_bpe()):
        part.save_pretrained(tmp_path / "lm")
    base = type(causal).from_pretrained(tmp_path / "lm")
    torch.manual_seed(5)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["c_attn"], init_lora_weights=False)
    model = peft.get_peft_model(base, config).eval()
    model.save_pretrained(tmp_path / "adapter")
    by_name = PromptTeacher.from_pretrained(tmp_path / "adapter", TEMPLATE, VERBALIZER)
    by_object = PromptTeacher(model, make_bpe(), TEMPLATE, VERBALIZER)
    one, other, plain = (
        np.array(soft_targets(teacher, rows)["teacher_logits"])
        for teacher in (by_name, by_object, PromptTeacher(causal, make_bpe(), TEMPLATE, VERBALIZER))
    )
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.abs(one - plain).max() > 0.1
    assert by_name.calibrate().model.bias == pytest.approx(by_object.calibrate().model.bias, abs=1e-5)


def test_an_adapter_with_a_config_of_its_own_names_its_labels(tmp_path, adapter):
    adapter.config.id2label = {0: "cold", 1: "mild", 2: "hot"}
    adapter.config.save_pretrained(tmp_path / "adapter")
    assert label_names_of(str(tmp_path / "adapter")) == ("cold", "mild", "hot")
    assert load_classifier(str(tmp_path / "adapter"))[1].config.id2label[2] == "hot"


def test_an_adapter_without_a_tokenizer_has_its_bases(tmp_path, adapter):
    tokenizer = load_tokenizer(str(tmp_path / "adapter"))
    assert tokenizer.get_vocab() == make_tokenizer().get_vocab()
    assert ModelTeacher.from_pretrained(tmp_path / "adapter", ["text"]).processing_class is not None


def test_a_head_for_other_labels_is_a_new_one(tmp_path, adapter):
    names = {0: "no", 1: "yes", 2: "perhaps", 3: "never"}
    _, model = load_classifier(
        str(tmp_path / "adapter"), id2label=names, label2id={name: index for index, name in names.items()}
    )
    assert model.classifier.weight.shape[0] == 4 and all(one.requires_grad for one in model.parameters())
    expected = adapter.merge_and_unload().bert.encoder.layer[0].attention.self.query.weight
    torch.testing.assert_close(model.bert.encoder.layer[0].attention.self.query.weight, expected)


def test_a_student_is_cut_of_a_merged_copy(tmp_path, adapter):
    """It was refused, though adapters and layers go together once they are merged."""
    before = logits_of(adapter, make_rows(4))
    student = make_student(adapter, 1, [0])
    assert torch.equal(logits_of(adapter, make_rows(4)), before), "the teacher itself was merged"
    expected = adapter.merge_and_unload().bert.encoder.layer[0].attention.self.query.weight
    torch.testing.assert_close(student.bert.encoder.layer[0].attention.self.query.weight, expected)
    assert len(make_student(tmp_path / "adapter", 1).bert.encoder.layer) == 1


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig"])
def test_a_tuned_prompt_stays_around_its_model(tmp_path, adapter, kind):
    rows = make_rows(8)
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    torch.manual_seed(5)
    model = peft.get_peft_model(base, getattr(peft, kind)(task_type="SEQ_CLS", num_virtual_tokens=4)).eval()
    model.save_pretrained(tmp_path / "prompt")
    _, loaded = load_classifier(str(tmp_path / "prompt"))
    assert isinstance(loaded, peft.PeftModel)
    expected = logits_of(model, rows)
    assert (expected - logits_of(make_model(1, num_labels=2), rows)).abs().max() > 0.01
    stored = soft_targets(loaded, rows, make_tokenizer())
    np.testing.assert_allclose(stored["teacher_logits"], expected, atol=1e-5)
    student = make_model(7, num_labels=2)
    rows = rows.map(lambda row: {"labels": row["labels"] % 2})
    trainer = make_trainer(tmp_path, student, rows, teacher=loaded, given={"eval_dataset": rows})
    stored = stored.map(lambda row: {"labels": row["labels"] % 2})
    other = make_trainer(tmp_path, student, stored, given={"eval_dataset": stored})
    one, other = (each.evaluate()["eval_soft_target_loss"] for each in (trainer, other))
    assert one == pytest.approx(other, abs=1e-5)
    with pytest.raises(TypeError, match="merge its adapters"):
        make_student(loaded, 1)


def with_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_cannot_be_loaded_is_told_in_a_sentence(tmp_path, adapter, monkeypatch):
    name = str(tmp_path / "adapter")
    with_config(tmp_path / "adapter", base_model_name_or_path=str(tmp_path / "gone"))
    for load in (load_classifier, label_names_of, soft_targets_of):
        with pytest.raises(OSError, match="is an adapter for '.*gone', which cannot be had: There is no folder"):
            load(name)
    with_config(tmp_path / "adapter", base_model_name_or_path="somebody/gone")
    with pytest.raises(HubUnreachableError, match="is an adapter for 'somebody/gone'"):
        load_classifier(name)
    with_config(tmp_path / "adapter", base_model_name_or_path="")
    with pytest.raises(ValueError, match="names no model it is for"):
        load_classifier(name)
    (tmp_path / "adapter" / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"adapter_config.json is damaged"):
        load_classifier(name)


def soft_targets_of(name):
    soft_targets(name, Dataset.from_dict({"text": ["w1"]}), text_columns=["text"])


def test_an_adapter_of_another_task_is_no_classifier(tmp_path, adapter):
    """A new head on it would be untrained, and what it predicts noise."""
    for part in (make_model(1).bert, make_tokenizer()):
        part.save_pretrained(tmp_path / "bare")
    with_config(tmp_path / "adapter", base_model_name_or_path=str(tmp_path / "bare"))
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    from safetensors.torch import load_file, save_file

    save_file({name: one for name, one in load_file(weights).items() if "classifier" not in name}, weights)
    with pytest.raises(ValueError, match="for SEQ_CLS, and neither it nor .*bare, which it is for, has a head"):
        load_classifier(str(tmp_path / "adapter"))
    config = load_config(tmp_path / "base")
    assert config.num_labels == 2 and Adapter.of(tmp_path / "base") is None
    assert load_model(AutoModelForSequenceClassification, tmp_path / "base").num_labels == 2

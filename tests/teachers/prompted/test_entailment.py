"""A zero-shot classifier as teacher: the logits of the pipeline, for one label and for many."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import MULTI, logs_of, make_model, make_trainer
from tiny import make_rows as make_tokens
from tiny_prompts import NLI, make_entailment, make_rows, make_wordpiece
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    pipeline,
)

from hfdistill import EntailmentTeacher, StaleSoftTargets, soft_targets

LABELS = ["bad", "very fair", "good"]
TEMPLATE = "it was {} ."


def make_texts(count):
    return make_rows(count).remove_columns("label")


def make_roberta():
    """Its positions begin behind the padding, which is known by its id."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = RobertaConfig(
        vocab_size=140, max_position_embeddings=66, pad_token_id=0, initializer_range=0.4, **sizes, **NLI
    )
    return RobertaForSequenceClassification(config).eval()


def make_bart():
    """Its head reads the last end of a text."""
    torch.manual_seed(0)
    sides = {f"{side}_{name}": 1 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    sides |= {"vocab_size": 140, "max_position_embeddings": 64}
    sides |= {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "d_model": 16, "init_std": 0.5}
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
    return BartForSequenceClassification(BartConfig(**sides, **ids, **NLI)).eval()


def make_teacher(make=make_entailment, labels=LABELS, **settings):
    return EntailmentTeacher(make(), make_wordpiece(), labels, hypothesis_template=TEMPLATE, **settings)


def stored(teacher, rows, folder):
    return torch.tensor(soft_targets(teacher, rows, store=folder, batch_size=4)["teacher_logits"][:])


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("make", [make_entailment, make_roberta, make_bart])
def test_it_is_the_pipelines_classifier(make, multi_label, tmp_path):
    rows = make_texts(6)
    logits = stored(make_teacher(make, multi_label=multi_label), rows, tmp_path)
    found = logits.sigmoid() if multi_label else logits.softmax(-1)
    asked = pipeline("zero-shot-classification", model=make(), tokenizer=make_wordpiece())
    for row, text in zip(found, rows["text"], strict=True):
        said = asked(text, LABELS, hypothesis_template=TEMPLATE, multi_label=multi_label)
        expected = dict(zip(said["labels"], said["scores"], strict=True))
        np.testing.assert_allclose(row, [expected[name] for name in LABELS], atol=1e-4)
    assert found.std(0).min() > 1e-3  # a canary: the text matters


@pytest.mark.parametrize("multi_label", [False, True])
def test_live_and_stored_teach_the_same(multi_label, tmp_path):
    names = {"id2label": dict(enumerate(LABELS[::-1]))}
    names["label2id"] = {name: place for place, name in names["id2label"].items()}
    teacher, kind = make_teacher(multi_label=multi_label), {"problem_type": MULTI} if multi_label else {}
    tokens = make_tokens(8, **kind)
    rows = Dataset.from_dict({**tokens.to_dict(), "text": make_rows(8)["text"][:]})
    losses = []
    for live, given in [(teacher, rows), (None, soft_targets(teacher, rows, store=tmp_path / "kept"))]:
        trainer = make_trainer(tmp_path, make_model(1, **names, **kind), given, teacher=live, alpha=0.7)
        trainer.train()
        losses.append(logs_of(trainer, "loss", "soft_target_loss"))
    np.testing.assert_allclose(*losses, atol=1e-4)


def test_long_texts_are_cut_before_the_hypothesis(tmp_path, caplog):
    rows = Dataset.from_dict({"text": ["the film is a joy " * 30, "the film is a joy"]})
    found = stored(make_teacher(), rows, tmp_path)
    assert "1 of 2 rows are longer than the teacher's 64 tokens and were cut" in caplog.text
    tokenizer, model = make_wordpiece(), make_entailment().eval()
    # As much of the text as the longest hypothesis leaves room for.
    text = tokenizer("the film is a joy " * 30, "it was very fair .", truncation="only_first", max_length=64)
    kept = tokenizer.decode(text["input_ids"][1 : text["input_ids"].index(3)])
    for place, word in enumerate(LABELS):
        logits = model(**tokenizer(kept, TEMPLATE.replace("{}", word), return_tensors="pt")).logits
        assert found[0, place] == pytest.approx(logits[0, 2].item(), abs=1e-4)


def test_labels_may_be_called_by_other_words(tmp_path):
    rows = make_texts(3)
    named = make_teacher(labels={"NEG": "bad", "MID": "very fair", "POS": "good"})
    assert list(named.model.config.id2label.values()) == ["NEG", "MID", "POS"]
    torch.testing.assert_close(stored(named, rows, tmp_path / "a"), stored(make_teacher(), rows, tmp_path / "b"))
    with pytest.raises(StaleSoftTargets, match="differ in hypotheses"):
        stored(make_teacher(labels=["bad", "dull", "good"]), rows, tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hypothesis_template": "it was so ."}, "has no place for the label: write {} once"),
        ({"label_names": ["bad"]}, "two labels or more, each once; got bad"),
        ({"label_names": ["bad", "bad"]}, "two labels or more, each once"),
        ({"text_column": ["a", "b"]}, "name one column"),
        ({"model": make_model()}, "calls its labels label_0, label_1, label_2, and none of them entailment"),
    ],
)
def test_what_cannot_be_asked_is_refused(change, message):
    given = {"model": make_entailment(), "tokenizer": make_wordpiece(), "label_names": LABELS, **change}
    with pytest.raises(ValueError, match=message):
        EntailmentTeacher(**given)


def test_a_saved_model_is_loaded(tmp_path):
    make_entailment().save_pretrained(tmp_path / "nli")
    make_wordpiece().save_pretrained(tmp_path / "nli")
    loaded = EntailmentTeacher.from_pretrained(tmp_path / "nli", LABELS, hypothesis_template=TEMPLATE)
    rows = make_texts(3)
    torch.testing.assert_close(stored(loaded, rows, tmp_path / "a"), stored(make_teacher(), rows, tmp_path / "b"))

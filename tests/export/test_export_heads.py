"""Exports of taggers and answer finders: the same logits in ONNX Runtime, and the metric of a comparison."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import WORDS, make_tokenizer
from tiny_media import make_writer, writer_rows
from transformers import BertConfig, BertForQuestionAnswering, BertForTokenClassification, GPT2Config, GPT2LMHeadModel

from hfdistill import compare, export_onnx, load_classifier

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="the extra `export` is not installed")

NAMES = {0: "O", 1: "B-x", 2: "I-x"}


def model_of(kind, seed=1):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    names = {"id2label": NAMES} if kind is BertForTokenClassification else {}
    return kind(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, initializer_range=0.4, **sizes, **names))


def sentences():
    words = [[f"w{(7 * row + place) % 36}" for place in range(2 + row % 5)] for row in range(12)]
    return Dataset.from_dict({"tokens": words, "labels": [[place % 3 for place in range(len(row))] for row in words]})


def test_a_tagger_is_exported_and_compared(tmp_path):
    student, tokenizer, rows = model_of(BertForTokenClassification), make_tokenizer(), sentences()
    exported = export_onnx(student, tokenizer, rows, tmp_path, text_columns=["tokens"])
    assert exported["onnx"].parity.relative_error < 1e-4 and exported["onnx"].parity.agreement == 1.0
    ids = torch.tensor([[5, 6, 7, 0], [8, 9, 10, 11]])
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).long(), "token_type_ids": ids * 0}
    with torch.no_grad():
        expected = student.eval()(**inputs).logits
    assert torch.allclose(exported["onnx"](**inputs).logits[0, :3], expected[0, :3], atol=1e-4)
    found = compare(model_of(BertForTokenClassification, 2), student, rows, tokenizer, others=exported)
    assert found.models["onnx"].metrics == found.models["student"].metrics
    assert found.models["onnx"].engine == "ONNX Runtime"


def test_a_finder_of_answers_is_exported(tmp_path):
    student, tokenizer = model_of(BertForQuestionAnswering), make_tokenizer()
    rows = Dataset.from_dict({"input_ids": [[2, *range(4, 6 + row), 3] for row in range(8)]})
    found = export_onnx(student, tokenizer, rows, tmp_path, formats=["onnx"])["onnx"]
    assert found.parity.relative_error < 1e-4 and found.parity.agreement is None
    row = torch.tensor([rows[3]["input_ids"]])
    inputs = {"input_ids": row, "attention_mask": row * 0 + 1, "token_type_ids": row * 0}
    output = found(**inputs)
    with torch.no_grad():
        expected = student.eval()(**inputs)
    for name in ("start_logits", "end_logits"):
        assert np.allclose(getattr(output, name), getattr(expected, name), atol=1e-4)


def test_a_model_that_writes_texts_is_refused_and_not_given_a_head(tmp_path):
    """Loaded as a classifier it had a head of random weights, which was exported and passed its check."""
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": len(WORDS)}
    writer, tokenizer = GPT2LMHeadModel(GPT2Config(**sizes)), make_tokenizer()
    rows = Dataset.from_dict({"input_ids": [[5, 6, 7]] * 4})
    with pytest.raises(ValueError, match="GPT2LMHeadModel writes texts token after token.*optimum-cli export onnx"):
        export_onnx(writer, tokenizer, rows, tmp_path)
    with pytest.raises(ValueError, match="WhisperForConditionalGeneration writes texts token after token"):
        export_onnx(make_writer(), tokenizer, writer_rows(), tmp_path)
    for part in (writer, tokenizer):
        part.save_pretrained(tmp_path / "lm")
    with pytest.raises(ValueError, match=r"lm writes texts \(GPT2LMHeadModel\) and is no classifier.*optimum-cli"):
        load_classifier(str(tmp_path / "lm"))
    assert load_classifier(str(tmp_path / "lm"), num_labels=3)[1].config.num_labels == 3

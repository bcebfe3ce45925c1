"""Exports of other heads: the same outputs in ONNX Runtime, the metric of a comparison, and the code of a card."""

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import WORDS, make_tokenizer
from tiny_media import make_writer, writer_rows
from transformers import (
    BertConfig,
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
)

from hfdistill import as_reranker, as_sentence_encoder, compare, export_onnx, load_classifier, tokenize_choices
from hfdistill.export.onnx_model import OnnxModel
from hfdistill.models.pooling import MODES, Pooling
from hfdistill.report.saved_form import saved_form
from hfdistill.report.snippets import Usage, usage_code

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="the extra `export` is not installed")

NODE_MODULES = Path(os.environ.get("HFDISTILL_NODE_MODULES", "node_modules"))
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


def choosers(kind, seed=1):
    model = model_of(BertForMultipleChoice, seed)
    if kind == "choices":
        return model
    torch.manual_seed(seed)
    config = BertConfig(**{**model.config.to_dict(), "id2label": {0: "score"}, "label2id": {"score": 0}})
    return as_reranker(BertForSequenceClassification(config))


@pytest.mark.parametrize("kind", ["choices", "candidates"])
def test_what_chooses_is_exported_and_compared(tmp_path, kind):
    """Rows of two to four choices; the metric is how often the right one is the first."""
    student, tokenizer = choosers(kind), make_tokenizer()
    texts = [
        [" ".join(row["tokens"][: 1 + n]) for n in range(2 + number % 3)] for number, row in enumerate(sentences())
    ]
    rows = Dataset.from_dict({"context": ["w1 w2"] * 12, "choices": texts, "labels": [n % 2 for n in range(12)]})
    columns = {"tokenizer": tokenizer, "context": "context", "choices": "choices"}
    rows = rows.map(tokenize_choices, batched=True, fn_kwargs=columns)
    exported = export_onnx(student, tokenizer, rows, tmp_path)
    parity = exported["onnx"].parity
    assert parity.relative_error < 1e-4 and parity.agreement == (1.0 if kind == "choices" else None)
    assert parity.rows == (12 if kind == "choices" else sum(map(len, texts)))
    found = compare(choosers(kind, 2), student, rows, tokenizer, others=exported)
    assert found.models["onnx"].metrics == found.models["student"].metrics
    assert found.models["onnx"].engine == "ONNX Runtime"
    if kind == "choices":
        with pytest.raises(ValueError, match="as tokenize_choices makes them, not texts"):
            export_onnx(student, tokenizer, rows, tmp_path, text_columns=["context"])


def sentence_encoder(pooling="mean", seed=1):
    return as_sentence_encoder(model_of(BertModel, seed), pooling)


@pytest.mark.parametrize("pooling", MODES)
def test_a_sentence_encoder_is_exported_and_compared(tmp_path, pooling):
    """Its graph gives hidden states, of which the card's code makes the embeddings that its library gives."""
    student, tokenizer = sentence_encoder(pooling), make_tokenizer()
    rows = Dataset.from_dict({"text": [" ".join(row["tokens"]) for row in sentences()]})
    exported = export_onnx(student, tokenizer, rows, tmp_path / "student", text_columns=["text"])
    assert exported["onnx"].parity.relative_error < 1e-4 and exported["onnx"].parity.agreement is None
    assert "embeddings" not in str(exported["onnx"].parity) and student.pooler is not None
    pairs = rows.add_column("other", rows["text"][::-1]).add_column("similarity", [n / 12 for n in range(12)])
    found = compare(sentence_encoder(pooling, 2), student, pairs, tokenizer, others={"onnx": exported["onnx"]})
    assert found.models["onnx"].metrics == pytest.approx(found.models["student"].metrics)


@pytest.fixture(scope="module")
def encoders_home(tmp_path_factory):
    home, student, tokenizer = tmp_path_factory.mktemp("home"), sentence_encoder(), make_tokenizer()
    for part in (student, tokenizer):
        part.save_pretrained(home / "student")
    Pooling().write(home / "student", 16, 32)
    rows = Dataset.from_dict({"text": [" ".join(row["tokens"]) for row in sentences()]})
    export_onnx(student, tokenizer, rows, home / "student", text_columns=["text"])
    return home


def code_of(model, exports, language="python"):
    blocks = usage_code(saved_form(model), Usage("student", exports=exports))
    return [code for block in blocks for code in re.findall(rf"```{language}\n(.*?)\n```", block, re.DOTALL)]


def test_an_encoders_code_runs(encoders_home, monkeypatch, capsys):
    """With its library and with ONNX Runtime alike."""
    pytest.importorskip("sentence_transformers")
    monkeypatch.chdir(encoders_home)
    found = []
    for code in code_of(sentence_encoder(), ["onnx/model.onnx"]):
        exec(code, {})
        found.append(np.array(re.findall(r"-?\d+\.\d*", capsys.readouterr().out), dtype=float))
    assert len(found) == 2 and np.allclose(*found, atol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(
    not (NODE_MODULES / "@huggingface" / "transformers").is_dir(),
    reason="transformers.js is not installed: npm install @huggingface/transformers, and name its node_modules in "
    "HFDISTILL_NODE_MODULES",
)
@pytest.mark.parametrize("file", ["onnx/model.onnx", "onnx/model_quantized.onnx"])
def test_an_encoders_code_for_transformers_js_runs(encoders_home, tmp_path, file):
    """Its vectors are those of the graph, pooled here."""
    [code] = code_of(sentence_encoder(), [file], "javascript")
    code = code.replace("console.log(vectors.tolist())", "print(vectors)")
    head = 'import { env } from "@huggingface/transformers";\n'
    head += f"env.allowRemoteModels = false; env.localModelPath = {str(encoders_home) + '/'!r};\n"
    tail = "\nfunction print(one) { console.log(JSON.stringify(one.tolist())); }\n"
    (tmp_path / "embed.mjs").write_text(head + code + tail)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES.resolve())
    done = subprocess.run(["node", "embed.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    vectors = np.array(json.loads(done.stdout.splitlines()[-1]))
    model, tokenizer = OnnxModel(encoders_home / "student" / file, sentence_encoder().config), make_tokenizer()
    texts = dict(tokenizer(["A man rides a bicycle.", "Somebody is outdoors."], padding=True, return_tensors="pt"))
    expected = Pooling()(model(**texts).last_hidden_state, texts["attention_mask"])
    assert np.allclose(vectors, expected, atol=2e-3)

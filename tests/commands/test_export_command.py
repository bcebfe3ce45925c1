"""`hfdistill export` of what is no classifier: measured as its task is, and in the folder of its library."""

import json
import re
import sys

import pytest
import torch
from texts import TEXTS, make_tokenizer
from transformers import BertConfig, BertForMultipleChoice, BertForTokenClassification, BertModel

from hfdistill import as_sentence_encoder
from hfdistill.commands.main import main
from hfdistill.models.pooling import Pooling

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="the extra `export` is not installed")


def save(kind, folder):
    torch.manual_seed(1)
    tokenizer = make_tokenizer()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    model = kind(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.4, **sizes))
    for part in (as_sentence_encoder(model, "cls") if kind is BertModel else model, tokenizer):
        part.save_pretrained(folder)


@pytest.fixture
def exported(monkeypatch, capsys):
    """`exported(*words)`: the lines that the command prints."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hfdistill", "export", *map(str, words)])
        main()
        return capsys.readouterr().out.strip().splitlines()

    return run


@pytest.mark.slow
def test_a_model_of_multiple_choice(tmp_path, exported):
    save(BertForMultipleChoice, tmp_path / "student")
    rows = [{"question": text, "endings": TEXTS[: 2 + n % 3], "label": n % 2} for n, text in enumerate(TEXTS[:9])]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    *_, line, scores = exported(tmp_path / "student", tmp_path / "rows.jsonl", "--formats", "onnx")
    assert "100.0 % of the decisions are the model's" in line and "9 rows" in line
    own, other = re.findall(r"0\.\d{4}", scores)
    assert (
        scores.startswith("accuracy: model ")
        and own == other
        and (tmp_path / "student" / "onnx" / "model.onnx").exists()
    )


@pytest.mark.slow
def test_a_sentence_encoder_goes_with_its_pooling(tmp_path, exported):
    save(BertModel, tmp_path / "student")
    lines = ["sentence1,sentence2,score", *(f"{text},so {text[::-1]},{n / 9}" for n, text in enumerate(TEXTS[:9]))]
    (tmp_path / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    words = ("--formats", "onnx", "--output_dir", tmp_path / "out")
    *_, line, scores = exported(tmp_path / "student", tmp_path / "pairs.csv", *words)
    assert "decisions" not in line and scores.startswith("spearman: model ")
    assert Pooling.read(str(tmp_path / "out")) == Pooling("cls", normalize=True)


def test_a_tagger_is_refused_with_a_way_out(tmp_path, exported, capsys):
    """It got a new head, whose exports were right and meant nothing."""
    save(BertForTokenClassification, tmp_path / "tagger")
    (tmp_path / "texts.csv").write_text("text\na b\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        exported(tmp_path / "tagger", tmp_path / "texts.csv")
    assert "is a BertForTokenClassification" in f"{ended.value.code} {capsys.readouterr().err}"

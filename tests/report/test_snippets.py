"""The code of a card: it is copied, and works as it stands."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from texts import TEXTS
from tiny import make_model, make_rows, make_tokenizer
from tiny_seq2seq import make_translator
from tiny_translators import BACKWARDS
from transformers import (
    BertConfig,
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from hfdistill.export.onnx import export_onnx
from hfdistill.report.saved_form import SavedForm, saved_form
from hfdistill.report.snippets import Usage, routing_code, usage_code


def python_in(blocks):
    return [code for block in blocks for code in re.findall(r"```python\n(.*?)\n```", block, re.DOTALL)]


@pytest.fixture(scope="module")
def classifiers_home(tmp_path_factory):
    """The folder that a student's folder lies in."""
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    home, model, tokenizer = tmp_path_factory.mktemp("home"), make_model(1, num_hidden_layers=1), make_tokenizer()
    for part in (model, tokenizer):
        part.save_pretrained(home / "my student")
    export_onnx(model, tokenizer, make_rows(), home / "my student", formats=["onnx"])
    return home


@pytest.mark.parametrize("text_pair", [False, True])
def test_a_classifiers_code_runs(classifiers_home, monkeypatch, capsys, text_pair):
    """With `pipeline` and with ONNX Runtime alike."""
    monkeypatch.chdir(classifiers_home)
    usage = Usage("my student", task="text-classification", text_pair=text_pair, exports=["onnx/model.onnx"])
    blocks = usage_code(SavedForm(), usage)
    by_pipeline, by_onnx = python_in(blocks)
    exec(by_pipeline, {})
    exec(by_onnx, {})
    predicted, exported = capsys.readouterr().out.strip().splitlines()
    assert eval(exported)[0] == (eval(predicted) if text_pair else eval(predicted)[0])["label"]
    assert any("javascript" in block for block in blocks) != text_pair


@pytest.mark.parametrize("text_pair", [False, True])
@pytest.mark.parametrize(("threshold", "answering"), [(0.0, "student"), (1.1, "teacher")])
def test_the_code_for_both_models_runs(tmp_path, monkeypatch, capsys, text_pair, threshold, answering):
    """Below the threshold the teacher answers."""
    for name, seed in (("student", 1), ("teacher", 2)):
        for part in (make_model(seed), make_tokenizer()):
            part.save_pretrained(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    usage = Usage("student", task="text-classification", text_pair=text_pair)
    exec(python_in([routing_code(usage, "teacher", threshold)])[0], {})
    exec(python_in(usage_code(SavedForm(), Usage(answering, task=usage.task, text_pair=text_pair)))[0], {})
    both, alone = map(eval, capsys.readouterr().out.strip().splitlines())
    assert both == (alone if text_pair else alone[0])


def test_a_translators_code_runs(tmp_path, monkeypatch, capsys):
    """There is no pipeline of translators any more."""
    for part in make_translator():
        part.save_pretrained(tmp_path / "student")
    monkeypatch.chdir(tmp_path)
    [code] = python_in(usage_code(SavedForm(), Usage("student", task="translation")))
    exec(code, {})
    assert len(eval(capsys.readouterr().out)) == 1


@pytest.mark.slow
def test_an_exported_translators_code_runs(deployed, monkeypatch, capsys):
    """By ONNX Runtime as by PyTorch, however few positions there are; JavaScript names the same file."""
    monkeypatch.chdir(deployed.folder.parent)
    usage = Usage("student", task="translation", exports=["onnx/decoder_model_merged.onnx"])
    *_, by_onnx, javascript = usage_code(SavedForm(), usage)
    exec(python_in([by_onnx])[0].replace("A man rides a bicycle.", TEXTS[2]), {})
    assert eval(capsys.readouterr().out) == [BACKWARDS[2]]
    assert 'pipeline("translation", "student", { dtype: "fp32" })' in javascript


#: Code of other heads, the model that it runs and what it prints.
OTHERS = {
    "question-answering": (BertForQuestionAnswering, (str, type(None))),
    "text-ranking": (BertForSequenceClassification, list),
    "multiple-choice": (BertForMultipleChoice, str),
}


def save(kind, folder, **labels):
    tokenizer = make_tokenizer()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    torch.manual_seed(1)
    model = kind(BertConfig(vocab_size=len(tokenizer), initializer_range=0.4, **sizes, **labels))
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    return model, tokenizer


@pytest.mark.parametrize("task", OTHERS)
def test_the_code_of_other_heads_runs(tmp_path, monkeypatch, capsys, task):
    """There is no pipeline of them."""
    kind, printed = OTHERS[task]
    labels = {"id2label": {0: "score"}} if task == "text-ranking" else {}
    save(kind, tmp_path / "student", **labels)
    monkeypatch.chdir(tmp_path)
    [code] = python_in(usage_code(SavedForm(), Usage("student", task=task)))
    exec(code, {})
    found = capsys.readouterr().out.strip()
    assert isinstance(eval(found) if found in ("None",) or task == "text-ranking" else found, printed)


def test_the_code_groups_entities_of_iobes(monkeypatch, capsys):
    """The pipeline's own groups have E-x and S-x for kinds of their own."""
    tagged = [
        ("S-per", 0, 3),
        ("B-org", 4, 7),
        ("I-org", 7, 12),
        ("E-org", 13, 18),
        ("S-org", 19, 21),
        ("S-loc", 22, 28),
    ]
    tokens = [{"entity": entity, "start": start, "end": end} for entity, start, end in tagged]
    monkeypatch.setattr(transformers, "pipeline", lambda *_, **__: lambda text: tokens)
    [code] = python_in(usage_code(SavedForm(ends_entities=True), Usage("student", task="token-classification")))
    exec(code, {})
    text = "Ada Lovelace lived in London."
    expected = [("per", text[0:3]), ("org", text[4:18]), ("org", text[19:21]), ("loc", text[22:28])]
    assert eval(capsys.readouterr().out) == expected


def test_what_a_tagger_says_of_entities_is_seen(tmp_path):
    for names, ends in ((["O", "B-x", "I-x"], False), (["O", "B-x", "I-x", "E-x", "S-x"], True)):
        model, _ = save(BertForTokenClassification, tmp_path / "tagger", id2label=dict(enumerate(names)))
        assert saved_form(model).ends_entities == ends


def test_a_taggers_code_for_onnx_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    model, tokenizer = save(BertForTokenClassification, tmp_path / "student", id2label={0: "O", 1: "B-x", 2: "I-x"})
    rows = Dataset.from_dict({"tokens": [["is", "dull"], ["a", "joy", "too"]]})
    export_onnx(model, tokenizer, rows, tmp_path / "student", formats=["onnx"], text_columns=["tokens"])
    monkeypatch.chdir(tmp_path)
    usage = Usage("student", task="token-classification", exports=["onnx/model.onnx"])
    by_pipeline, by_onnx = python_in(usage_code(saved_form(model), usage))
    exec(by_pipeline, {})
    exec(by_onnx, {})
    predicted, exported = capsys.readouterr().out.strip().splitlines()
    tags = [tag for token, tag in eval(exported) if not token.startswith("[") and tag != "O"]
    assert tags == [one["entity"] for one in eval(predicted, {"np": np})]


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_the_code_of_scores_and_of_several_labels_runs(tmp_path, monkeypatch, capsys, problem):
    """The likeliest class would be the score's one class, and one label of several; transformers.js makes it 1."""
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    names = {"regression": ["score"], "multi_label_classification": ["a", "b", "c"]}[problem]
    labels = {"id2label": dict(enumerate(names)), "problem_type": problem}
    model, tokenizer = save(BertForSequenceClassification, tmp_path / "student", **labels)
    export_onnx(model, tokenizer, make_rows(), tmp_path / "student", formats=["onnx"])
    monkeypatch.chdir(tmp_path)
    usage = Usage("student", task="text-classification", exports=["onnx/model.onnx"])
    blocks = usage_code(saved_form(model), usage)
    by_pipeline, by_onnx = python_in(blocks)
    exec(by_pipeline, {})
    exec(by_onnx, {})
    predicted, exported = capsys.readouterr().out.strip().splitlines()
    if problem == "regression":
        assert eval(predicted)[0]["score"] == pytest.approx(float(exported.strip("[]")), abs=1e-4)
        assert not any("javascript" in block for block in blocks)
    else:
        held = {one["label"] for one in eval(predicted)[0] if one["score"] > 0.5}
        assert {*eval(exported)[0]} == held and any("top_k: null" in block for block in blocks)


def test_of_a_repository_the_export_is_fetched():
    """A folder of that name is nowhere."""
    usage = Usage("me/student", on_hub=True, task="text-classification", exports=["onnx/model_quantized.onnx"])
    _, onnx, javascript = usage_code(SavedForm(), usage)
    assert 'hf_hub_download("me/student", "onnx/model_quantized.onnx")' in onnx
    assert 'pipeline("text-classification", "me/student", { dtype: "q8" })' in javascript


def test_what_cannot_be_run_so_has_no_code():
    """A line that fails is worse than none."""
    assert usage_code(SavedForm(), Usage("student", task="fill-mask")) == []
    assert usage_code(SavedForm("It is something else."), Usage("student", task="text-classification")) == []

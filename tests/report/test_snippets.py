"""The code of a card: it is copied, and works as it stands."""

from __future__ import annotations

import re

import pytest
from texts import TEXTS
from tiny import make_model, make_rows, make_tokenizer
from tiny_seq2seq import make_translator
from tiny_translators import BACKWARDS

from hfdistill.export.onnx import export_onnx
from hfdistill.report.saved_form import SavedForm
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

"""The exported files: the same predictions in ONNX Runtime and in transformers.js, and nothing left of a bad export."""

import copy
import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from texts import TEXTS, make_tokenizer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    Trainer,
    TrainingArguments,
)

from hfdistill.export import base, classifier
from hfdistill.export.base import ExportError, check_export, formats
from hfdistill.export.classifier import Parity, measure_parity
from hfdistill.export.onnx import export_onnx
from hfdistill.export.onnx_model import OnnxModel
from hfdistill.models.inference import predict_logits, token_rows
from hfdistill.tasks.classification import report
from hfdistill.tasks.classification.metrics import classification_metrics
from hfdistill.tasks.classification.report import compare

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="the extra `export` is not installed")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402

SENTENCE = ("sentence",)
NODE_MODULES = Path(os.environ.get("HFDISTILL_NODE_MODULES", "node_modules"))


@pytest.fixture
def export_to(tokenizer, text_dataset, tmp_path):
    """`export_to(model, **settings)`: exports into a fresh folder."""

    def run(model, folder="student", **settings):
        defaults = {"text_columns": SENTENCE, "formats": ["onnx"]}
        return export_onnx(model, tokenizer, text_dataset, tmp_path / folder, **{**defaults, **settings})

    return run


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A student with named labels, exported in both formats once: its folder, model and tokenizer."""
    names = {"id2label": {0: "bad", 1: "fair", 2: "good"}, "label2id": {"bad": 0, "fair": 1, "good": 2}}
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
    positions = {"vocab_size": 120, "max_position_embeddings": 64, "initializer_range": 0.3}
    folder, tokenizer = tmp_path_factory.mktemp("exported") / "student", make_tokenizer()
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**names, **sizes, **positions)).eval()
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    before = copy.deepcopy(model.state_dict())
    exported = export_onnx(model, tokenizer, Dataset.from_dict({"sentence": TEXTS}), folder, text_columns=SENTENCE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.training
    return SimpleNamespace(folder=folder, model=model, tokenizer=tokenizer, exported=exported)


@torch.no_grad()
def logits_of(model, tokenizer, texts):
    """One text at a time, by plain transformers."""
    return np.concatenate([model(**tokenizer(text, return_tensors="pt")).logits.numpy() for text in texts])


def run_session(path, tokenizer, texts):
    """By plain ONNX Runtime, as somebody who has the file alone would."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = tokenizer(texts, padding=True, return_tensors="np")
    return session.run(["logits"], {node.name: inputs[node.name].astype(np.int64) for node in session.get_inputs()})[0]


def test_what_a_trainer_left_in_mixed_precision_is_exported_in_float32(tiny_bert, text_dataset, tokenizer, tmp_path):
    """ONNX Runtime has no bfloat16 products, and a deployed student is to predict as the saved one does."""
    model = tiny_bert(num_hidden_layers=1)
    tokenized = text_dataset.map(lambda rows: tokenizer(rows["sentence"]), batched=True)
    args = TrainingArguments(tmp_path, bf16=True, max_steps=1, use_cpu=True, report_to="none")
    Trainer(model, args, train_dataset=tokenized, processing_class=tokenizer).train()
    exported = export_onnx(model, tokenizer, tokenized, tmp_path)["onnx"]
    model.save_pretrained(tmp_path)
    rows = token_rows(model, tokenizer, tokenized)
    saved = predict_logits(type(model).from_pretrained(tmp_path), tokenizer, rows)
    np.testing.assert_allclose(predict_logits(exported, tokenizer, rows), saved, atol=1e-5)


def test_any_batch_and_length_gets_the_models_prediction(shared):
    """A size that was taken for a constant while tracing shows only with another size."""
    expected = logits_of(shared.model, shared.tokenizer, [*TEXTS, " ".join(TEXTS[:6])])
    path = shared.folder / formats()["onnx"].path
    assert shared.exported["onnx"].path == path
    np.testing.assert_allclose(run_session(path, shared.tokenizer, TEXTS), expected[:-1], atol=1e-4)
    for row in (0, 7):
        prediction = run_session(path, shared.tokenizer, TEXTS[row : row + 1])
        np.testing.assert_allclose(prediction, expected[row][None], atol=1e-4)
    prediction = run_session(path, shared.tokenizer, [" ".join(TEXTS[:6])])
    np.testing.assert_allclose(prediction, expected[-1][None], atol=1e-4)


def test_the_folder_is_as_the_hub_expects_it(shared):
    """transformers.js looks for these names; a weight file beside the graph it would not find."""
    assert sorted(path.name for path in (shared.folder / "onnx").iterdir()) == ["model.onnx", "model_quantized.onnx"]
    graph = onnx.load(shared.folder / formats()["onnx"].path, load_external_data=False).graph
    assert [output.name for output in graph.output] == ["logits"]
    assert {node.name for node in graph.input} == {"input_ids", "attention_mask", "token_type_ids"}
    assert all(not one.external_data for one in graph.initializer)


def test_the_files_hold_no_local_paths(shared):
    """Tracing keeps the path of every line of code that it came by."""
    for exported in shared.exported.values():
        content = exported.path.read_bytes()
        assert b"site-packages" not in content and str(Path.home()).encode() not in content and b".py" not in content


def test_norms_and_activations_are_fused(shared):
    """A session of small operations is slower by far; ONNX Runtime does not find all of these by itself."""
    operations = {node.op_type for node in onnx.load(shared.folder / formats()["onnx"].path).graph.node}
    assert {"SkipLayerNormalization", "BiasGelu"} <= operations


@pytest.mark.slow
def test_a_model_without_token_types(tokenizer, text_dataset, export_to, tmp_path):
    """DistilBERT, the commonest student of all, reads no token types, whatever the tokenizer gives."""
    sizes = {"vocab_size": 120, "dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64}
    torch.manual_seed(0)
    model = DistilBertForSequenceClassification(DistilBertConfig(**sizes, initializer_range=0.5)).eval()
    export_to(model)
    texts = list(text_dataset["sentence"])
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    del inputs["token_type_ids"]
    expected = model(**inputs).logits.detach().numpy()
    np.testing.assert_allclose(
        run_session(tmp_path / "student" / formats()["onnx"].path, tokenizer, texts), expected, atol=1e-4
    )


@pytest.mark.slow
def test_half_precision_is_exported_in_float32(tiny_bert, tokenizer, text_dataset, export_to, monkeypatch):
    """ONNX Runtime's CPU provider has few operations in bfloat16; the float32 weights are the same numbers."""
    monkeypatch.setattr(formats()["onnx"], "tolerance", 9.0)
    model = tiny_bert(num_hidden_layers=1).to(torch.bfloat16)
    rows = token_rows(model, tokenizer, text_dataset, SENTENCE)
    predictions = predict_logits(export_to(model)["onnx"], tokenizer, rows)
    expected = predict_logits(copy.deepcopy(model).float(), tokenizer, rows)
    np.testing.assert_allclose(predictions, expected, atol=1e-4)
    assert model.dtype == torch.bfloat16


def test_int8_is_a_quarter_of_the_size_and_much_the_same(shared):
    """Embeddings are most of a small model: left in float32, int8 would save next to nothing."""
    sizes = {name: one.path.stat().st_size for name, one in shared.exported.items()}
    assert sizes["int8"] < 0.35 * sizes["onnx"]  # of a model this small, the graph itself is a good part
    graph = onnx.load(shared.folder / formats()["int8"].path).graph
    large = [one for one in graph.initializer if np.prod(one.dims) > 64 * 32]
    assert len(large) >= 11 and all(one.data_type != onnx.TensorProto.FLOAT for one in large)
    rows = token_rows(shared.model, shared.tokenizer, Dataset.from_dict({"sentence": TEXTS}), SENTENCE)
    predictions = predict_logits(shared.exported["int8"], shared.tokenizer, rows)
    parity = measure_parity(predictions, predict_logits(shared.model, shared.tokenizer, rows), None)
    assert 0 < parity.relative_error < 0.2 and parity.agreement > 0.95 and parity.rows == 30


# ---- Parity ----


def test_parity_by_hand():
    """One of four rows is decided otherwise, by a logit that is off by 2."""
    expected = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 3.0]])
    predictions = expected.copy()
    predictions[0, 1] = 2.0
    parity = measure_parity(predictions, expected, None)
    assert parity.max_difference == 2 and parity.agreement == 0.75
    assert parity.relative_error == pytest.approx(np.sqrt(4 / 8) / np.sqrt(15 / 8))


def test_logits_that_do_not_differ_from_row_to_row_are_no_fault_of_the_export():
    """A collapsed student was refused for errors of a ten-millionth, which are large beside no spread at all."""
    expected = np.full((50, 2), 0.7)
    parity = measure_parity(expected + 1e-7, expected, None)
    assert not formats()["onnx"].fault(parity) and not formats()["int8"].fault(parity)


@pytest.mark.parametrize(("name", "far"), [("onnx", 0.02), ("int8", 0.8)])
def test_an_export_far_beyond_rounding_is_refused_and_changed_decisions_are_not(name, far):
    """A hardly trained student is unsure of many rows, and rounding decides some of them otherwise."""
    assert re.search(
        rf"the {name} export is broken.* leave {name} out", formats()[name].fault(Parity(9, far, 1.0, 1000))
    )
    assert formats()[name].fault(Parity(9, float("nan"), 1.0, 1000))
    for agreement in (0.5, 250 / 256, None):
        assert not formats()[name].fault(Parity(0.1, 0.005, agreement, 256))


def test_int8_of_a_hardly_trained_student_is_kept(tiny_bert, export_to):
    """Six of 256 decisions changed, and the run ended with an error; now its figures stand beside the student's."""
    model = tiny_bert(num_hidden_layers=1)
    with torch.no_grad():  # so unsure that rounding decides some rows
        model.classifier.weight[1:] = model.classifier.weight[:1] + 0.01 * model.classifier.weight[1:]
        model.classifier.bias.fill_(0.3)
    parity = export_to(model, formats=["int8"])["int8"].parity
    assert parity.agreement < 1 and "decisions are the model's" in str(parity)


def test_one_broken_format_leaves_the_others(tiny_bert, export_to, tmp_path, monkeypatch):
    monkeypatch.setattr(formats()["int8"], "tolerance", -1.0)
    with pytest.raises(ExportError, match="the int8 export is broken") as refused:
        export_to(tiny_bert(num_hidden_layers=1), formats=["int8", "onnx"])
    assert list(refused.value.exported) == ["onnx"] and refused.value.exported["onnx"].parity.agreement == 1
    assert [path.name for path in (tmp_path / "student" / "onnx").iterdir()] == ["model.onnx"]


def test_a_prediction_that_is_nan_is_refused(tiny_bert, export_to, tmp_path, monkeypatch):
    nothing = measure_parity(np.full((2, 2), np.nan), np.eye(2), None)
    monkeypatch.setattr(classifier, "measure_parity", lambda *_: dataclasses.replace(nothing, agreement=1.0))
    with pytest.raises(ValueError, match="off by nan"):
        export_to(tiny_bert(num_hidden_layers=1))
    assert not list((tmp_path / "student" / "onnx").iterdir())


def test_unknown_formats_and_missing_packages_are_named_first(monkeypatch):
    """Found out after the training, it would have been for nothing."""
    with pytest.raises(ValueError, match="no export format 'onxx'; the formats are onnx, int8"):
        check_export(["onxx"])
    monkeypatch.setattr(base.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else True)
    with pytest.raises(ImportError, match=r"export needs onnxscript: pip install .*\[export\]'"):
        check_export(["int8"])
    check_export([])


# ---- Where it is used ----


def test_the_exported_student_is_a_column_of_the_comparison(shared, monkeypatch, quick_report):
    """Its size is its file's, its predictions its own: those that it was checked by, as the rows are the same."""
    metrics = classification_metrics(["accuracy"])
    dataset = Dataset.from_dict({"sentence": TEXTS, "label": [len(text) % 3 for text in TEXTS]})
    rows = token_rows(shared.model, shared.tokenizer, dataset, SENTENCE)
    logits, run = predict_logits(shared.model, shared.tokenizer, rows), []
    monkeypatch.setattr(report, "predict_logits", lambda model, *_, **__: run.append(model) or logits)
    settings = {"compute_metrics": metrics, "text_columns": SENTENCE}
    comparison = compare(shared.model, shared.model, dataset, shared.tokenizer, others=shared.exported, **settings)
    assert list(comparison.models) == ["teacher", "student", "onnx", "int8"]
    assert comparison.models["onnx"].metrics == comparison.models["student"].metrics
    assert comparison.models["int8"].megabytes == shared.exported["int8"].path.stat().st_size / 1e6
    assert run == [shared.model, shared.model] and 0 < comparison.models["int8"].divergence < 1
    assert comparison.models["int8"].engine == "ONNX Runtime" and not comparison.models["student"].engine
    assert comparison.results()["int8_speedup"] > 0 and "int8" in comparison.table()


SCRIPT = """
import { env, pipeline } from '@huggingface/transformers';
const [folder, dtype, ...texts] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = folder;
const classify = await pipeline('text-classification', 'student', { dtype, device: 'cpu' });
console.log(JSON.stringify(await classify(texts, { top_k: null })));
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.skipif(
    not (NODE_MODULES / "@huggingface" / "transformers").is_dir(),
    reason="transformers.js is not installed: npm install @huggingface/transformers, and name its node_modules in "
    "HFDISTILL_NODE_MODULES",
)
@pytest.mark.parametrize(("dtype", "name"), [("fp32", "onnx"), ("q8", "int8")])
def test_transformers_js_gives_the_same_predictions(shared, tmp_path, dtype, name):
    """The folder as it is, in Node: a name, an output or an operation that it does not know would show."""
    (tmp_path / "classify.mjs").write_text(SCRIPT)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES.resolve())
    command = ["node", "classify.mjs", str(shared.folder.parent), dtype, *TEXTS[:5]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    logits = run_session(shared.folder / formats()[name].path, shared.tokenizer, TEXTS[:5])
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for scores, row in zip(json.loads(done.stdout.splitlines()[-1]), chances.tolist(), strict=True):
        expected = dict(zip(("bad", "fair", "good"), row, strict=True))
        assert {one["label"]: one["score"] for one in scores} == pytest.approx(expected, abs=2e-3)


def test_an_onnx_model_is_called_like_any_other(shared):
    """It gives logits for a batch of PyTorch tensors, and keeps its config."""
    exported = OnnxModel(shared.folder / formats()["onnx"].path, shared.model.config)
    inputs = shared.tokenizer(["is dull", "a joy"], padding=True, return_tensors="pt")
    expected = shared.model(**inputs).logits.detach()
    torch.testing.assert_close(exported.eval()(**inputs).logits, expected, atol=1e-4, rtol=1e-4)
    assert exported.config is shared.model.config and exported.device.type == "cpu"

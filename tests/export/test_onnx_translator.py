"""A translator in ONNX: the same translations as `generate`, in ONNX Runtime and in transformers.js."""

import copy
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from processes import results_of_two_ranks
from texts import TEXTS
from tiny import make_tokenizer
from tiny_seq2seq import FAMILIES, make_translator
from tiny_translators import (
    LENGTH,
    make_family,
    make_word_tokenizer,
    random_texts,
    save_trained_translator,
)
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, BartConfig, BartForSequenceClassification

from hfdistill import TrimmedVocabulary, export_translator, make_student
from hfdistill.export import onnx_graphs, token_tables
from hfdistill.export.base import ExportError, check_export
from hfdistill.export.onnx_translator_model import PARTS, SUFFIXES, OnnxTranslator
from hfdistill.models.generation import translate

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
onnx_ir = pytest.importorskip("onnx_ir", reason="the extra `export` is not installed")
pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
pytest.importorskip("sacrebleu", reason="the extra `translation` is not installed")

NODE_MODULES = Path(os.environ.get("HFDISTILL_NODE_MODULES", "node_modules"))
FILES = {name: [f"{part}{end}.onnx" for part in sorted(PARTS)] for name, end in SUFFIXES.items()}


# ---- The same translations ----


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_exported_exactly(tmp_path, family):
    """Positions, biases, scales, the start, the language, forbidden tokens; in batches, with padding."""
    # A T5 of fewer encoder than decoder layers cannot generate: `transformers` counts its cache by the encoder.
    layers = {"num_layers": 2, "num_decoder_layers": 2} if family == "t5" else {"encoder_layers": 1}
    model, tokenizer, texts = make_family(family, **layers), make_word_tokenizer(), random_texts()
    before = copy.deepcopy(model.state_dict())
    search = {"num_beams": 3, "max_length": 12}
    exported = export_translator(model, tokenizer, texts, tmp_path, formats=["onnx"], **search)["onnx"]
    assert exported.parity["greedy"].identical == exported.parity["beam"].identical == 1
    assert exported.parity["greedy"].nats < 1e-5
    assert len(set(translate(model, tokenizer, texts, max_length=12))) > 3, "nothing to compare"
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == FILES["onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"], "the tokenizer is a browser's already"
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    graph = onnx.load(tmp_path / "onnx" / FILES["onnx"][0]).graph
    states = [f"{n}.{side}.{kind}" for n in (0, 1) for side in ("decoder", "encoder") for kind in ("key", "value")]
    given = [one.name for one in graph.input if one.name.startswith("past")]
    assert given == [f"past_key_values.{state}" for state in states], "Optimum goes by their order"
    others = {"input_ids", "encoder_attention_mask", "encoder_hidden_states", "use_cache_branch"}
    assert {one.name for one in graph.input} == others | {*given}
    assert {one.name for one in graph.output} == {"logits", *(f"present.{state}" for state in states)}


@pytest.mark.slow
def test_tokens_may_come_one_by_one_or_several_at_once(deployed):
    """The keys and values of a text's beginning are those that its tokens one by one leave."""
    model, exported = deployed.model, deployed.exported["onnx"]
    inputs = deployed.tokenizer(TEXTS[:5], padding=True, return_tensors="pt")
    tokens = model.generate(**inputs, num_beams=1, max_length=LENGTH)[:, :6]
    with torch.no_grad():
        expected = model(**inputs, decoder_input_ids=tokens).logits
    hidden = exported._encode(**inputs)
    for lengths in ((1, 1, 1, 1, 1, 1), (3, 1, 2), (6,)):
        past, found = None, []
        for part in tokens.split(lengths, dim=1):
            logits, past = exported._decode(part, inputs["attention_mask"], hidden, past)
            found.append(logits)
        torch.testing.assert_close(torch.cat(found, dim=1), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_the_command_knows_a_translator(deployed):
    """It took a translator for no classifier; now it says how good each file's translations are."""
    files, scores = deployed.printed[:2], deployed.printed[2:]
    assert files[0].startswith(f"onnx: {deployed.folder}/onnx, ")
    assert "greedy 100.0 % of 30 translations are the same" in files[0] and files[1].startswith("int8: ")
    assert [line.partition(",")[0] for line in scores] == ["model", "onnx", "int8"]
    found = [float(line.partition("BLEU ")[2].partition(",")[0]) for line in scores]
    assert found[0] == found[1] > 90 and found[2] == pytest.approx(found[0], abs=3)


@pytest.mark.slow
def test_int8_keeps_what_a_trained_model_says(deployed):
    """With a table of tokens in the decoder once, and in the encoder once; half of it was in float32."""
    expected = translate(deployed.model, deployed.tokenizer, TEXTS, max_length=LENGTH)
    found = translate(deployed.exported["int8"], deployed.tokenizer, TEXTS, max_length=LENGTH)
    assert sum(one == other for one, other in zip(found, expected, strict=True)) > 0.95 * len(TEXTS)
    size, width = deployed.model.model.shared.weight.shape
    assert size * width > token_tables.LEAST_NUMBERS
    for name, kind in (("onnx", onnx.TensorProto.FLOAT), ("int8", onnx.TensorProto.INT8)):
        for file in FILES[name]:
            graph = onnx.load(deployed.folder / "onnx" / file).graph
            tables = [one for one in graph.initializer if sorted(one.dims) == sorted((size, width))]
            assert [one.data_type for one in tables] == [kind], file
            large = [one for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT and len(one.dims) > 1]
            assert name == "onnx" or not [one.name for one in large if one.dims[0] * one.dims[1] > 4096]
            assert not any(one.external_data for one in graph.initializer)


@pytest.mark.slow
def test_the_files_hold_no_local_paths(deployed):
    for file in (deployed.folder / "onnx").iterdir():
        content = file.read_bytes()
        assert b"site-packages" not in content and str(Path.home()).encode() not in content and b".py" not in content


@pytest.mark.slow
def test_a_trimmed_translator_says_the_same_everywhere(tmp_path, deployed):
    """Its ids are others, in config, generation config and tokenizer."""
    pytest.importorskip("ctranslate2", reason="the extra `ctranslate2` is not installed")
    vocabulary = TrimmedVocabulary.choose(deployed.model, deployed.tokenizer, TEXTS, 100)
    student = make_student(deployed.model, vocabulary=vocabulary).eval()
    tokenizer = vocabulary.tokenizer
    for part in (student, tokenizer):
        part.save_pretrained(tmp_path)
    how = {"num_beams": 2, "max_length": LENGTH}
    exported = export_translator(student, tokenizer, TEXTS, tmp_path, formats=["onnx", "ctranslate2"], **how)
    model, saved = AutoModelForSeq2SeqLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    expected = translate(model, saved, TEXTS, max_length=LENGTH)
    assert len(tokenizer) == 100 and exported["onnx"].parity["greedy"].identical == 1
    assert translate(exported["onnx"], saved, TEXTS, max_length=LENGTH) == expected
    # In int8 so small a model wavers between words; of the wrong tokens none of these would be right.
    same = zip(translate(exported["ctranslate2"], saved, TEXTS, max_length=LENGTH), expected, strict=True)
    assert sum(one == other for one, other in same) > 0.3 * len(TEXTS)


@pytest.mark.slow
def test_two_processes_write_the_files_once(tmp_path):
    """And one run leaves them, though the student was trained by both."""
    save_trained_translator(tmp_path, "teacher")
    first, second = results_of_two_ranks("export_in_ranks.py", tmp_path)
    assert sorted(first) == FILES["onnx"] and second == []
    assert sorted(path.name for path in (tmp_path / "student" / "onnx").iterdir()) == FILES["onnx"]
    assert "onnx against the student: greedy" in (tmp_path / "student" / "README.md").read_text(encoding="utf-8")


# ---- In transformers.js ----

SCRIPT = """
import { env, pipeline } from '@huggingface/transformers';
const [folder, dtype, ...texts] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = folder;
const translate = await pipeline('translation', 'student', { dtype, device: 'cpu' });
const found = [];
for (const text of texts) found.push(...(await translate(text, { num_beams: 1 })));
console.log(JSON.stringify(found));
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.skipif(
    not (NODE_MODULES / "@huggingface" / "transformers").is_dir(),
    reason="transformers.js is not installed: npm install @huggingface/transformers, and name its node_modules in "
    "HFDISTILL_NODE_MODULES",
)
@pytest.mark.parametrize(("dtype", "name"), [("fp32", "onnx"), ("q8", "int8")])
def test_transformers_js_gives_the_same_translations(deployed, tmp_path, dtype, name):
    """The folder as it is, in Node; of a batch it would go on with the texts that have ended."""
    (tmp_path / "translate.mjs").write_text(SCRIPT)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES.resolve())
    command = ["node", "translate.mjs", str(deployed.folder.parent), dtype, *TEXTS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = [one["translation_text"] for one in json.loads(done.stdout.splitlines()[-1])]
    # One by one, for int8 rounds by what all texts of a batch have.
    how = {"max_length": LENGTH, "batch_size": 1}
    expected = translate(deployed.exported[name], deployed.tokenizer, TEXTS, **how)
    assert found == expected


# ---- What is refused ----

SMALL_GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
small (float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}> { y = Mul(x, w) }
"""


def test_what_is_not_there_is_named(tmp_path):
    for part in make_translator():
        part.save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"encoder_model_quantized.onnx is not there; hfdistill export writes"):
        OnnxTranslator.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="a translator is exported as onnx or int8, not 'q8'"):
        OnnxTranslator.from_pretrained(tmp_path, "q8")


def test_other_families_and_models_of_one_stack_are_refused():
    with pytest.raises(ValueError, match="type 'led' cannot be exported to ONNX as a translator; .*marian, bart"):
        check_export(["onnx"], "translation", "led")
    with pytest.raises(ValueError, match="type 'bert' cannot be exported to ONNX as a translator"):
        check_export(["int8"], "translation", "bert")


def test_a_family_of_translators_without_its_head_is_refused(tmp_path):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    sizes |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 48}
    with pytest.raises(ValueError, match="a BartForSequenceClassification does not write texts, .*export_onnx"):
        export_translator(BartForSequenceClassification(BartConfig(**sizes)), make_word_tokenizer(), ["w1"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_one_file_cannot_hold_is_refused(tmp_path, monkeypatch):
    """Protobuf would say so in its own words, at the end."""
    monkeypatch.setattr(onnx_graphs, "MOST_BYTES", 100)
    graph = onnx_ir.from_proto(onnx.parser.parse_model(SMALL_GRAPH))
    onnx_graphs.save(graph, tmp_path / "one.onnx")
    monkeypatch.setattr(onnx_graphs, "MOST_BYTES", 10)
    with pytest.raises(ValueError, match=r"two.onnx would have 0.0 GB, and an ONNX file holds at most 0.0"):
        onnx_graphs.save(graph, tmp_path / "two.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["one.onnx"]


def test_an_encoder_that_is_asked_to_translate_is_refused(tiny_bert, tmp_path):
    with pytest.raises(ValueError, match="type 'bert' cannot be exported"):
        export_translator(tiny_bert(), make_tokenizer(), TEXTS, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_broken_graph_leaves_nothing_and_the_earlier_files_stay(deployed, tmp_path, monkeypatch):
    shutil.copytree(deployed.folder / "onnx", tmp_path / "onnx")
    kept = {path.name: path.read_bytes() for path in (tmp_path / "onnx").iterdir()}
    monkeypatch.setattr("hfdistill.export.onnx_translator.quantize_tables", blank_tables)
    with pytest.raises(ExportError, match="the int8 export is broken: its translations are not the model's"):
        export_translator(
            deployed.model,
            deployed.tokenizer,
            TEXTS,
            tmp_path,
            formats=["int8"],
            max_length=LENGTH,
        )
    assert {path.name: path.read_bytes() for path in (tmp_path / "onnx").iterdir()} == kept
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]


def blank_tables(model):
    """All tokens look alike."""
    for node in model.graph:
        if node.op_type == "Gather" and token_tables._is_table(node.inputs[0]):
            node.inputs[0].const_value = token_tables._weight(
                model.graph, f"{node.name}.blank", 0 * node.inputs[0].const_value.numpy()
            ).const_value

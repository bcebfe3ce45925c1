"""A new export format is one file, and everything that lists formats has it."""

import sys

import pytest
from datasets import Dataset
from texts import TEXTS
from tiny_seq2seq import make_translator

import hfdistill.export
from hfdistill.commands.translate_options import read_options
from hfdistill.export.base import FORMATS, attempt_export, check_export, export_student, formats
from hfdistill.report import Attempts, Comparison, ModelFigures
from hfdistill.report.card import model_card
from hfdistill.report.card_facts import CardFacts
from hfdistill.tasks.classification.report import compare
from hfdistill.tasks.translation.report import compare_translations

#: A pickled model of either task, as its format loads it.
LOADED = """
import copy
from pathlib import Path
import torch
from hfdistill.export.base import register


class Loaded:
    engine = "TorchScript"
    device = torch.device("cpu")
    parity = None

    def __init__(self, path, config):
        self.path, self.config, self.model = path, config, torch.load(path, weights_only=False)

    megabytes = property(lambda self: self.path.stat().st_size / 1e6)
    generate = property(lambda self: self.model.generate)

    def eval(self):
        return self

    def __call__(self, **inputs):
        return self.model(**inputs)

    def log_probs(self, input_ids, attention_mask, tokens):
        start = torch.full_like(tokens[:, :1], self.config.decoder_start_token_id)
        shifted = torch.cat([start, tokens[:, :-1]], dim=1)
        logits = self.model(input_ids, attention_mask=attention_mask, decoder_input_ids=shifted).logits
        scores = logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
        ends = (tokens == self.config.eos_token_id).cumsum(-1) == 0
        return [row[kept].tolist() for row, kept in zip(scores, ends)]


class Pickled:
    def export(self, source, path):
        torch.save(copy.deepcopy(source.model), path)

    def load(self, path, source):
        return Loaded(path, source.model.config)
"""
NEW_FORMAT = f"""{LOADED}
from hfdistill.export.classifier import ClassifierFormat


class PickleFormat(Pickled, ClassifierFormat):
    '''The module itself.'''


register(PickleFormat("pickle", "pickle/model.pt", tolerance=1e-3))
"""
NEW_TRANSLATOR_FORMAT = f"""{LOADED}
from hfdistill.export.translator import TranslatorFormat


class PickledTranslatorFormat(Pickled, TranslatorFormat):
    '''Likewise.'''


register(PickledTranslatorFormat("pickled_translator", "pickle/model.pt"))
"""


@pytest.fixture
def new_format(tmp_path, monkeypatch):
    """Two files more in the folder of the formats."""
    (tmp_path / "formats").mkdir()
    for name, text in (("pickled", NEW_FORMAT), ("pickled_translators", NEW_TRANSLATOR_FORMAT)):
        (tmp_path / "formats" / f"{name}.py").write_text(text)
    monkeypatch.setattr(hfdistill.export, "__path__", [*hfdistill.export.__path__, str(tmp_path / "formats")])
    yield
    for known in FORMATS.values():
        for name in ("pickle", "pickled_translator"):
            known.pop(name, None)
    for name in ("pickled", "pickled_translators"):
        sys.modules.pop(f"hfdistill.export.{name}", None)


def test_a_new_format_is_one_file(new_format, tiny_bert, tokenizer, text_dataset, tmp_path):
    """The card left out what it did not know by name, and the comparison stopped at an `assert`."""
    assert list(formats("text-classification")) == ["onnx", "int8", "pickle"]
    check_export(["pickle"])
    model = tiny_bert(num_labels=3)
    columns = {"text_columns": ("sentence",)}
    exported = export_student(model, tokenizer, text_dataset, tmp_path / "student", formats=["pickle"], **columns)
    assert exported["pickle"].path == tmp_path / "student/pickle/model.pt" and exported["pickle"].parity.agreement == 1
    assert [path.name for path in (tmp_path / "student").rglob("*")] == ["pickle", "model.pt"]
    comparison = compare(model, model, text_dataset, tokenizer, others=exported)
    assert comparison.results()["pickle_megabytes"] == exported["pickle"].megabytes
    assert comparison.results()["pickle_accuracy"] == comparison.results()["student_accuracy"]
    card = model_card("student", [], {}, CardFacts("teacher", "data", comparison))
    assert "In pickle the student runs in TorchScript." in card.text


def test_a_new_format_of_translators_is_one_file_too(new_format, tmp_path, monkeypatch):
    """`hfdistill translate` knew one format by its name, in its options and in its report."""
    pytest.importorskip("sacrebleu", reason="the extra `translation` is not installed")
    monkeypatch.chdir(tmp_path)
    model, tokenizer = make_translator()
    assert read_options(["--demo", "--export", "pickled_translator"]).outcome.export == ["pickled_translator"]
    how = {"formats": ["pickled_translator"], "task": "translation", "num_beams": 2, "max_length": 12}
    exported = attempt_export(attempt := Attempts(), model, tokenizer, TEXTS[:6], tmp_path / "student", **how)
    assert attempt.notes == [] and (tmp_path / "student/pickle/model.pt").exists()
    parity = exported["pickled_translator"].parity
    assert parity["beam"].identical == 1 and parity["greedy"].nats < 1e-4
    assert str(parity).startswith("greedy 100.0 % of 6 translations") and "; beam 100.0 %" in str(parity)
    models = {"teacher": model, "student": model, **exported}
    rows = Dataset.from_dict({"en": TEXTS[:6], "de": TEXTS[:6]})
    search = {"source": "en", "target": "de", "max_length": 12}
    results = compare_translations(models, dict.fromkeys(models, tokenizer), rows, **search).results()
    assert results["pickled_translator_bleu"] == results["student_bleu"]


def test_a_model_that_a_format_cannot_write_is_refused_before_anything(tmp_path):
    pytest.importorskip("ctranslate2", reason="the extra `ctranslate2` is not installed")
    with pytest.raises(ValueError, match="type 'led' cannot be converted"):
        check_export(["ctranslate2"], "translation", "led")
    check_export(["ctranslate2"], "translation", "marian")


def test_the_card_names_every_engine():
    models = {name: ModelFigures({"bleu": 1.0}, 1, 1, 1.0, 1.0, 1.0) for name in ("teacher", "student")}
    engines = {"onnx": "ONNX Runtime", "int8": "ONNX Runtime", "ctranslate2": "CTranslate2"}
    models |= {name: ModelFigures({"bleu": 1.0}, 1, 1, 1.0, 1.0, 1.0, engine=one) for name, one in engines.items()}
    card = model_card("student", [], {}, CardFacts("teacher", "data", Comparison(models, len(TEXTS))))
    assert (
        "In onnx and int8 the student runs in ONNX Runtime. In ctranslate2 the student runs in CTranslate2."
        in card.text
    )


def test_formats_are_those_of_the_task():
    """Of one name, such as `int8`, each task has its own."""
    assert list(formats()) == ["onnx", "int8"] and list(formats("translation")) == ["ctranslate2", "onnx", "int8"]
    assert formats()["int8"] is not formats("translation")["int8"]
    with pytest.raises(ValueError, match="no export format 'ctranslate2'; the formats are onnx, int8"):
        check_export(["ctranslate2"])

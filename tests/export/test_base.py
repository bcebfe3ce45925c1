"""A new export format is one file, and everything that lists formats has it."""

import sys

import pytest
from texts import TEXTS

import hfdistill.export
from hfdistill.commands.finished import export_parser
from hfdistill.export.base import FORMATS, check_export, export_student, formats
from hfdistill.report import Comparison, ModelFigures
from hfdistill.report.card import CardFacts, model_card
from hfdistill.tasks.classification.report import compare

NEW_FORMAT = '''
import copy
from pathlib import Path
import torch
from hfdistill.export.base import register
from hfdistill.export.classifier import ClassifierFormat


class Loaded:
    engine = "TorchScript"
    device = torch.device("cpu")
    parity = None

    def __init__(self, path, config):
        self.path, self.config, self.model = path, config, torch.load(path, weights_only=False)

    megabytes = property(lambda self: self.path.stat().st_size / 1e6)

    def eval(self):
        return self

    def __call__(self, **inputs):
        return self.model(**inputs)


class PickleFormat(ClassifierFormat):
    """The module itself."""

    def export(self, source, path):
        torch.save(copy.deepcopy(source.model), path)

    def load(self, path, source):
        return Loaded(path, source.model.config)


register(PickleFormat("pickle", "pickle/model.pt", tolerance=1e-3))
'''


@pytest.fixture
def new_format(tmp_path, monkeypatch):
    """A file more in the folder of the formats."""
    (tmp_path / "formats").mkdir()
    (tmp_path / "formats" / "pickled.py").write_text(NEW_FORMAT)
    monkeypatch.setattr(hfdistill.export, "__path__", [*hfdistill.export.__path__, str(tmp_path / "formats")])
    yield
    FORMATS.pop("pickle", None)
    sys.modules.pop("hfdistill.export.pickled", None)


def test_a_new_format_is_one_file(new_format, tiny_bert, tokenizer, text_dataset, tmp_path):
    """The card left out what it did not know by name, and the comparison stopped at an `assert`."""
    assert list(formats("text-classification")) == ["onnx", "int8", "pickle"]
    words = ["student", "texts.csv", "--formats", "pickle"]
    assert export_parser().parse_args(words).formats == ["pickle"]
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
    assert list(formats("translation")) == ["ctranslate2"]
    with pytest.raises(ValueError, match="no export format 'onnx'; the formats are ctranslate2"):
        check_export(["onnx"], "translation")

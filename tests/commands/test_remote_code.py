"""Code that somebody keeps with a model is run where it is asked for by name, and else refused in a sentence."""

import ast
import io
import json
import sys
from pathlib import Path

import pytest
from texts import make_tokenizer

from hfdistill import ModelTeacher, make_student
from hfdistill.commands.main import main
from hfdistill.data.augmentation.augmenters import load_augmenter
from hfdistill.models.loading import load_classifier, load_tokenizer
from hfdistill.teachers.seq2seq import Seq2SeqTeacher

ROOT = Path(__file__).parents[2]
CODE = """
from pathlib import Path
from transformers import BertConfig, BertForSequenceClassification

Path(__file__).parent.joinpath("was_run").touch()

class OwnConfig(BertConfig):
    model_type = "own_bert"

class OwnModel(BertForSequenceClassification):
    config_class = OwnConfig
"""
REFUSED = "^'.*' comes with code of its own, which is not run unless you ask for it: .* --trust_remote_code true"


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_bert):
    """A model of a kind that `transformers` does not know, and on standard input somebody who says yes to anything."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 99))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    tiny_bert().save_pretrained(tmp_path / "own")
    make_tokenizer().save_pretrained(tmp_path / "own")
    config = json.loads((tmp_path / "own" / "config.json").read_text())
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.OwnModel"}
    config |= {"model_type": "own_bert", "architectures": ["OwnModel"], "auto_map": auto}
    (tmp_path / "own" / "config.json").write_text(json.dumps(config))
    (tmp_path / "own" / "own.py").write_text(CODE)
    return tmp_path / "own"


@pytest.mark.parametrize(
    "load",
    [
        load_classifier,
        load_tokenizer,
        make_student,
        ModelTeacher.from_pretrained,
        Seq2SeqTeacher.from_pretrained,
        lambda name: load_augmenter("word_replacement", None, name, ()),
        lambda name: load_augmenter("back_translation", None, "", (name, name)),
    ],
)
def test_it_is_refused_without_a_prompt(folder, load):
    """`transformers` asks on standard input, where a cluster's job waits for ever and a pipe says anything."""
    if load is load_tokenizer:  # needs the code where its own files do not say what it is
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings |= {"auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}, "tokenizer_class": "OwnTokenizer"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=REFUSED) as refused:
        load(str(folder))
    assert "\n" not in str(refused.value) and sys.stdin.tell() == 0 and not list(folder.parent.rglob("was_run"))


def test_the_command_refuses_it(folder, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na joy,0\n")
    with pytest.raises(SystemExit, match="^error: .* comes with code of its own"):
        main(["compare", str(folder), str(folder), str(tmp_path / "a.csv")])


def test_it_is_run_with_trust_remote_code(folder):
    _, model = load_classifier(str(folder), trust_remote_code=True)
    assert type(model).__name__ == "OwnModel"


def test_no_loading_leaves_it_open():
    """What is not said, `transformers` asks."""
    for path in [*ROOT.glob("hfdistill/**/*.py"), *ROOT.glob("recipes/**/*.py")]:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
            if called.startswith(("Auto", "cls.auto_class", "kind")) and called.endswith(".from_pretrained"):
                given = {keyword.arg for keyword in call.keywords}
                assert "trust_remote_code" in given or None in given, f"{path}:{call.lineno}"

"""What the tests of `recipes/sst2.py` and `hfdistill distill` share: files, ways to run them, what they must leave."""

import json
import re
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread
from safetensors.torch import load_file
from script_runs import last_line, run_script
from texts import TEXTS, make_tokenizer
from tiny import make_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hfdistill.commands.main import main

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "sst2.py"
NAMES = ["bad", "good"]
ROWS = [(text, NAMES[len(text) % 2]) for text in TEXTS]
OWN = ("--teacher_name_or_path", "teacher", "--train_file", "train.csv", "--output_dir", "out")
SIZE = ("--student_num_hidden_layers", "1")
BASICS = (
    *("--num_train_epochs", "1", "--per_device_train_batch_size", "8", "--learning_rate", "1e-3"),
    *("--disable_tqdm", "true"),
)


def with_basics(words):
    """What is not asked for otherwise; a file of settings must be the first word."""
    return [*words, *BASICS] if words[0].startswith("settings") else [*BASICS, *words]


METRICS = ("accuracy", "f1", "matthews_correlation")


def write_table(path, rows, columns=("sentence", "label"), separator=","):
    lines = [separator.join(map(str, row)) for row in [columns, *rows]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def save_model(folder, tokenizer, names=NAMES, **config):
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    settings = {"vocab_size": 120, "max_position_embeddings": 64, "num_labels": len(names), **labels, **config}
    make_model(1, 0.1, 0.5, **settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture
def home(tmp_path, monkeypatch, quick_report):
    """A folder with a teacher and files, in which the user stands."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "teacher", make_tokenizer())
    write_table(tmp_path / "train.csv", ROWS)
    write_table(tmp_path / "test.tsv", [(f"really {text}", label) for text, label in ROWS[:11]], separator="\t")
    return tmp_path


@pytest.fixture
def recipe(home, monkeypatch, capfd):
    """`recipe(*words)`: runs it in this process; what it printed."""

    def run(*words):
        return run_script(RECIPE, with_basics(words), monkeypatch, capfd)

    return run


@pytest.fixture
def distill(home, monkeypatch, capfd):
    """`distill(*words)`: runs `python -m hfdistill distill` in this process; what it printed."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", [str(ROOT / "hfdistill" / "__main__.py"), "distill", *with_basics(words)])
        capfd.readouterr()
        main()
        return capfd.readouterr().out

    return run


def refused(run, home, capfd):
    """`refused(...)(*words)`: the one line that a run ends with, after it is seen to have left nothing behind."""

    def refusal(*words):
        with pytest.raises(SystemExit) as ended:
            run(*words)
        line = last_line(ended, capfd)
        assert "\n" not in line or "the terms are" in line  # these are listed
        assert not (home / "out").exists()
        return line

    return refusal


@pytest.fixture
def refusal(home, distill, capfd):
    """`refusal(*words)` of the command."""
    return refused(distill, home, capfd)


def results_of(folder):
    return json.loads((folder / "all_results.json").read_text(encoding="utf-8"))


def assert_complete(folder, roles=("teacher", "student")):
    """All that a run promises to leave in its folder, whole and readable by plain transformers."""
    for name in ("model.safetensors", "config.json", "tokenizer.json", "README.md", "report/report.md"):
        assert (folder / name).stat().st_size > 0
    for name in re.findall(r"\]\((.+?\.png)\)", (folder / "report" / "report.md").read_text(encoding="utf-8")):
        assert imread(folder / "report" / name).size > 0
    results = results_of(folder)
    promised = {f"{role}_{name}" for role in roles for name in (*METRICS, "parameters")}
    assert promised | {"agreement", "speedup"} <= results.keys()
    assert ("baseline" in roles) == any(key.startswith("baseline") for key in results)
    student = AutoModelForSequenceClassification.from_pretrained(folder)
    assert student.num_parameters() == results["student_parameters"]
    assert set(load_file(folder / "model.safetensors")) == set(student.state_dict())  # a plain model, nothing beside
    assert AutoTokenizer.from_pretrained(folder)("is dull")["input_ids"]
    return student, results

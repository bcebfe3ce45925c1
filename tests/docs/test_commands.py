"""Every command that a page tells a reader to type, run on small files and models in place of their own."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from classification_runs import save_model, write_table
from pages import ROOT, commands, words_of
from script_runs import run_script
from texts import TEXTS, make_tokenizer
from tiny_seq2seq import make_translator

from hfdistill.commands.main import COMMANDS, main

TOLD = commands()
#: Commands of other tools, which this project does not test, by how they begin.
ELSEWHERE = ("python -m http.server", "accelerate config", "git ", "comet-score ")
#: One step in place of a training.
BRIEF = ("--max_steps", "1", "--per_device_train_batch_size", "8", "--disable_tqdm", "true")
RUNS = [told for told in TOLD if words_of(told)[0] == "hfdistill" or words_of(told)[0].startswith("recipes/")]
MEASURED = [told for told in RUNS if "recipes/benchmarks/" in told]


@pytest.fixture(scope="module")
def readers_folder(tmp_path_factory):
    """The models and files that the pages name."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("my/bert", "my/roberta", "student"):
        save_model(folder / name, make_tokenizer())
    rows = [(text, ["bad", "good"][len(text) % 2]) for text in TEXTS]
    write_table(folder / "train.csv", rows)
    write_table(folder / "validation.csv", [(f"well {text}", label) for text, label in rows])
    write_table(folder / "test.csv", [(f"really {text}", label) for text, label in rows[:11]])
    write_table(folder / "more.csv", [(f"once more {text}",) for text in TEXTS], columns=("sentence",))
    for part in make_translator():
        part.save_pretrained(folder / "my" / "translator")
    for name, start in (("pairs", ""), ("validation", "well "), ("test", "really ")):
        pairs = [{"translation": {"en": start + text, "de": " ".join(reversed(text.split()))}} for text in TEXTS]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    (folder / "settings.yaml").write_text("train_file: train.csv\nteacher_name_or_path: my/bert\n", encoding="utf-8")
    return folder


@pytest.fixture
def reader(readers_folder, tmp_path, monkeypatch):
    """A copy of them, in which the reader stands."""
    shutil.copytree(readers_folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_no_command_is_of_an_unknown_kind():
    """What no test below knows would be run by no one."""
    kinds = ("pip install", "make ", *ELSEWHERE)
    assert RUNS and not [told for told in TOLD if told not in RUNS and not told.startswith(kinds)]


def test_what_is_installed_and_made_is_there():
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for told in TOLD:
        if told.startswith("pip install"):
            assert set(re.findall(r"\.\[([\w,]+)\]", told)) <= set(extras), told
        elif told.startswith("make "):
            assert told.split()[1] in targets


@pytest.mark.slow
@pytest.mark.parametrize("told", [told for told in RUNS if told not in MEASURED])
def test_a_command_runs(told, reader, monkeypatch, capfd):
    name, *words = words_of(told)
    brief = () if name == "hfdistill" and words[0] in set(COMMANDS) - {"distill", "search", "translate"} else BRIEF
    if name == "hfdistill":
        monkeypatch.setattr(sys, "argv", ["hfdistill", *words, *brief])
        main()
    else:
        run_script(ROOT / name, [*words, *brief], monkeypatch, capfd)


@pytest.mark.parametrize("told", MEASURED)
def test_the_options_of_a_measurement_are_known(told, monkeypatch):
    """They take hours; tests/recipes/test_benchmarks.py runs the scripts on rows too few to mean anything."""
    script, *words = words_of(told)
    monkeypatch.syspath_prepend(str((ROOT / script).parent))
    monkeypatch.setattr(sys, "argv", [script, *words])
    spec = importlib.util.spec_from_file_location(Path(script).stem, ROOT / script)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, Path(script).stem, module)  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    assert module.parse_options()

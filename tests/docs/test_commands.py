"""Every command that a page tells a reader to type, run on small files and models in place of their own."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from pages import ROOT, commands, words_of
from script_runs import run_script

from hfdistill.commands.main import COMMANDS, main

TOLD = commands()
#: Commands of other tools, which this project does not test, by how they begin.
ELSEWHERE = ("python -m http.server", "accelerate config", "git ", "comet-score ")
#: One step in place of a training.
BRIEF = ("--max_steps", "1", "--per_device_train_batch_size", "8", "--disable_tqdm", "true")
#: An untrained translator does not stop by itself.
SHORT = ("--max_length", "20", "--num_beams", "2")
RUNS = [told for told in TOLD if words_of(told)[0] == "hfdistill" or words_of(told)[0].startswith("recipes/")]
MEASURED = [told for told in RUNS if "recipes/benchmarks/" in told]
#: With `--demo` alone: CI runs them whole.
WHOLE = [told for told in RUNS if " ".join(words_of(told)) in (ROOT / ".ci" / "run").read_text(encoding="utf-8")]
#: Each once, whatever it is started with.
ON_FILES = {" ".join(words_of(told)): told for told in RUNS if told not in (*MEASURED, *WHOLE)}


def test_no_command_is_of_an_unknown_kind():
    """What no test below knows would be run by no one."""
    kinds = ("pip install", "make ", *ELSEWHERE)
    assert RUNS and not [told for told in TOLD if told not in RUNS and not told.startswith(kinds)]


def test_what_is_installed_and_made_is_there():
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for told in TOLD:
        if told.startswith("pip install"):
            named = re.findall(r"\.\[([\w,]+)\]", told)
            assert {extra for one in named for extra in one.split(",")} <= set(extras), told
        elif told.startswith("make "):
            assert told.split()[1] in targets


@pytest.mark.slow
@pytest.mark.parametrize("told", ON_FILES.values(), ids=str)
def test_a_command_runs(told, reader, monkeypatch, capfd):
    name, *words = words_of(told)
    brief = () if name == "hfdistill" and words[0] in set(COMMANDS) - {"distill", "search", "translate"} else BRIEF
    brief += SHORT if "translat" in f"{name} {words[0]}" else ()
    # A teacher of one step translates nothing that could be learned from; along the references it can teach.
    brief += ("--methods", "word") if "--train_teacher" in words and words[0] == "translate" else ()
    # Nor does a Whisper of random weights write what people do.
    brief += ("--pseudo_transcripts", "false") if name.endswith("whisper.py") else ()
    if name == "hfdistill":
        monkeypatch.setattr(sys, "argv", ["hfdistill", *words, *brief])
        main()
    else:
        run_script(ROOT / name, [*words, *brief], monkeypatch, capfd)


@pytest.mark.parametrize("told", MEASURED, ids=str)
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

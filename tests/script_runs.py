"""A recipe run in this process, as `python recipe.py words...` runs it."""

import json
import runpy
import sys


def run_script(path, words, monkeypatch, capfd):
    """What it printed."""
    monkeypatch.setattr(sys, "argv", [str(path), *words])
    monkeypatch.syspath_prepend(str(path.parent))  # as for a script
    capfd.readouterr()
    runpy.run_path(str(path), run_name="__main__")
    return capfd.readouterr().out


def last_line(ended, capfd):
    """The error that it ended with, after it is seen to be no traceback."""
    printed = capfd.readouterr().err
    line = ended.value.code if isinstance(ended.value.code, str) else printed[printed.rindex("error: ") :].strip()
    assert "error: " in line and "Traceback" not in printed
    return line


def logged_losses(folder):
    """The names of the losses in the training logs of a folder: of its one checkpoint, or of what has finished."""
    [state] = [*folder.glob("checkpoint-*/trainer_state.json"), *folder.glob("trainer_state.json")]
    history = json.loads(state.read_text(encoding="utf-8"))["log_history"]
    return {name for entry in history if "loss" in entry for name in entry if name.endswith("loss")}

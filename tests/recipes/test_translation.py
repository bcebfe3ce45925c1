"""The translation recipe, run as a user runs it; its pieces are tested with the package and `hfdistill translate`."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import TOKEN, running_hub
from script_runs import last_line, logged_losses, run_script
from tiny import distance, weights
from translators import BASICS, OWN, complete, translator_home

from hfdistill import Seq2SeqDistillationTrainer

RECIPE = Path(__file__).parents[2] / "recipes" / "translation.py"


@pytest.fixture
def home(tmp_path, monkeypatch, quick_report):
    return translator_home(tmp_path, monkeypatch)


@pytest.fixture
def recipe(home, monkeypatch, capfd):
    """`recipe(*words)`: runs it in this process; what it printed."""
    return lambda *words: run_script(RECIPE, [*BASICS, *words], monkeypatch, capfd)


def start(*words, launcher=(), **environment):
    command = [sys.executable, *launcher, RECIPE, *BASICS, *OWN, *words]
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1", **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes)


def test_both_methods_on_a_shrunk_student_with_a_baseline(home, recipe, monkeypatch):
    """They start alike: a teacher that is run in half precision is rounded, and must be cut before."""
    starts = []
    train = Seq2SeqDistillationTrainer.train
    monkeypatch.setattr(
        Seq2SeqDistillationTrainer,
        "train",
        lambda self, *args, **kwargs: starts.append(weights(self.model)) or train(self, *args, **kwargs),
    )
    printed = recipe(*OWN, "--test_file", "test.tsv", "--baseline", "--teacher_dtype", "bfloat16")
    student, _, results = complete(home / "out", ("teacher", "student", "baseline"))
    assert len(starts) == 2 and distance(*starts) == 0
    assert results["compared_rows"] == 7 and student.config.decoder_layers == 1
    assert logged_losses(home / "out") == {"loss", "label_loss", "soft_target_loss"}
    assert logged_losses(home / "out" / "_baseline") == {"loss", "label_loss"}
    assert "pairs from 27 translated texts" in printed and "7 test rows" in printed


@pytest.mark.parametrize("method", ["word", "sequence"])
def test_one_method_on_an_untrained_student_of_half_the_width(home, recipe, method):
    recipe(*OWN, "--methods", method, "--student_hidden_size", "32")
    student, _, _ = complete(home / "out", ("teacher", "student"))
    assert student.config.d_model == 32
    expected = {"loss", "label_loss"} | ({"soft_target_loss"} if method == "word" else set())
    assert logged_losses(home / "out") == expected


def test_bad_input_is_refused_in_one_line(recipe, capfd):
    with pytest.raises(SystemExit) as ended:
        recipe(*OWN, "--test_file", "tset.tsv")
    assert "There is no file tset.tsv" in last_line(ended, capfd)


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_the_run_goes_on(home):
    process = start("--max_steps", "100000")
    for line in process.stdout:
        if line.startswith("Training the student"):
            break
    os.killpg(process.pid, signal.SIGINT)
    printed = process.communicate(timeout=100)[1]
    assert process.returncode == 128 + signal.SIGINT and "Traceback" not in printed
    assert "interrupted: the same command with --resume_from_checkpoint true goes on where it stopped." in printed
    resumed = start("--max_steps", "2", "--resume_from_checkpoint", "true")
    printed = resumed.communicate(timeout=300)[1]
    assert resumed.returncode == 0, printed[-4000:]
    complete(home / "out", ("teacher", "student"))


@pytest.mark.slow
def test_what_is_pushed_is_the_student(home):
    """All of the translations, the teacher and the baseline stay here."""
    with running_hub() as hub:
        words = ("--methods", "word", "--baseline", "--push_to_hub", "--hub_token", TOKEN)
        done = start(*words, **hub.environment(home / "hub"))
        printed = done.communicate(timeout=300)[1]
        assert done.returncode == 0, printed[-4000:]
    files = hub.repositories["tester/out"].files
    assert {"model.safetensors", "generation_config.json", "tokenizer.json", "README.md"} <= set(files)
    assert (home / "out" / "_translations" / "student.txt").exists()
    assert not [path for path in files if path.startswith("_")]

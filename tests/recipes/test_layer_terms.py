"""The table of terms on layers, as a user fills it, on rows too few to mean anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

SCRIPT = Path(__file__).parents[2] / "recipes" / "benchmarks" / "layer_terms.py"


@pytest.mark.slow
def test_every_objective_runs_once(tokenizer, tiny_bert, text_dataset, tmp_path):
    """A second sitting adds what is missing, and trains nothing again."""
    names = {"id2label": {0: "bad", 1: "fair", 2: "good"}, "label2id": {"bad": 0, "fair": 1, "good": 2}}
    for part in (tiny_bert(num_hidden_layers=4, **names), tokenizer):
        part.save_pretrained(tmp_path / "teacher")
    text_dataset.to_csv(tmp_path / "train.csv")
    files = ["--train_file", tmp_path / "train.csv", "--test_file", tmp_path / "train.csv"]
    command = [sys.executable, SCRIPT, "--teacher", tmp_path / "teacher", *files, "--epochs", "1", "--seeds", "0"]
    command += ["--output", tmp_path / "table.jsonl", "--augment", "n_grams", "--students", "2x8x4/2"]
    for more in (["--objectives", "labels", "minilm"], [], ["--students", "2x8", "--objectives", "attention"]):
        done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "table.jsonl").read_text().splitlines()]
    trained = [row["objective"] for row in rows]
    assert len(trained) == len(set(trained)) == 12  # and none head by head, where a student has other heads
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    assert imread(tmp_path / "table.png").size > 0
    assert all(f"| {name} | " in done.stdout for name in trained)


@pytest.mark.slow
def test_a_shape_that_is_none_is_named(tmp_path):
    command = [sys.executable, SCRIPT, "--teacher", "none", "--train_file", "none", "--test_file", "none"]
    done = subprocess.run([*command, "--students", "2by128"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and done.stderr.endswith("LAYERSxWIDTHxCOLUMNS or either /HEADS.\n")

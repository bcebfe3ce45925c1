"""The benchmark of the README, as a user runs it, on rows too few to mean anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SPEED = Path(__file__).parents[2] / "recipes" / "benchmarks" / "speed.py"


@pytest.mark.slow
def test_every_job_but_the_foreign_one_runs(tokenizer, tiny_bert, text_dataset, tmp_path):
    """A benchmark that crashes in its last job is found out when somebody wants to check our figures."""
    names = {"id2label": {0: "bad", 1: "fair", 2: "good"}, "label2id": {"bad": 0, "fair": 1, "good": 2}}
    for part in (tiny_bert(num_hidden_layers=4, **names), tokenizer):
        part.save_pretrained(tmp_path / "teacher")
    text_dataset.to_csv(tmp_path / "train.csv")
    jobs = ["plain", "stored", "live", "hand_written", "predict", "soft_targets", "whole", "peer"]
    files = ["--train_file", tmp_path / "train.csv", "--test_file", tmp_path / "train.csv"]
    done = run(
        "--teacher", tmp_path / "teacher", *files, "--rows", "20", "--epochs", "1", "--rounds", "1", "--jobs", *jobs
    )
    assert all(f"| {job} | " in done.stdout for job in jobs)
    assert "| our whole job / hand-written | " in done.stdout


@pytest.mark.slow
def test_nothing_is_much_slower_than_it_should_be(tmp_path):
    """The quick form fails by itself where a ratio is gross: twice its mark and a half."""
    run("--quick", "--rounds", "2", "--output", tmp_path / "speed.json")
    report = json.loads((tmp_path / "speed.json").read_text())
    assert len(report["ratios"]) >= 4 and report["device"]


def run(*options):
    done = subprocess.run([sys.executable, SPEED, *options], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return done

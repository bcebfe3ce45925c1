"""Pushing and loading, against a Hub on this machine and by the real client."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_layouts import CLASSIFIER, LAYOUTS, LFS, SST2
from hub_server import TOKEN, Repository, running_hub
from safetensors.torch import load, save

from hfdistill import DistillationTrainingArguments

SCRIPT = Path(__file__).parents[1] / "scripts" / "use_hub.py"


@pytest.fixture
def hub():
    with running_hub() as hub:
        yield hub


@pytest.fixture
def client(hub, tmp_path):
    """`client(action, *words)`: a process with a cache of its own; what it printed last, or its error's last line."""
    count = iter(range(9))

    def run(action, *words, folder="my-student", fails=False):
        environment = {**os.environ, **hub.environment(tmp_path / f"home{next(count)}"), "TQDM_DISABLE": "1"}
        command = [sys.executable, str(SCRIPT), action, str(tmp_path / folder), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert (done.returncode != 0) == fails, done.stderr[-3000:]
        return done.stderr if fails else json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.slow
def test_a_pushed_student_predicts_the_same_when_it_is_pulled(hub, client, tmp_path):
    """From a clean cache, by plain transformers; and nothing but the student was pushed."""
    pushed = client("push", TOKEN)
    repository = hub.repositories["tester/my-student"]
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= set(repository.files)
    private = ("teacher", "optimizer", "objective", "scheduler", "checkpoint", "rng_state", "trainer_state")
    assert not [path for path in repository.files if any(word in path.lower() for word in private)]
    for path, content in repository.files.items():
        assert TOKEN.encode() not in content, path
    assert str(tmp_path).encode() not in repository.files["README.md"]
    pulled = client("pull", "tester/my-student")
    assert pulled["predictions"] == [pytest.approx(row, abs=1e-5) for row in pushed["predictions"]]
    assert pulled["label"].startswith("LABEL_") and pulled["vocabulary"] == 40
    again = client("push", TOKEN)  # a repository that exists is added to
    assert again["predictions"] == [pytest.approx(row, abs=1e-5) for row in pushed["predictions"]]
    assert list(hub.repositories) == ["tester/my-student"]


@pytest.mark.slow
def test_checkpoints_are_pushed_with_all_checkpoints(hub, client):
    """With `hub_strategy all_checkpoints` whoever has the repository can resume; the teacher is in none of them."""
    client("push_checkpoints", TOKEN)
    files = hub.repositories["tester/my-student"].files
    assert "checkpoint-4/optimizer.pt" in files and "model.safetensors" in files
    student = len(files["model.safetensors"])
    assert len(files["checkpoint-4/model.safetensors"]) == student
    assert not [path for path in files if "teacher" in path]
    assert not [path for path, content in files.items() if TOKEN.encode() in content]


@pytest.mark.slow
def test_soft_targets_are_pushed_as_a_dataset(hub, client):
    done = client("soft_targets", TOKEN)
    assert done["back"] == done["there"] and len(done["back"]) == 8
    assert any(path.endswith(".parquet") for path in hub.repositories["datasets/tester/soft"].files)


@pytest.mark.slow
def test_a_refused_token_is_an_error_before_anything_is_trained(hub, client, tmp_path):
    line = client("push", "hf_wrong", fails=True).strip().splitlines()[-1]
    assert "Invalid user token" in line or "401" in line
    assert not list((tmp_path / "my-student").glob("checkpoint-*")) and not hub.repositories


@pytest.mark.slow
def test_a_lost_connection_leaves_the_student_here(hub, client, tmp_path):
    """It fails with an error, not in silence, and the work is not lost."""
    hub.repositories["tester/my-student"] = Repository()
    hub.fail = "/commit/"
    message = client("push", TOKEN, fails=True)
    assert "error" in message.lower() and not hub.repositories["tester/my-student"].files
    assert (tmp_path / "my-student" / "model.safetensors").stat().st_size > 0


@pytest.mark.slow
def test_a_renamed_repository_and_a_cut_connection_are_no_matter(hub, client):
    """What is cut in the middle of a file goes on from there."""
    hold(hub, "new/x", "cut/x")
    hub.moved = {"old/x": "new/x"}
    hub.cut = r"cut/x/(model|data/train)"
    weights = hub.repositories["cut/x"].files
    more = {**load(weights["model.safetensors"]), "unused": torch.zeros(6_000_000)}  # the client writes 10 MB at once
    weights["model.safetensors"] = save(more, {"format": "pt"})
    assert client("load", "old/x", "cut/x") == {name: ["tuple", "DatasetDict"] for name in ("old/x", "cut/x")}
    assert len(hub.were_cut) == 2
    assert f"GET /stored/cut/x/model.safetensors from {10 * 2**20}" in hub.requests


@pytest.mark.slow
def test_each_refusal_of_the_hub_is_one_sentence(hub, client, monkeypatch):
    hold(hub, "gated/x", "busy/x", "lost/x")
    hub.busy, hub.reset, hub.fail = "busy/x", 0, "lost/x"
    for kind in ("", "datasets/"):
        hub.repositories[f"{kind}gated/x"].gated = True
    errors = client("load", "gated/x", "busy/x", "lost/x", "no/x")
    assert not [line for pair in errors.values() for line in pair if "\n" in line]
    for place, line in zip(("", "datasets/"), errors["gated/x"], strict=True):
        assert line.startswith(f"HubRefusalError: 'gated/x' is gated: ask for access at {hub.url}/{place}gated/x")
        assert "hf auth login" in line
    assert all("too many requests to give 'busy/x' now: wait 0 seconds" in line for line in errors["busy/x"])
    assert all("cannot be reached (Server disconnected" in line for line in errors["lost/x"])
    model, dataset = errors["no/x"]
    assert "There is no model 'no/x' on the Hub, or it is private" in model and "no dataset 'no/x'" in dataset
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert all("nobody with a wrong token" in line for line in client("load", "gated/x")["gated/x"])


def hold(hub, *names):
    """The hub holds a classifier and a data set of each name."""
    for kind, layout in (("", CLASSIFIER), ("datasets/", SST2)):
        files = LAYOUTS[layout]()
        for name in names:
            hub.repositories[kind + name] = Repository(dict(files), {path for path in files if path.endswith(LFS)})


def test_the_token_is_not_pickled(tmp_path):
    """`Trainer` pushes its pickled arguments; a copy within the process keeps the token it pushes with."""
    import copy
    import pickle

    args = DistillationTrainingArguments(str(tmp_path), hub_token=TOKEN, report_to="none", temperature=3.0)
    assert TOKEN.encode() not in pickle.dumps(args)
    assert pickle.loads(pickle.dumps(args)).temperature == 3.0
    assert copy.copy(args).hub_token == args.with_output_dir("x").hub_token == TOKEN

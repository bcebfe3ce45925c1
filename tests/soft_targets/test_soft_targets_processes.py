"""Soft targets made by several processes, and by one that is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from plain_answers import TEXT, assert_same, count_rows, plain_logits
from processes import SCRIPTS, TWO_RANKS

from hfdistill import ModelTeacher, soft_targets


@pytest.fixture
def teacher(tiny_bert):
    """A random BERT of three classes."""
    return tiny_bert()


SCRIPT = SCRIPTS / "make_soft_targets.py"


def start(*command, stderr=None, **environment):
    return subprocess.Popen([sys.executable, *map(str, command)], env={**os.environ, **environment}, stderr=stderr)


@pytest.fixture
def saved_teacher(teacher, tokenizer, text_dataset, tmp_path):
    """A folder with a teacher, its tokenizer and a dataset, for other processes to read."""
    folder = tmp_path / "teacher"
    teacher.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    text_dataset.save_to_disk(folder / "dataset")
    return folder


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(saved_teacher, text_dataset, tmp_path):
    """A run killed half-way would begin again, skip a row, or end with slightly other numbers."""
    folder = tmp_path / "store"
    killed = start(SCRIPT, saved_teacher, folder, tmp_path / "none.npz", "--seconds-a-batch=0.3")
    while len(list(folder.glob("part-*.npz"))) < 4:
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = 2 * len(list(folder.glob("part-*.npz")))
    assert 8 <= kept < 30 and not (tmp_path / "none.npz").exists()

    teacher = ModelTeacher.from_pretrained(saved_teacher, **TEXT)
    forwarded = count_rows(teacher.model)
    resumed = soft_targets(teacher, text_dataset, batch_size=2, store=folder)
    assert sum(forwarded) == 30 - kept
    whole = soft_targets(teacher, text_dataset, batch_size=2, store=tmp_path / "whole")
    np.testing.assert_array_equal(resumed["teacher_logits"][:], whole["teacher_logits"][:])


@pytest.mark.slow
def test_two_processes_share_the_work(saved_teacher, teacher, tokenizer, text_dataset, tmp_path):
    """Each would do all of it, or return only its own half."""
    processes = start(*TWO_RANKS, SCRIPT, saved_teacher, tmp_path / "store", tmp_path / "out.npz", OMP_NUM_THREADS="1")
    assert processes.wait() == 0
    ranks = [np.load(tmp_path / name) for name in ("out.npz", "out.rank1.npz")]
    forwarded = [rank["forwarded"].sum() for rank in ranks]
    assert sum(forwarded) == 30 and min(forwarded) > 5  # split by the rows' keys: even on average, not to the row
    np.testing.assert_array_equal(ranks[0]["logits"], ranks[1]["logits"])
    assert_same({"teacher_logits": ranks[0]["logits"]}, plain_logits(teacher, tokenizer, text_dataset["sentence"]))


@pytest.mark.slow
def test_folders_that_are_not_shared_are_refused_at_the_start(saved_teacher, tmp_path):
    """Each machine would run its share for hours, and then wait for rows that never come."""
    command = [sys.executable, *TWO_RANKS, SCRIPT, saved_teacher, f"{tmp_path}/store{{rank}}", tmp_path / "out.npz"]
    done = subprocess.run(list(map(str, command)), env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    told = done.stderr.decode()
    assert done.returncode and told.count("ValueError: process 1 does not see what process 0 writes to") == 2, told
    assert not list(tmp_path.glob("store*/part-*")) and not list(tmp_path.glob("store*/manifest.json.*"))


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_two_machines_share_a_folder_or_are_refused(saved_teacher, teacher, tokenizer, text_dataset, tmp_path, shared):
    """Two launches with homes of their own: each has a cache of its own, and one folder where it is named."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store, out = tmp_path / "store" if shared else "-", tmp_path / "out.npz"
    launch = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    machines = [
        start(
            *[*launch, f"--master-port={port}", f"--node-rank={rank}", SCRIPT, saved_teacher, store, out],
            stderr=subprocess.PIPE,
            **{"HOME": f"{tmp_path}/home{rank}", "HF_HOME": f"{tmp_path}/home{rank}/hf", "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    told = [machine.communicate()[1].decode() for machine in machines]
    if shared:
        assert [machine.returncode for machine in machines] == [0, 0], told
        ranks = [np.load(tmp_path / name) for name in ("out.npz", "out.rank1.npz")]
        assert sum(rank["forwarded"].sum() for rank in ranks) == 30
        assert_same({"teacher_logits": ranks[1]["logits"]}, plain_logits(teacher, tokenizer, text_dataset["sentence"]))
    else:
        assert all("ValueError: process 1 does not see what process 0 writes to" in words for words in told), told
        assert all(machine.returncode for machine in machines) and not list(tmp_path.rglob("part-*"))


@pytest.mark.slow
def test_killed_25_times_nothing_is_lost(teacher, tokenizer, tmp_path, monkeypatch):
    """A kill between two files, or while one is written, would lose rows, run others twice, or leave other numbers."""
    monkeypatch.setattr(sys.modules["hfdistill.soft_targets.precompute"], "SECONDS_A_PART", 0.0)
    rows = Dataset.from_dict({"input_ids": [[2, *[5 + row % 100] * (1 + row // 100), 3] for row in range(400)]})
    asked = tmp_path / "asked"

    def run():
        def watch(_, args, inputs):
            with asked.open("a") as file:
                file.write("x" * len(inputs["input_ids"]))
            time.sleep(0.02)

        teacher.register_forward_pre_hook(watch, with_kwargs=True)
        soft_targets(teacher, rows, tokenizer, batch_size=2, store=tmp_path / "store")

    rng, kills = random.Random(0), 25
    asked.touch()
    for _ in range(kills):
        before = asked.stat().st_size
        process = multiprocessing.get_context("fork").Process(target=run)
        process.start()
        while process.is_alive() and asked.stat().st_size == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.join()
    kept = sum(len(np.load(part)["logits"]) for part in (tmp_path / "store").glob("part-*.npz"))
    assert 0 < kept <= asked.stat().st_size <= kept + 2 * kills
    counted = count_rows(teacher)
    resumed = soft_targets(teacher, rows, tokenizer, batch_size=2, store=tmp_path / "store")
    assert sum(counted) == len(rows) - kept
    whole = soft_targets(teacher, rows, tokenizer, batch_size=2, store=tmp_path / "whole")
    np.testing.assert_array_equal(resumed["teacher_logits"][:], whole["teacher_logits"][:])


MEMORY = """
import json, sys, tempfile
import numpy as np, psutil, pyarrow as pa
from datasets import Dataset
from texts import make_tokenizer
from transformers import BertConfig, BertForSequenceClassification
from hfdistill import soft_targets

count = int(sys.argv[1])
sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16, num_labels=3)
teacher = BertForSequenceClassification(BertConfig(vocab_size=120, max_position_embeddings=64, **sizes)).eval()
rng = np.random.default_rng(0)
def rows(count):
    ends = np.append(0, rng.integers(8, 13, count).cumsum()).astype(np.int32)
    ids = pa.ListArray.from_arrays(pa.array(ends), pa.array(rng.integers(5, 120, ends[-1]).astype(np.int32)))
    return Dataset(pa.table({"input_ids": ids}))
with tempfile.TemporaryDirectory() as folder:
    tokenizer = make_tokenizer()
    soft_targets(teacher, rows(1000), tokenizer, store=folder + "/warm")
    many = rows(count)
    before = psutil.Process().memory_info().rss
    made = soft_targets(teacher, many, tokenizer, store=folder + "/store")
    assert len(made) == count
# Not getrusage: its peak begins with that of the process that started this one.
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"grown": (peak - before) / 2**20}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory from /proc, which Linux has")
def test_memory_does_not_grow_with_python_objects(tmp_path):
    """A key and an array as Python objects take 300 bytes a row, and the row in Python lists a kilobyte."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    done = subprocess.run([sys.executable, "-c", MEMORY, "300000"], env=environment, capture_output=True, check=True)
    grown = json.loads(done.stdout.splitlines()[-1])["grown"]
    assert grown < 150, f"{grown} MiB for 300,000 rows"

"""Soft targets made by several processes, and by one that is killed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from plain_answers import TEXT, assert_same, count_rows, plain_logits
from processes import SCRIPTS, TWO_RANKS

from hfdistill import ModelTeacher, soft_targets


@pytest.fixture
def teacher(tiny_bert):
    """A random BERT of three classes."""
    return tiny_bert()


SCRIPT = SCRIPTS / "make_soft_targets.py"


def start(*command, **environment):
    return subprocess.Popen([sys.executable, *map(str, command)], env={**os.environ, **environment})


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

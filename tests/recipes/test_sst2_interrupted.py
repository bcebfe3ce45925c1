"""A recipe that is interrupted says in one line how to go on, and goes on."""

import os
import signal
import subprocess
import sys
import time

import pytest
from classification_runs import BASICS, OWN, RECIPE, SIZE, assert_complete
from processes import TWO_RANKS

WORDS = (*BASICS, *OWN, *SIZE)


def start(*words, launcher=()):
    """In a process group of its own, as a terminal has it, all of which gets a Ctrl-C."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, *launcher, str(RECIPE), *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes)


def interrupt(process, number=signal.SIGINT):
    """Once the student is trained; what was said on standard error."""
    for line in process.stdout:
        if line.startswith("Training the student"):
            break
    time.sleep(1)
    os.killpg(process.pid, number)
    return process.communicate(timeout=100)[1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_is_one_line_and_the_run_goes_on(home, number):
    # Without a checkpoint, which could not be gone on from with fewer steps.
    process = start(*WORDS, "--max_steps", "100000", "--save_strategy", "no")
    printed = interrupt(process, number)
    line = "interrupted: the same command with --resume_from_checkpoint true goes on where it stopped."
    assert process.returncode == 128 + number and printed.count(line) == 1 and "Traceback" not in printed
    resumed = start(*WORDS, "--max_steps", "2", "--resume_from_checkpoint", "true")
    assert resumed.communicate()[1] is not None and resumed.returncode == 0
    assert_complete(home / "out")


@pytest.mark.slow
def test_of_several_processes_one_prints_it(home):
    process = start(*WORDS, "--max_steps", "100000", launcher=TWO_RANKS)
    printed = interrupt(process)
    assert printed.count("interrupted: the same command with --resume_from_checkpoint true") == 1
    assert "hfdistill/" not in printed, "a traceback of a worker"

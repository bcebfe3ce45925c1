"""Running the scripts of the tests in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import torch

SCRIPTS = Path(__file__).parent / "scripts"
TWO_RANKS = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def run_script(name, *words, launcher=(), **environment):
    """Runs a script to its end, its output kept."""
    command = [sys.executable, *launcher, SCRIPTS / name, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", **environment}
    return subprocess.run(list(map(str, command)), env=environment, check=False, capture_output=True, text=True)


def results_of_two_ranks(name, out, **environment):
    """What each of two processes saved as `rank0.pt` and `rank1.pt` in a folder that is the script's only argument."""
    done = run_script(name, out, launcher=TWO_RANKS, **environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return [torch.load(out / f"rank{rank}.pt", weights_only=False) for rank in range(2)]

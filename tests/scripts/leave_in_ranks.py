"""A recipe under torchrun, `leave_in_ranks.py OUT`: whether a process is connected to the other at its very end."""

import atexit
import os
import sys

import torch
from accelerate import PartialState

from hfdistill import run_command


def note():
    torch.save(torch.distributed.is_initialized(), f"{sys.argv[1]}/rank{os.environ['RANK']}.pt")


if __name__ == "__main__":
    atexit.register(note)  # what is registered first runs last
    run_command(lambda: PartialState(cpu=True).wait_for_everyone())

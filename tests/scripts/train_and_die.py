"""Trains until a checkpoint of step 5 is written, then kills itself: `train_and_die.py OUT stored|live|word|layers`."""

import os
import signal
import sys
from pathlib import Path

from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import test_seq2seq_layers
import test_trainer_checkpoint


class Die(TrainerCallback):
    def on_save(self, args, state, control, **kwargs):
        if state.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    out, kind = sys.argv[1:]
    runs = test_seq2seq_layers if kind in test_seq2seq_layers.KINDS else test_trainer_checkpoint
    runs.resumable(out, kind, given={"callbacks": [Die()]}).train()

"""Trains and evaluates every kind of head under torchrun and keeps what came out: `train_heads_in_ranks.py OUT`."""

import itertools
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from test_heads import KINDS, train
from tiny import weights


def outcome(folder, kind, stored):
    trainer = train(folder, kind, stored=stored, per_device_train_batch_size=4, per_device_eval_batch_size=2)
    return {"weights": weights(trainer.model), "metrics": trainer.evaluate()}


if __name__ == "__main__":
    out = Path(sys.argv[1])
    runs = itertools.product(KINDS, (False, True))
    results = {(kind, stored): outcome(out / kind / str(stored), kind, stored) for kind, stored in runs}
    torch.save(results, out / f"rank{torch.distributed.get_rank()}.pt")
    torch.distributed.destroy_process_group()

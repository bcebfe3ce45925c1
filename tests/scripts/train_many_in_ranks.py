"""Trains on several teachers and on a share of labels under torchrun: `train_many_in_ranks.py OUT`."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from test_many_distributed import CASES
from tiny import weights

if __name__ == "__main__":
    out = Path(sys.argv[1])
    results = {}
    for name, make in CASES.items():
        trainer = make(out / name, per_device_train_batch_size=4)
        trainer.train()
        results[name] = weights(trainer.model)
    torch.save(results, out / f"rank{torch.distributed.get_rank()}.pt")
    torch.distributed.destroy_process_group()

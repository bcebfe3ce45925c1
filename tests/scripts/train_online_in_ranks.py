"""Trains students that teach one another under torchrun: `train_online_in_ranks.py OUT`."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "online"))
from test_online_trainer import KINDS, all_weights, online_trainer
from tiny import make_rows, unlabel

if __name__ == "__main__":
    out = Path(sys.argv[1])
    results = {}
    for kind in KINDS:
        rows = unlabel(make_rows(22), {0, 1, 2, 5, 9})
        settings = {"train_sampling_strategy": "sequential", "per_device_train_batch_size": 4}
        trainer = online_trainer(out / kind, kind, rows, save_strategy="epoch", **settings)
        trainer.train()
        results[kind] = all_weights(trainer)
    torch.save(results, out / f"rank{torch.distributed.get_rank()}.pt")
    torch.distributed.destroy_process_group()

"""Trains students of texts, choices and embeddings under torchrun: `train_texts_in_ranks.py OUT`."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from test_text_ranks import RUNS
from tiny import weights

if __name__ == "__main__":
    out = Path(sys.argv[1])
    results = {name: weights(run(out / name, per_device_train_batch_size=4).model) for name, run in RUNS.items()}
    torch.save(results, out / f"rank{torch.distributed.get_rank()}.pt")
    torch.distributed.destroy_process_group()

"""Trains the cases of `tiny` with terms on layers under torchrun: `train_layers_in_ranks.py OUT`."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import LAYER_CASES, run_layers, weights

if __name__ == "__main__":
    out, results = Path(sys.argv[1]), {}
    runs = {name: (name, {"per_device_train_batch_size": 4}) for name in (*LAYER_CASES, "relations")}
    quarters = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    for key, (name, layout) in {**runs, "accumulated": ("hidden_states", quarters)}.items():
        trainer, _ = run_layers(out, name, 11, **layout)
        results[key] = {"student": weights(trainer.model), "objective": weights(trainer.stages)}
    torch.save(results, out / f"rank{torch.distributed.get_rank()}.pt")
    torch.distributed.destroy_process_group()

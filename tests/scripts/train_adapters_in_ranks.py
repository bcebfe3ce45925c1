"""Trains a student with adapters under torchrun, with checkpoints, and saves it: `train_adapters_in_ranks.py OUT`."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from test_merging import lora_student, lora_trainer
from tiny import weights

if __name__ == "__main__":
    out = Path(sys.argv[1])
    # Its dropout would be another in each process.
    trainer = lora_trainer(out / "two", lora_student(lora_dropout=0.0), per_device_train_batch_size=4)
    trainer.train()
    trainer.save_model()
    torch.save({"weights": weights(trainer.model)}, out / f"rank{torch.distributed.get_rank()}.pt")
    torch.distributed.destroy_process_group()

"""Trains, loses the random state of one process, and resumes, under torchrun: `resume_in_ranks.py OUT`."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import distance, make_model, make_rows, make_trainer, weights

SETTINGS = {"per_device_train_batch_size": 4, "save_strategy": "steps", "save_steps": 2, "alpha": 0.7}


def build(out, **changes):
    rows = make_rows(16, teacher_logits=True)
    return make_trainer(out, make_model(1, dropout=0.3), rows, **{**SETTINGS, **changes})


if __name__ == "__main__":
    out = Path(sys.argv[1])
    whole = build(out / "run")
    whole.train()
    rank = torch.distributed.get_rank()
    if rank == 0:
        (out / "run" / "checkpoint-4" / "rng_state_1.pth").unlink()
    torch.distributed.barrier()
    resumed = build(out / "run", save_strategy="no")
    resumed.train(resume_from_checkpoint=True)
    try:
        build(out / "run", alpha=0.9).train(resume_from_checkpoint=True)
        refused = ""
    except ValueError as error:
        refused = str(error)
    begun, apart = resumed._initial_global_step, distance(weights(resumed.model), weights(whole.model))
    torch.save({"begun at": begun, "distance": apart, "refused": refused}, out / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()

"""Trains and evaluates every case of `tiny` under torchrun and keeps what came out: `train_in_ranks.py OUT`."""

import itertools
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import CASES, accuracy, live, make_trainer, run_case, stored, unlabel, weights

LAYOUTS = {
    "halves": {"per_device_train_batch_size": 4},
    "quarters": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
}
EVALUATED = {"stored": stored, "live": live}


def train(out, name, rows, layout):
    trainer, _ = run_case(out, name, rows, **LAYOUTS[layout])
    logs = [log for log in trainer.state.log_history if "loss" in log]
    return {"weights": weights(trainer.model), "logs": logs}


def evaluate(out, name):
    student, rows, teacher, settings = EVALUATED[name](11)
    rows = unlabel(rows, {0, 1, 2, 8})
    given = {"eval_dataset": rows, "compute_metrics": accuracy}
    trainer = make_trainer(out, student, rows, teacher=teacher, given=given, per_device_eval_batch_size=2, **settings)
    return {"metrics": trainer.evaluate(), "predictions": trainer.predict(rows).predictions}


def save(out):
    student, rows, teacher, settings = live()
    make_trainer(out / "saved", student, rows, teacher=teacher, save_strategy="epoch", **settings).train()


if __name__ == "__main__":
    out = Path(sys.argv[1])
    runs = itertools.product(CASES, (16, 11), LAYOUTS)
    results = {(name, rows, layout): train(out, name, rows, layout) for name, rows, layout in runs}
    results |= {name: evaluate(out, name) for name in EVALUATED}
    save(out)
    torch.save(results, out / f"rank{torch.distributed.get_rank()}.pt")
    torch.distributed.destroy_process_group()

"""Trains and evaluates a translation student under torchrun: `train_translator_in_ranks.py OUT`."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import IN_ORDER, make_tokenizer, weights
from tiny_seq2seq import ON_LAYERS, make_pairs, make_seq2seq, make_seq2seq_trainer, unlike_pair
from transformers.utils import is_liger_kernel_available

from hfdistill import token_soft_targets

LAYOUTS = {
    "halves": {"per_device_train_batch_size": 4},
    "quarters": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
}


def train(out, count, layout, method=None, **changes):
    """A run with a teacher run in every step, or with its predictions kept by a method."""
    rows, teacher = make_pairs(count), make_seq2seq(seed=2)
    if method:
        rows, teacher = token_soft_targets(teacher, rows, make_tokenizer(), k=6, method=method, batch_size=2), None
    seen = []
    given = {"eval_dataset": rows, "compute_metrics": lambda prediction: seen.append(prediction) or {}}
    trainer = make_seq2seq_trainer(
        out,
        make_seq2seq(seed=1),
        rows,
        teacher=teacher,
        given=given,
        predict_with_generate=True,
        per_device_eval_batch_size=2,
        **LAYOUTS[layout],
        **IN_ORDER,
        **changes,
    )
    trainer.train()
    metrics = trainer.evaluate()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    return {"weights": weights(trainer.model), "logs": logs, "metrics": metrics, "written": seen[0].predictions}


def train_on_layers(out, layout):
    student, teacher = unlike_pair()
    trainer = make_seq2seq_trainer(
        out, student, make_pairs(11), teacher=teacher, **LAYOUTS[layout], **ON_LAYERS, **IN_ORDER
    )
    trainer.train()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    return {"weights": weights(trainer.model), "objective": weights(trainer.stages), "logs": logs}


if __name__ == "__main__":
    out = Path(sys.argv[1])
    results = {(count, layout): train(out, count, layout) for count in (16, 11) for layout in LAYOUTS}
    results |= {("layers", layout): train_on_layers(out, layout) for layout in LAYOUTS}
    results |= {method: train(out, 11, "quarters", method) for method in ("top_k", "sampled")}
    if is_liger_kernel_available():
        results["liger"] = train(out, 11, "quarters", use_liger_kernel=True)
    torch.save(results, out / f"rank{torch.distributed.get_rank()}.pt")
    torch.distributed.destroy_process_group()

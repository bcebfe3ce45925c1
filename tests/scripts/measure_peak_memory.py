"""Trains a student for a few steps and prints the process's peak memory in MiB: `measure_peak_memory.py KIND OUT`.

KIND is `plain` (transformers' own Trainer), `stored` (stored soft targets) or `live` (a teacher run in every step).
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import make_model, make_rows, make_tokenizer, make_trainer
from transformers import Trainer, TrainingArguments

STUDENT = {"vocab_size": 16_000, "hidden_size": 256}
TEACHER = {"vocab_size": 16_000, "hidden_size": 2048, "num_hidden_layers": 1, "dtype": "float32"}


def train(kind, out):
    student = make_model(1, **STUDENT)
    rows = make_rows(64, teacher_logits=kind == "stored")
    if kind == "plain":
        args = TrainingArguments(str(out), max_steps=4, use_cpu=True, report_to="none", save_strategy="no")
        Trainer(student, args, train_dataset=rows, processing_class=make_tokenizer()).train()
    else:
        teacher = make_model(2, **TEACHER) if kind == "live" else None
        make_trainer(out, student, rows, teacher=teacher, max_steps=4, optim="adamw_torch_fused").train()


def peak_mib():
    # Not getrusage: its maximum goes over to a child process from the one that started it.
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2])
    print(peak_mib())

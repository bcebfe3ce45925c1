"""Searches over tiny students in a process of its own: `search_students.py FOLDER STORAGE TRIALS`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from optuna.distributions import FloatDistribution
from tiny import accuracy, make_args, make_model, make_rows, make_tokenizer

from hfdistill import DistillationTrainer, make_student
from hfdistill.report import timing
from hfdistill.search import StudentSearch

folder, storage, trials = sys.argv[1:]
timing.LATENCY_TURNS = 1
teacher, rows = make_model(1), make_rows(16, teacher_logits=True)
begun = 0


def new_trainer(student, args):
    global begun
    begun += 1
    print(f"begins {begun}", flush=True)
    splits = {"train_dataset": rows, "eval_dataset": rows, "compute_metrics": accuracy}
    return DistillationTrainer(student, args, processing_class=make_tokenizer(), **splits)


space = {"temperature": FloatDistribution(1, 8), "learning_rate": FloatDistribution(1e-3, 1e-1)}
args = make_args(folder, eval_strategy="epoch", num_train_epochs=10)
StudentSearch(space, lambda shape: make_student(teacher, 1), new_trainer, args, storage).run(int(trials))

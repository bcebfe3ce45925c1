"""What distillation costs here, against plain fine-tuning and against the usual ways to distil.

Every job runs in a process of its own, one after the other, on the same rows, and its wall time (models loaded, data
tokenized) and peak memory are read. Ratios of jobs of one run are what counts: a machine's speed drifts.

    python recipes/benchmarks/speed.py --teacher my/bert --train_file train.tsv --test_file test.tsv

| job | what it does |
|---|---|
| fine_tune | `transformers.Trainer` on the labels, rows in random order: plain fine-tuning |
| stored | `DistillationTrainer` on stored soft targets, the same batches |
| predict | `Trainer.predict` by the teacher over the shuffled rows |
| soft_targets | `soft_targets` by the teacher over the same rows |
| whole | soft targets made, then `DistillationTrainer` on batches of like length: our whole job |
| hand_written | the usual hand-written trainer: `compute_loss` overridden, the teacher run in every step |
| textbrewer | TextBrewer 0.2.1 (`pip install textbrewer==0.2.1`), the same loss and optimizer |
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset
from torch.nn import functional as F
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    get_linear_schedule_with_warmup,
    set_seed,
)

from hfdistill import DistillationTrainer, DistillationTrainingArguments, make_student, soft_targets
from hfdistill.tasks.classification.data import text_classification_dataset

TEMPERATURE, ALPHA, LEARNING_RATE, BATCH_SIZE = 2.0, 0.5, 5e-5, 32


class Work:
    """The rows, the teacher and the student that every job gets: made before its clock starts."""

    def __init__(self, options: argparse.Namespace) -> None:
        set_seed(options.seed)
        self.epochs = options.epochs
        self.tokenizer = AutoTokenizer.from_pretrained(options.teacher, trust_remote_code=False)
        self.teacher = AutoModelForSequenceClassification.from_pretrained(
            options.teacher, dtype=torch.float32, trust_remote_code=False
        )
        self.student = make_student(self.teacher, num_hidden_layers=options.student_num_hidden_layers)
        names = list(self.teacher.config.id2label.values())
        data = text_classification_dataset(options.train_file, options.test_file, options.test_file, label_names=names)
        splits = data.dataset.rename_column(data.label_column, "labels").map(
            lambda rows: self.tokenizer(*(rows[name] for name in data.text_columns), truncation=True, max_length=128),
            batched=True,
            remove_columns=list(data.text_columns),
        )
        train = splits["train"].shuffle(options.seed)
        self.train: Dataset = train.select(range(min(options.rows or len(train), len(train))))
        self.test: Dataset = splits["test"]
        self.folder = tempfile.mkdtemp(prefix="speed-")

    def arguments(self, kind: type[TrainingArguments] = TrainingArguments, **more: object) -> TrainingArguments:
        return kind(
            self.folder,
            num_train_epochs=self.epochs,
            per_device_train_batch_size=BATCH_SIZE,
            per_device_eval_batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=1000,
            **more,
        )

    def distillation_arguments(self, **more: object) -> TrainingArguments:
        return self.arguments(DistillationTrainingArguments, temperature=TEMPERATURE, alpha=ALPHA, **more)

    def make_soft_targets(self) -> Dataset:
        return soft_targets(self.teacher, self.train, self.tokenizer, store=Path(self.folder) / "soft_targets")


def fine_tune(work: Work) -> Callable[[], object]:
    trainer = Trainer(work.student, work.arguments(), train_dataset=work.train, processing_class=work.tokenizer)
    return trainer.train


def stored(work: Work) -> Callable[[], object]:
    rows = work.make_soft_targets()
    del work.teacher
    trainer = DistillationTrainer(
        work.student, work.distillation_arguments(), train_dataset=rows, processing_class=work.tokenizer
    )
    return trainer.train


def predict(work: Work) -> Callable[[], object]:
    trainer = Trainer(work.teacher, work.arguments(), processing_class=work.tokenizer)
    return lambda: trainer.predict(work.train)


def make_soft_targets(work: Work) -> Callable[[], object]:
    return work.make_soft_targets


def whole(work: Work) -> Callable[[], object]:
    def job() -> None:
        args = work.distillation_arguments(train_sampling_strategy="group_by_length")
        rows = work.make_soft_targets()
        DistillationTrainer(work.student, args, train_dataset=rows, processing_class=work.tokenizer).train()

    return job


def hand_written(work: Work) -> Callable[[], object]:
    class HandWrittenTrainer(Trainer):
        """As in the tutorials: correct on one process without accumulation, and running the teacher in every step."""

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            outputs = model(**inputs)
            with torch.no_grad():
                teacher_logits = work.teacher(**inputs).logits
            soft = F.kl_div(
                F.log_softmax(outputs.logits / TEMPERATURE, -1),
                F.softmax(teacher_logits / TEMPERATURE, -1),
                reduction="batchmean",
            )
            loss = ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * F.cross_entropy(outputs.logits, inputs["labels"])
            return (loss, outputs) if return_outputs else loss

    work.teacher.eval()
    trainer = HandWrittenTrainer(
        work.student, work.arguments(), train_dataset=work.train, processing_class=work.tokenizer
    )
    return trainer.train


def textbrewer(work: Work) -> Callable[[], object]:
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

    def adaptor(batch, outputs):
        return {"logits": outputs.logits, "losses": outputs.loss}

    collate = DataCollatorWithPadding(work.tokenizer)
    loader = torch.utils.data.DataLoader(
        work.train, BATCH_SIZE, shuffle=True, collate_fn=lambda rows: dict(collate(rows))
    )
    steps = len(loader) * work.epochs
    optimizer = torch.optim.AdamW(work.student.parameters(), lr=LEARNING_RATE)
    distiller = GeneralDistiller(
        train_config=TrainingConfig(output_dir=work.folder, log_dir=None, ckpt_steps=10**9, device=work.teacher.device),
        # Its loss has no factor T²: this weight makes it the same loss.
        distill_config=DistillationConfig(
            temperature=TEMPERATURE, kd_loss_weight=ALPHA * TEMPERATURE**2, hard_label_weight=1 - ALPHA
        ),
        model_T=work.teacher.eval(),
        model_S=work.student,
        adaptor_T=adaptor,
        adaptor_S=adaptor,
    )

    def job() -> None:
        with distiller:
            distiller.train(
                optimizer,
                loader,
                num_epochs=work.epochs,
                scheduler_class=get_linear_schedule_with_warmup,
                scheduler_args={"num_warmup_steps": 0, "num_training_steps": steps},
                max_grad_norm=1.0,
            )

    return job


JOBS = {
    "fine_tune": fine_tune,
    "stored": stored,
    "predict": predict,
    "soft_targets": make_soft_targets,
    "whole": whole,
    "hand_written": hand_written,
    "textbrewer": textbrewer,
}
RATIOS = [
    ("an epoch on stored soft targets / a plain epoch", "stored", "fine_tune"),
    ("making the soft targets / Trainer.predict", "soft_targets", "predict"),
    ("hand-written trainer / our whole job", "hand_written", "whole"),
    ("TextBrewer / our whole job", "textbrewer", "whole"),
]


def main() -> None:
    options = parse_options()
    if options.job:
        print(json.dumps(run_job(options)))
        return
    figures: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.repeats):
        for name in options.jobs:
            figures.setdefault(name, []).append(in_own_process(name))
            print(f"{name:>14}: {figures[name][-1]}", flush=True)
    print_table(figures)


def run_job(options: argparse.Namespace) -> dict[str, float]:
    work = Work(options)
    job = JOBS[options.job](work)
    began = time.perf_counter()
    job()
    seconds = time.perf_counter() - began
    # The process's peak: kibibytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"seconds": round(seconds, 2), "peak_mib": round(peak)}
    if options.job not in ("predict", "soft_targets"):
        figures["test_accuracy"] = round(accuracy(work), 4)
    return figures


def accuracy(work: Work) -> float:
    output = Trainer(work.student, work.arguments(), processing_class=work.tokenizer).predict(work.test)
    return float((output.predictions.argmax(-1) == output.label_ids).mean())


def in_own_process(job: str) -> dict[str, float]:
    command = [sys.executable, __file__, *sys.argv[1:], "--job", job]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        sys.exit(f"{job} failed:\n{finished.stderr[-3000:]}")
    return json.loads(finished.stdout.strip().splitlines()[-1])


def print_table(figures: dict[str, list[dict[str, float]]]) -> None:
    print("\n| job | seconds (median) | peak MiB | test accuracy |\n|---|---:|---:|---:|")
    for name, runs in figures.items():
        middle = {key: sorted(run[key] for run in runs)[len(runs) // 2] for key in runs[0]}
        print(f"| {name} | {middle['seconds']} | {middle['peak_mib']} | {middle.get('test_accuracy', '')} |")
    print("\n| ratio of seconds | median |\n|---|---:|")
    for title, above, below in RATIOS:
        if above in figures and below in figures:
            pairs = zip(figures[above], figures[below], strict=True)
            ratios = sorted(first["seconds"] / second["seconds"] for first, second in pairs)
            print(f"| {title} | {ratios[len(ratios) // 2]:.2f} |")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, help="fine-tuned classifier, Hub name or folder")
    parser.add_argument("--train_file", required=True, help="labeled texts: csv, tsv, json or parquet")
    parser.add_argument("--test_file", required=True, help="labeled texts to measure accuracy on")
    parser.add_argument("--student_num_hidden_layers", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=0, help="use only so many training rows (0: all)")
    parser.add_argument("--repeats", type=int, default=1, help="rounds of all jobs; the medians are shown")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS), help="which jobs to run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

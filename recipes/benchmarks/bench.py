"""What the measuring scripts share: texts, models of a seed, one way to train them all, and figures kept on disk.

Every model is trained for as many steps, evaluated on the validation texts after each epoch, and the best of these
checkpoints is measured on the test texts: a model that overfits its few labels is stopped early, as in the papers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from transformers import AutoModelForSequenceClassification, AutoTokenizer, EvalPrediction, PreTrainedModel, set_seed

from hfdistill import DistillationTrainer, DistillationTrainingArguments, ModelTeacher, make_student, soft_targets
from hfdistill.models.inference import predict_logits, token_rows
from hfdistill.online import new_head
from hfdistill.tasks.classification.data import text_classification_dataset
from hfdistill.tasks.classification.metrics import classification_metrics


class Bench:
    """The texts of a task, and models to train on them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.tokenizer = AutoTokenizer.from_pretrained(options.model, trust_remote_code=False)
        data = text_classification_dataset(options.train_file, options.validation_file, options.test_file)
        self.head, self.text_columns = data.head, data.text_columns
        splits = data.dataset.rename_column(data.label_column, "labels")
        if options.rows:
            splits["train"] = splits["train"].shuffle(0).select(range(min(options.rows, len(splits["train"]))))
        limit = min(128, self.tokenizer.model_max_length)
        self.splits = splits.map(
            lambda rows: self.tokenizer(*(rows[name] for name in self.text_columns), truncation=True, max_length=limit),
            batched=True,
        )
        self.metrics = classification_metrics(problem_type=data.problem_type)

    @property
    def train_rows(self) -> Dataset:
        return self.splits["train"]

    def new_model(self, seed: int, layers: int | None = None, width: int | None = None) -> PreTrainedModel:
        """The pretrained model with a head of this seed; or some of its layers, or of its dimensions."""
        set_seed(seed)
        given = {**self.head, "dtype": "float32", "ignore_mismatched_sizes": True, "trust_remote_code": False}
        model = new_head(AutoModelForSequenceClassification.from_pretrained(self.options.model, **given))
        return make_student(model, num_hidden_layers=layers, hidden_size=width) if layers or width else model

    def arguments(self, folder: str, seed: int, **changes: Any) -> DistillationTrainingArguments:
        options = self.options
        settings = {
            "num_train_epochs": options.epochs,
            "per_device_train_batch_size": 32,
            "per_device_eval_batch_size": 128,
            "learning_rate": options.learning_rate,
            "warmup_steps": 0.06,
            "weight_decay": 0.01,
            "train_sampling_strategy": "group_by_length",
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
            "save_total_limit": 1,
            "save_only_model": True,
            "load_best_model_at_end": True,
            "metric_for_best_model": "accuracy",
            "teacher_at_eval": False,
            "temperature": options.temperature,
            "report_to": "none",
            "disable_tqdm": True,
            "bf16": options.bf16,
            "use_cpu": not torch.accelerator.is_available(),
            "logging_steps": 0.1,
            "seed": seed,
            "dataloader_pin_memory": torch.accelerator.is_available(),
        }
        return DistillationTrainingArguments(folder, **{**settings, **changes})

    def train(
        self, model: Any, rows: Dataset, seed: int, trainer_class: Callable = DistillationTrainer, **changes: Any
    ) -> tuple[PreTrainedModel, dict[str, float]]:
        """The model as it was best on the validation texts, and its metrics on the test texts."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            trainer = trainer_class(
                model,
                self.arguments(folder, seed, **changes),
                train_dataset=rows,
                eval_dataset=self.splits["validation"],
                processing_class=self.tokenizer,
                compute_metrics=self.metrics,
            )
            trainer.train()
            return trainer.model, trainer.predict(self.splits["test"]).metrics

    def fine_tuned(self, name: str, seed: int, rows: Dataset) -> PreTrainedModel:
        """A teacher that learned the labels of these rows, kept in the output folder."""
        kept = Path(self.options.output_dir) / "teachers" / name
        if not kept.exists():
            model, _ = self.train(self.new_model(seed), rows, seed, terms=["labels"])
            unfinished = kept.with_suffix(".unfinished")
            model.save_pretrained(unfinished)
            unfinished.rename(kept)
        return AutoModelForSequenceClassification.from_pretrained(kept, trust_remote_code=False)

    def accuracy(self, model: PreTrainedModel) -> float:
        """On the test texts."""
        rows = self.splits["test"]
        model = model.to(PartialState().device)
        logits = predict_logits(model, self.tokenizer, token_rows(model, self.tokenizer, rows), batch_size=128)
        return self.metrics(EvalPrediction(predictions=logits, label_ids=np.asarray(rows["labels"])))["accuracy"]

    def answered(self, teachers: Sequence[PreTrainedModel], rows: Dataset) -> Dataset:
        """The rows with the teachers' soft targets; an earlier pass over the same texts is not repeated."""
        asked = [ModelTeacher(teacher, self.tokenizer) for teacher in teachers]
        return soft_targets(asked, rows, batch_size=128)


class Figures:
    """Test figures by their names, one JSON line each, so that an interrupted measurement goes on where it stopped."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self._kept: dict[str, float] = dict(json.loads(line) for line in lines)

    def get(self, name: str, measure: Callable[[], float]) -> float:
        if name not in self._kept:
            self._kept[name] = measure()
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([name, self._kept[name]]) + "\n")
            print(f"{name}: {self._kept[name]:.4f}", flush=True)
        return self._kept[name]


def percent(values: Sequence[float]) -> str:
    """Mean and standard deviation, in per cent."""
    spread = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.2f}{spread}"


def gain(values: Sequence[float], others: Sequence[float]) -> str:
    """What is gained over others, seed by seed: mean and standard deviation of the differences, in points."""
    differences = [one - other for one, other in zip(values, others, strict=True)]
    spread = f" ± {100 * statistics.stdev(differences):.2f}" if len(differences) > 1 else ""
    return f"{100 * statistics.mean(differences):+.2f}{spread}"


def draw(
    curves: Mapping[str, Sequence[tuple[float, Sequence[float]]]], path: Path, x_label: str, logarithmic: bool = False
) -> None:
    """A curve of means with bars of one standard deviation for each name, as a PNG."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    draw_on(axes, curves, x_label)
    if logarithmic:
        axes.set_xscale("log")
        places = sorted({x for points in curves.values() for x, _ in points})
        axes.set_xticks(places, [f"{x:g}" for x in places])
        axes.minorticks_off()
    axes.set_ylabel("test accuracy, %")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def draw_on(axes: Axes, curves: Mapping[str, Sequence[tuple[float, Sequence[float]]]], x_label: str) -> None:
    """The curves alone."""
    for name, points in curves.items():
        means = [100 * statistics.mean(values) for _, values in points]
        spreads = [100 * statistics.stdev(values) if len(values) > 1 else 0 for _, values in points]
        axes.errorbar([x for x, _ in points], means, yerr=spreads, marker="o", capsize=3, label=name)
    axes.set_xlabel(x_label)
    axes.grid(alpha=0.3)


def parser(description: str, model_help: str = "pretrained encoder, Hub name or folder") -> argparse.ArgumentParser:
    """The options that all these scripts have."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--model", required=True, help=model_help)
    options.add_argument("--train_file", required=True, help="labeled texts: csv, tsv, json or parquet")
    options.add_argument("--validation_file", required=True, help="labeled texts to choose the best epoch on")
    options.add_argument("--test_file", required=True, help="labeled texts to measure accuracy on")
    options.add_argument("--output_dir", required=True, help="figures, table and plot; an unfinished one is continued")
    options.add_argument("--student_num_hidden_layers", type=int, help="layers of the student (default: all)")
    options.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0")
    options.add_argument("--epochs", type=float, default=3)
    options.add_argument("--learning_rate", type=float, default=5e-5)
    options.add_argument("--temperature", type=float, default=2.0)
    options.add_argument("--bf16", action="store_true", help="train in mixed precision; on CPUs with AMX twice as fast")
    options.add_argument("--rows", type=int, default=0, help="use only so many training rows (0: all)")
    return options

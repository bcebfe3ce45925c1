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
from accelerate import PartialState
from datasets import Dataset
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from transformers import AutoModelForSequenceClassification, AutoTokenizer, EvalPrediction, PreTrainedModel, set_seed

from hfdistill import (
    ClassificationTrainingArguments,
    DistillationTrainer,
    ModelTeacher,
    make_student,
    new_head,
    soft_targets,
    text_classification_dataset,
)
from hfdistill.models.inference import predict_logits, token_rows


class Bench:
    """The texts of a task, and models to train on them: here of classification."""

    auto_class: Any = AutoModelForSequenceClassification
    #: By which the best checkpoint is chosen, and what is measured of it.
    metric = "accuracy"

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder = Path(options.output_dir)
        self.figures = Figures(self.folder)
        self.tokenizer = AutoTokenizer.from_pretrained(options.model, trust_remote_code=False)
        self.data = self.read(options.train_file, options.validation_file, options.test_file)
        self.splits = self.data.tokenized(self.tokenizer)
        if options.rows:
            train = self.splits["train"]
            self.splits["train"] = train.shuffle(0).select(range(min(options.rows, len(train))))

    def read(self, *files: str) -> Any:
        return text_classification_dataset(*files)

    @property
    def train_rows(self) -> Dataset:
        return self.splits["train"]

    def new_model(self, seed: int, layers: int | None = None, width: int | None = None) -> PreTrainedModel:
        """The pretrained model with a head of this seed; or some of its layers, or of its dimensions."""
        set_seed(seed)
        given = {**self.data.head, "dtype": "float32", "ignore_mismatched_sizes": True, "trust_remote_code": False}
        model = new_head(self.auto_class.from_pretrained(self.options.model, **given))
        return make_student(model, num_hidden_layers=layers, hidden_size=width) if layers or width else model

    def arguments(self, folder: str, seed: int, **changes: Any) -> ClassificationTrainingArguments:
        options = self.options
        settings = {
            "num_train_epochs": options.epochs,
            "per_device_eval_batch_size": 128,
            "learning_rate": options.learning_rate,
            "eval_on_start": False,
            "save_only_model": True,
            "load_best_model_at_end": True,
            "metric_for_best_model": self.metric,
            "teacher_at_eval": False,
            "temperature": options.temperature,
            "disable_tqdm": True,
            "bf16": options.bf16,
            "logging_steps": 0.1,
            "seed": seed,
        }
        return ClassificationTrainingArguments(folder, **{**settings, **changes})

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
                compute_metrics=self.data.metrics,
            )
            trainer.train()
            return trainer.model, trainer.predict(self.splits["test"]).metrics

    def student_accuracy(self, student: Any, rows: Dataset, seed: int, **changes: Any) -> float:
        """The metric of a model that is trained on these rows, on the test texts."""
        return self.train(student, rows, seed, **changes)[1][f"test_{self.metric}"]

    def fine_tuned(self, name: str, seed: int, rows: Dataset, **changes: Any) -> PreTrainedModel:
        """A teacher that learned the labels of these rows, kept in the output folder."""
        kept = self.folder / "teachers" / name
        if not kept.exists():
            model, _ = self.train(self.new_model(seed), rows, seed, **{"terms": ["labels"], **changes})
            unfinished = kept.with_suffix(".unfinished")
            model.save_pretrained(unfinished)
            unfinished.rename(kept)
        return self.auto_class.from_pretrained(kept, trust_remote_code=False)

    def test_metric(self, model: PreTrainedModel) -> float:
        """Of a trained model, by a trainer's evaluation."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            how = {"processing_class": self.tokenizer, "compute_metrics": self.data.metrics}
            arguments = self.arguments(folder, 0, terms=["labels"], eval_strategy="no", load_best_model_at_end=False)
            trainer = DistillationTrainer(model, arguments, **how)
            return trainer.evaluate(self.splits["test"])[f"eval_{self.metric}"]

    def accuracy(self, model: PreTrainedModel) -> float:
        """On the test texts."""
        rows = self.splits["test"]
        model = model.to(PartialState().device)
        logits = predict_logits(model, self.tokenizer, token_rows(model, self.tokenizer, rows), batch_size=128)
        return self.data.metrics(EvalPrediction(predictions=logits, label_ids=np.asarray(rows["labels"])))["accuracy"]

    def with_soft_targets(self, rows: Dataset, teachers: Sequence[PreTrainedModel]) -> Dataset:
        """The rows with the teachers' soft targets; an earlier pass over the same texts is not repeated."""
        return soft_targets([ModelTeacher(teacher, self.tokenizer) for teacher in teachers], rows, batch_size=128)


class Figures:
    """Test figures by their names, one JSON line each, so that an interrupted measurement goes on where it stopped."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "figures.jsonl"
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self._kept: dict[str, float] = dict(json.loads(line) for line in lines)

    def has(self, name: str) -> bool:
        """Whether it is on file."""
        return name in self._kept

    def get(self, name: str, measure: Callable[..., float], *args: Any) -> float:
        """The figure of this name: the one on file, or `measure(*args)`."""
        if name not in self._kept:
            self._kept[name] = measure(*args)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([name, self._kept[name]]) + "\n")
            print(f"{name}: {self._kept[name]:.4f}", flush=True)
        return self._kept[name]


def publish(folder: Path, lines: Sequence[str]) -> None:
    """Writes and prints a table."""
    text = "\n".join([*lines, ""])
    (folder / "table.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")


def over_seeds(seeds: int, measured: Callable[[int], dict[str, float]]) -> dict[str, list[float]]:
    """The figures of all seeds by their names."""
    found = [measured(seed) for seed in range(seeds)]
    return {name: [figures[name] for figures in found] for name in found[0]}


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


def draw_on(
    axes: Axes, curves: Mapping[str, Sequence[tuple[float, Sequence[float]]]], x_label: str, style: str = "o-"
) -> None:
    """The curves alone."""
    for name, points in curves.items():
        means = [100 * statistics.mean(values) for _, values in points]
        spreads = [100 * statistics.stdev(values) if len(values) > 1 else 0 for _, values in points]
        axes.errorbar([x for x, _ in points], means, yerr=spreads, fmt=style, capsize=3, label=name)
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

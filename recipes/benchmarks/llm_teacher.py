"""What a language model teaches with no labels, few, and all: calibrated or not, on the demo's texts.

    python recipes/benchmarks/llm_teacher.py --output_dir llm_teacher

Each seed trains a language model of its own, and students of the demo's size, from the same weights and for as many
steps: on its soft targets alone, calibrated by texts that say nothing, by twenty labels or by all; and on the labels
alone.
"""

import argparse
import copy
import functools
import tempfile
from pathlib import Path

import numpy as np
from bench import Figures, gain, over_seeds, percent, publish
from datasets import Dataset, DatasetDict
from transformers import EvalPrediction, set_seed

from hfdistill import (
    LANGUAGE_MODEL_DEMO,
    ClassificationTrainingArguments,
    DistillationTrainer,
    PromptTeacher,
    classification_data,
    demo_language_model,
    keep_labels,
    labeled_rows,
    soft_targets,
)
from hfdistill.tasks.classification.demo import demo_student

FEW = 20
#: By what the teacher is calibrated.
WAYS = ("not calibrated", "texts that say nothing", f"{FEW} labels", "all labels")


def main() -> None:
    options = parse_options()
    figures = Figures(Path(options.output_dir))
    accuracies = over_seeds(options.seeds, functools.partial(measured, options, figures))
    publish(Path(options.output_dir), table(options, accuracies))


def table(options: argparse.Namespace, accuracies: dict[str, list[float]]) -> list[str]:
    few, every = (accuracies[f"baseline, {labels} labels"] for labels in (FEW, "all"))
    lines = [
        f"Test accuracy in %, {options.seeds} seeds, {options.rows} texts; gains are seed by seed.",
        "",
        f"| teacher calibrated by | teacher | student | over {FEW} labels alone | over all labels alone |",
        "|---|---:|---:|---:|---:|",
    ]
    for way in WAYS:
        teacher, student = accuracies[f"teacher, {way}"], accuracies[f"student, {way}"]
        cells = (percent(teacher), percent(student), gain(student, few), gain(student, every))
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return [*lines, f"| no teacher: {FEW} labels | | {percent(few)} | | |", f"| all labels | | {percent(every)} | | |"]


def measured(options: argparse.Namespace, figures: Figures, seed: int) -> dict[str, float]:
    measurement = functools.cache(functools.partial(Measurement, options, seed))
    names = [f"{who}, {way}" for way in WAYS for who in ("teacher", "student")]
    names += [f"baseline, {labels} labels" for labels in (FEW, "all")]
    return {name: figures.get(f"{name} {seed}", lambda name=name: measurement().figure(name)) for name in names}


class Measurement:
    """The language model of a seed, and the students that it teaches."""

    def __init__(self, options: argparse.Namespace, seed: int) -> None:
        self.options, self.seed = options, seed
        self.data = classification_data(demo=True)
        self.train = self.data.dataset["train"].shuffle(seed).select(range(options.rows))
        self.few = keep_labels(self.train, FEW / options.rows, self.data.label_column, seed)
        model, self.tokenizer = demo_language_model(seed)
        prompt = LANGUAGE_MODEL_DEMO["template"], LANGUAGE_MODEL_DEMO["verbalizer"]
        self.teacher = PromptTeacher(model, self.tokenizer, *prompt, self.data.text_columns)
        set_seed(seed)
        self.untrained = demo_student(self.tokenizer)
        self._taught: DatasetDict | None = None

    def figure(self, name: str) -> float:
        who, _, way = name.partition(", ")
        if who == "baseline":
            rows = self.few if str(FEW) in way else self.train
            return self.trained(labeled_rows(rows, self.data.label_column, len(rows)), alpha=0.0)
        if who == "teacher" or self._taught is None:
            self.calibrate(way)
            splits = DatasetDict(train=self.train, test=self.data.dataset["test"])
            self._taught = soft_targets(self.teacher, splits)
        if who == "teacher":
            test = self._taught["test"]
            logits, labels = np.array(test["teacher_logits"][:]), np.array(test[self.data.label_column][:])
            return self.data.metrics(EvalPrediction(predictions=logits, label_ids=labels))["accuracy"]
        return self.trained(self._taught["train"], alpha=1.0)

    def calibrate(self, way: str) -> None:
        model = self.teacher.model
        model.scale, model.bias = 1.0, [0.0] * len(model.bias)
        if way != WAYS[0]:
            rows = {WAYS[1]: None, WAYS[2]: self.few, WAYS[3]: self.train}[way]
            self.teacher.calibrate(rows and rows.rename_columns({self.data.label_column: "labels"}))

    def trained(self, rows: Dataset, alpha: float) -> float:
        """The test accuracy of the student after training on these rows."""
        splits = self.data.with_splits(DatasetDict(train=rows, test=self.data.dataset["test"]))
        dataset = splits.tokenized(self.tokenizer)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            settings = {"num_train_epochs": self.options.epochs, "learning_rate": 1e-3, "warmup_steps": 0.1}
            settings |= {"per_device_train_batch_size": 32, "per_device_eval_batch_size": 128, "eval_on_start": False}
            args = ClassificationTrainingArguments(
                folder,
                alpha=alpha,
                temperature=1.0,
                seed=self.seed,
                disable_tqdm=True,
                save_strategy="no",
                eval_strategy="no",
                logging_steps=0.5,
                **settings,
            )
            trainer = DistillationTrainer(
                copy.deepcopy(self.untrained),
                args,
                train_dataset=dataset["train"],
                processing_class=self.tokenizer,
                compute_metrics=self.data.metrics,
            )
            trainer.train()
            return trainer.predict(dataset["test"]).metrics["test_accuracy"]


def parse_options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--output_dir", required=True, help="figures and table; an unfinished one is continued")
    options.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0")
    options.add_argument("--epochs", type=float, default=3)
    options.add_argument("--rows", type=int, default=6000, help="how many training texts")
    return options.parse_args()


if __name__ == "__main__":
    main()

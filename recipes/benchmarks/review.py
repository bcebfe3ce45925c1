"""What ten minutes of a person are worth: of planted errors 100 labels checked, chosen by a review or at random.

    python recipes/benchmarks/review.py --model my/minilm --train_file sentfin/train.tsv \\
        --validation_file sentfin/validation.tsv --test_file sentfin/test.tsv --rows 1200 --output_dir review

A share of the training labels is changed. Models that learned the other parts of these labels predict each part; the
rows that `review` brings first get their true label back, as a person would give it, or as many drawn at random do. On
the result a teacher is fine-tuned, and teaches a student; all are measured as they are after the last epoch, on test
labels that are left alone. They start from a few layers of the encoder, with the tokens of these texts.
"""

import argparse
import functools
from pathlib import Path

import numpy as np
from bench import Bench, gain, over_seeds, parser, percent, publish
from datasets import Dataset

from hfdistill import (
    TrimmedVocabulary,
    load_classifier,
    make_student,
    out_of_fold_logits,
    review,
    text_classification_dataset,
)
from hfdistill.report.label_quality import LABEL_QUALITY

#: No choice of an epoch, for which validation labels would have to be right.
LAST_EPOCH = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
#: Which labels the models learn.
LABELS = {"planted": "none", "random": "random rows", "review": "rows of a review"}


class Measurement:
    """The planted errors of a seed, and what is trained on them."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench, self.seed, options = bench, seed, bench.options
        self.true = np.array(bench.train_rows["labels"])
        random = np.random.default_rng(seed)
        changed = random.permutation(len(self.true))[: round(options.noise * len(self.true))]
        self.planted = self.true.copy()
        self.planted[changed] += random.integers(1, bench.data.num_labels, len(changed))
        self.planted %= bench.data.num_labels
        self.drawn = random.permutation(len(self.true))[: options.reviewed]

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """Of models that did not learn the label that they predict for."""
        bench, folder = self.bench, str(self.bench.folder / "folds" / str(self.seed))
        columns = [*bench.data.text_columns, "labels"]
        rows = self.rows(self.planted).select_columns(columns).rename_column("labels", bench.data.label_column)
        args = bench.arguments(folder, self.seed, **LAST_EPOCH)
        return out_of_fold_logits(
            bench.options.model, bench.data.with_train(rows), args, folds=bench.options.folds, resume=True
        )

    def rows(self, labels: np.ndarray) -> Dataset:
        rows = self.bench.train_rows
        return rows.remove_columns("labels").add_column("labels", labels.tolist())

    def reviewed(self, quality: str) -> list[int]:
        """The rows that a person is brought."""
        rows, columns = self.rows(self.planted), self.bench.data.text_columns
        found = review(
            rows, {"model": self.logits}, text_columns=columns, quality=quality, most=self.bench.options.reviewed
        )
        return [one["row"] - 1 for one in found.rows]

    def precision(self, quality: str) -> float:
        """The share of the rows that a person is brought whose label was changed."""
        rows = self.drawn if quality == "random" else self.reviewed(quality)
        return float((self.planted != self.true)[rows].mean())

    def labels(self, kind: str) -> np.ndarray:
        """The labels after a person has looked at some."""
        rows = {"planted": [], "random": self.drawn}.get(kind)
        rows = self.reviewed("self_confidence") if rows is None else rows
        corrected = self.planted.copy()
        corrected[rows] = self.true[rows]
        return corrected

    def figure(self, who: str, what: str) -> float:
        """A precision, or the test accuracy of a teacher or a student."""
        if who == "precision":
            return self.precision(what)
        rows = self.rows(self.labels(what))
        teacher = self.bench.fine_tuned(f"{what}_{self.seed}", self.seed, rows, **LAST_EPOCH)
        if who == "teacher":
            return self.bench.test_metric(teacher)
        student = make_student(teacher, num_hidden_layers=self.bench.options.student_num_hidden_layers)
        rows = self.bench.with_soft_targets(rows, [teacher])
        return self.bench.student_accuracy(student, rows, self.seed, alpha=0.5, **LAST_EPOCH)


def measured(bench: Bench, seed: int) -> dict[str, float]:
    one = functools.cache(lambda: Measurement(bench, seed))
    names = [("precision", quality) for quality in (*LABEL_QUALITY, "random")]
    names += [(who, kind) for kind in LABELS for who in ("teacher", "student")]
    get = bench.figures.get
    return {" ".join(name): get(f"{' '.join(name)} {seed}", lambda name=name: one().figure(*name)) for name in names}


def table(options: argparse.Namespace, found: dict[str, list[float]]) -> list[str]:
    lines = [f"{options.reviewed} labels checked, {100 * options.noise:g} % changed, {options.seeds} seeds.", ""]
    lines += ["| chosen by | of them wrong, % |", "|---|---:|"]
    lines += [f"| {quality} | {percent(found[f'precision {quality}'])} |" for quality in (*LABEL_QUALITY, "random")]
    lines += ["", "| corrected | teacher | gain | student | gain |", "|---|---:|---:|---:|---:|"]
    for kind, told in LABELS.items():
        cells = []
        for who in ("teacher", "student"):
            cells += [percent(found[f"{who} {kind}"]), gain(found[f"{who} {kind}"], found[f"{who} planted"])]
        lines.append(f"| {told} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    options = parse_options()
    base = Path(options.output_dir) / "base"
    if not base.exists():  # which all models start from
        tokenizer, model = load_classifier(options.model, num_labels=2)
        texts = text_classification_dataset(options.train_file, options.validation_file).training_texts
        tokens = TrimmedVocabulary.choose(model, tokenizer, texts, 6000)
        make_student(model, num_hidden_layers=options.layers, vocabulary=tokens).save_pretrained(base)
        tokens.tokenizer.save_pretrained(base)
    options.model = str(base)
    bench = Bench(options)
    publish(bench.folder, table(options, over_seeds(options.seeds, functools.partial(measured, bench))))


def parse_options() -> argparse.Namespace:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--layers", type=int, default=3, help="layers of the teacher")
    options.add_argument("--noise", type=float, default=0.1, help="share of the labels that is changed")
    options.add_argument("--reviewed", type=int, default=100, help="labels that a person checks")
    options.add_argument("--folds", type=int, default=4, help="parts that are predicted by a model of the others")
    return options.parse_args()


if __name__ == "__main__":
    main()

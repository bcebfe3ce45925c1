"""What ten minutes of a person are worth: of planted errors 100 labels checked, chosen by a review or at random.

    python recipes/benchmarks/review.py --model my/minilm --train_file sentfin/train.tsv \\
        --validation_file sentfin/validation.tsv --test_file sentfin/test.tsv --rows 1000 --output_dir review

A share of the training labels is changed. Models that learned the other parts of these labels predict each part (or
--judge does, which never saw these rows); the rows that `review` brings first get their true label back, as a person
would give it, or as many drawn at random do. On the result a teacher is fine-tuned, and teaches a student, to the end.
"""

import argparse
import functools
from pathlib import Path

import numpy as np
from bench import Bench, gain, over_seeds, parser, percent, publish
from datasets import Dataset

from hfdistill import TrimmedVocabulary, load_classifier, make_student, out_of_fold_logits, review, soft_targets
from hfdistill.report.label_quality import LABEL_QUALITY

LAST_EPOCH = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
#: Of which rows the labels are corrected, and how the table calls it.
CORRECTED = {"planted": "none", "random": "random rows", "review": "rows of a review"}


class Measurement:
    """The planted errors of a seed, and what is trained on them."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench, self.seed, self.options = bench, seed, bench.options
        self.true, random = np.array(bench.train_rows["labels"]), np.random.default_rng(seed)
        changed = random.permutation(len(self.true))[: round(self.options.noise * len(self.true))]
        self.planted = self.true.copy()
        self.planted[changed] += random.integers(1, bench.data.num_labels, len(changed))
        self.planted %= bench.data.num_labels
        self.drawn = random.permutation(len(self.true))[: self.options.reviewed]

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """Of models that did not learn the label that they predict for."""
        bench, options, columns = self.bench, self.options, list(self.bench.data.text_columns)
        if options.judge:
            tokenizer, judge = load_classifier(options.judge)
            how = {"text_columns": columns, "label_names": bench.data.label_names}
            rows = soft_targets(judge, bench.train_rows.select_columns(columns), tokenizer, **how)
            return np.array(rows["teacher_logits"][:])
        rows = self.rows(self.planted).select_columns([*columns, "labels"])
        data = bench.data.with_train(rows.rename_column("labels", bench.data.label_column))
        args = bench.arguments(str(bench.folder / "folds" / str(self.seed)), self.seed, **LAST_EPOCH)
        return out_of_fold_logits(options.model, data, args, folds=options.folds, resume=True)

    def rows(self, labels: np.ndarray) -> Dataset:
        return self.bench.train_rows.remove_columns("labels").add_column("labels", labels.tolist())

    def reviewed(self, quality: str) -> list[int]:
        """The rows that a person is brought."""
        rows, columns = self.rows(self.planted), self.bench.data.text_columns
        settings = {"text_columns": columns, "quality": quality, "most": self.options.reviewed}
        return [one["row"] - 1 for one in review(rows, {"model": self.logits}, **settings).rows]

    def figure(self, who: str, what: str) -> float:
        """The share of rows brought whose label was changed, or the test accuracy of a teacher or a student."""
        if who == "precision":
            return float((self.planted != self.true)[self.drawn if what == "random" else self.reviewed(what)].mean())
        chosen = {"planted": [], "random": self.drawn}.get(what)
        chosen, labels = self.reviewed("self_confidence") if chosen is None else chosen, self.planted.copy()
        labels[chosen] = self.true[chosen]
        teacher = self.bench.fine_tuned(f"{what}_{self.seed}", self.seed, self.rows(labels), **LAST_EPOCH)
        if who == "teacher":
            return self.bench.test_metric(teacher)
        student = make_student(teacher, num_hidden_layers=self.options.student_num_hidden_layers)
        rows = self.bench.with_soft_targets(self.rows(labels), [teacher])
        return self.bench.student_accuracy(student, rows, self.seed, alpha=0.5, **LAST_EPOCH)


def measured(bench: Bench, seed: int) -> dict[str, float]:
    one, get = functools.cache(lambda: Measurement(bench, seed)), bench.figures.get
    names = [("precision", how) for how in (*LABEL_QUALITY, "random")]
    names += [] if bench.options.judge else [(who, what) for what in CORRECTED for who in ("teacher", "student")]
    return {" ".join(name): get(f"{' '.join(name)} {seed}", lambda name=name: one().figure(*name)) for name in names}


def table(options: argparse.Namespace, found: dict[str, list[float]]) -> list[str]:
    lines = [f"{options.reviewed} labels checked, {100 * options.noise:g} % changed, {options.seeds} seeds.", ""]
    lines += ["| chosen by | of them wrong, % |", "|---|---:|"]
    lines += [f"| {quality} | {percent(found[f'precision {quality}'])} |" for quality in (*LABEL_QUALITY, "random")]
    lines += ["", "| corrected | teacher | gain | student | gain |", "|---|---:|---:|---:|---:|"]
    for what, told in CORRECTED.items() if not options.judge else ():
        pairs = [(found[f"{who} {what}"], found[f"{who} planted"]) for who in ("teacher", "student")]
        lines.append(f"| {told} | {' | '.join(f'{percent(one)} | {gain(one, other)}' for one, other in pairs)} |")
    return lines


def main() -> None:
    options = parse_options()
    base, bench = Path(options.output_dir) / "base", Bench(options)
    if not base.exists():  # a few layers of the encoder, with the tokens of these texts, which all models start from
        tokenizer, model = load_classifier(options.model, num_labels=2)
        tokens = TrimmedVocabulary.choose(model, tokenizer, bench.data.training_texts, options.tokens)
        make_student(model, num_hidden_layers=options.layers, vocabulary=tokens).save_pretrained(base)
        tokens.tokenizer.save_pretrained(base)
    options.model = str(base)
    bench = Bench(options)
    publish(bench.folder, table(options, over_seeds(options.seeds, functools.partial(measured, bench))))


def parse_options() -> argparse.Namespace:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--layers", type=int, default=3, help="layers of the teacher")
    options.add_argument("--tokens", type=int, default=6000, help="tokens of the teacher")
    options.add_argument("--noise", type=float, default=0.1, help="share of the labels that is changed")
    options.add_argument("--reviewed", type=int, default=100, help="labels that a person checks")
    options.add_argument("--folds", type=int, default=4, help="parts that are predicted by a model of the others")
    options.add_argument("--judge", help="in their place one that never saw these rows: precision alone")
    return options.parse_args()


if __name__ == "__main__":
    main()

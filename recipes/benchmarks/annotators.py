"""Three teachers of few labels each, known by their predictions alone: what a student learns of them, combined.

Each was fine-tuned on a tenth of the labels, another for each. What they predict for the other texts are columns of
probabilities and votes, as strangers would hand them over, and become soft targets in four ways: the mean of the
probabilities; votes that count alike; votes weighed by how often each teacher errs, which the votes alone tell (Dawid &
Skene 1979); the probabilities weighed so that together they explain 50 labels best. A student learns each. Beside it
the same student, in as many steps, learns labels alone: those 50, or all that the teachers had learned.

    python recipes/benchmarks/annotators.py --model my/minilm --train_file train.tsv --validation_file validation.tsv \\
        --test_file test.tsv --output_dir annotators --student_num_hidden_layers 2
"""

import argparse
import functools

import numpy as np
import torch
from bench import Bench, gain, over_seeds, parser, percent, publish
from datasets import Dataset, concatenate_datasets

from hfdistill import from_probabilities, learned_weights, soft_targets, stack_soft_targets

LABELED = 50
#: No validation labels choose a checkpoint, where there are fifty in all.
TO_THE_END = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
COMBINED = ("mean of probabilities", "votes, counted", "votes, Dawid-Skene", f"weights of {LABELED} labels")
ALONE = (f"{LABELED} labels alone", "the teachers' labels alone")


class Measurement:
    """Teachers of a seed, and what is made of their predictions."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench, self.seed, self.names = bench, seed, list(bench.data.head["id2label"].values())
        rows, places = bench.train_rows.shuffle(seed), range(bench.options.annotators)
        tenth = len(rows) // 10
        self.parts = [rows.select(range(place * tenth, (place + 1) * tenth)) for place in places]
        self.texts = rows.select(range(len(places) * tenth, len(rows)))
        self.labels = np.array(self.texts["labels"])

    @functools.cached_property
    def predicted(self) -> Dataset:
        """The texts with each teacher's probabilities and votes, as names."""
        bench, texts = self.bench, self.texts
        how = {"num_train_epochs": bench.options.annotator_epochs, **TO_THE_END}
        for place, part in enumerate(self.parts):
            name, seed = f"teacher {self.seed} {place}", 100 * self.seed + place
            teacher = bench.fine_tuned(name, seed, part, **how).to(torch.bfloat16 if bench.options.bf16 else None)
            logits = np.array(soft_targets(teacher, self.texts, bench.tokenizer, batch_size=64)["teacher_logits"])
            p = np.exp(logits - logits.max(1, keepdims=True))
            texts = texts.add_column(f"p_{place}", (p / p.sum(1, keepdims=True)).tolist())
            texts = texts.add_column(f"vote_{place}", [self.names[best] for best in p.argmax(1)])
        return texts

    @functools.cached_property
    def stacked(self) -> Dataset:
        columns = [f"p_{place}" for place in range(len(self.parts))]
        return stack_soft_targets([from_probabilities(self.predicted, one, self.names) for one in columns])

    def rows(self, way: str) -> tuple[Dataset, dict]:
        """What a student is trained on, and how."""
        if way in ALONE:
            few = self.texts.select(range(min(LABELED, len(self.texts))))
            return few if way == ALONE[0] else concatenate_datasets(self.parts), {"terms": ["labels"]}
        how = {"terms": ["soft_targets"], "temperature": 1.0}
        if way in COMBINED[1:3]:
            votes, combine = [f"vote_{place}" for place in range(len(self.parts))], ("counts", "dawid_skene")
            combined = combine[COMBINED.index(way) - 1]
            given = {"kind": "votes", "combine": combined, "smoothing": 0.5}
            return from_probabilities(self.predicted, votes, self.names, **given), how
        few = self.stacked.select(range(min(LABELED, len(self.stacked))))
        return self.stacked, {**how, "teacher_weights": learned_weights(few) if way == COMBINED[3] else None}

    def figure(self, what: str, way: str) -> float:
        """The share of texts of which a teacher, or all together, find the right label likeliest; or a student's."""
        if what == "teacher":
            return self.share_right(np.array(self.stacked["ensemble_logits"])[:, int(way)])
        rows, how = self.rows(way)
        if what == "student":
            student = self.bench.new_model(self.seed, self.bench.options.student_num_hidden_layers)
            steps = {"max_steps": self.bench.options.steps, "per_device_train_batch_size": 32, **TO_THE_END}
            return self.bench.student_accuracy(student, rows, self.seed, **steps, **how)
        if "teacher_logits" in rows.column_names:
            return self.share_right(np.array(rows["teacher_logits"]))
        p = np.exp(np.array(rows["ensemble_logits"]))
        return self.share_right(np.einsum("k,ikc->ic", how["teacher_weights"] or np.ones(p.shape[1]), p))

    def share_right(self, scores: np.ndarray) -> float:
        return float((scores.argmax(1) == self.labels).mean())


def measured(bench: Bench, seed: int) -> dict[str, float]:
    one = functools.cache(lambda: Measurement(bench, seed))
    names = [("teacher", str(place)) for place in range(bench.options.annotators)]
    names += [("texts", way) for way in COMBINED] + [("student", way) for way in (*ALONE, *COMBINED)]
    get = bench.figures.get
    return {" ".join(name): get(f"{' '.join(name)} {seed}", lambda name=name: one().figure(*name)) for name in names}


def table(options: argparse.Namespace, found: dict[str, list[float]]) -> list[str]:
    single = ", ".join(percent(found[f"teacher {place}"]) for place in range(options.annotators))
    lines = [f"In %, {options.seeds} seeds; each teacher alone is right on {single} of the texts.", ""]
    lines += [f"| learned from | right on its texts | student, test | gain over {ALONE[0]} | over {ALONE[1]} |"]
    lines += ["|---|---:|---:|---:|---:|"]
    alone = [found[f"student {way}"] for way in ALONE]
    for way in (*ALONE, *COMBINED):
        student, share = found[f"student {way}"], percent(found[f"texts {way}"]) if way in COMBINED else ""
        gains = " | ".join(gain(student, one) for one in alone)
        lines.append(f"| {way} | {share} | {percent(student)} | {gains} |")
    return lines


def main() -> None:
    bench = Bench(parse_options())
    publish(bench.folder, table(bench.options, over_seeds(bench.options.seeds, functools.partial(measured, bench))))


def parse_options() -> argparse.Namespace:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--annotators", type=int, default=3, help="teachers; each learns another tenth of the labels")
    options.add_argument("--annotator_epochs", type=float, default=4)
    options.add_argument("--steps", type=int, default=300, help="of each student, 32 texts each")
    return options.parse_args()


if __name__ == "__main__":
    main()

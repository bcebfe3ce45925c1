"""How closely a small sentence encoder follows its teacher on real text, and whether its neighbors share an intent.

Students of some of the teacher's layers and dimensions learn its embeddings of texts without labels. Measured are
Spearman's correlation with the teacher's cosines over pairs of test texts (each with its nearest by the teacher, and
with one at random), and the share of test texts whose nearest labeled training text has their label. Beside a student
stands the same student before training.

    python recipes/benchmarks/embeddings.py --model my/minilm --train_file banking77/train.tsv \\
        --test_file banking77/test.tsv --more_files sst2.tsv imdb.parquet --output_dir embeddings
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench import Figures, over_seeds, percent, publish
from datasets import Dataset
from scipy.stats import spearmanr
from transformers import set_seed

import hfdistill as hf
from hfdistill.data.tables import open_table
from hfdistill.models.heads import head_of
from hfdistill.models.inference import predict_logits, token_rows

#: Layers, width, epochs, learning rate, terms. Vectors of two widths are compared as pairs and triples of texts.
STUDENTS: dict[str, tuple[int, int | None, int, float, list[str]]] = {
    "3 layers": (3, None, 1, 2e-4, ["soft_targets:1"]),
    "2 x 128": (2, 128, 3, 5e-4, ["rkd_distance:1", "rkd_angle:2"]),
}
METRICS = {"spearman": "Spearman's correlation, %", "nearest": "neighbor of the same label, %"}


class EmbeddingBench:
    """Texts with the teacher's embeddings, and what is measured of a student."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.bf16 = options.bf16
        self.tokenizer, self.teacher = hf.load_sentence_encoder(options.model)
        self.train = self.read(options.train_file, options.texts)
        self.test = self.read(options.test_file, options.test_texts)
        more = [text for file in options.more_files for text in self.read(file, options.more_texts)["text"]]
        learned = self.tokenized(Dataset.from_dict({"text": [*self.train["text"], *more]}))
        self.learned = hf.soft_targets(self.teacher, learned, self.tokenizer)
        test = self.embedded(self.teacher, self.test)
        cosines = test @ test.T
        each = np.arange(len(cosines))
        another = (each + np.random.default_rng(0).integers(1, len(each), len(each))) % len(each)
        self.pairs = np.tile(each, 2), np.concatenate([(cosines - 3 * np.eye(len(each))).argmax(1), another])
        self.right = cosines[self.pairs]

    def read(self, file: str, count: int) -> Dataset:
        """Some of the texts of a file, drawn at random, with their labels where they have any."""
        columns = open_table(file, "texts").columns
        found = {"text": next(columns[name] for name in ("text", "sentence") if name in columns)}
        found |= {"label": columns["label"]} if "label" in columns else {}
        rows = Dataset.from_dict({name: list(values) for name, values in found.items()}).shuffle(0)
        return self.tokenized(rows.select(range(min(count, len(rows)))))

    def tokenized(self, rows: Dataset) -> Dataset:
        return rows.map(self.tokenizer, input_columns="text", fn_kwargs={"truncation": True, "max_length": 48})

    def figures(self, model: Any) -> dict[str, float]:
        """Of an encoder, on the test texts."""
        train, test = self.embedded(model, self.train), self.embedded(model, self.test)
        nearest = np.asarray(self.train["label"])[(test @ train.T).argmax(1)]
        one, other = self.pairs
        followed = spearmanr((test[one] * test[other]).sum(1), self.right).statistic
        return {"spearman": float(followed), "nearest": float((nearest == np.asarray(self.test["label"])).mean())}

    def embedded(self, model: Any, rows: Dataset) -> np.ndarray:
        vectors = predict_logits(model, self.tokenizer, token_rows(model, self.tokenizer, rows), head=head_of(model))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def untrained(self, name: str, seed: int) -> Any:
        set_seed(seed)
        size = {"num_hidden_layers": STUDENTS[name][0], "hidden_size": STUDENTS[name][1]}
        return hf.load_sentence_student(self.teacher, self.tokenizer, texts=self.train["text"][:], **size)[1]

    def distilled(self, name: str, seed: int, **changes: Any) -> Any:
        _, _, epochs, learning_rate, terms = STUDENTS[name]
        settings = {"seed": seed, "num_train_epochs": epochs, "learning_rate": learning_rate, "terms": terms, **changes}
        settings |= {"bf16": self.bf16, "eval_strategy": "no", "save_strategy": "no"}
        settings |= {"eval_on_start": False, "disable_tqdm": True}
        student = self.untrained(name, seed)
        with tempfile.TemporaryDirectory(prefix="embeddings-") as folder:
            args = hf.ClassificationTrainingArguments(folder, **settings)
            # Terms on relations compare what is run in every step.
            live = self.teacher if args.teacher_outputs else None
            rows = self.learned if live is None else self.learned.remove_columns("teacher_logits")
            common = {"train_dataset": rows, "processing_class": self.tokenizer}
            hf.DistillationTrainer(student, args, teacher=live, **common).train()
        return student


def main() -> None:
    options = parse_options()
    bench, figures = EmbeddingBench(options), Figures(Path(options.output_dir))
    lines = [f"| encoder | {' | '.join(METRICS.values())} |", "|---|---:|---:|"]

    def of_seed(role: str, make: Any, name: str, seed: int) -> dict[str, float]:
        keys = {metric: f"{name}, {role} {seed}: {metric}" for metric in METRICS}
        made = {} if all(map(figures.has, keys.values())) else bench.figures(make(name, seed))
        return {metric: figures.get(key, made.__getitem__, metric) for metric, key in keys.items()}

    measured = [("6 layers", "teacher", lambda *_: bench.teacher)]
    measured += [(name, role, getattr(bench, role)) for name in STUDENTS for role in ("untrained", "distilled")]
    for name, role, make in measured:
        found = over_seeds(options.seeds if role == "distilled" else 1, partial(of_seed, role, make, name))
        lines.append(f"| {name}, {role} | {' | '.join(percent(found[metric]) for metric in METRICS)} |")
    publish(Path(options.output_dir), lines)


def parse_options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", required=True, help="the teacher, a sentence encoder")
    options.add_argument("--train_file", required=True, help="texts, of whose labels students know nothing")
    options.add_argument("--test_file", required=True, help="labeled texts to measure on")
    options.add_argument("--more_files", nargs="*", default=[], help="more texts to learn")
    options.add_argument("--texts", type=int, default=3000, help="the most of train_file")
    options.add_argument("--test_texts", type=int, default=1000, help="the most of test_file")
    options.add_argument("--more_texts", type=int, default=1000, help="the most of each of more_files")
    options.add_argument("--output_dir", required=True, help="figures and table; an unfinished one is continued")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--bf16", action="store_true")
    return options.parse_args()


if __name__ == "__main__":
    main()

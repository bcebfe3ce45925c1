"""What a student of each kind of head gains from a teacher, on sets made of generated sentences whose labels are noisy.

A sentence says who does what to what, and where, each in one of several words and orders. Each of these parts counts
for or against it by a hidden weight. Of sentences are made: pairs, of which the second counts for more, or the first;
scores, the sum of the weights; several labels, of each part whether it counts for the sentence; choices and
candidates, of which one counts for most; and embeddings, as in the demo of `recipes/embeddings.py`. Of the training
labels a share is wrong. A BERT of 3 layers of width 64, which that demo has pretrained, learns each (embeddings from
random weights), and teaches a student of one layer, which also learns from the labels alone, in as many steps.

    python recipes/benchmarks/heads.py --output_dir heads
"""

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

from bench import Figures, gain, over_seeds, percent, publish
from datasets import Dataset
from transformers import BertForMultipleChoice, BertForSequenceClassification, BertModel, set_seed

import hfdistill as hf
from hfdistill.tasks.demo import bert_config
from hfdistill.tasks.embedding.demo import PARTS, demo_sentences, meanings, sentence

KINDS = ("pairs", "score", "labels", "embeddings", "choices", "candidates")
#: What is measured; of the others accuracy.
METRICS = {"score": "pearson", "labels": "f1_micro", "embeddings": "cosine"}
PROBLEMS = {"score": "regression", "labels": "multi_label_classification"}
#: Layers.
TEACHER, STUDENT = 3, 1
NOISE = 0.2


def make_rows(kind: str, count: int, seed: int, noise: float, tokenizer: Any) -> Dataset:
    """Rows of a kind with its labels, as a trainer reads them."""
    rng, vectors = random.Random(seed), meanings(64)
    weights = [[(-1) ** value * (1 + value % 3) for value in range(len(part))] for part in PARTS]
    several = {"pairs": 2, "choices": 3, "candidates": 4}.get(kind, 1)
    found = []
    for _ in range(count):
        meant = [[rng.randrange(len(part)) for part in PARTS] for _ in range(several)]
        heard = [[rng.randrange(len(PARTS[n])) if rng.random() < noise else v for n, v in enumerate(m)] for m in meant]
        values = [sum(weights[part][value] for part, value in enumerate(one)) for one in heard]
        labels: dict[str, Any] = {"score": values[0] / 4, "embeddings": vectors(heard[0])}
        labels["labels"] = [float(weights[part][value] > 0) for part, value in enumerate(heard[0])]
        best = max(range(several), key=values.__getitem__)
        texts = [sentence(rng, one) for one in meant]
        found.append({"texts": texts, "which": "which", "labels": labels.get(kind, best)})
    rows = Dataset.from_list(found)
    if kind in ("choices", "candidates"):
        columns = {"tokenizer": tokenizer, "context": "which", "choices": "texts"}
        return rows.map(hf.tokenize_choices, batched=True, fn_kwargs=columns)
    return rows.map(lambda row: tokenizer(*row["texts"], truncation=True))


def pretrained(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and encoder of the demo for sentence embeddings, kept in the output folder."""
    if not (folder / "encoder").exists():
        args = hf.ClassificationTrainingArguments(str(folder / "pretraining"), disable_tqdm=True)
        for part in hf.demo_sentence_encoder(demo_sentences(), args):
            part.save_pretrained(folder / "encoder")
    return hf.load_sentence_encoder(str(folder / "encoder"), normalize=True)


def new_model(kind: str, encoder: Any, tokenizer: Any, layers: int) -> Any:
    """Some layers of the encoder with a new head; for embeddings with random weights."""
    names = {"pairs": ("first", "second"), "labels": ("who", "does", "what", "where")}.get(kind, ("score",))
    config = bert_config(tokenizer, (TEACHER, 64), names)
    config.problem_type = PROBLEMS.get(kind)
    if kind == "embeddings":
        return hf.make_student(hf.as_sentence_encoder(BertModel(config)), layers)
    model = (BertForMultipleChoice if kind == "choices" else BertForSequenceClassification)(config)
    model.bert.load_state_dict(encoder.state_dict(), strict=False)
    return hf.make_student(hf.as_reranker(model) if kind == "candidates" else model, layers)


def mean_cosine(prediction: Any) -> dict[str, float]:
    """Of embeddings and the right vectors."""
    return {"cosine": float((prediction.predictions * prediction.label_ids).sum(1).mean())}


def measure(kind: str, options: argparse.Namespace, figures: Figures) -> dict[str, list[float]]:
    """The metric of the teacher, and of each seed's student from labels alone and from its teacher."""
    tokenizer, encoder = pretrained(Path(options.output_dir))
    rows, held_out = make_rows(kind, options.rows, 1, NOISE, tokenizer), make_rows(kind, 1000, 2, 0.0, tokenizer)
    own = {"choices": hf.multiple_choice_metrics, "candidates": hf.multiple_choice_metrics, "embeddings": mean_cosine}
    metrics = own.get(kind) or hf.classification_metrics(problem_type=PROBLEMS.get(kind, "single_label_classification"))

    def score(model: Any, rows: Dataset, seed: int, terms: list[str] | None) -> float:
        how = {"seed": seed, "learning_rate": options.learning_rate, "num_train_epochs": options.epochs}
        how |= {"disable_tqdm": True, "eval_strategy": "no", "save_strategy": "no", "eval_on_start": False}
        with tempfile.TemporaryDirectory(prefix="heads-") as folder:
            args = hf.ClassificationTrainingArguments(folder, terms=terms, temperature=2.0, alpha=0.9, **how)
            common = {"processing_class": tokenizer, "compute_metrics": metrics}
            trainer = hf.DistillationTrainer(model, args, train_dataset=rows, **common)
            trainer.train()
            return trainer.evaluate(held_out)[f"eval_{METRICS.get(kind, 'accuracy')}"]

    def new_student(seed: int) -> Any:
        set_seed(seed)
        return new_model(kind, encoder, tokenizer, STUDENT)

    def distilled(seed: int) -> float:
        set_seed(1000 + seed)
        teacher = new_model(kind, encoder, tokenizer, TEACHER)
        learned = score(teacher, rows, seed, ["labels"])
        figures.get(f"{kind}, teacher {seed}", lambda: learned)
        return score(new_student(seed), hf.soft_targets(teacher, rows, tokenizer), seed, None)

    def of_seed(seed: int) -> dict[str, float]:
        alone = figures.get(f"{kind}, labels alone {seed}", lambda: score(new_student(seed), rows, seed, ["labels"]))
        taught = figures.get(f"{kind}, distilled {seed}", distilled, seed)
        return {"alone": alone, "taught": taught, "teacher": figures.get(f"{kind}, teacher {seed}", float)}

    return over_seeds(options.seeds, of_seed)


def main() -> None:
    options = parse_options()
    figures = Figures(Path(options.output_dir))
    lines = ["| head | teacher | labels alone | distilled | gain |", "|---|---:|---:|---:|---:|"]
    for kind in options.kinds:
        found = measure(kind, options, figures)
        cells = [percent(found[name]) for name in ("teacher", "alone", "taught")]
        lines.append(f"| {kind} | {' | '.join(cells)} | {gain(found['taught'], found['alone'])} |")
    publish(Path(options.output_dir), lines)


def parse_options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--output_dir", required=True, help="figures and table; an unfinished one is continued")
    options.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    for name, default in (("rows", 1500), ("seeds", 3), ("epochs", 3)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--learning_rate", type=float, default=2e-3)
    return options.parse_args()


if __name__ == "__main__":
    main()

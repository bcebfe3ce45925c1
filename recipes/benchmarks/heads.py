"""What a student of each kind of head gains from a teacher, on sets made of generated sentences whose labels are noisy.

A sentence says who does what to what, and where, each in one of several words. Each of these parts counts for or
against it by a hidden weight. Of sentences are made: pairs, of which the second counts for more, or the first; choices
and candidates, of which one counts for most; scores, the sum of the weights; several labels, of each part whether it
counts for the sentence. A fifth of the parts are wrong in the training labels. A BERT of 3 layers of width 64, which
the demo of `recipes/embeddings.py` has pretrained, learns each, and teaches a student of one of these layers, which
also learns from the labels alone, in as many steps.

    python recipes/benchmarks/heads.py --output_dir heads
"""

import argparse
import random
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from bench import Figures, gain, over_seeds, percent, publish
from datasets import Dataset
from transformers import BertForMultipleChoice, BertForSequenceClassification, set_seed

import hfdistill as hf
from hfdistill.tasks.demo import bert_config
from hfdistill.tasks.embedding.demo import PARTS, demo_sentences, sentence

#: What is measured of each kind.
METRICS = dict.fromkeys(("pairs", "choices", "candidates"), "accuracy") | {"score": "pearson", "labels": "f1_micro"}
PROBLEMS = {"score": "regression", "labels": "multi_label_classification"}
SEVERAL = {"pairs": 2, "choices": 3, "candidates": 4}
TEACHER_LAYERS, STUDENT_LAYERS = 3, 1
TRAINING: dict[str, Any] = {"learning_rate": 2e-3, "num_train_epochs": 3, "temperature": 2.0, "alpha": 0.9}
TRAINING |= {"eval_strategy": "no", "save_strategy": "no", "eval_on_start": False, "disable_tqdm": True}


def make_rows(kind: str, count: int, seed: int, noise: float, tokenizer: Any) -> Dataset:
    """Rows of a kind with its labels, as a trainer reads them."""
    rng = random.Random(seed)
    weights = [[(-1) ** value * (1 + value % 3) for value in range(len(part))] for part in PARTS]
    found = []
    for _ in range(count):
        meant = [[rng.randrange(len(part)) for part in PARTS] for _ in range(SEVERAL.get(kind, 1))]
        heard = [[rng.randrange(len(PARTS[n])) if rng.random() < noise else v for n, v in enumerate(m)] for m in meant]
        values = [sum(weights[part][value] for part, value in enumerate(one)) for one in heard]
        positive = [float(weights[part][value] > 0) for part, value in enumerate(heard[0])]
        label = {"score": values[0] / 4, "labels": positive}.get(kind, max(range(len(values)), key=values.__getitem__))
        found.append({"texts": [sentence(rng, one) for one in meant], "which": "which", "labels": label})
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


def new_model(kind: str, encoder: Any, tokenizer: Any, layers: int, seed: int) -> Any:
    """Some layers of the encoder with a new head."""
    set_seed(seed)
    names = {"pairs": ("first", "second"), "labels": ("who", "does", "what", "where")}.get(kind, ("score",))
    config = bert_config(tokenizer, (TEACHER_LAYERS, 64), names)
    config.problem_type = PROBLEMS.get(kind)
    model = (BertForMultipleChoice if kind == "choices" else BertForSequenceClassification)(config)
    model.bert.load_state_dict(encoder.state_dict(), strict=False)
    return hf.make_student(hf.as_reranker(model) if kind == "candidates" else model, layers)


def trained(kind: str, tokenizer: Any, model: Any, rows: Dataset, held_out: Dataset, **settings: Any) -> float:
    """The metric of a model that was trained on these rows, on those that were held out."""
    metrics = hf.classification_metrics(problem_type=PROBLEMS.get(kind, "single_label_classification"))
    metrics = hf.multiple_choice_metrics if SEVERAL.get(kind, 0) > 2 else metrics
    with tempfile.TemporaryDirectory(prefix="heads-") as folder:
        args = hf.ClassificationTrainingArguments(folder, **TRAINING, **settings)
        common = {"train_dataset": rows, "processing_class": tokenizer, "compute_metrics": metrics}
        trainer = hf.DistillationTrainer(model, args, **common)
        trainer.train()
        return trainer.evaluate(held_out)[f"eval_{METRICS[kind]}"]


def measure(kind: str, folder: Path, count: int, seeds: int) -> dict[str, list[float]]:
    """The metric of the teacher, and of each seed's student from labels alone and from its teacher."""
    figures, (tokenizer, encoder) = Figures(folder), pretrained(folder)
    rows, held_out = make_rows(kind, count, 1, 0.2, tokenizer), make_rows(kind, 1000, 2, 0.0, tokenizer)
    learn, new = partial(trained, kind, tokenizer, held_out=held_out), partial(new_model, kind, encoder, tokenizer)

    def distilled(seed: int) -> float:
        teacher = new(TEACHER_LAYERS, 1000 + seed)
        learned = learn(teacher, rows, seed=seed, terms=["labels"])
        figures.get(f"{kind}, teacher {seed}", lambda: learned)
        return learn(new(STUDENT_LAYERS, seed), hf.soft_targets(teacher, rows, tokenizer), seed=seed)

    def of_seed(seed: int) -> dict[str, float]:
        alone = partial(learn, new(STUDENT_LAYERS, seed), rows, seed=seed, terms=["labels"])
        found = {"alone": figures.get(f"{kind}, labels alone {seed}", alone)}
        found["taught"] = figures.get(f"{kind}, distilled {seed}", distilled, seed)
        return {"teacher": figures.get(f"{kind}, teacher {seed}", float), **found}

    return over_seeds(seeds, of_seed)


def main() -> None:
    options = parse_options()
    lines = ["| head | metric | teacher | labels alone | distilled | gain |", "|---|---|---:|---:|---:|---:|"]
    for kind, metric in METRICS.items():
        found = measure(kind, options.output_dir, options.rows, options.seeds)
        cells = [*map(percent, found.values()), gain(found["taught"], found["alone"])]
        lines.append(f"| {kind} | {metric} | {' | '.join(cells)} |")
    publish(options.output_dir, lines)


def parse_options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--output_dir", type=Path, required=True, help="figures and table; continued where unfinished")
    for name, default in (("rows", 1500), ("seeds", 3)):
        options.add_argument(f"--{name}", type=int, default=default)
    return options.parse_args()


if __name__ == "__main__":
    main()

"""What a small causal language model gains from a teacher that has read more, on generated sentences: perplexity.

The sentences are those of the demo of `recipes/embeddings.py`: who does what to what, and where, each part in one of
several words and orders. The teacher, a GPT-2 of 3 layers, reads all of them; a student of one layer reads the first
of them, with the teacher run in every step and without, from the same random weights and for as many steps.

    python recipes/benchmarks/language_models.py --output_dir language_models
"""

import argparse
import math
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from bench import Figures, gain, over_seeds, percent, publish
from datasets import Dataset
from transformers import DataCollatorForLanguageModeling, GPT2Config, GPT2LMHeadModel, set_seed

import hfdistill as hf
from hfdistill.tasks.demo import demo_tokenizer
from hfdistill.tasks.embedding.demo import demo_sentences


def new_model(tokenizer: Any, layers: int, seed: int) -> GPT2LMHeadModel:
    """A GPT-2 of width 64 and random weights."""
    set_seed(seed)
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), tokenizer.pad_token_id)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=64, n_head=2, n_layer=layers, **tokens)
    )


def perplexity(tokenizer: Any, held_out: Dataset, model: Any, rows: Dataset, teacher: Any = None, **how: Any) -> float:
    """Of the sentences that are held out, after training on rows."""
    settings = {"eval_strategy": "no", "save_strategy": "no", "eval_on_start": False, "disable_tqdm": True, **how}
    with tempfile.TemporaryDirectory(prefix="language-models-") as folder:
        args = hf.ClassificationTrainingArguments(folder, alpha=0.9, temperature=1.0, teacher_at_eval=False, **settings)
        data = {"train_dataset": rows, "data_collator": DataCollatorForLanguageModeling(tokenizer, mlm=False)}
        trainer = hf.DistillationTrainer(model, args, teacher=teacher, processing_class=tokenizer, **data)
        trainer.train()
        return math.exp(trainer.evaluate(held_out)["eval_label_loss"])


def main() -> None:
    options = parse_options()
    figures, corpus = Figures(Path(options.output_dir)), demo_sentences(num_train=options.teacher_rows, num_eval=1000)
    tokenizer = demo_tokenizer(corpus["train"]["text"][:])
    every, held_out = (
        corpus[split].map(tokenizer, input_columns="text", remove_columns=corpus[split].column_names)
        for split in ("train", "validation")
    )
    rows = every.select(range(options.rows))
    how = {"learning_rate": options.learning_rate, "num_train_epochs": options.epochs}
    learn = partial(perplexity, tokenizer, held_out, **how)

    def distilled(seed: int) -> float:
        teacher = new_model(tokenizer, 3, 1000 + seed)
        read = learn(teacher, every, terms=["labels"], seed=seed)
        figures.get(f"teacher {seed}", lambda: read)
        return learn(new_model(tokenizer, 1, seed), rows, teacher=teacher, seed=seed)

    def of_seed(seed: int) -> dict[str, float]:
        alone = partial(learn, new_model(tokenizer, 1, seed), rows, terms=["labels"], seed=seed)
        found = {"labels alone": figures.get(f"labels alone {seed}", alone)}
        found["distilled"] = figures.get(f"distilled {seed}", distilled, seed)
        found["teacher"] = figures.get(f"teacher {seed}", float)
        return {name: value / 100 for name, value in found.items()}  # a perplexity is no share

    found = over_seeds(options.seeds, of_seed)
    lines = [f"| {' | '.join(found)} | gain |", "|---:|---:|---:|---:|"]
    lines.append(f"| {' | '.join(map(percent, found.values()))} | {gain(found['distilled'], found['labels alone'])} |")
    publish(Path(options.output_dir), lines)


def parse_options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--output_dir", required=True, help="figures and table; an unfinished one is continued")
    for name, default in (("teacher_rows", 3000), ("rows", 500), ("seeds", 3), ("epochs", 6)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--learning_rate", type=float, default=3e-3)
    return options.parse_args()


if __name__ == "__main__":
    main()

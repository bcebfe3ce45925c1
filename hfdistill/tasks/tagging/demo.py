"""A generated corpus of people, places and companies, so that everything runs with no network.

The sentences are **made by a grammar**: they are for trying the tools, and figures measured on them say nothing about
real text. What makes them worth distilling:

* **one name is of all kinds**: `paris` is a person in "paris was born here", a place in "paris was flooded", and a
  company in "paris was sold"; what decides stands before the name or after it, at some distance;
* some names are **common words** elsewhere, as in "mark the date";
* an entity has one word or more ("new paris", "paris motors"), and a sentence two entities or more;
* the test split also has **names that no other split has**, to be read from their pieces and what stands around them;
* **annotators disagree**: a share of the entities in the training sentences is tagged at random. Validation and test
  labels are clean;
* **most sentences are not tagged** at all: the teacher's soft targets are what a student has of them.
"""

from __future__ import annotations

import random
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from transformers import BertForTokenClassification, PreTrainedTokenizerBase

from hfdistill.tasks.demo import bert_config, distinct

KINDS = ("company", "person", "place")
LABEL_NAMES = ("O", *(f"{place}-{kind}" for kind in KINDS for place in "BI"))

# Names of every kind, of which the first ones are also words.
NAMES = tuple(
    "mark rose may hope grant page reed hunter paris jordan lincoln ford austin chelsea madison sydney florence "
    "carson warren dallas regan milan logan devon troy orlando marshall hudson kent vernon salem clayton".split()
)
TEST_ONLY_NAMES = tuple("denver camden bristol lennox dalton morgan savannah brandon".split())
FIRST_NAMES, TITLES = ("anna", "omar", "li", "ivan", "maria", "kofi"), ("doctor", "captain", "mayor")
PREFIXES, SUFFIXES = ("new", "north", "old", "port"), ("motors", "bank", "group", "foods")
#: What is said of an entity of a kind, where the subject alone does not tell it.
SAID = {
    "person": (
        "was born in {place}",
        "said that {person} had left",
        "was told by {person} to wait",
        "wrote to {company}",
    ),
    "place": ("was flooded", "is far from {place}", "was painted by {person}", "has a new airport and a harbor"),
    "company": (
        "was sold to {company}",
        "is going to hire {person}",
        "opened a factory in {place}",
        "lost its customers",
    ),
}
#: Around an entity at the end.
BEFORE = {
    "person": ("we talked for hours with", "the letter was signed by", "nobody believed"),
    "place": ("we took the night train to", "it never rains in", "the road ends at"),
    "company": ("the shares of", "he was fired by", "a lawyer sued"),
}
OPENINGS = ("last week", "as it turned out", "to be fair", "in the end", "of course")
WORDS = ("mark the date", "the rose is dead", "may it last", "we hope so", "turn the page")

# With these the recipe learns in two minutes of one core.
#: Layers and width.
TEACHER_SIZE, STUDENT_SIZE = (3, 64), (2, 32)
#: Training arguments of the teacher, where they differ from the student's.
TEACHER_TRAINING: dict[str, float] = {"learning_rate": 1e-3, "num_train_epochs": 6}
#: What a recipe does with `--demo`, where nothing else is given.
TAGGING_DEMO: dict[str, Any] = {
    "train_teacher": True,
    "baseline": True,
    "learning_rate": 2e-3,
    "num_train_epochs": 6,
    "per_device_train_batch_size": 32,
    "warmup_steps": 0.1,
    "temperature": 2.0,
    "alpha": 0.9,
}


class _Writer:
    """Writes sentences of words and tags; `names` are those of this split."""

    def __init__(self, rng: random.Random, names: tuple[str, ...], noise: float = 0.0) -> None:
        self.rng = rng
        self.names = names
        self.noise = noise

    def sentence(self) -> tuple[str, list[str]]:
        words, kinds = [], []
        for part, kind in self._parts():
            words += part
            kinds += [("B-" if not place else "I-") + kind if kind else "O" for place in range(len(part))]
        return " ".join(words), kinds

    def _parts(self) -> list[tuple[list[str], str]]:
        """Stretches of words, each with its kind of entity."""
        kind = self.rng.choice(KINDS)
        parts: list[tuple[list[str], str]] = []
        if self.rng.random() < 0.4:
            parts.append(([*self.rng.choice(OPENINGS).split(), ","], ""))
        if self.rng.random() < 0.6:
            parts += [self._entity(kind), *self._said(kind)]
        else:
            parts += [(self.rng.choice(BEFORE[kind]).split(), ""), self._entity(kind)]
            other = self.rng.choice(KINDS)
            parts += [(["while"], ""), self._entity(other), *self._said(other)]
        if self.rng.random() < 0.3:
            parts.append(([",", *self.rng.choice(WORDS).split()], ""))
        return [*parts, (["."], "")]

    def _said(self, kind: str) -> list[tuple[list[str], str]]:
        parts: list[tuple[list[str], str]] = []
        for word in self.rng.choice(SAID[kind]).split():
            other = word.strip("{}")
            parts.append(self._entity(other) if other != word else ([word], ""))
        return parts

    def _entity(self, kind: str) -> tuple[list[str], str]:
        name, extended = self.rng.choice(self.names), self.rng.random() < 0.3
        words = [name]
        if extended and kind == "person":
            words = [self.rng.choice(FIRST_NAMES), name]
        elif extended:
            words = [self.rng.choice(PREFIXES), name] if kind == "place" else [name, self.rng.choice(SUFFIXES)]
        if self.rng.random() < self.noise:
            kind = self.rng.choice(["", *KINDS])
        return words, kind


def demo_tags(
    seed: int = 0,
    num_train: int = 1_000,
    num_unlabeled: int = 4_000,
    num_eval: int = 600,
    annotator_noise: float = 0.15,
) -> DatasetDict:
    """Generate the corpus; see the top of this file for what is in it.

    Args:
        seed: Fixes every sentence and tag, on any machine.
        num_train: Training sentences with tags.
        num_unlabeled: Those without.
        num_eval: Sentences in each of `validation` and `test`.
        annotator_noise: The share of entities in the training sentences that are tagged at random.

    Returns:
        Splits `train`, `validation`, `test` and `unlabeled` with columns `tokens` and `ner_tags`; the last one's tags
        are not for training. No sentence occurs twice.
    """
    rng, seen = random.Random(seed), set[str]()
    train = distinct(_Writer(rng, NAMES, annotator_noise).sentence, num_train, seen)
    validation = distinct(_Writer(rng, NAMES).sentence, num_eval, seen)
    test = distinct(_Writer(rng, (*NAMES, *TEST_ONLY_NAMES)).sentence, num_eval, seen)
    unlabeled = distinct(_Writer(rng, NAMES).sentence, num_unlabeled, seen)
    splits = {"train": train, "validation": validation, "test": test, "unlabeled": unlabeled}
    return DatasetDict({name: _to_dataset(rows) for name, rows in splits.items()})


def _to_dataset(rows: list[tuple[str, list[str]]]) -> Dataset:
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=list(LABEL_NAMES)))})
    content = {"tokens": [text.split() for text, _ in rows], "ner_tags": [tags for _, tags in rows]}
    return Dataset.from_dict(content, features=features)


def demo_tagging_teacher(tokenizer: PreTrainedTokenizerBase) -> BertForTokenClassification:
    """Make the untrained teacher: a small BERT. Its weights depend on torch's seed, as any new model's do.

    Args:
        tokenizer: The tokenizer of the corpus, for the size of the vocabulary and the padding token.
    """
    return BertForTokenClassification(bert_config(tokenizer, TEACHER_SIZE, LABEL_NAMES))


def demo_tagging_student(tokenizer: PreTrainedTokenizerBase) -> BertForTokenClassification:
    """Make the untrained student: a smaller BERT, which shares no weights with the teacher.

    Args:
        tokenizer: As for the teacher.
    """
    return BertForTokenClassification(bert_config(tokenizer, STUDENT_SIZE, LABEL_NAMES))

"""Generated sentences with a known meaning, so that everything runs with no network.

The sentences are **made by a grammar**: they are for trying the tools, and figures measured on them say nothing about
real text. What makes them worth distilling:

* a meaning has **four parts**: who does what to what, and where. Two sentences are as similar as the parts they share;
* each part is said in **one of several words**, and the sentence in one of several orders: words in common do not tell;
* of the vectors that the teacher is trained on some parts are **wrong**, as raters err; the similarities of the pairs
  that are measured on are right.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import BertModel, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from hfdistill.report.terminal import begin_stage
from hfdistill.tasks.classification.arguments import ClassificationTrainingArguments
from hfdistill.tasks.demo import bert_config, demo_tokenizer, distinct
from hfdistill.tasks.embedding.data import PAIR, SIMILARITY, TEXT, tokenized_texts
from hfdistill.tasks.embedding.models import as_sentence_encoder
from hfdistill.training.run import train_and_save
from hfdistill.training.trainer import DistillationTrainer

#: The parts of a meaning, each one's values, and their words.
PARTS: tuple[tuple[tuple[str, ...], ...], ...] = tuple(
    tuple(tuple(words.split("/")) for words in part.split())
    for part in (
        "doctor/physician/medic child/kid/youngster teacher/tutor cook/chef farmer/grower sailor/seaman "
        "thief/burglar singer/vocalist",
        "buys/purchases sells/vends mends/repairs/fixes hides/conceals cleans/scrubs carries/hauls loses/misplaces "
        "admires/adores",
        "car/automobile boat/vessel lamp/lantern coat/jacket stone/rock picture/painting bottle/flask bag/sack",
        "town/city forest/woods beach/seaside kitchen/galley garden/yard school/academy market/bazaar station/depot",
    )
)
ORDERS = ("{0} {1} the {2} in the {3} .", "in the {3} {0} {1} the {2} .", "{0} , in the {3} , {1} the {2} .")
WHO = ("the {}", "a {}", "our {}")
#: Layers and width of the teacher; the student keeps some of the layers.
TEACHER_SIZE = (3, 64)
#: Training arguments of the teacher, where they differ from the student's.
TEACHER_TRAINING: dict[str, Any] = {"learning_rate": 2e-3, "num_train_epochs": 3}
#: What a recipe does with `--demo`, where nothing else is given.
EMBEDDING_DEMO: dict[str, Any] = {
    "student_num_hidden_layers": 1,
    "learning_rate": 1e-3,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 32,
    "warmup_steps": 0.1,
}


def sentence(rng: random.Random, meaning: Sequence[int]) -> str:
    """A sentence of a meaning, which is the number of a value for each of the parts."""
    who, *rest = (rng.choice(part[value]) for part, value in zip(PARTS, meaning, strict=True))
    return rng.choice(ORDERS).format(rng.choice(WHO).format(who), *rest)


def _meaning(rng: random.Random) -> list[int]:
    return [rng.randrange(len(part)) for part in PARTS]


def meanings(width: int) -> Callable[[Sequence[int]], list[float]]:
    """From a meaning to its vector of length 1: the sum of a direction for each part, all of them orthogonal."""
    starts = np.cumsum([0, *map(len, PARTS)])
    directions, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(width, starts[-1])))

    def vector(meaning: Sequence[int]) -> list[float]:
        places = starts[:-1] + np.asarray(meaning)
        found: list[float] = (directions[:, places].sum(1) / np.sqrt(len(PARTS))).astype(np.float32).tolist()
        return found

    return vector


def demo_sentences(
    seed: int = 0, num_train: int = 3_000, num_eval: int = 400, rater_noise: float = 0.15, width: int = TEACHER_SIZE[1]
) -> DatasetDict:
    """Generate the corpus; see the top of this file for what is in it.

    Args:
        seed: Fixes every sentence, on any machine.
        num_train: Training sentences.
        num_eval: Sentences of `validation`, and pairs of `test`.
        rater_noise: The share of parts that are wrong in the vectors of training sentences.
        width: The dimensions of a vector, 32 at least.

    Returns:
        Splits `train` and `validation` with columns `text` and `labels`, the vector of its meaning, of length 1; and
        `test` with `text`, `other` and `similarity`, the share of parts in common.
    """
    rng, vector = random.Random(seed), meanings(width)

    def written() -> tuple[str, list[int]]:
        meaning = _meaning(rng)
        return sentence(rng, meaning), meaning

    def rated(meaning: Sequence[int], noise: float) -> list[float]:
        heard = [rng.randrange(len(PARTS[part])) if rng.random() < noise else one for part, one in enumerate(meaning)]
        return vector(heard)

    def pair() -> tuple[str, dict[str, Any]]:
        one, other, common = _meaning(rng), _meaning(rng), set(rng.sample(range(len(PARTS)), rng.randint(0, 4)))
        other = [one[part] if part in common else value for part, value in enumerate(other)]
        same = sum(a == b for a, b in zip(one, other, strict=True)) / len(PARTS)
        first, second = sentence(rng, one), sentence(rng, other)
        return first, {PAIR[0]: first, PAIR[1]: second, SIMILARITY: same}

    seen = set[str]()
    splits = {}
    for name, count, noise in (("train", num_train, rater_noise), ("validation", num_eval, 0.0)):
        rows = distinct(written, count, seen)
        splits[name] = Dataset.from_list([{TEXT: text, "labels": rated(meaning, noise)} for text, meaning in rows])
    splits["test"] = Dataset.from_list([row for _, row in distinct(pair, num_eval, seen)])
    return DatasetDict(splits)


def demo_sentence_encoder(
    data: DatasetDict, args: ClassificationTrainingArguments, resume: bool = False
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """The demo's tokenizer, and its teacher: a small BERT, trained on the vectors of meanings in `_teacher`.

    Args:
        data: As `demo_sentences` makes it.
        args: The student's training arguments, of which terms, stages and folder are replaced.
        resume: Whether an interrupted run is continued.
    """
    begin_stage("Training the demo's teacher.")
    tokenizer = demo_tokenizer(data["train"][TEXT][:])
    set_seed(args.seed)
    config = bert_config(tokenizer, TEACHER_SIZE, ("meaning",))
    teacher = as_sentence_encoder(BertModel(config, add_pooling_layer=False))
    rows = {name: tokenized_texts(data[name], tokenizer) for name in ("train", "validation")}
    trainer = DistillationTrainer(
        teacher,
        args.for_labels_only(f"{args.output_dir}/_teacher", **TEACHER_TRAINING),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=tokenizer,
    )
    train_and_save(trainer, resume, keep_checkpoints=False)
    teacher.requires_grad_(False)
    return tokenizer, teacher

"""A generated sentiment corpus, a tokenizer and a small teacher, so that everything runs with no network.

The sentences are **made by a grammar**: nobody wrote them and they review nothing. They are for trying the
tools and for seeing a student learn from a teacher in minutes on two cores; figures measured on them say
nothing about real text. What makes them worth distilling:

* a clause is an opinion, "the acting was really superb"; a **negation** turns it around, and **intensifiers**
  and **downtoners** change its force;
* two clauses joined by "and" are **mixed** when they disagree: the stronger one decides, and a negated clause
  counts as an ordinary one ("not really superb" is milder than "really dull");
* in a **contrast** the conceding side ("although ...", or what stands before "but") does not count, wherever
  it stands; it always has the other sentiment, so counting words does not help;
* words follow a skewed distribution, so that some are rare;
* the test split also has **words that no other split has**, to be read from their pieces ("un-", "-less",
  "-ful"), which is a hint only: "flawless" is praise and "dreadful" is not;
* **annotators disagree**: a share of the training labels is flipped. Validation and test labels are clean.

The last point is why a teacher helps: it has averaged over the disagreement, and its soft targets pass that on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from transformers import BertForSequenceClassification, PreTrainedTokenizerBase

from hfdistill.tasks.demo import bert_config, distinct

LABEL_NAMES = ("negative", "positive")

# Every cue is public, so that a phenomenon can be found in a sentence without rerunning the grammar.
NEGATIONS = (
    "{thing} was not",
    "{thing} was never",
    "{thing} was hardly",
    "nobody would call {thing}",
    "i did not find {thing}",
)
STATEMENTS = ("{thing} was", "{thing} was", "i found {thing}", "everyone called {thing}")
INTENSIFIERS = ("really", "truly", "utterly", "extremely")
DOWNTONERS = ("slightly", "somewhat", "a bit", "a little")
CONTRASTS = (
    "{conceded} , but {decisive}",
    "{conceded} , yet {decisive}",
    "although {conceded} , {decisive}",
    "even if {conceded} , {decisive}",
    "{decisive} , although {conceded}",
    "{decisive} , even if {conceded}",
)
FILLERS = (
    "on a rainy monday",
    "to be fair",
    "in my view",
    "last night",
    "all in all",
    "with two friends",
    "in the end",
    "once again",
)

# In order of frequency, the commonest first.
POSITIVE_WORDS = tuple(
    "good great joyful superb funny clever graceful flawless warm hopeful tasteful brilliant original soulful "
    "lovely inspired thoughtful fresh powerful charming convincing meaningful witty effortless sharp delightful "
    "vivid pleasant tender engaging unforgettable seamless rich artful appealing faultless bright rewarding "
    "heartfelt imaginative".split()
)
NEGATIVE_WORDS = tuple(
    "bad poor joyless dull unoriginal hopeless weak tasteless awful bland uninspired boring thoughtless stale "
    "unconvincing powerless flat clumsy dreadful unpleasant pointless messy charmless dreary shallow cheerless "
    "tedious tactless painful cold artless forgettable heartless silly unpolished mindless slow purposeless "
    "fruitless lazy".split()
)
THINGS = tuple(
    "plot story acting cast music ending dialogue script sequel concert album hotel room service soup dessert "
    "lecture book novel game".split()
)
TEST_ONLY_POSITIVE_WORDS = tuple("cheerful tactful fruitful purposeful masterful colorful".split())
TEST_ONLY_NEGATIVE_WORDS = tuple(
    "graceless soulless lifeless meaningless unfunny unappealing unimaginative unrewarding".split()
)
TEST_ONLY_THINGS = tuple("finale waiter soundtrack chapter gallery festival".split())


# With these the recipe gives test accuracies of 81 to 89 % (teacher), 75 to 87 % (student) and 71 to 79 % (the same
# student without a teacher) over three seeds, each in two minutes of two cores.

#: Layers and width.
TEACHER_SIZE, STUDENT_SIZE = (3, 64), (2, 32)
#: Training arguments of the teacher, where they differ from the student's.
TEACHER_TRAINING: dict[str, float] = {"learning_rate": 4e-4, "num_train_epochs": 4}
#: What a recipe or a command does with `--demo`, where nothing else is given.
CLASSIFICATION_DEMO: dict[str, Any] = {
    "train_teacher": True,
    "baseline": True,
    "learning_rate": 1e-3,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 32,
    "warmup_steps": 0.1,
    "temperature": 2.0,
    "alpha": 0.9,
}


class _Statement(NamedTuple):
    """Some text and its sentiment: positive above 0, negative below, further from 0 with more force."""

    text: str
    score: int


class _Words:
    """Things and opinions, with the cumulated frequencies of the opinions."""

    def __init__(self, things: tuple[str, ...], positive: tuple[str, ...], negative: tuple[str, ...]) -> None:
        self.things = things
        self._by_sign = {1: positive, -1: negative}
        # Zipf's law, with the head flattened so that no handful of words carries the corpus.
        self._weights = {
            sign: list(accumulate(1 / (rank + 5) for rank in range(len(words))))
            for sign, words in self._by_sign.items()
        }

    def opinion(self, rng: random.Random, sign: int) -> str:
        return rng.choices(self._by_sign[sign], cum_weights=self._weights[sign])[0]


_KNOWN = _Words(THINGS, POSITIVE_WORDS, NEGATIVE_WORDS)
_TEST_ONLY = _Words(TEST_ONLY_THINGS, TEST_ONLY_POSITIVE_WORDS, TEST_ONLY_NEGATIVE_WORDS)


class _Writer:
    """Writes sentences; `unseen` is the share of clauses made of words that only the test split has."""

    def __init__(self, rng: random.Random, unseen: float = 0.0) -> None:
        self.rng = rng
        self.unseen = unseen

    def sentence(self) -> tuple[str, int]:
        statement = self._contrast() if self._chance(0.3) else self._opinions()
        return f"{self._with_filler(statement.text)} .", int(statement.score > 0)

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _with_filler(self, text: str) -> str:
        if not self._chance(0.25):
            return text
        filler = self.rng.choice(FILLERS)
        return f"{filler} , {text}" if self._chance(0.5) else f"{text} , {filler}"

    def _contrast(self) -> _Statement:
        decisive = self._opinions()
        conceded = self._opinions()
        while conceded.score * decisive.score > 0:
            conceded = self._opinions()
        form = self.rng.choice(CONTRASTS)
        return _Statement(form.format(conceded=conceded.text, decisive=decisive.text), decisive.score)

    def _opinions(self) -> _Statement:
        first = self._clause()
        if not self._chance(0.15):
            return first
        second = self._clause()
        while first.score + second.score == 0:
            second = self._clause()
        return _Statement(f"{first.text} and {second.text}", first.score + second.score)

    def _clause(self) -> _Statement:
        words = _TEST_ONLY if self._chance(self.unseen) else _KNOWN
        sign = self.rng.choice((-1, 1))
        negated = self._chance(0.2)
        degree, force = self._degree(negated)
        opening = self.rng.choice(NEGATIONS if negated else STATEMENTS)
        opening = opening.format(thing=f"the {self.rng.choice(words.things)}")
        text = f"{opening} {degree}{words.opinion(self.rng, sign)}"
        return _Statement(text, -2 * sign if negated else force * sign)

    def _degree(self, negated: bool) -> tuple[str, int]:
        if self._chance(0.15):
            return f"{self.rng.choice(INTENSIFIERS)} ", 3
        # "not slightly dull" is not English.
        if not negated and self._chance(0.18):
            return f"{self.rng.choice(DOWNTONERS)} ", 1
        return "", 2


def demo_dataset(
    seed: int = 0, num_train: int = 12_000, num_eval: int = 1_000, annotator_noise: float = 0.15
) -> DatasetDict:
    """Generate the corpus; see the top of this file for what is in it.

    Args:
        seed: fixes every sentence and label, on any machine.
        num_train: training sentences.
        num_eval: sentences in each of `validation` and `test`.
        annotator_noise: share of the training labels that is flipped, from 0 to below 0.5. The other splits
            are never touched.

    Returns:
        Splits `train`, `validation` and `test` with columns `sentence` and `label` (`negative`, `positive`).
        No sentence occurs twice. About a tenth of the clauses in `test` use words of no other split.

    Raises:
        ValueError: `annotator_noise` is below 0, or so high that the labels say nothing or the opposite.
    """
    if not 0 <= annotator_noise < 0.5:
        raise ValueError(f"annotator_noise={annotator_noise}: give a share of labels, from 0 to below 0.5.")
    rng = random.Random(seed)
    seen: set[str] = set()
    train = distinct(_Writer(rng).sentence, num_train, seen)
    validation = distinct(_Writer(rng).sentence, num_eval, seen)
    test = distinct(_Writer(rng, unseen=0.1).sentence, num_eval, seen)
    train = [(sentence, label ^ (rng.random() < annotator_noise)) for sentence, label in train]
    return DatasetDict(train=_to_dataset(train), validation=_to_dataset(validation), test=_to_dataset(test))


def sentences(rng: random.Random, count: int) -> Iterator[tuple[str, int]]:
    """More sentences of the corpus's grammar, and whether they praise."""
    writer = _Writer(rng)
    return (writer.sentence() for _ in range(count))


def _to_dataset(rows: list[tuple[str, int]]) -> Dataset:
    sentences, labels = zip(*rows, strict=True)
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=list(LABEL_NAMES))})
    return Dataset.from_dict({"sentence": list(sentences), "label": list(labels)}, features=features)


def demo_teacher(tokenizer: PreTrainedTokenizerBase) -> BertForSequenceClassification:
    """Make the untrained teacher: a small BERT. Its weights depend on torch's seed, as any new model's do.

    Args:
        tokenizer: the tokenizer of the corpus, for the size of the vocabulary and the padding token.
    """
    return BertForSequenceClassification(bert_config(tokenizer, TEACHER_SIZE, LABEL_NAMES))


def demo_student(tokenizer: PreTrainedTokenizerBase) -> BertForSequenceClassification:
    """Make the untrained student: a BERT smaller than the teacher in depth and width.

    It shares no weights with the teacher, so that the same student trained without one is a fair baseline.

    Args:
        tokenizer: the tokenizer of the corpus, as for the teacher.
    """
    return BertForSequenceClassification(bert_config(tokenizer, STUDENT_SIZE, LABEL_NAMES))

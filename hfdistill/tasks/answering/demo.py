"""Generated facts and questions about them, so that everything runs with no network.

The contexts are **made by a grammar**: they are for trying the tools, and figures measured on them say nothing about
real text. What makes them worth distilling:

* a context has **several people**, and the answer is that of the one the question names: words of the right kind are
  everywhere, so that the kind of a word does not tell;
* each is told with **several facts**, in one of several forms, and the question asks in words of its own;
* of some people **nothing is said** of what is asked: these questions have no answer;
* **annotators err**: of a share of the training questions the answer is another word of the context. Validation and
  test answers are right.
"""

from __future__ import annotations

import random
from typing import Any

from datasets import Dataset, DatasetDict
from transformers import BertForQuestionAnswering, PreTrainedTokenizerBase

from hfdistill.tasks.demo import bert_config, distinct

NAMES = tuple("anna omar li ivan maria kofi nina paul aisha tom vera hugo".split())
#: What is said of people: the forms, the questions, the answers.
FACTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "place": (
        ("{name} lives in {answer}", "the home of {name} is {answer}"),
        ("where does {name} live ?", "in which city is {name} at home ?"),
        tuple("paris lima oslo cairo delhi rome quito seoul new_york cape_town".split()),
    ),
    "food": (
        ("{name} eats {answer}", "the favorite dish of {name} is {answer}"),
        ("what does {name} eat ?", "which dish does {name} like ?"),
        tuple("soup rice bread fish beans noodles apple_pie black_olives".split()),
    ),
    "work": (
        ("{name} works as a {answer}", "the job of {name} is {answer}"),
        ("what is the work of {name} ?", "how does {name} earn a living ?"),
        tuple("baker pilot nurse farmer lawyer painter bus_driver".split()),
    ),
}
#: Layers and width.
TEACHER_SIZE, STUDENT_SIZE = (3, 64), (2, 32)
#: Training arguments of the teacher, where they differ from the student's.
TEACHER_TRAINING: dict[str, float] = {"learning_rate": 1e-3, "num_train_epochs": 6}
#: What a recipe does with `--demo`, where nothing else is given.
ANSWERING_DEMO: dict[str, Any] = {
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
    """Writes contexts and a question on each."""

    def __init__(self, rng: random.Random, noise: float = 0.0) -> None:
        self.rng = rng
        self.noise = noise

    def question(self) -> tuple[str, dict[str, Any]]:
        people = self.rng.sample(NAMES, 3)
        told = [(name, kind) for name in people for kind in FACTS if self.rng.random() < 0.6]
        self.rng.shuffle(told)
        sentences, truth = [], {}
        for fact in told:
            truth[fact] = self.rng.choice(FACTS[fact[1]][2]).replace("_", " ")
            sentences.append(self._sentence(*fact, truth[fact]))
        context = " . ".join([*sentences, "that is all ."])
        unsaid = [(name, kind) for name in people for kind in FACTS if (name, kind) not in truth]
        asked = self.rng.choice(unsaid if unsaid and (not told or self.rng.random() < 0.25) else told)
        answer = truth.get(asked, "")
        if answer and self.rng.random() < self.noise:
            answer = self.rng.choice(context.split())
        question = self.rng.choice(FACTS[asked[1]][1]).format(name=asked[0])
        starts = [self._start(context, asked, answer)] if answer else []
        row = {"question": question, "context": context, "answers": _answers(answer, starts)}
        return f"{question} {context}", row

    def _sentence(self, name: str, kind: str, answer: str) -> str:
        return self.rng.choice(FACTS[kind][0]).format(name=name, answer=answer)

    def _start(self, context: str, asked: tuple[str, str], answer: str) -> int:
        """Where the answer stands: in the sentence of the fact, where it is there."""
        forms = [form.format(name=asked[0], answer=answer) for form in FACTS[asked[1]][0]]
        told = next((form for form in forms if form in context), answer)
        return context.index(told) + told.rindex(answer)


def _answers(answer: str, starts: list[int]) -> dict[str, Any]:
    return {"text": [answer] * len(starts), "answer_start": starts}


def demo_questions(
    seed: int = 0, num_train: int = 3_000, num_eval: int = 400, annotator_noise: float = 0.15
) -> DatasetDict:
    """Generate the corpus; see the top of this file for what is in it.

    Args:
        seed: Fixes every question, on any machine.
        num_train: Training questions.
        num_eval: Questions in each of `validation` and `test`.
        annotator_noise: The share of training questions with an answer that is not right.

    Returns:
        Splits `train`, `validation` and `test` with columns `question`, `context` and `answers`.
    """
    rng, seen = random.Random(seed), set[str]()
    splits = {
        "train": distinct(_Writer(rng, annotator_noise).question, num_train, seen),
        "validation": distinct(_Writer(rng).question, num_eval, seen),
        "test": distinct(_Writer(rng).question, num_eval, seen),
    }
    return DatasetDict({name: Dataset.from_list([row for _, row in rows]) for name, rows in splits.items()})


def demo_answering_teacher(tokenizer: PreTrainedTokenizerBase) -> BertForQuestionAnswering:
    """Make the untrained teacher: a small BERT. Its weights depend on torch's seed, as any new model's do.

    Args:
        tokenizer: The tokenizer of the corpus, for the size of the vocabulary and the padding token.
    """
    return BertForQuestionAnswering(bert_config(tokenizer, TEACHER_SIZE, ("start", "end")))


def demo_answering_student(tokenizer: PreTrainedTokenizerBase) -> BertForQuestionAnswering:
    """Make the untrained student: a smaller BERT, which shares no weights with the teacher.

    Args:
        tokenizer: As for the teacher.
    """
    return BertForQuestionAnswering(bert_config(tokenizer, STUDENT_SIZE, ("start", "end")))

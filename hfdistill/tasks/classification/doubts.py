"""Which labels are in doubt, and why: by models that contradict them, or that differ from one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from hfdistill.report.label_quality import (
    LABEL_QUALITY,
    class_thresholds,
    confident_classes,
    confident_joint,
    disagreement,
    estimated_joint,
)
from hfdistill.report.quality import IGNORED, MULTI


@dataclass(frozen=True)
class Doubt:
    """A row to look at.

    Args:
        row: Its number, from 0.
        score: From 0 to 1: the larger of one minus the quality of its label, and of how far apart the models are.
        suggested: Its label by the models: a class, or a 0 or 1 for each of many labels.
        contradicted: Whether the models are as sure of another label as they are in rows that have that label.
        reason: Why, in words.
    """

    row: int
    score: float
    suggested: Any
    contradicted: bool
    reason: str


@dataclass(frozen=True)
class Question:
    """One thing that a row's label says: its class, or whether it has one of many labels.

    Args:
        models: The names of the models.
        answers: The names of the answers.
        probabilities: Shape `(models, rows, answers)`.
        labels: The number of each row's answer, -100 where there is none, shape `(rows,)`.
        quality: A name in `LABEL_QUALITY`.
    """

    models: Sequence[str]
    answers: Sequence[str]
    probabilities: np.ndarray
    labels: np.ndarray
    quality: str

    @cached_property
    def mean(self) -> np.ndarray:
        """The mean of the models' probabilities."""
        return self.probabilities.mean(0)

    @cached_property
    def labeled(self) -> np.ndarray:
        """Which rows have a label."""
        return self.labels != IGNORED

    @cached_property
    def thresholds(self) -> np.ndarray:
        """How sure of each answer the models are where it is the label."""
        return class_thresholds(self.mean, self.labels)

    @cached_property
    def confident(self) -> np.ndarray:
        """The answer that the models are sure of, -100 for none; of several as likely ones the label, if it is one."""
        found = confident_classes(self.mean, self.thresholds)
        reached = self._of_label(self.mean) >= self.thresholds[np.maximum(self.labels, 0)]
        as_likely = self._of_label(self.mean) >= self.mean[np.arange(len(found)), np.maximum(found, 0)]
        return np.where(self.labeled & (found != IGNORED) & reached & as_likely, self.labels, found)

    @cached_property
    def contradicted(self) -> np.ndarray:
        """Which labels are off the diagonal of the confident joint."""
        return self.labeled & (self.confident != IGNORED) & (self.confident != self.labels)

    @cached_property
    def suggested(self) -> np.ndarray:
        """The answer by the models; where several are as likely the label, if it is one of them."""
        likeliest = np.where(
            self.labeled & (self._of_label(self.mean) >= self.mean.max(1)), self.labels, self.mean.argmax(1)
        )
        return np.where(self.contradicted, self.confident, likeliest)

    def _of_label(self, probabilities: np.ndarray) -> np.ndarray:
        """The probability of each row's label, of the first answer where it has none."""
        found: np.ndarray = probabilities[np.arange(len(self.labels)), np.maximum(self.labels, 0)]
        return found

    @cached_property
    def differing(self) -> np.ndarray:
        """On which rows the models decide differently."""
        decided = self.probabilities.argmax(2)
        return (decided != decided[0]).any(0)

    @cached_property
    def in_doubt(self) -> np.ndarray:
        """Which rows there is a reason to look at."""
        return self.differing | (self.labeled & (self.suggested != self.labels))

    @cached_property
    def score(self) -> np.ndarray:
        """See `Doubt`."""
        doubted = 1 - LABEL_QUALITY[self.quality](self.mean, self.labels)
        return np.fmax(np.nan_to_num(doubted), disagreement(self.probabilities))

    @property
    def wrong(self) -> float:
        """The share of wrong labels by the estimated joint."""
        return float(1 - estimated_joint(confident_joint(self.mean, self.labels), self.labels).trace())

    def reason(self, row: int) -> str:
        """Why a row is in doubt."""
        label, suggested = int(self.labels[row]), int(self.suggested[row])
        parts = []
        if label not in (IGNORED, suggested):
            who = f"{self.models[0]} gives" if len(self.models) == 1 else "on average the models give"
            answer = self.answers[suggested]
            parts.append(
                f"labeled {self.answers[label]}; {who} {answer} {self.mean[row, suggested]:.2f}, {self._usual(row)}"
            )
        if self.differing[row]:
            each = self.probabilities[:, row]
            told = [
                f"{name} {self.answers[int(one.argmax())]} {one.max():.2f}"
                for name, one in zip(self.models, each, strict=True)
            ]
            parts.append(f"the models differ: {', '.join(told)}")
        return "; ".join(parts)

    def _usual(self, row: int) -> str:
        usual = self.thresholds[self.suggested[row]]
        if np.isinf(usual):
            return "and no row is labeled so"
        return f"{'as much as' if self.contradicted[row] else 'less than'} rows labeled so ({usual:.2f})"


def questions_of(
    logits: Mapping[str, np.ndarray], labels: np.ndarray, names: Sequence[str], problem: str, quality: str
) -> list[Question]:
    """What the labels say, as questions: one of all classes, or of many labels one each.

    Args:
        logits: Of each model by its name, shape `(rows, labels)`.
        labels: Classes of shape `(rows,)`, or zeros and ones of `(rows, labels)`; -100 for none.
        names: Of the labels.
        problem: The problem type.
        quality: A name in `LABEL_QUALITY`.
    """
    models, stacked = list(logits), np.stack(list(logits.values())).astype(np.float64)
    if problem != MULTI:
        return [Question(models, names, softmax(stacked, -1), labels, quality)]
    chances = expit(stacked)
    decisions = np.where(labels == IGNORED, IGNORED, labels > 0.5)
    return [
        Question(models, (f"not {name}", name), np.stack([1 - one, one], -1), decided, quality)
        for name, one, decided in zip(names, np.moveaxis(chances, 2, 0), decisions.T, strict=True)
    ]


def doubts_of(questions: Sequence[Question], problem: str) -> list[Doubt]:
    """The rows in doubt, those of contradicted labels first, each kind by its score; of many labels the worst tells."""
    contradicted = np.stack([one.contradicted for one in questions])
    in_doubt = np.stack([one.in_doubt for one in questions])
    scores = np.where(in_doubt, np.stack([one.score for one in questions]), -1.0)
    suggested = np.stack([one.suggested for one in questions], 1)
    # A contradicted label goes before any that is not.
    worst = (scores + 2 * contradicted).argmax(0)
    rows = np.flatnonzero(in_doubt.any(0))
    found = [
        Doubt(
            row=int(row),
            score=float(scores[worst[row], row]),
            suggested=suggested[row] if problem == MULTI else int(suggested[row, 0]),
            contradicted=bool(contradicted[:, row].any()),
            reason=questions[worst[row]].reason(row),
        )
        for row in rows
    ]
    return sorted(found, key=lambda one: (not one.contradicted, -one.score))

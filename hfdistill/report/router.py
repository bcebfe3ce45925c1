"""Student and teacher as one classifier: the teacher is asked where the student is not sure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hfdistill.models.labels import names_of, some_names


class Router:
    """A student's pipeline for what it is sure of, and its teacher's for the rest.

    It is called as a pipeline is, with one input or a list of them, and answers as one does. The student reads all of
    them; the teacher, in one more call, those that the student is less sure of than the threshold.

    Args:
        student: A pipeline of `transformers` that classifies texts, pictures or sound.
        teacher: Another one, of the same labels.
        threshold: How sure the student must be, as from `choose_threshold`.
        multi_label: Whether an input has several labels at once. The pipelines are made with `top_k=None` then, and a
            student is as sure as it is likely that all its decisions are right, `Π_k max(p_k, 1 − p_k)`; otherwise as
            likely as its likeliest label.

    Attributes:
        asked: How many inputs there were so far.
        passed_on: How many of them went to the teacher.

    Raises:
        ValueError: for models whose labels have other names, or give a score.

    Example:
        >>> student, teacher = (pipeline("text-classification", model=name) for name in names)  # doctest: +SKIP
        >>> router = Router(student, teacher, threshold=0.913742)  # doctest: +SKIP
        >>> router(["a fine film", "well, a film"], truncation=True)  # doctest: +SKIP
        [{'label': 'positive', 'score': 0.9931}, {'label': 'negative', 'score': 0.8812}]
    """

    def __init__(self, student: Any, teacher: Any, threshold: float, multi_label: bool = False) -> None:
        names, others = (names_of(one.model.config) for one in (student, teacher))
        if {*names} != {*others}:
            raise ValueError(
                f"the student answers with {some_names(names)} and the teacher with {some_names(others)}: give both "
                "the same id2label, in any order."
            )
        if len(names) == 1 and not multi_label:
            raise ValueError("a model of one output gives a score and no probabilities: it cannot tell how sure it is.")
        self.student, self.teacher, self.threshold = student, teacher, threshold
        self.multi_label, self.labels = multi_label, len(names)
        self.asked = self.passed_on = 0

    def __call__(self, inputs: Any, **settings: Any) -> Any:
        """The answer for an input, or those for a list of them; the settings are those of a pipeline's call.

        Raises:
            ValueError: where scores are no probabilities; where answers do not tell of all labels, and an input has
                several.
        """
        several = inputs if isinstance(inputs, list) else [inputs]
        answers = list(self.student(several, **settings)) if several else []
        unsure = [place for place, answer in enumerate(answers) if self._sure(answer) < self.threshold]
        if unsure:
            second = self.teacher([several[place] for place in unsure], **settings)
            for place, answer in zip(unsure, second, strict=True):
                answers[place] = answer
        self.asked, self.passed_on = self.asked + len(several), self.passed_on + len(unsure)
        return answers if isinstance(inputs, list) else answers[0]

    def _sure(self, answer: Any) -> float:
        scores = [one["score"] for one in ([answer] if isinstance(answer, Mapping) else answer)]
        if min(scores) < 0 or max(scores) > 1.001:  # rounded
            raise ValueError(
                "the student's pipeline gives scores that are no probabilities: leave function_to_apply out."
            )
        if not self.multi_label:
            return float(max(scores))
        if len(scores) != self.labels:
            raise ValueError(
                f"the student's pipeline tells of {len(scores)} of {self.labels} labels: make both with top_k=None."
            )
        return math.prod(max(score, 1 - score) for score in scores)

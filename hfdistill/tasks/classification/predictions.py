"""What follows from the models' predictions for the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import EvalPrediction

from hfdistill.report import quality
from hfdistill.report.examples import Disagreement, DoubtedLabels, Shown
from hfdistill.report.routing import LIMITS, RoutedRows, Routing
from hfdistill.tasks.classification.doubts import doubts_of, questions_of

#: How many of the rows that teacher and student predict differently are kept.
EXAMPLES = 100


class Predictions:
    """The logits of every model for the same rows, and what follows from them."""

    def __init__(
        self, logits: dict[str, np.ndarray], labels: np.ndarray, problem_type: str | None, metrics: quality.Metrics
    ) -> None:
        self.logits = logits
        self.labels = labels
        self.problem = quality.problem_of(problem_type, logits["student"])
        self.metrics = metrics
        self.labeled = quality.labeled_rows(labels)

    def figures(self, role: str) -> dict[str, Any]:
        """The figures of one model that need its predictions alone, or the teacher's beside them."""
        logits, teacher = self.logits[role], self.logits["teacher"]
        labeled, labels = logits[self.labeled], self.labels[self.labeled]
        figures = {
            "metrics": self.metrics(EvalPrediction(predictions=logits, label_ids=self.labels)),
            "intervals": quality.bootstrap(labeled, labels, self.metrics),
            "calibration": quality.calibration(labeled, labels, self.problem),
        }
        if role == "teacher":
            return figures
        rows = quality.divergence(logits, teacher, self.problem)
        divergence = None if rows is None else float(rows.mean())
        return {**figures, "agreement": quality.agreement(logits, teacher, self.problem), "divergence": divergence}

    def differences(self, names: Sequence[str], lengths: Sequence[int]) -> dict[str, Any]:
        """The paired test, the slices and the confusion."""
        labels = self.labels[self.labeled]
        scores = {
            role: quality.row_scores(logits[self.labeled], labels, self.problem) for role, logits in self.logits.items()
        }
        # Squared errors are no shares of correct predictions.
        shares = {} if self.problem == quality.REGRESSION else scores
        return {
            "paired": quality.paired_test(scores["student"], scores["baseline"]) if "baseline" in scores else None,
            "classes": quality.by_class(shares, labels, names) if self.problem == quality.SINGLE else [],
            "lengths": quality.by_length(shares, np.asarray(lengths)[self.labeled]) if shares else [],
            "confusion": quality.confusion(self.logits["student"], self.logits["teacher"], self.problem),
        }

    def routing(self, held_out: Predictions | None = None, limits: tuple[float, float] = LIMITS) -> Routing | None:
        """What comes of passing on to the teacher what the student is not sure of; `None` for a regression.

        Args:
            held_out: Both models' predictions for other rows, to choose the threshold on.
            limits: `tolerance` and `max_share`, see `choose_threshold`.
        """
        if self.problem == quality.REGRESSION or not self.labeled.any():
            return None
        return self._routed.curve_with_choice(held_out._routed.curve(), *limits) if held_out else self._routed.curve()

    @property
    def _routed(self) -> RoutedRows:
        return RoutedRows(self.logits["student"], self.logits["teacher"], self.labels, self.metrics, self.problem)

    def doubted_labels(self, names: Sequence[str], texts: Sequence[str | Shown]) -> DoubtedLabels | None:
        """The labels that the teacher contradicts; `None` for a regression, and where there is nothing to show."""
        if self.problem == quality.REGRESSION or not texts or not self.labeled.any():
            return None
        questions = questions_of(
            {"teacher": self.logits["teacher"]}, self.labels, names, self.problem, "self_confidence"
        )
        found = [doubt for doubt in doubts_of(questions, self.problem) if doubt.contradicted]
        rows = [self._shown(doubt.row, names, texts) for doubt in found[:EXAMPLES]]
        return DoubtedLabels(len(found), int(self.labeled.sum()), rows)

    def disagreements(self, names: Sequence[str], texts: Sequence[str | Shown]) -> list[Disagreement]:
        """The rows that teacher and student predict differently, by how far apart they are; none without texts."""
        student, teacher = self.logits["student"], self.logits["teacher"]
        rows = quality.divergence(student, teacher, self.problem)
        apart = np.abs(student - teacher).sum(-1) if rows is None else rows
        found: list[Disagreement] = []
        for row in np.argsort(-apart, kind="stable") if texts else ():
            predictions = {role: self._name(self._decision(logits[row]), names) for role, logits in self._pair.items()}
            if predictions["teacher"] != predictions["student"] and len(found) < EXAMPLES:
                found.append(self._shown(row, names, texts))
        return found

    def _shown(self, row: int, names: Sequence[str], texts: Sequence[str | Shown]) -> Disagreement:
        """A row with its label and what teacher and student predict."""
        predictions = {role: self._name(self._decision(logits[row]), names) for role, logits in self._pair.items()}
        label = self._name(self.labels[row], names) if self.labeled[row] else ""
        shown = texts[row]
        text, picture = (shown, b"") if isinstance(shown, str) else (shown.name, shown.picture)
        return Disagreement(text, {"label": label, **predictions}, picture)

    @property
    def _pair(self) -> dict[str, np.ndarray]:
        return {role: self.logits[role] for role in ("teacher", "student")}

    def _decision(self, logits: np.ndarray) -> Any:
        """What a model decides for one row, in the form of its label."""
        if self.problem == quality.REGRESSION:
            return logits
        return (logits > 0) if self.problem == quality.MULTI else logits.argmax()

    def _name(self, label: Any, names: Sequence[str]) -> str:
        """A label as a person reads it."""
        if self.problem == quality.REGRESSION:
            return ", ".join(f"{value:.3g}" for value in np.atleast_1d(label))
        if self.problem == quality.MULTI:
            return ", ".join(name for name, given in zip(names, label, strict=True) if given > 0.5) or "none"
        return names[int(label)]

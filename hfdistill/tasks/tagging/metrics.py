"""Entity F1, and of labels that name no entities accuracy and macro F1: counted row by row, and summed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import evaluate
import numpy as np
from datasets import Features, Value
from datasets import Sequence as ListOf
from transformers import EvalPrediction

from hfdistill.models.labels import NO_LABEL
from hfdistill.tasks.tagging.entities import OUTSIDE, entities, entity_kinds

#: What is counted of each kind: those that are right, predicted, labeled.
_RIGHT, _PREDICTED, _LABELED = range(3)


@dataclass(frozen=True)
class TagMetrics:
    """The metrics of some labels, main metric first: `f1`, `precision`, `recall` and `accuracy`, of entities.

    An entity is right where its first word, its last and its kind are. `accuracy` is the share of right words. Of
    labels that name no entities, such as parts of speech, `accuracy` comes first, and `f1_macro` after it.

    Args:
        names: The labels.
        scheme: As for `entities`: `None` as `seqeval` by default.

    References: Nakayama 2018, `seqeval`, https://github.com/chakki-works/seqeval; Tjong Kim Sang and De Meulder 2003,
        https://aclanthology.org/W03-0419.
    """

    names: Sequence[str]
    scheme: str | None = None

    @cached_property
    def entity_kinds(self) -> list[str] | None:
        """The kinds of entities, `None` where the labels name none."""
        return entity_kinds(self.names)

    @property
    def kinds(self) -> list[str]:
        """Of what there are counts: kinds of entities, or the labels where they name none."""
        return self.entity_kinds or list(self.names)

    def items(self, tags: Sequence[str]) -> list[tuple[Any, ...]]:
        """What is right or wrong as a whole, its kind first: the entities of a row, or each word's label."""
        if self.entity_kinds is None:
            return [(tag, word) for word, tag in enumerate(tags)]
        return [*entities(tags, self.scheme)]

    def counts(self, predicted: Sequence[Sequence[str]], labeled: Sequence[Sequence[str]]) -> np.ndarray:
        """Numbers whose sums over rows the metrics are computed from.

        Args:
            predicted: The tags of each row.
            labeled: The true ones, of the same words.

        Returns: Shape `(rows, 2 + 3 kinds)`: right words, words, and of each kind those that are right, predicted and
            labeled.
        """
        places = {kind: place for place, kind in enumerate(self.kinds)}
        words, counts = np.zeros((len(labeled), 2)), np.zeros((len(labeled), len(places), 3))
        for row, (guess, true) in enumerate(zip(predicted, labeled, strict=True)):
            words[row] = sum(map(str.__eq__, guess, true)), len(true)
            found, wanted = self.items(guess), self.items(true)
            for column, items in ((_RIGHT, set(found) & set(wanted)), (_PREDICTED, found), (_LABELED, wanted)):
                for kind in (kind for kind, *_ in items if kind in places):  # a word that was cut off has no label
                    counts[row, places[kind], column] += 1
        return np.concatenate([words, counts.reshape(len(labeled), -1)], axis=1)

    def of_sums(self, sums: np.ndarray) -> dict[str, float]:
        """The metrics of such counts, summed over rows."""
        accuracy, by_kind = _share(sums[0], sums[1]), sums[2:].reshape(-1, 3)
        if self.entity_kinds is None:
            scores = [_scores(one)["f1"] for one in by_kind if one.any()]
            return {"accuracy": accuracy, "f1_macro": float(np.mean(scores)) if scores else 0.0}
        return {**_scores(by_kind.sum(0)), "accuracy": accuracy}

    def by_kind(self, sums: np.ndarray) -> dict[str, dict[str, float]]:
        """Of each kind that occurs `f1`, `precision`, `recall`, and how many are labeled (`number`)."""
        by_kind = zip(self.kinds, sums[2:].reshape(-1, 3), strict=True)
        return {kind: {**_scores(one), "number": float(one[_LABELED])} for kind, one in by_kind if one.any()}


def _scores(counts: np.ndarray) -> dict[str, float]:
    right, predicted, labeled = counts
    scores = {"precision": _share(right, predicted), "recall": _share(right, labeled)}
    return {"f1": _share(2 * right, predicted + labeled), **scores}


def _share(part: float, whole: float) -> float:
    """0 of nothing, as in `seqeval`."""
    return float(part / whole) if whole else 0.0


def token_classification_metrics(names: Sequence[str]) -> Callable[[EvalPrediction], dict[str, float]]:
    """A `compute_metrics` for `Trainer`: entity F1, precision, recall and accuracy; see `TagMetrics`.

    Tokens whose label is -100 are left out.

    Args:
        names: The labels in the order of the logits, such as the values of `config.id2label`.

    Raises:
        ValueError: when some labels name entities and others do not. The function returned raises it when no token is
            labeled, or a prediction is NaN.
    """
    metrics = TagMetrics(tuple(names))
    entity_kinds(names)

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        logits = prediction.predictions
        logits = np.asarray(logits[0] if isinstance(logits, tuple) else logits)
        labels = np.asarray(prediction.label_ids)
        labeled = labels != NO_LABEL
        if not labeled.any():
            raise ValueError(f"Nothing to measure: none of the {len(labels)} evaluation rows has a labeled word.")
        if np.isnan(logits[labeled]).any():
            raise ValueError("A prediction is NaN: the model has diverged; lower the learning rate.")
        decided = logits.argmax(-1)
        rows = [tags_of(one, there, names) for one, there in zip(decided, labeled, strict=True)]
        true = [tags_of(one, there, names) for one, there in zip(labels, labeled, strict=True)]
        return metrics.of_sums(metrics.counts(rows, true).sum(0))

    return compute_metrics


def tags_of(ids: np.ndarray, there: np.ndarray, names: Sequence[str]) -> list[str]:
    """The names of these labels, of words that are `there`."""
    return [names[one] for one in ids[there]]


class Seqeval(evaluate.Metric):
    """Entity F1 as `evaluate.load("seqeval")` has it, by kind and overall, of lists of tags, without a network.

    With `scheme="IOB2"` (or `IOBES`, `BILOU`) only well-formed entities count, as with its `mode="strict"`.
    """

    def _info(self) -> evaluate.MetricInfo:
        tags = ListOf(Value("string"))
        features = Features({"predictions": tags, "references": tags})
        return evaluate.MetricInfo(description=str(self.__doc__), citation="", features=features)

    def _compute(
        self,
        predictions: Sequence[Sequence[str]],
        references: Sequence[Sequence[str]],
        scheme: str | None = None,
    ) -> Mapping[str, Any]:
        names = sorted({tag for rows in (predictions, references) for row in rows for tag in row} | {OUTSIDE})
        metrics = TagMetrics(names, scheme)
        sums = metrics.counts(predictions, references).sum(0)
        return {**metrics.by_kind(sums), **{f"overall_{name}": one for name, one in metrics.of_sums(sums).items()}}

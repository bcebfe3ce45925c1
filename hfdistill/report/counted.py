"""Comparing models of any head: what each decides of the same rows, as counts that add up to the task's metrics.

The metrics of many tasks are no means over rows: an entity F1 follows from the true, predicted and labeled entities of
all rows. So a task gives counts of each row, whose sums over any rows give the metrics of these.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from accelerate.utils import send_to_device
from torch import Tensor, nn

from hfdistill.models.heads import Head, head_of
from hfdistill.models.inference import run
from hfdistill.models.inputs import check_token_ids, main_input, max_positions, token_inputs
from hfdistill.models.progress import progress_bar
from hfdistill.models.wrappers import device_of, token_table_size
from hfdistill.report.comparison import compare_models
from hfdistill.report.cost import Measurable, megaflops, peak_megabytes
from hfdistill.report.examples import Disagreement
from hfdistill.report.failures import Attempts
from hfdistill.report.figures import Comparison, ModelFigures
from hfdistill.report.quality import PairedTest
from hfdistill.report.timing import THROUGHPUT_BATCH, latencies_ms, throughput

Metrics = Callable[[np.ndarray], dict[str, float]]

#: How often the rows are resampled.
RESAMPLINGS = 1000
#: How many of the rows on which teacher and student differ are kept.
EXAMPLES = 100


@dataclass(frozen=True)
class MeasuredHead(Measurable):
    """A model of any head and input, and rows to measure it on.

    Args:
        model: A transformers model, or one that was exported.
        rows: What it reads of each row, with or without labels.
        collator: Makes a batch of some of them, as for `Trainer`.
        head: What it decides; of a transformers model that of its class.

    Raises:
        ValueError: for token ids, or more tokens of a row, than the model has embeddings for.
    """

    model: Any
    rows: Sequence[Any]
    collator: Callable[[list[Any]], Mapping[str, Any]]
    head: Head | None = None

    def __post_init__(self) -> None:
        # Once for all rows: whoever measures times must not time it.
        if not isinstance(self.model, nn.Module) or main_input(self.model) != "input_ids":
            return
        name, table, limit = type(self.model).__name__, token_table_size(self.model), max_positions(self.model)
        for number in range(len(self.rows)):
            ids = self.rows[number]["input_ids"]
            texts = ids if len(ids) and np.ndim(ids[0]) else [ids]  # several choices
            check_token_ids(texts, table, name, [number] * len(texts))
            if max(map(len, texts)) > limit:
                raise ValueError(
                    f"row {number} has {max(map(len, texts))} tokens, and the {name} reads {limit}: tokenize with "
                    f"truncation=True, max_length={limit}."
                )

    def length(self, row: Any) -> int:
        return len(row[main_input(self.model)])

    def predict_rows(self, rows: Sequence[Any]) -> np.ndarray:
        """The logits of a batch, shape `(rows, ..., classes)`, float32."""
        head = self.head or head_of(self.model)
        batch = self.collator([dict(row) for row in rows])
        # An exported model takes what it reads of it.
        reads = self._reads if isinstance(self.model, nn.Module) else batch
        inputs = send_to_device({name: batch[name] for name in reads if name in batch}, device_of(self.model))
        scores = head.scores(run(self.model, head.inputs(inputs)))
        assert isinstance(scores, Tensor)
        logits = head.logits(scores.cpu(), {**batch, **send_to_device(inputs, "cpu")}).float().numpy()
        check_finite(logits, f"this {type(self.model).__name__}")
        return logits

    @property
    def _reads(self) -> Sequence[str]:
        return token_inputs(self.model)

    def predictions(self, role: str = "model") -> Iterator[np.ndarray]:
        """The logits of each row in turn, those of padding included."""
        with progress_bar(len(self.rows), f"Running the {role}", "rows") as bar:
            for start in range(0, len(self.rows), THROUGHPUT_BATCH):
                rows = [self.rows[row] for row in range(start, min(start + THROUGHPUT_BATCH, len(self.rows)))]
                yield from self.predict_rows(rows)
                bar.update(len(rows))


def check_finite(predictions: np.ndarray, model: str = "the model") -> None:
    """Refuses predictions that are NaN, which is no more and no less than any other, so that any could be the best.

    Raises:
        ValueError: naming the model.
    """
    if np.isnan(predictions).any():
        raise ValueError(
            f"a prediction of {model} is NaN: it has diverged; lower the learning rate, or train without fp16."
        )


@dataclass(frozen=True)
class Outcome:
    """What a model decided of the compared rows.

    Args:
        counts: Numbers of each row, shape `(rows, counts)`, whose sums over rows give the metrics.
        decisions: Of each row what was decided, one entry for each decision, to be compared with another model's.
        shown: The same of each row as a person reads it.
    """

    counts: np.ndarray
    decisions: Sequence[Sequence[Hashable]]
    shown: Sequence[str]


def compare_counted(
    models: Mapping[str, Measurable],
    outcomes: Mapping[str, Outcome],
    metrics: Metrics,
    *,
    texts: Sequence[str] = (),
    labels: Sequence[str] = (),
    split: str = "test",
    **found: Any,
) -> Comparison:
    """The comparison of models by what they decided, with intervals, agreement, size and speed.

    Args:
        models: By role, `teacher` and `student` among them.
        outcomes: What each of them decided.
        metrics: The task's metrics, the main one first, of the sum of some rows' counts.
        texts: Each row as a person reads it, for the disagreements; without them none are shown.
        labels: What each row is labeled with, likewise.
        split: What to call the rows.
        **found: What else a `Comparison` holds, such as `classes`.
    """
    attempt, weights = Attempts(), _resampled(len(outcomes["student"].counts))
    samples = {role: _samples(one.counts, weights, metrics) for role, one in outcomes.items()}

    def quality(role: str) -> dict[str, Any]:
        return {
            "metrics": metrics(outcomes[role].counts.sum(0)),
            "intervals": {name: _interval(values) for name, values in samples[role].items() if len(values)},
            "agreement": None if role == "teacher" else _agreement(outcomes[role], outcomes["teacher"]),
            "megaflops": attempt(f"the operations of {role}", partial(megaflops, models[role])),
            "peak_megabytes": attempt(f"the peak memory of {role}", partial(peak_megabytes, models[role])),
        }

    return compare_models(
        models,
        quality,
        latencies_ms(models),
        throughput(models),
        rows=len(outcomes["student"].counts),
        split=split,
        attempt=attempt,
        kinds=(Comparison, ModelFigures),
        paired=_paired(samples) if "baseline" in samples else None,
        disagreements=_disagreements(outcomes, texts, labels),
        **found,
    )


def _resampled(rows: int, seed: int = 0) -> np.ndarray:
    """How often each row is drawn with replacement, shape `(RESAMPLINGS, rows)`; the same for every model."""
    return np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), size=RESAMPLINGS)


def _samples(counts: np.ndarray, weights: np.ndarray, metrics: Metrics) -> dict[str, np.ndarray]:
    """Each metric of every resampling; one that is not finite, as of rows without an entity, is left out."""
    drawn = [metrics(sums) for sums in weights @ counts]
    values = {name: np.array([one.get(name, np.nan) for one in drawn]) for name in metrics(counts.sum(0))}
    return {name: one[np.isfinite(one)] for name, one in values.items()}


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def _paired(samples: Mapping[str, Mapping[str, np.ndarray]]) -> PairedTest | None:
    """Student against baseline by paired bootstrap of the main metric (Koehn 2004, https://aclanthology.org/W04-3250).

    Two-sided: twice the share of resamplings in which the difference has the rarer sign.
    """
    main = next(iter(samples["student"]), "")
    student, baseline = (samples[role].get(main, np.empty(0)) for role in ("student", "baseline"))
    if not len(student) or len(student) != len(baseline):
        return None
    difference = student - baseline
    rarer = min((difference <= 0).sum(), (difference >= 0).sum())
    return PairedTest(None, None, float(min(1.0, 2 * (1 + rarer) / (1 + len(difference)))))


def _agreement(one: Outcome, teacher: Outcome) -> float:
    """The share of the teacher's and a model's decisions that are equal; where their numbers differ, of the more."""
    pairs = list(zip(one.decisions, teacher.decisions, strict=True))
    equal = sum(a == b for own, other in pairs for a, b in zip(own, other, strict=False))
    return equal / max(1, sum(max(len(own), len(other)) for own, other in pairs))


def _disagreements(outcomes: Mapping[str, Outcome], texts: Sequence[str], labels: Sequence[str]) -> list[Disagreement]:
    """The rows that teacher and student decide differently, those first in which most decisions differ."""
    student, teacher = outcomes["student"], outcomes["teacher"]
    apart = [_apart(a, b) for a, b in zip(student.decisions, teacher.decisions, strict=True)] if texts else []
    worst = sorted((row for row, count in enumerate(apart) if count), key=lambda row: -apart[row])
    return [
        Disagreement(
            texts[row],
            {"label": labels[row] if labels else "", "teacher": teacher.shown[row], "student": student.shown[row]},
        )
        for row in worst[:EXAMPLES]
    ]


def _apart(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))

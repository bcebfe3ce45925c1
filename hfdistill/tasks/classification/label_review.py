"""Which labels a person should check: rows in doubt, as a file with a column for corrections."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset

from hfdistill.data.corrections import CORRECTED
from hfdistill.data.rows import as_split
from hfdistill.data.shortening import cut
from hfdistill.models.labels import LABEL_COLUMNS, MULTI, NO_LABEL, SINGLE, LabelSpace, class_names
from hfdistill.report.label_quality import LABEL_QUALITY
from hfdistill.report.tables import text_table
from hfdistill.tasks.classification.doubts import Doubt, Question, doubts_of, questions_of
from hfdistill.tasks.classification.report import labels_of
from hfdistill.teachers import ENSEMBLE_LOGITS, TEACHER_LABEL, TEACHER_LOGITS

#: What a person looks at in ten minutes, at ten texts a minute.
TEN_MINUTES = 100
#: A model that predicts this share of labels, of so many rows at least, has probably learned these very labels.
KNOWN_BY_HEART, ENOUGH_ROWS = 0.98, 100
ENDINGS = (".csv", ".jsonl", ".json")
_SHOWN, _TEXT_WIDTH = 10, 36
_OWN_COLUMNS = ("row", "file", "text", "text_pair", "label", "suggested_label", "score", "reason", CORRECTED)


@dataclass(frozen=True)
class Review:
    """Rows for a person to look at, the most doubtful first.

    Args:
        rows: Of each its number `row` (from 1), its texts, `label` (empty where there is none), `suggested_label`, of
            each model the answer and its probability, `score`, `reason` and an empty `corrected`.
        labeled: How many rows have a label.
        contradicted: How many labels the models contradict, as sure of another as they are where that is the label.
        wrong: The share of wrong labels by the estimated joint; of many labels of all their zeros and ones.
        known: Models that predict nearly every label.
    """

    rows: list[dict[str, Any]]
    labeled: int
    contradicted: int
    wrong: float
    known: Sequence[str] = ()

    def summary(self) -> str:
        """What was found, and the first rows as a table, for a terminal."""
        told = [
            f"{name} predicts nearly every label: it has probably learned these very labels, and repeats their errors. "
            "Take a model that did not."
            for name in self.known
        ]
        if self.labeled:
            told.append(
                f"{self.contradicted:,} of {self.labeled:,} labels are contradicted by models that are sure; about "
                f"{100 * self.wrong:.1f} % are wrong, as they estimate it."
            )
        if not self.rows:
            return "\n".join([*told, "No row is in doubt: the models agree with one another and with the labels."])
        cells = [
            [
                cut(" ".join(one["text"].split()), _TEXT_WIDTH),
                one["label"],
                one["suggested_label"],
                f"{one['score']:.2f}",
            ]
            for one in self.rows[:_SHOWN]
        ]
        return "\n".join([*told, "", text_table(["text", "label", "suggested", "score"], cells)])

    def save(self, path: str | Path) -> None:
        """Writes the rows: CSV, or JSON lines where the file ends in `.jsonl` or `.json`.

        Raises:
            ValueError: for another ending.
        """
        path = Path(path)
        check_output(path)
        if path.suffix != ".csv":
            lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in self.rows]
            path.write_text("".join(lines), encoding="utf-8")
            return
        # Marked as UTF-8, or spreadsheets take it for something else.
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]) if self.rows else ["text", "label", CORRECTED])
            writer.writeheader()
            writer.writerows(self.rows)


def check_output(path: Path) -> None:
    """Refuses a file of another kind than a review is written as."""
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path} should end in .csv, for a spreadsheet, or in .jsonl.")


def review(
    dataset: Dataset,
    predictions: Mapping[str, Any] | None = None,
    *,
    text_columns: str | Sequence[str],
    label_names: Sequence[str] | None = None,
    problem_type: str = SINGLE,
    quality: str = "self_confidence",
    most: int | None = TEN_MINUTES,
) -> Review:
    """Which labels a person should check: those that models contradict, and rows on which models differ.

    By confident learning a label is contradicted where the models' mean probability of another class is at least what
    it is on average in rows of that class. These rows come first. After them come others whose likeliest class is not
    their label, or on which the models decide differently; rows without a label can only be of the last kind.

    **The models must not have learned these labels**: one that did repeats their errors. Take a teacher that was
    trained on other rows, or `out_of_fold_logits`.

    Args:
        dataset: The rows. Soft targets that they carry (`teacher_logits`, `ensemble_logits`) are a model each. Labels
            stand in `label` or `labels`, where there are any: classes (-100 and -1 for none), or lists of zeros and
            ones. Further columns `file` and `row` are taken over.
        predictions: The logits of more models by their names, shape `(rows, labels)`, in the order of `label_names`.
        text_columns: The column of the text, or the two of a pair.
        label_names: The labels in their order; by default those of a column of named classes, else numbers.
        problem_type: `single_label_classification`, or `multi_label_classification`: there each label is a question
            with the answers yes and no, and a row is as doubtful as the worst of them.
        quality: What the quality of a label is: `self_confidence`, `normalized_margin` or
            `confidence_weighted_entropy`.
        most: How many rows are kept, ten minutes' work; `None` keeps all that are in doubt.

    Raises:
        ValueError: for labels or logits that do not fit, a text column that is not there, models that are called alike
            or as a column of the review, or where there is nothing to compare: no row, no model; or no label, and one
            model alone.

    References: Northcutt, Jiang and Chuang 2021, https://huggingface.co/papers/1911.00068.

    Example:
        >>> rows = soft_targets([teacher, other], rows, tokenizer, text_columns=["text"])  # doctest: +SKIP
        >>> review(rows, text_columns="text").save("review.csv")  # doctest: +SKIP
    """
    rows = as_split(dataset)
    columns = (text_columns,) if isinstance(text_columns, str) else tuple(text_columns)
    _check_given(rows, columns, most)
    names = _label_names(rows, label_names, predictions or {})
    carried = _carried_logits(rows, names)
    _check_names([*carried, *(predictions or {})])
    logits = {**carried, **(predictions or {})}
    logits = {name: _checked(np.asarray(one, np.float64), name, len(rows), names) for name, one in logits.items()}
    labels = _labels(rows, names, problem_type)
    labeled = int((labels != NO_LABEL).reshape(len(labels), -1).any(1).sum())
    _refuse_nothing(logits, labeled, quality)
    questions = questions_of(logits, labels, names, problem_type, quality)
    doubts = doubts_of(questions, problem_type)
    described = _Described(names, problem_type)
    return Review(
        [described.row(rows[doubt.row], columns, doubt, labels, logits) for doubt in doubts[:most]],
        labeled,
        sum(doubt.contradicted for doubt in doubts),
        float(np.mean([one.wrong for one in questions])) if labeled else 0.0,
        [name for place, name in enumerate(logits) if _known_by_heart(questions, place)],
    )


@dataclass(frozen=True)
class _Described:
    """Labels and answers as a person reads them."""

    names: Sequence[str]
    problem: str

    def row(
        self,
        row: Mapping[str, Any],
        columns: Sequence[str],
        doubt: Doubt,
        labels: np.ndarray,
        logits: Mapping[str, Any],
    ) -> dict[str, Any]:
        """A row of the review."""
        place = {"row": row.get("row", doubt.row + 1), **({"file": row["file"]} if "file" in row else {})}
        texts = {name: row[column] for name, column in zip(("text", "text_pair"), columns, strict=False)}
        answers: dict[str, Any] = {}
        for name, one in logits.items():
            answers[name], answers[f"{name}_probability"] = self.answer(one[doubt.row])
        return {
            **place,
            **texts,
            "label": self.label(labels[doubt.row]),
            "suggested_label": self.label(doubt.suggested),
            **answers,
            "score": round(doubt.score, 4),
            "reason": doubt.reason,
            CORRECTED: "",
        }

    def label(self, label: Any) -> str:
        """A label by its name; of many labels their names with commas between; empty for none."""
        if np.all(np.asarray(label) == NO_LABEL):
            return ""
        if self.problem == MULTI:
            return ", ".join(name for name, given in zip(self.names, label, strict=True) if given > 0.5) or "none"
        return self.names[int(label)]

    def answer(self, logits: np.ndarray) -> tuple[str, float]:
        """What a model decides, and how likely that is to it; of many labels that each decision is right."""
        if self.problem == MULTI:
            sure = 1 / (1 + np.exp(-np.abs(logits)))
            return self.label(logits > 0), round(float(sure.prod()), 4)
        chances = np.exp(logits - logits.max())
        return self.names[int(logits.argmax())], round(float(chances.max() / chances.sum()), 4)


def _check_given(rows: Dataset, columns: Sequence[str], most: int | None) -> None:
    missing = [name for name in columns if name not in rows.column_names]
    if missing:
        raise ValueError(f"there is no column {missing[0]!r}; the columns are {', '.join(rows.column_names)}.")
    if not len(rows):
        raise ValueError("there are no rows to review.")
    if most is not None and most < 1:
        raise ValueError(f"a review keeps one row at least, got {most}.")


def _check_names(models: Sequence[str]) -> None:
    """Refuses models whose columns would stand in place of others."""
    columns = [*_OWN_COLUMNS, *(column for name in models for column in (name, f"{name}_probability"))]
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice:
        raise ValueError(
            f"a model cannot be called {twice!r}, as another column of the review is: give it another name."
        )


def _label_names(rows: Dataset, given: Sequence[str] | None, predictions: Mapping[str, Any]) -> list[str]:
    """The labels in their order, as they are given or as the rows name or count them."""
    if given:
        return list(given)
    for column in (*LABEL_COLUMNS, TEACHER_LABEL):
        if named := class_names(rows.features, column):
            return named
    sizes = [np.shape(one)[-1] for one in predictions.values() if np.ndim(one) == 2]
    for column in (TEACHER_LOGITS, ENSEMBLE_LOGITS):
        sizes += [np.shape(rows.with_format(None)[0][column])[-1]] if column in rows.column_names and len(rows) else []
    return [str(number) for number in range(sizes[0] if sizes else 0)]


def _carried_logits(rows: Dataset, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The soft targets of the rows, of each teacher, as the labels are ordered."""
    plain, feature = rows.with_format(None), rows.features.get(TEACHER_LABEL)
    found: dict[str, np.ndarray] = {}
    if TEACHER_LOGITS in rows.column_names:
        found["soft_targets"] = np.asarray(plain[TEACHER_LOGITS][:], np.float64)
    elif ENSEMBLE_LOGITS in rows.column_names:
        each = np.moveaxis(np.asarray(plain[ENSEMBLE_LOGITS][:], np.float64), 1, 0)
        found = {f"soft_targets_{number}": one for number, one in enumerate(each, start=1)}
    if not isinstance(feature, ClassLabel):
        return found
    order = LabelSpace.of_names(names).order_in(LabelSpace.of_names(feature.names), "teacher of the soft targets")
    return found if order is None else {name: one[:, order] for name, one in found.items()}


def _checked(logits: np.ndarray, name: str, rows: int, names: Sequence[str]) -> np.ndarray:
    if logits.shape != (rows, len(names)):
        raise ValueError(f"the logits of {name} have the shape {logits.shape}, expected {(rows, len(names))}.")
    if len(names) < 2:
        raise ValueError(f"{name} has one output, a score: a review is of labels, of which there are two at least.")
    finite = np.isfinite(logits).all(1)
    if not finite.all():
        raise ValueError(f"the logits of {name} for row {int(finite.argmin())} (counted from 0) are not finite.")
    return logits


def _labels(rows: Dataset, names: Sequence[str], problem: str) -> np.ndarray:
    """The labels, -100 where there is none."""
    if not set(LABEL_COLUMNS) & set(rows.column_names):
        return np.full((len(rows), len(names)) if problem == MULTI else len(rows), NO_LABEL)
    return labels_of(rows, LabelSpace(len(names), tuple(names), problem))


def _refuse_nothing(logits: Mapping[str, Any], labeled: int, quality: str) -> None:
    if quality not in LABEL_QUALITY:
        raise ValueError(f"quality is one of {', '.join(LABEL_QUALITY)}, not {quality!r}.")
    if not logits:
        raise ValueError(
            "a review compares labels with models: give the predictions of one, or rows with soft targets."
        )
    if len(logits) == 1 and not labeled:
        raise ValueError(
            f"no row has a label, and {next(iter(logits))} is one model: nothing can differ; give labels or a second "
            "model."
        )


def _known_by_heart(questions: Sequence[Question], model: int) -> bool:
    right = [(one.probabilities[model].argmax(1) == one.labels)[one.labeled] for one in questions]
    every = np.concatenate(right)
    return len(right[0]) >= ENOUGH_ROWS and bool(every.mean() >= KNOWN_BY_HEART)

"""Which of the texts that a teacher has labeled a student is trained on."""

import math
from collections import Counter

import numpy as np
import pytest
from datasets import Dataset

from hfdistill import keep_unlabeled

LABELED, UNLABELED = 10, 90


@pytest.fixture
def rows():
    """Rows of which the first have a label, and logits of three classes, of which the last is rare."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(LABELED + UNLABELED, 3)) * 2 + np.array([2.0, 0.5, -2.0])
    labels = [0] * LABELED + [-100] * UNLABELED
    return Dataset.from_dict({"number": range(len(labels)), "labels": labels, "teacher_logits": logits.tolist()})


def probabilities(row):
    exponentials = [math.exp(value) for value in row["teacher_logits"]]
    return [value / sum(exponentials) for value in exponentials]


def kept(rows, *given, **more):
    chosen = keep_unlabeled(rows, *given, **more)
    assert chosen["number"] == sorted(chosen["number"])
    assert chosen["number"][:LABELED] == list(range(LABELED))  # a label is never thrown away
    return chosen["number"][LABELED:]


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_the_surest_and_the_least_sure(rows, fraction):
    """Against sorting by the formula, one row after the other."""
    unlabeled = list(rows)[LABELED:]
    count = round(fraction * UNLABELED)
    surest = sorted(unlabeled, key=lambda row: -max(probabilities(row)))[:count]
    unsure = sorted(unlabeled, key=lambda row: sum(p * math.log(p) for p in probabilities(row)))[:count]
    assert kept(rows, fraction, "confidence") == sorted(row["number"] for row in surest)
    assert kept(rows, fraction, "entropy") == sorted(row["number"] for row in unsure)


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.6, 1.0])
def test_classes_are_balanced_as_far_as_they_go(rows, fraction):
    """No class has two rows more than another of which there would have been more."""
    predicted = Counter(int(np.argmax(row["teacher_logits"])) for row in list(rows)[LABELED:])
    numbers = kept(rows, fraction, "balance")
    assert len(numbers) == round(fraction * UNLABELED)
    chosen = Counter(int(np.argmax(rows[number]["teacher_logits"])) for number in numbers)
    assert min(predicted.values()) < max(predicted.values()) / 5  # a canary: the rows are out of balance
    for label, count in chosen.items():
        assert count == predicted[label] or count >= max(chosen.values()) - 1


def test_a_draw_depends_on_the_seed_alone(rows):
    """And every row can be drawn."""
    assert kept(rows, 0.3, seed=1) == kept(rows, 0.3, seed=1) != kept(rows, 0.3, seed=2)
    drawn = {number for seed in range(40) for number in kept(rows, 0.3, seed=seed)}
    assert drawn == set(range(LABELED, LABELED + UNLABELED))


def test_several_teachers_and_several_labels(rows):
    """Of several teachers the mean logits count; of several labels at once the mean over them."""
    logits = np.array(rows["teacher_logits"][:])
    shift = np.random.default_rng(1).normal(size=logits.shape)
    several = np.stack([logits + shift, logits - shift], axis=1).tolist()
    ensemble = rows.remove_columns("teacher_logits").add_column("ensemble_logits", several)
    assert kept(ensemble, 0.3, "entropy") == kept(rows, 0.3, "entropy")
    sure = np.abs(1 / (1 + np.exp(-logits[LABELED:])) - 0.5).mean(1)
    best = np.sort(LABELED + np.argsort(-sure)[:27]).tolist()
    assert kept(rows, 0.3, "confidence", problem_type="multi_label_classification") == best


def test_what_has_no_meaning_is_refused(rows):
    """With the way out."""
    with pytest.raises(ValueError, match="fraction must be in"):
        keep_unlabeled(rows, 0.0)
    with pytest.raises(ValueError, match="by is one of random, confidence, entropy, balance, not 'best'"):
        keep_unlabeled(rows, 0.5, "best")
    with pytest.raises(ValueError, match="multi_label_classification has none: take 'random'"):
        keep_unlabeled(rows, 0.5, "balance", problem_type="multi_label_classification")
    with pytest.raises(ValueError, match="no soft targets: add them first"):
        keep_unlabeled(rows.remove_columns("teacher_logits"), 0.5, "entropy")

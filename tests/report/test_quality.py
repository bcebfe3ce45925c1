"""Statistics against their definitions, written out naively, and on predictions whose result is known beforehand."""

import math

import numpy as np
import pytest
from scipy.stats import binom
from tiny import accuracy

from hfdistill.report import quality
from hfdistill.report.quality import (
    agreement,
    best_temperature,
    bootstrap,
    by_class,
    by_length,
    calibration,
    confusion,
    divergence,
    labeled_rows,
    paired_test,
    row_scores,
)

SINGLE, MULTI, REGRESSION = quality.SINGLE, quality.MULTI, quality.REGRESSION


@pytest.fixture
def random():
    return np.random.default_rng(7)


def sampled_labels(random, logits):
    """Labels drawn from the model's own distribution: such a model is calibrated."""
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return (chances.cumsum(-1) > random.random((len(logits), 1))).argmax(-1)


# ---- How far a student is from its teacher ----


def test_divergence_is_kl_from_the_teacher_row_by_row(random):
    """With the two swapped it is another number that looks as good."""
    student, teacher = random.normal(size=(2, 5, 3)) * 2
    naive = []
    for student_row, teacher_row in zip(student.tolist(), teacher.tolist(), strict=True):
        q = [math.exp(z) / sum(map(math.exp, student_row)) for z in student_row]
        p = [math.exp(z) / sum(map(math.exp, teacher_row)) for z in teacher_row]
        naive.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    np.testing.assert_allclose(divergence(student, teacher, SINGLE), naive, rtol=1e-9)
    assert divergence(teacher, teacher, SINGLE) == pytest.approx(0)


def test_divergence_of_many_labels_is_summed_over_their_bernoullis(random):
    """A softmax over labels that do not exclude one another means nothing."""
    student, teacher = random.normal(size=(2, 4, 3))
    p, q = 1 / (1 + np.exp(-teacher)), 1 / (1 + np.exp(-student))
    naive = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(1)
    np.testing.assert_allclose(divergence(student, teacher, MULTI), naive, rtol=1e-9)
    assert divergence(student[:, :1], teacher[:, :1], REGRESSION) is None


def test_agreement_counts_decisions():
    """An argmax over independent labels would look at one of them only."""
    student_row, teacher_row = (
        np.array([[1.0, 2.0, -1.0], [3.0, 0.0, 1.0]]),
        np.array([[1.0, 5.0, 1.0], [0.0, 1.0, 2.0]]),
    )
    assert agreement(student_row, teacher_row, SINGLE) == 0.5
    assert agreement(student_row, teacher_row, MULTI) == pytest.approx(3 / 6)
    assert agreement(student_row[:, :1], teacher_row[:, :1], None) is None


def test_confusion_has_the_teacher_in_its_rows():
    """Turned round, it says that the teacher errs as the student does."""
    teacher, student = np.eye(3)[[0, 0, 1, 2]], np.eye(3)[[0, 2, 1, 2]]
    assert confusion(student, teacher, None).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert confusion(student, teacher, MULTI) is None


# ---- Doubt ----


def test_the_bootstrap_covers_what_the_normal_approximation_does(random):
    """An interval of the wrong width says more, or less, than 400 rows can tell."""
    labels = np.zeros(400, dtype=int)
    logits = np.eye(2)[(random.random(400) < 0.2).astype(int)]
    share = (logits.argmax(-1) == labels).mean()
    low, high = bootstrap(logits, labels, accuracy)["accuracy"]
    half = 1.96 * math.sqrt(share * (1 - share) / 400)
    assert low == pytest.approx(share - half, abs=0.4 * half) and high == pytest.approx(share + half, abs=0.4 * half)
    assert bootstrap(logits, labels, accuracy) == bootstrap(logits, labels, accuracy)


def test_bootstrap_samples_without_a_value_are_left_out():
    """A correlation of equal labels is NaN: one such draw must not make the interval NaN."""
    values = iter([1.0, math.nan] * quality.BOOTSTRAP_DRAWS)
    assert bootstrap(np.zeros((4, 1)), np.zeros(4), lambda _: {"x": next(values), "never": math.nan}) == {
        "x": (1.0, 1.0)
    }


def test_the_paired_test_of_right_predictions_is_mcnemars():
    """The exact test by hand: the two-sided binomial of the rows that only one of them predicts rightly."""
    student = np.array([1.0] * 9 + [0.0] * 2 + [1.0] * 50)
    baseline = np.array([0.0] * 9 + [1.0] * 2 + [1.0] * 50)
    test = paired_test(student, baseline)
    assert (test.better, test.worse) == (9, 2)
    assert test.p_value == pytest.approx(2 * binom.cdf(2, 11, 0.5))
    assert paired_test(student, student).p_value == 1


def test_other_scores_are_tested_by_turning_signs(random):
    """Six rows all better: two of the 64 assignments of signs are as extreme."""
    better = random.random(6) + 0.5
    assert paired_test(better, np.zeros(6)).p_value == pytest.approx(2 / 64, abs=0.01)
    noise = random.normal(size=200)
    assert paired_test(noise, np.zeros(200)).p_value > 0.05
    assert paired_test(noise + 1, np.zeros(200)).p_value < 0.001


# ---- Calibration ----


def test_a_calibrated_model_has_a_small_error_and_temperature_one(random):
    logits = random.normal(size=(4000, 3)) * 1.5
    labels = sampled_labels(random, logits)
    found = calibration(logits, labels, SINGLE)
    assert found.error < 0.03 and found.temperature == pytest.approx(1, abs=0.08)
    assert sum(found.share) == pytest.approx(1)


def test_temperature_scaling_finds_the_factor_and_mends_the_error(random):
    logits = random.normal(size=(4000, 3)) * 1.5
    labels = sampled_labels(random, logits)
    found = calibration(3 * logits, labels, SINGLE)
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.error > 0.1 > 0.03 > found.scaled_error
    assert best_temperature(3 * logits, labels) == found.temperature


def test_the_calibration_error_by_hand():
    """Two bins: 0.8 sure and half right, and 0.6 sure and always right."""
    sure, unsure = math.log(0.8 / 0.2), math.log(0.6 / 0.4)
    logits = np.array([[sure, 0.0], [sure, 0.0], [unsure, 0.0], [unsure, 0.0]])
    found = calibration(logits, np.array([0, 1, 0, 0]), SINGLE)
    assert found.error == pytest.approx(0.5 * 0.3 + 0.5 * 0.4)
    assert found.confidence == pytest.approx((0.6, 0.8)) and found.accuracy == (1.0, 0.5) and found.share == (0.5, 0.5)
    assert calibration(logits, np.zeros((4, 2)), MULTI) is None


def test_the_scaled_error_does_not_see_its_own_labels(random):
    """A temperature found on the very rows it is judged on flatters: noise has nothing to be learned from."""
    logits, labels = random.normal(size=(300, 2)) * 8, random.integers(2, size=300)
    found = calibration(logits, labels, SINGLE)
    assert found.temperature > 15 and found.scaled_error < 0.1 < found.error


# ---- Parts of the rows ----


def test_slices_by_class_and_by_length():
    """Every row is in one slice of each kind, and its score in no other."""
    scores = {"student": np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0])}
    labels = np.array([0, 0, 0, 2, 2, 2, 2, 2])
    bad, good = by_class(scores, labels, ["bad", "fair", "good"])
    assert (bad.name, bad.rows, bad.scores) == ("bad", 3, {"student": pytest.approx(2 / 3)})
    assert (good.name, good.rows, good.scores) == ("good", 5, {"student": pytest.approx(3 / 5)})
    lengths = np.array([3, 3, 5, 6, 7, 8, 9, 30])
    parts = by_length(scores, lengths)
    assert sum(part.rows for part in parts) == 8 and parts[0].name.startswith("3") and "30" in parts[-1].name
    assert sum(part.rows * part.scores["student"] for part in parts) == pytest.approx(5)
    assert by_length(scores, np.full(8, 4)) == []


def test_row_scores_of_each_kind():
    """Higher is better for every kind, or the paired test praises the worse model."""
    logits = np.array([[2.0, -1.0], [0.5, 1.0]])
    assert row_scores(logits, np.array([0, 0]), SINGLE).tolist() == [1, 0]
    assert row_scores(logits, np.array([[1.0, 1.0], [1.0, 1.0]]), MULTI).tolist() == [0.5, 1]
    assert row_scores(logits[:, :1], np.array([2.0, 1.0]), REGRESSION).tolist() == [0, -0.25]


def test_rows_without_a_label_are_recognized():
    """−100, in any place of many labels, or a number that is none."""
    assert labeled_rows(np.array([0, -100, 2])).tolist() == [True, False, True]
    assert labeled_rows(np.array([[0.0, 1.0], [-100.0, 0.0]])).tolist() == [True, False]
    assert labeled_rows(np.array([0.5, np.nan])).tolist() == [True, False]

"""Confident learning against loops written from the paper, and what must not depend on how classes are numbered."""

import math

import numpy as np
import pytest

from hfdistill.report.label_quality import (
    LABEL_QUALITY,
    class_thresholds,
    confident_classes,
    confident_joint,
    disagreement,
    estimated_joint,
)

CLASSES = 4


def rows(seed=0, count=300, never=None):
    """Probabilities, and labels of which a sixth are missing and a fifth wrong; one class may never be predicted."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, CLASSES))
    if never is not None:
        logits[:, never] -= 50
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([random.choice(CLASSES, p=row) for row in probabilities])
    labels = np.where(random.random(count) < 0.2, random.integers(0, CLASSES, count), labels)
    return probabilities, np.where(random.random(count) < 1 / 6, -100, labels)


def naive_thresholds(probabilities, labels):
    sums = [[p[j] for p, label in zip(probabilities, labels, strict=True) if label == j] for j in range(CLASSES)]
    return [math.fsum(one) / len(one) if one else math.inf for one in sums]


def naive_joint(probabilities, labels):
    thresholds, joint = naive_thresholds(probabilities, labels), np.zeros((CLASSES, CLASSES), int)
    for p, label in zip(probabilities, labels, strict=True):
        above = [j for j in range(CLASSES) if p[j] >= thresholds[j]]
        if label != -100 and above:
            joint[label][max(above, key=lambda j: p[j])] += 1
    return joint


def naive_quality(name, p, label):
    if label == -100:
        return math.nan
    if name == "self_confidence":
        return p[label]
    if name == "normalized_margin":
        return (1 + p[label] - max(value for j, value in enumerate(p) if j != label)) / 2
    entropy = -sum(value * math.log(value) for value in p) / math.log(len(p))
    return math.log(1 + entropy / p[label]) / (entropy / p[label])


@pytest.mark.parametrize("never", [None, 2])
def test_thresholds_and_joint_are_the_papers(never):
    probabilities, labels = rows(never=never)
    np.testing.assert_allclose(class_thresholds(probabilities, labels), naive_thresholds(probabilities, labels))
    joint = confident_joint(probabilities, labels)
    np.testing.assert_array_equal(joint, naive_joint(probabilities, labels))
    assert joint.sum() > joint.trace() > 0


def test_a_class_without_labels_is_reached_by_nothing():
    probabilities, labels = rows()
    labels = np.where(labels == 1, -100, labels)
    assert math.isinf(class_thresholds(probabilities, labels)[1])
    joint = confident_joint(probabilities, labels)
    np.testing.assert_array_equal(joint, naive_joint(probabilities, labels))
    assert not joint[1].any() and not joint[:, 1].any()


def test_the_estimated_joint_keeps_the_shares_of_the_labels():
    """What is counted confidently is a part of the rows; the estimate speaks of all."""
    probabilities, labels = rows()
    joint = confident_joint(probabilities, labels)
    found = estimated_joint(joint, labels)
    shares = np.bincount(labels[labels >= 0], minlength=CLASSES) / (labels >= 0).sum()
    np.testing.assert_allclose(found.sum(1), shares)
    for i in range(CLASSES):
        np.testing.assert_allclose(found[i], joint[i] / joint[i].sum() * shares[i])
    untouched = estimated_joint(np.zeros((CLASSES, CLASSES), int), labels)
    assert untouched.trace() == pytest.approx(1)


def test_planted_errors_are_found_and_counted():
    """A model that knows the truth doubts the planted errors and no other label."""
    truth = np.arange(400) % CLASSES
    probabilities = np.full((400, CLASSES), 0.1 / 3)
    probabilities[np.arange(400), truth] = 0.9
    labels = truth.copy()
    labels[:40] = (labels[:40] + 1) % CLASSES
    confident = confident_classes(probabilities, class_thresholds(probabilities, labels))
    np.testing.assert_array_equal(np.flatnonzero(confident != labels), np.arange(40))
    assert 1 - estimated_joint(confident_joint(probabilities, labels), labels).trace() == pytest.approx(0.1)
    for quality in LABEL_QUALITY.values():
        found = quality(probabilities, labels)
        assert found[:40].max() < found[40:].min()


@pytest.mark.parametrize("name", LABEL_QUALITY)
@pytest.mark.parametrize("never", [None, 2])
def test_the_quality_of_a_label_is_its_formula(name, never):
    probabilities, labels = rows(1, never=never)
    found = LABEL_QUALITY[name](probabilities, labels)
    expected = [naive_quality(name, p, label) for p, label in zip(probabilities.tolist(), labels, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_array_equal(np.isnan(found), labels == -100)
    assert 0 <= np.nanmin(found) <= np.nanmax(found) <= 1


def test_how_classes_are_numbered_does_not_matter():
    probabilities, labels = rows(2)
    order = np.array([2, 0, 3, 1])  # class j is now called where[j]
    where = np.argsort(order)
    renamed = np.where(labels == -100, -100, where[np.maximum(labels, 0)])
    shuffled = probabilities[:, order]
    np.testing.assert_array_equal(
        confident_joint(shuffled, renamed), confident_joint(probabilities, labels)[np.ix_(order, order)]
    )
    for quality in LABEL_QUALITY.values():
        np.testing.assert_allclose(quality(shuffled, renamed), quality(probabilities, labels))


def test_rows_without_any_label():
    probabilities, labels = rows(3)
    none = np.full_like(labels, -100)
    assert confident_joint(probabilities, none).sum() == 0
    assert all(np.isnan(quality(probabilities, none)).all() for quality in LABEL_QUALITY.values())


def test_sure_zeros_are_no_nan():
    certain = np.eye(3)
    assert confidence(certain, np.array([0, 1, 2])).tolist() == pytest.approx([1, 1, 1])
    right, wrong = confidence(certain[1:2], np.array([1])), confidence(certain[:1], np.array([1]))
    assert 0 < wrong[0] < 0.1 < right[0]


def confidence(probabilities, labels):
    return LABEL_QUALITY["confidence_weighted_entropy"](probabilities, labels)


def test_disagreement_is_the_jensen_shannon_divergence():
    models = np.stack([rows(seed)[0] for seed in (4, 5, 6)])

    def entropy(p):
        return -sum(value * math.log(value) for value in p)

    for row, found in enumerate(disagreement(models)):
        mean = models[:, row].mean(0)
        expected = entropy(mean) - sum(entropy(p) for p in models[:, row]) / 3
        assert found == pytest.approx(expected / math.log(3))
    assert disagreement(models[:1]).max() == 0
    opposite = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert disagreement(opposite).tolist() == [1.0]

"""Comparisons by counts: metrics of sums, intervals, agreement and disagreements, against loops over rows."""

import numpy as np
import pytest
from tiny import make_model, make_rows, make_tokenizer
from transformers import DataCollatorWithPadding

from hfdistill.report.counted import MeasuredHead, Outcome, compare_counted

LABELS = np.random.default_rng(0).integers(0, 2, (30, 3))


def f1(sums):
    true, found, wanted = sums
    return {"f1": 2 * true / (found + wanted)}


def outcome(decisions):
    counts = np.stack([(decisions & LABELS).sum(1), decisions.sum(1), LABELS.sum(1)], axis=1)
    return Outcome(counts, decisions.tolist(), [str(row) for row in decisions.tolist()])


@pytest.fixture(scope="module")
def compared():
    rows, tokenizer = make_rows(30).remove_columns("labels"), make_tokenizer()
    models = {
        role: MeasuredHead(make_model(seed), rows, DataCollatorWithPadding(tokenizer))
        for seed, role in enumerate(("teacher", "student", "baseline"))
    }
    random = np.random.default_rng(1)
    noisy = {
        role: LABELS ^ (random.random(LABELS.shape) < share)
        for role, share in zip(models, (0.0, 0.1, 0.4), strict=True)
    }
    texts = [f"text {row}" for row in range(30)]
    outcomes = {role: outcome(decisions) for role, decisions in noisy.items()}
    return models, noisy, compare_counted(models, outcomes, f1, texts=texts, labels=[str(row) for row in LABELS])


def test_metrics_are_of_the_sums_and_within_their_intervals(compared):
    _, noisy, comparison = compared
    for role, decisions in noisy.items():
        true = sum(int(a and b) for a, b in zip(LABELS.flat, decisions.flat, strict=True))
        expected = 2 * true / (LABELS.sum() + decisions.sum())
        figures = comparison.models[role]
        low, high = figures.intervals["f1"]
        assert figures.metrics["f1"] == pytest.approx(expected) and low <= expected <= high
    assert comparison.models["teacher"].intervals["f1"] == (1.0, 1.0)
    assert comparison.main_metric == "f1" and comparison.paired.p_value < 0.01


def test_agreement_and_disagreements_are_by_decision(compared):
    _, noisy, comparison = compared
    differing = (noisy["teacher"] != noisy["student"]).sum(1)
    assert comparison.models["student"].agreement == pytest.approx(1 - differing.sum() / LABELS.size)
    shown = [int(one.text.split()[1]) for one in comparison.disagreements]
    assert sorted(shown) == np.flatnonzero(differing).tolist()
    assert differing[shown].tolist() == sorted(differing[shown], reverse=True)
    assert comparison.disagreements[0].predictions["teacher"] == str(noisy["teacher"][shown[0]].tolist())


def test_equal_models_are_no_different():
    rows, same = make_rows(30), outcome(LABELS)
    models = dict.fromkeys(("teacher", "student", "baseline"), MeasuredHead(make_model(), rows, _pad()))
    comparison = compare_counted(models, dict.fromkeys(models, same), f1)
    assert comparison.paired.p_value == 1.0 and comparison.models["student"].agreement == 1.0
    assert not comparison.disagreements


def test_predictions_are_the_models_own_row_by_row(compared):
    models = compared[0]
    found = list(models["student"].predictions())
    one = models["student"].predict_rows([models["student"].rows[7]])[0]
    assert len(found) == 30 and found[7] == pytest.approx(one, abs=1e-5)
    assert compared[2].models["student"].megaflops > 0


def _pad():
    return DataCollatorWithPadding(make_tokenizer())


def test_a_metric_that_some_resamplings_lack_is_left_out_of_these():
    """As where no drawn row has a label."""
    rows, same = make_rows(30), outcome(LABELS)
    models = dict.fromkeys(("teacher", "student"), MeasuredHead(make_model(), rows, _pad()))
    comparison = compare_counted(
        models, dict.fromkeys(models, same), lambda sums: f1(sums) if sums[2] >= LABELS.sum() else {}
    )
    assert comparison.models["student"].intervals == {"f1": (1.0, 1.0)}

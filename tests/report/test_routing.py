"""Student and teacher together, against a loop over thresholds; and what is told of it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from test_report_tables import figures

from hfdistill import CardFacts, Comparison, choose_threshold, classification_metrics, routing_curve
from hfdistill.report.card import model_card
from hfdistill.report.findings import routing_sentence
from hfdistill.report.results import write_report
from hfdistill.report.routing import RoutedRows, confidences

MULTI = "multi_label_classification"


def models(rows=240, classes=3, seed=0, skill=(1.0, 3.0)):
    """Labels, and logits of a student and of a better teacher."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    right = np.eye(classes)[labels]
    student, teacher = (random.normal(0, 1, (rows, classes)) + one * right for one in skill)
    return student, teacher, labels


def naive(student, teacher, labels, threshold):
    """The share passed on and the accuracy, row by row."""
    passed = hits = 0
    for one, other, label in zip(student, teacher, labels, strict=True):
        chances = [math.exp(value) for value in one]
        unsure = max(chances) / sum(chances) < threshold
        passed += unsure
        hits += int(np.argmax(other if unsure else one) == label)
    return passed / len(labels), hits / len(labels)


def test_each_point_is_what_its_threshold_gives():
    student, teacher, labels = models()
    routing = routing_curve(student, teacher, labels, classification_metrics(["accuracy"]))
    assert routing.metric == "accuracy" and len(routing.curve) == 101
    for point in routing.curve:
        assert (point.share, point.metric) == pytest.approx(naive(student, teacher, labels, point.threshold))
    assert [point.share for point in routing.curve] == pytest.approx(np.linspace(0, 1, 101), abs=0.5 / 240)
    alone = [float((one.argmax(1) == labels).mean()) for one in (student, teacher)]
    assert [routing.curve[0].metric, routing.curve[-1].metric] == alone and alone[1] > alone[0] + 0.2
    assert routing.at(0.5).metric > sum(alone) / 2, "what it is least sure of should be more often wrong"


def test_equal_rows_go_together():
    """A threshold cannot tell rows apart of which the student is equally sure."""
    student = np.array([[1.0, 0.0]] * 6 + [[3.0, 0.0]] * 4)
    teacher, labels = -student, np.array([1] * 6 + [0] * 4)
    curve = routing_curve(student, teacher, labels, classification_metrics(["accuracy"]))
    assert {point.share for point in curve.curve} == {0.0, 0.6, 1.0}
    assert curve.at(0.6).metric == 1.0


def test_the_smallest_share_that_keeps_the_metric_is_chosen():
    student, teacher, labels = models(1000)
    curve = routing_curve(student, teacher, labels, classification_metrics(["accuracy"]))
    for tolerance in (0.0, 0.02, 0.1):
        chosen = choose_threshold(curve, tolerance)
        good = [point.share for point in curve.curve if point.metric >= curve.curve[-1].metric - tolerance - 1e-9]
        assert chosen.share == min(good)
    assert choose_threshold(curve, 0.5).share == 0
    capped = choose_threshold(curve, 0.0, max_share=0.1)
    assert capped.share <= 0.1
    assert capped.metric == max(point.metric for point in curve.curve if point.share <= 0.1)
    with pytest.raises(ValueError, match="max_share a share from 0 to 1; got 0.005 and 20"):
        choose_threshold(curve, max_share=20)


def test_the_threshold_is_chosen_on_other_rows():
    """Chosen on the rows it is measured on, it would flatter itself."""
    metrics = classification_metrics(["accuracy"])
    test, validation = models(seed=1), models(seed=2)
    held_out = routing_curve(*validation, metrics)
    choice = RoutedRows(*test, metrics).curve_with_choice(held_out, 0.01, 1.0).choice
    assert choice.chosen == choose_threshold(held_out, 0.01) and choice.kept
    measured = naive(*test, choice.chosen.threshold)
    assert (choice.measured.share, choice.measured.metric) == pytest.approx(measured)
    assert choice.interval[0] <= choice.measured.metric <= choice.interval[1]


def test_of_many_labels_all_decisions_count():
    logits = np.array([[2.0, -1.0, 0.5], [40.0, -40.0, 0.0]])
    expected = [math.prod(max(p, 1 - p) for p in 1 / (1 + np.exp(-row))) for row in logits]
    assert confidences(logits, MULTI).tolist() == pytest.approx(expected)
    student, teacher, labels = models()
    many = np.eye(3)[labels]
    curve = routing_curve(student - 1, teacher - 1, many, classification_metrics(problem_type=MULTI), MULTI)
    assert curve.curve[-1].metric > curve.curve[0].metric
    with pytest.raises(ValueError, match="cannot tell of which rows it is sure"):
        confidences(np.zeros((3, 1)))


@pytest.mark.parametrize("rows", [1, 3])
def test_tiny_data(rows):
    curve = routing_curve(*models(rows), classification_metrics(["accuracy"]))
    assert len(curve.curve) == rows + 1 and choose_threshold(curve).share <= 1


# ---- What is told of it ----


@pytest.fixture
def routed():
    """`routed(held_out)`: a comparison with the curve, and with a threshold where there are rows to choose it on."""

    def make(held_out=True, tolerance=0.01, **limits):
        metrics, test = classification_metrics(["accuracy"]), RoutedRows(*models(seed=1), classification_metrics())
        curve = routing_curve(*models(seed=2), metrics)
        routing = test.curve_with_choice(curve, tolerance, limits.get("max_share", 1.0)) if held_out else test.curve()
        measured = {"teacher": figures(8.0, megaflops=100.0), "student": figures(2.0, 0.875, megaflops=10.0)}
        return Comparison(measured, 240, routing=routing)

    return make


def test_the_report_has_curve_threshold_and_picture(tmp_path, routed):
    comparison = routed()
    write_report(tmp_path, comparison, {})
    choice = comparison.routing.choice
    results = json.loads((tmp_path / "all_results.json").read_text())
    assert results["routing_threshold"] == choice.chosen.threshold
    assert results["routing_latency_ms"] == pytest.approx(2 + 8 * choice.measured.share)
    assert results["routing_megaflops"] == pytest.approx(10 + 100 * choice.measured.share)
    assert results["routing_accuracy"] == choice.measured.metric
    curve = [results[f"routing_accuracy_at_{share}"] for share in range(0, 101, 10)]
    assert curve == [comparison.routing.at(tenth / 10).metric for tenth in range(11)]
    for name in ("report.md", "report.html"):
        text = (tmp_path / "report" / name).read_text(encoding="utf-8")
        assert "Both together" in text and f"less than {choice.chosen.threshold:.6g} sure" in text.replace("\\", "")
        assert "passed on to the teacher" in text and f"{100 * choice.measured.share:.1f} % of the texts" in text
    assert (tmp_path / "report" / "routing.png").stat().st_size > 0


def test_the_card_has_threshold_and_code(routed):
    """Of several teachers or several labels there is no code, for they are no one pipeline."""
    comparison = replace(routed(), confusion=np.eye(3))
    facts = CardFacts("me/teacher", "texts", comparison, location="me/student")
    text = str(model_card("student", [], {}, facts))
    threshold = comparison.routing.choice.chosen.threshold
    assert "## Use with its teacher" in text and f'answer["score"] >= {threshold:.6g} else teacher' in text
    assert 'model="me/teacher"' in text
    several = str(model_card("student", [], {}, replace(facts, teacher=["me/one", "me/other"])))
    assert "## Use with its teacher" in several and "def classify" not in several
    plain = str(model_card("student", [], {}, replace(facts, comparison=routed(held_out=False))))
    assert "## Use with its teacher" not in plain


def test_without_other_rows_no_threshold_is_chosen(tmp_path, routed):
    write_report(tmp_path, routed(held_out=False), {})
    results = json.loads((tmp_path / "all_results.json").read_text())
    assert "routing_threshold" not in results and "routing_accuracy_at_50" in results
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "No threshold is chosen" in text and "go to the teacher" not in text


def test_what_costs_more_than_the_teacher_alone_is_told(routed):
    """A student that passes on nearly everything is only in the way."""
    comparison, teacher = routed(), 8.0
    for student, told in ((0.1, False), (7.9, True)):
        models = {**comparison.models}
        for role, latency in (("teacher", teacher), ("student", student)):
            models[role] = replace(models[role], latency_ms=latency)
        assert ("slower than the teacher alone" in routing_sentence(replace(comparison, models=models))) == told


def test_a_share_that_is_too_small_is_told(tmp_path, routed):
    write_report(tmp_path, routed(tolerance=0.0, max_share=0.05), {})
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "with at most 5 % of them, more than 0 points below the teacher's" in text

"""`hfdistill.tasks.classification.metrics`: against numbers worked out by hand, and side by side without a network."""

import math
import multiprocessing
import re

import numpy as np
import pytest
from scipy.stats import ConstantInputWarning
from transformers import EvalPrediction

from hfdistill.tasks.classification.metrics import classification_metrics, load_metric


def compute(name, predictions, references):
    return load_metric(name).compute(predictions=predictions, references=references)


def one_hot(classes, num_labels):
    """Logits whose largest is the given class."""
    return 3.0 * np.eye(num_labels)[classes]


@pytest.mark.parametrize(
    ("name", "predictions", "references", "expected"),
    [
        ("accuracy", [0, 1, 2, 2], [0, 1, 1, 2], 3 / 4),
        ("accuracy", [[1, 0], [1, 1]], [[1, 0], [1, 0]], 1 / 2),
        # 2 true positives, 1 false positive, 2 false negatives.
        ("f1", [1, 1, 1, 0, 0], [1, 1, 0, 1, 1], 4 / 7),
        ("f1", [0, 0], [0, 0], 0.0),
        # Class 0: precision 1, recall 1/2; class 1: precision 1/2, recall 1; class 2: both 1.
        ("f1_macro", [0, 1, 1, 2], [0, 0, 1, 2], (2 / 3 + 2 / 3 + 1) / 3),
        ("f1_macro", [0, 0, 0], [0, 0, 1], (4 / 5 + 0) / 2),
        # Over all cells: 2 true positives, 1 false positive, 1 false negative.
        ("f1_micro", [[1, 1], [1, 0]], [[1, 0], [1, 1]], 2 / 3),
        # TP 2, TN 1, FP 1, FN 1: (2·1 − 1·1) / sqrt(3·3·2·2).
        ("matthews_correlation", [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], 1 / 6),
        ("matthews_correlation", [1, 0, 1], [0, 1, 0], -1.0),
        # Deviations (-1, 0, 1) and (-1, 2, -1): their product is 0.
        ("pearson", [1.0, 2.0, 3.0], [0.0, 3.0, 0.0], 0.0),
        # Deviations (-2, -1, 3) and (-1, 0, 1): 5 / sqrt(14 · 2).
        ("pearson", [0.0, 1.0, 5.0], [1.0, 2.0, 3.0], 5 / math.sqrt(28)),
        ("spearmanr", [0.0, 1.0, 5.0], [1.0, 2.0, 3.0], 1.0),
        # 1 − 6 Σd² / (n (n² − 1)) with d = (0, 1, -1, 0).
        ("spearmanr", [1.0, 3.0, 2.0, 9.0], [1.0, 2.0, 3.0, 4.0], 1 - 12 / 60),
    ],
)
def test_against_hand_computed_numbers(name, predictions, references, expected):
    assert compute(name, predictions, references) == {name: pytest.approx(expected)}


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="Unknown metric 'bleu'; the metrics are accuracy, f1, .*spearmanr"):
        load_metric("bleu")
    with pytest.raises(ValueError, match="Unknown metric 'accuracies'"):
        classification_metrics(["accuracies"])
    with pytest.raises(ValueError, match="Unknown problem_type 'ranking'"):
        classification_metrics(problem_type="ranking")


def test_constant_predictions():
    """A collapsed student: Matthews 0, correlations NaN with SciPy's own warning, never an exception."""
    assert compute("matthews_correlation", [1, 1, 1], [0, 1, 1]) == {"matthews_correlation": 0.0}
    for name in ("pearson", "spearmanr"):
        with pytest.warns(ConstantInputWarning):
            assert math.isnan(compute(name, [2.0, 2.0, 2.0], [1.0, 2.0, 3.0])[name])
        assert math.isnan(compute(name, [2.0], [1.0])[name])


def test_f1_refuses_a_third_class_and_rows_of_labels():
    with pytest.raises(ValueError, match="f1 is for the two classes 0 and 1; use f1_macro"):
        compute("f1", [0, 1, 2], [0, 1, 1])
    with pytest.raises(ValueError, match="f1 is for the two classes 0 and 1; use f1_macro"):
        compute("f1", [[0, 1]], [[0, 1]])


def _hold_and_compute(barrier, results, share):
    metric = load_metric("accuracy")
    metric.add_batch(predictions=[0] * 4, references=[0] * share + [1] * (4 - share))
    barrier.wait(timeout=60)  # Both hold an open metric now.
    results.put((share, metric.compute()["accuracy"]))


def test_two_processes_at_once():
    """Catches a shared cache file: the second process would wait for its lock, or read the first's rows."""
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_hold_and_compute, args=(barrier, results, share)) for share in (1, 3)]
    for worker in workers:
        worker.start()
    found = dict(results.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(timeout=60)
    assert found == {1: 0.25, 3: 0.75}


@pytest.mark.parametrize(
    ("problem_type", "logits", "labels", "expected"),
    [
        (
            "single_label_classification",
            one_hot([1, 1, 1, 0, 0], 2),
            [1, 1, 0, 1, 0],
            {"accuracy": 3 / 5, "f1": 2 / 3, "matthews_correlation": 1 / 6},
        ),
        ("single_label_classification", one_hot([0, 1, 1, 2], 3), [0, 0, 1, 2], {"accuracy": 3 / 4, "f1_macro": 7 / 9}),
        (
            "multi_label_classification",
            np.array([[0.1, 5.0], [2.0, -0.1]]),
            [[1.0, 0.0], [1.0, 1.0]],
            {"accuracy": 0.0, "f1_micro": 2 / 3, "f1_macro": 1 / 2},
        ),
        (
            "regression",
            np.array([[0.0], [1.0], [5.0]]),
            [1.0, 2.0, 3.0],
            {"pearson": 5 / math.sqrt(28), "spearmanr": 1.0, "mse": 2.0},
        ),
    ],
)
def test_default_metrics_of_each_problem(problem_type, logits, labels, expected):
    found = classification_metrics(problem_type=problem_type)(EvalPrediction(logits, np.array(labels)))
    assert found == pytest.approx(expected)
    assert list(found) == list(expected)


@pytest.mark.parametrize(
    ("problem_type", "name", "logits", "labels", "expected"),
    [
        ("single_label_classification", "accuracy", one_hot([0, 1, 1, 1], 2), [0, 1, 0, -100], 2 / 3),
        ("single_label_classification", "accuracy", one_hot([[0, 1], [1, 1]], 3), [[0, -100], [1, 2]], 2 / 3),
        ("multi_label_classification", "accuracy", np.ones((3, 2)), [[1, 1], [1, 0], [1, -100]], 1 / 2),
        ("regression", "pearson", np.array([0.0, 1, 5, 7, 7]), [1.0, 2, 3, -100, np.nan], 5 / math.sqrt(28)),
    ],
)
def test_unlabeled_items_are_left_out(problem_type, name, logits, labels, expected):
    found = classification_metrics([name], problem_type)(EvalPrediction(logits, np.array(labels)))
    assert found == {name: pytest.approx(expected)}


def test_all_unlabeled_is_an_error():
    prediction = EvalPrediction(one_hot([0, 1], 2), np.array([-100, -100]))
    with pytest.raises(ValueError, match="none of the 2 evaluation rows has a label"):
        classification_metrics()(prediction)
    with pytest.raises(ValueError, match="the evaluation dataset has no label column"):
        classification_metrics()(EvalPrediction(one_hot([0, 1], 2), None))


def test_logits_come_first_in_a_tuple_of_outputs():
    prediction = EvalPrediction((one_hot([0, 1], 2), np.full((2, 5), np.nan)), np.array([0, 1]))
    assert classification_metrics(["accuracy"])(prediction) == {"accuracy": 1.0}


def test_nan_names_the_row():
    logits = one_hot([0, 1, 0, 1], 2)
    logits[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"row 2 \(counted from 0\) is NaN, as are 1 of 4"):
        classification_metrics()(EvalPrediction(logits, np.array([0, 1, 0, 1])))


@pytest.mark.parametrize(
    ("problem_type", "logits_shape", "labels_shape"),
    [
        ("single_label_classification", (3, 1), (3,)),
        ("single_label_classification", (3, 2), (3, 2)),
        ("multi_label_classification", (3, 2), (3,)),
        ("regression", (3, 2), (3,)),
    ],
)
def test_misfit_of_logits_and_labels(problem_type, logits_shape, labels_shape):
    """Catches the silent ones: one logit whose argmax is always 0, a regression read as classes."""
    message = f"shape {logits_shape} and labels of shape {labels_shape} do not fit {problem_type}"
    with pytest.raises(ValueError, match=re.escape(message)):
        classification_metrics(problem_type=problem_type)(
            EvalPrediction(np.zeros(logits_shape), np.zeros(labels_shape))
        )

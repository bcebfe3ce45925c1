"""How much each teacher is worth, against a search over all weights."""

import math

import pytest
import torch
from datasets import ClassLabel, Dataset

from hfdistill.teachers import Combination, learned_weights


def rows_of(predictions, labels):
    return Dataset.from_dict({"ensemble_logits": predictions.movedim(0, 1).tolist(), "labels": labels})


@pytest.fixture
def opinions():
    """Two teachers of 3 classes: the first knows two thirds of the rows, the second the others."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (60,), generator=generator)
    noise = torch.randn(2, 60, 3, dtype=torch.float64, generator=generator)
    known = torch.stack([torch.arange(60) % 3 > 0, torch.arange(60) % 3 == 0])
    signal = 3.0 * torch.nn.functional.one_hot(labels, 3) * known[..., None]
    return noise + signal, labels.tolist()


def naive_loss(predictions, labels, weight):
    """The mean of -log Σ w_k softmax(t_k)[y], written out."""
    total = 0.0
    for row, label in enumerate(labels):
        shares = [
            math.exp(predictions[k, row, label]) / sum(map(math.exp, predictions[k, row].tolist())) for k in range(2)
        ]
        total -= math.log(weight * shares[0] + (1 - weight) * shares[1])
    return total / len(labels)


def test_no_other_weights_explain_the_labels_better(opinions):
    predictions, labels = opinions
    found = learned_weights(rows_of(predictions, labels))
    grid = [step / 200 for step in range(1, 200)]
    best = min(grid, key=lambda weight: naive_loss(predictions, labels, weight))
    assert sum(found) == pytest.approx(1) and found[0] == pytest.approx(best, abs=0.006)
    assert 0.55 < found[0] < 0.9
    assert naive_loss(predictions, labels, found[0]) <= naive_loss(predictions, labels, best) + 1e-9


def test_rows_without_a_label_count_for_nothing(opinions):
    predictions, labels = opinions
    holes = [label if row % 2 else -100 for row, label in enumerate(labels)]
    assert learned_weights(rows_of(predictions, holes)) == pytest.approx(
        learned_weights(rows_of(predictions[:, 1::2], labels[1::2]))
    )


@pytest.mark.parametrize("method", ["logits", "confidence", "sample"])
def test_each_combination_has_weights_of_its_own(opinions, method):
    predictions, labels = opinions
    plain, other = (
        learned_weights(rows_of(predictions, labels), Combination(how)) for how in ("probabilities", method)
    )
    assert all(weight > 0 for weight in other) and sum(other) == pytest.approx(1)
    assert (other == pytest.approx(plain)) == (method == "sample")  # whose mean is that of the probabilities


def test_of_a_regression_the_squared_error_decides():
    """One teacher is off by 1 and the other by -1: both count the same; one is right: it counts alone."""
    scores = torch.arange(8, dtype=torch.float64)[None, :, None]
    both = torch.cat([scores + 1, scores - 1])
    assert learned_weights(rows_of(both, scores.flatten().tolist()), problem_type="regression") == pytest.approx(
        [0.5, 0.5], abs=1e-4
    )
    right = learned_weights(
        rows_of(torch.cat([scores, scores + 1]), scores.flatten().tolist()), problem_type="regression"
    )
    assert right[0] > 0.95


def test_refusals(opinions):
    predictions, labels = opinions
    with pytest.raises(ValueError, match="of several teachers only"):
        learned_weights(Dataset.from_dict({"teacher_logits": predictions[0].tolist(), "labels": labels}))
    with pytest.raises(ValueError, match="no row has a label"):
        learned_weights(rows_of(predictions, [-100] * 60))


def test_labels_go_by_their_names(opinions):
    """Those of a column in another order were taken for the teachers' by number."""
    predictions, labels = opinions
    rows = rows_of(predictions, labels)
    teachers = rows.add_column("teacher_label", [0] * 60).cast_column("teacher_label", ClassLabel(names=list("abc")))
    other = [["b", "c", "a"].index("abc"[label]) for label in labels]
    named = teachers.remove_columns("labels").add_column("labels", other)
    named = named.cast_column("labels", ClassLabel(names=["b", "c", "a"]))
    assert learned_weights(named) == pytest.approx(learned_weights(rows))
    holes = [label if row % 2 else -1 for row, label in enumerate(other)]
    assert learned_weights(named.remove_columns("labels").add_column("labels", holes)) is not None


def test_what_weights_cannot_be_learned_of_is_refused(opinions):
    predictions, labels = opinions
    with pytest.raises(ValueError, match="the label of row 0 .* 7, is no class"):
        learned_weights(rows_of(predictions, [7, *labels[1:]]))
    broken = predictions.clone()
    broken[1, 5, 0] = math.nan
    with pytest.raises(ValueError, match="the soft targets of row 5 are not finite"):
        learned_weights(rows_of(broken, labels))

"""How several teachers' predictions become one, against formulas written out teacher by teacher in probabilities."""

import math
from collections import Counter

import pytest
import torch

from hfdistill.losses import SoftTargets
from hfdistill.teachers import Combination

MULTI = "multi_label_classification"
WEIGHTS = [1.0, 3.0, 0.5]


@pytest.fixture
def predictions():
    """Three teachers of very different opinions about five rows of four classes."""
    return torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3


def share(weights):
    return [weight / sum(weights) for weight in weights]


def softmax(logits, temperature):
    exps = [math.exp(value / temperature) for value in logits]
    return [value / sum(exps) for value in exps]


def sigmoid(logits, temperature):
    return [1 / (1 + math.exp(-value / temperature)) for value in logits]


def naive_mean(predictions, weights, temperature, distribution=softmax):
    """`Σ w_k p_k` row by row, where `weights[row][k]` sum to 1."""
    rows = []
    for row in range(predictions.shape[1]):
        each = [distribution(predictions[k, row].tolist(), temperature) for k in range(len(predictions))]
        rows.append([sum(w * p[c] for w, p in zip(weights[row], each, strict=True)) for c in range(len(each[0]))])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_probabilities_are_averaged_at_the_given_temperature(predictions, temperature, weights):
    """The log of a mean at temperature 1, softened afterwards, is another distribution."""
    signal = Combination(weights=weights)(predictions)
    mixed = (signal.logits_at(temperature) / temperature).softmax(-1)
    expected = naive_mean(predictions, [share(weights or [1, 1, 1])] * 5, temperature)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(
        signal.logits.softmax(-1), naive_mean(predictions, [share(weights or [1, 1, 1])] * 5, 1.0)
    )
    if temperature != 1:
        assert ((signal.logits / temperature).softmax(-1) - expected).abs().max() > 0.01


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_many_labels_are_averaged_label_by_label(predictions, temperature):
    """A softmax over labels that do not exclude one another mixes them up."""
    signal = Combination(weights=WEIGHTS)(predictions, MULTI)
    expected = naive_mean(predictions, [share(WEIGHTS)] * 5, temperature, sigmoid)
    torch.testing.assert_close((signal.logits_at(temperature) / temperature).sigmoid(), expected)


def test_logits_are_averaged_as_they_are(predictions):
    """The mean of the logits is the same at any temperature."""
    signal = Combination("logits", WEIGHTS)(predictions)
    expected = sum(w * prediction for w, prediction in zip(share(WEIGHTS), predictions, strict=True))
    torch.testing.assert_close(signal.logits, expected)
    torch.testing.assert_close(signal.logits_at(5.0), expected)


def test_teachers_are_weighted_by_confidence(predictions):
    """Weights are of each row, at temperature 1 whatever the soft targets are, and start from the given ones."""
    weights = []
    for row in range(5):
        each = [softmax(predictions[k, row].tolist(), 1.0) for k in range(3)]
        doubt = [-sum(p * math.log(p) for p in one) for one in each]
        weights.append(share([w * math.exp(-h) for w, h in zip(WEIGHTS, doubt, strict=True)]))
    signal = Combination("confidence", WEIGHTS)(predictions)
    torch.testing.assert_close((signal.logits_at(4.0) / 4).softmax(-1), naive_mean(predictions, weights, 4.0))
    sure, torn = torch.tensor([[30.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    both = Combination("confidence")(torch.stack([sure, torn])).logits.softmax(-1)
    torch.testing.assert_close(both, torch.tensor([[2 / 3 + 1 / 6, 1 / 6]]))  # half as much as one that is sure


def test_doubt_is_of_each_label_where_there_are_many(predictions):
    """One uncertain label must not cost a teacher its weight for the others."""
    p = predictions.sigmoid()
    doubt = -(p * p.log() + (1 - p) * (1 - p).log())
    weights = (-doubt).exp() / (-doubt).exp().sum(0)
    signal = Combination("confidence")(predictions, MULTI)
    torch.testing.assert_close((signal.logits_at(2.0) / 2).sigmoid(), (weights * (predictions / 2).sigmoid()).sum(0))


def test_scores_are_averaged(predictions):
    """A regression has no distribution: a softmax over one output is always 1."""
    for problem_type, scores in [(None, predictions[..., :1]), ("regression", predictions)]:
        torch.testing.assert_close(
            Combination(weights=WEIGHTS)(scores, problem_type).logits,
            sum(w * one for w, one in zip(share(WEIGHTS), scores, strict=True)),
        )
    with pytest.raises(ValueError, match="'confidence' weighs teachers by their entropy"):
        Combination("confidence")(predictions, "regression")


def test_one_teacher_is_drawn_for_each_step(predictions):
    """Sampled anew by rank or micro-batch, a step would have several teachers; from a state, a resumed run others."""
    combination = Combination("sample", [1.0, 3.0, 1.0], seed=7)
    drawn = [combination(predictions, step=step).logits for step in range(400)]
    again = [Combination("sample", [1.0, 3.0, 1.0], seed=7).drawn(step, 3) for step in range(400)]
    assert all(torch.equal(logits, predictions[k]) for logits, k in zip(drawn, again, strict=True))
    counts = Counter(again)
    assert 200 < counts[1] < 280 and counts[0] > 50 and counts[2] > 50
    assert again != [Combination("sample", [1.0, 3.0, 1.0], seed=8).drawn(step, 3) for step in range(400)]
    outside = combination(predictions).logits  # at evaluation all are heard
    torch.testing.assert_close(outside, Combination(weights=[1.0, 3.0, 1.0])(predictions).logits)


@pytest.mark.parametrize("method", ["probabilities", "logits", "confidence", "sample"])
def test_equal_teachers_are_one_teacher(predictions, method):
    """Also for squared errors on logits, that see a shift which no softmax sees."""
    same = predictions[:1].expand(3, -1, -1)
    for step in (None, 3):
        signal = Combination(method, WEIGHTS)(same, step=step)
        torch.testing.assert_close(signal.logits, predictions[0])
        torch.testing.assert_close(signal.logits_at(4.0), predictions[0])


def test_extreme_and_half_precision_logits_stay_finite():
    """A probability of 0 has no logarithm; the mean of half-precision predictions is taken in float32."""
    predictions = torch.tensor([[[80.0, -80.0, 0.0]], [[-80.0, 80.0, 0.0]]])
    for dtype in (torch.float32, torch.bfloat16):
        signal = Combination()(predictions.to(dtype))
        assert signal.logits.dtype == torch.float32 and signal.logits.isfinite().all()
        torch.testing.assert_close(signal.logits.softmax(-1), torch.tensor([[0.5, 0.5, 0.0]]))


@pytest.mark.parametrize("divergence", ["forward_kl", "ce", "tv"])
def test_the_loss_takes_the_mean_at_its_own_temperature(predictions, divergence):
    class Student:
        logits = torch.randn(5, 4, dtype=torch.float64)

    mean = naive_mean(predictions, [share(WEIGHTS)] * 5, 3.0)
    q = (Student.logits / 3).softmax(-1)
    naive = {
        "forward_kl": (mean * (mean / q).log()).sum(-1),
        "ce": -(mean * q.log()).sum(-1),
        "tv": 0.5 * (mean - q).abs().sum(-1),
    }
    term = SoftTargets(temperature=3.0, divergence=divergence)
    loss = term(Student, Combination(weights=WEIGHTS)(predictions), {})
    torch.testing.assert_close(loss, 9 * naive[divergence])


def test_what_cannot_be_combined_is_refused(predictions):
    """Weights in another number would be broadcast, or cut, in silence."""
    with pytest.raises(ValueError, match="must be one of probabilities, logits, confidence, sample"):
        Combination("mean")
    for weights in ([1.0, 0.0], [1.0, -1.0], [float("nan"), 1.0]):
        with pytest.raises(ValueError, match="teacher_weights must be finite numbers above 0"):
            Combination(weights=weights)
    with pytest.raises(ValueError, match="teacher_weights has 2 entries and there are 3 teachers"):
        Combination(weights=[1.0, 2.0])(predictions)

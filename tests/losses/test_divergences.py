"""`hfdistill.losses.divergences`: against the definitions, written out in probabilities, one class after the other."""

import math

import pytest
import torch

from hfdistill.losses import DIVERGENCES
from hfdistill.losses.divergences import forward_kl, jensen_shannon, total_variation

TEMPERATURES = [0.5, 1.0, 4.0, 20.0]


def probabilities(logits, temperature):
    powers = [math.exp(logit / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def naive_js(p, q, beta):
    middle = [beta * a + (1 - beta) * b for a, b in zip(p, q, strict=True)]
    return beta * kl(p, middle) + (1 - beta) * kl(q, middle)


ON_PROBABILITIES = {
    "forward_kl": kl,
    "reverse_kl": lambda p, q: kl(q, p),
    "js": lambda p, q: naive_js(p, q, 0.5),
    "ce": lambda p, q: -sum(a * math.log(b) for a, b in zip(p, q, strict=True)),
    "tv": lambda p, q: sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2,
}


def naive(name, student_row, teacher_row, temperature):
    if name == "mse":
        return sum((s - t) ** 2 for s, t in zip(student_row, teacher_row, strict=True)) / len(student_row)
    p, q = probabilities(teacher_row, temperature), probabilities(student_row, temperature)
    return temperature**2 * ON_PROBABILITIES[name](p, q)


def logit_pair(*shape, dtype=torch.float64, spread=3.0):
    generator = torch.Generator().manual_seed(len(shape) + shape[-1])
    student, teacher = (spread * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.to(dtype), teacher.to(dtype)


def gradient(divergence, student, teacher, temperature):
    student = student.clone().requires_grad_()
    return torch.autograd.grad(divergence(student, teacher, temperature).sum(), student)[0]


@pytest.mark.parametrize("classes", [2, 3, 77])
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("name", DIVERGENCES)
def test_is_its_definition(name, temperature, classes):
    """A swapped direction, a lost T², a mean over classes: each still trains, on something else."""
    student, teacher = logit_pair(5, classes)
    expected = [naive(name, s, t, temperature) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    losses = DIVERGENCES[name](student, teacher, temperature)
    assert losses.dtype == torch.float64
    assert losses.tolist() == pytest.approx(expected, rel=1e-9)
    in_float32 = DIVERGENCES[name](student.float(), teacher.float(), temperature)
    assert in_float32.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6 * temperature**2)


@pytest.mark.parametrize("beta", [0.1, 0.75])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_js_weighs_the_right_side(temperature, beta):
    """At beta = 0.5 swapped weights would not show."""
    student, teacher = logit_pair(4, 3)
    pairs = zip(student.tolist(), teacher.tolist(), strict=True)
    expected = [
        temperature**2 * naive_js(probabilities(t, temperature), probabilities(s, temperature), beta) for s, t in pairs
    ]
    assert jensen_shannon(student, teacher, temperature, beta).tolist() == pytest.approx(expected, rel=1e-9)
    swapped = jensen_shannon(teacher, student, temperature, 1 - beta)
    assert swapped.tolist() == pytest.approx(expected, rel=1e-9)


def test_js_tends_to_the_two_kls():
    student, teacher = logit_pair(4, 3, spread=1.0)
    towards_forward = jensen_shannon(student, teacher, 2.0, beta=1e-5) / 1e-5
    towards_reverse = jensen_shannon(student, teacher, 2.0, beta=1 - 1e-5) / 1e-5
    torch.testing.assert_close(towards_forward, DIVERGENCES["forward_kl"](student, teacher, 2.0), rtol=1e-3, atol=0)
    torch.testing.assert_close(towards_reverse, DIVERGENCES["reverse_kl"](student, teacher, 2.0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.5, math.nan])
def test_js_refuses_the_ends(beta):
    """At either end it is 0 for every student: nothing would be learned, and the loss would look perfect."""
    with pytest.raises(ValueError, match="beta must lie strictly between 0 and 1"):
        jensen_shannon(*logit_pair(2, 3), 1.0, beta)


@pytest.mark.parametrize("temperature", [0.0, -2.0, math.inf, math.nan])
@pytest.mark.parametrize("name", [name for name in DIVERGENCES if name != "mse"])
def test_refuses_a_temperature_that_is_none(name, temperature):
    """A negative temperature turns the teacher's prediction upside down; 0 and infinity give NaN."""
    with pytest.raises(ValueError, match="temperature must be a finite number greater than 0"):
        DIVERGENCES[name](*logit_pair(2, 3), temperature)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("name", DIVERGENCES)
def test_float32_is_precise_enough_to_learn_from(name, temperature):
    """At high T the distributions nearly agree, and a difference of rounded numbers could drown the gradient."""
    student, teacher = logit_pair(8, 77)
    exact = gradient(DIVERGENCES[name], student, teacher, temperature)
    rounded = gradient(DIVERGENCES[name], student.float(), teacher.float(), temperature)
    assert (rounded - exact).norm() < 1e-4 * exact.norm()


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("name", DIVERGENCES)
def test_zero_at_equality_and_never_negative(name, temperature):
    """A "divergence" that is not 0 at the teacher's prediction pulls a perfect student away from it."""
    student, teacher = logit_pair(200, 5, dtype=torch.float32)
    at_equality = gradient(DIVERGENCES[name], teacher, teacher, temperature)
    torch.testing.assert_close(at_equality, torch.zeros_like(teacher), rtol=0, atol=1e-6 * temperature)
    noise = 1e-6 * temperature**2
    if name != "ce":
        assert DIVERGENCES[name](teacher, teacher, temperature).abs().max() < noise
    for other in (student, teacher + 1e-3 * student):
        assert DIVERGENCES[name](other, teacher, temperature).min() > -noise


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("name", DIVERGENCES)
def test_extreme_logits_stay_finite(name, temperature):
    """`0 · log 0` is NaN, in the value or only in the gradient, and one NaN ends a run."""
    rows = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [1e4, 1e4, -1e4], [0.0, 0.0, 0.0]])
    for teacher in (rows, rows.flip(0), rows.flip(-1)):
        assert DIVERGENCES[name](rows, teacher, temperature).isfinite().all()
        assert gradient(DIVERGENCES[name], rows, teacher, temperature).isfinite().all()


def test_values_at_extreme_logits():
    """Clamped probabilities would be finite too, and wrong."""
    student, teacher = torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]])
    assert forward_kl(student, teacher, 2.0).item() == pytest.approx(4 * 1e4)
    assert total_variation(student, teacher, 2.0).item() == pytest.approx(4)
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert jensen_shannon(student, teacher, 2.0, beta=0.25).item() == pytest.approx(4 * entropy)


@pytest.mark.parametrize("student_dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("teacher_dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", DIVERGENCES)
def test_half_precision_is_computed_in_float32(name, student_dtype, teacher_dtype):
    """In half precision a square overflows at 256, and a softmax has 3 digits."""
    student, teacher = logit_pair(4, 77, spread=300.0)
    student, teacher = student.to(student_dtype), teacher.to(teacher_dtype)
    losses = DIVERGENCES[name](student, teacher, 4.0)
    assert losses.dtype == torch.float32
    assert losses.isfinite().all()
    assert torch.equal(losses, DIVERGENCES[name](student.float(), teacher.float(), 4.0))
    assert gradient(DIVERGENCES[name], student, teacher, 4.0).isfinite().all()


@pytest.mark.parametrize("name", DIVERGENCES)
def test_any_leading_shape(name):
    """One value for each distribution, whether of a row or of a token in a row."""
    student, teacher = logit_pair(2, 3, 5)
    losses = DIVERGENCES[name](student, teacher, 2.0)
    assert losses.shape == (2, 3)
    for index in range(2):
        torch.testing.assert_close(losses[index], DIVERGENCES[name](student[index], teacher[index], 2.0))
    one = DIVERGENCES[name](student[0, 0], teacher[0, 0], 2.0)
    torch.testing.assert_close(losses[0, 0], one)

"""A part of a distribution: its losses against formulas written out, its bias or the lack of it, its size."""

import math

import numpy as np
import pytest
import torch
from tiny_seq2seq import compute_few_at_once

from hfdistill import Objective, TeacherSignal
from hfdistill.losses import DIVERGENCES, DecoupledSoftTargets, SoftTargets
from hfdistill.losses.schedules import Schedule
from hfdistill.losses.sparse_distributions import METHODS, SparseDistribution
from hfdistill.models.deferred_logits import Projection
from hfdistill.soft_targets.packing import TargetFormat, pack_entries, pack_row, unpack_row
from hfdistill.soft_targets.packing import _side_by_side as side_by_side
from hfdistill.training.chunked_loss import Logits, chunked_loss

TOKENS, CLASSES, T = 7, 23, 1.5


def drawn(*shape, seed=0, spread=2.0):
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kept(teacher, method, k, temperature=T, seed=0):
    """What a batch would hold of one row, through the bytes of a dataset's column."""
    classes = teacher.shape[-1]
    offsets = torch.rand(len(teacher), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    entries = METHODS[method].keep((teacher / temperature).log_softmax(-1), k, offsets)
    made = TargetFormat(method, k, temperature, classes, b"12345678")
    row = pack_row(made, list(range(len(teacher))), pack_entries(made, entries))
    made, entries, _ = unpack_row(row)
    fields = side_by_side(made, [entries], np.ones((1, len(teacher)), bool))
    tensors = {name: torch.from_numpy(field)[0].double() for name, field in fields.items()}
    tensors["ids"] = tensors["ids"].long()
    return SparseDistribution.of_batch({**tensors, "temperature": torch.tensor([temperature])}), len(row)


def value_and_gradient(student, signal, divergence="forward_kl"):
    student = student.clone().requires_grad_(True)
    losses = SoftTargets(T, divergence)(Logits(student), signal, {})
    losses.sum().backward()
    return losses.detach(), student.grad


def naive_top_k(student, teacher, k):
    """Token by token: the k likeliest and all others as one outcome."""
    losses, gradients = [], []
    for s, t in zip(student, teacher, strict=True):
        p, q = (t / T).softmax(0), (s / T).softmax(0)
        best = set(p.argsort(descending=True)[:k].tolist())
        p_rest = sum(float(p[i]) for i in range(CLASSES) if i not in best)
        q_rest = sum(float(q[i]) for i in range(CLASSES) if i not in best)
        loss = sum(float(p[i] * (p[i] / q[i]).log()) for i in best)
        losses.append(T**2 * (loss + (p_rest * math.log(p_rest / q_rest) if p_rest > 0 else 0)))
        share = p_rest / q_rest if q_rest else 0
        gradients.append([T * float(q[i] - (p[i] if i in best else q[i] * share)) for i in range(CLASSES)])
    return torch.tensor(losses, dtype=torch.float64), torch.tensor(gradients, dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 4, CLASSES - 1, CLASSES])
def test_top_k_is_the_divergence_between_k_tokens_and_a_bucket(k):
    """Left out or renormalized, the bucket would teach that all other tokens are impossible."""
    student, teacher = drawn(TOKENS, CLASSES, seed=1), drawn(TOKENS, CLASSES, seed=2)
    part, _ = kept(teacher, "top_k", k)
    losses, found = value_and_gradient(student, TeacherSignal(sparse=part))
    expected, gradient = naive_top_k(student, teacher, k)
    torch.testing.assert_close(losses, expected, rtol=2e-3, atol=2e-3)  # of float16
    torch.testing.assert_close(found, gradient, rtol=2e-3, atol=2e-3)
    whole, _ = value_and_gradient(student, TeacherSignal(logits=teacher))
    assert (losses <= whole + 2e-3).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("divergence", ["forward_kl", "ce"])
def test_a_student_like_its_teacher_has_nothing_to_learn(method, divergence):
    """The gradient is 0 at the teacher, exactly or on average: otherwise it would be led away from it."""
    teacher = drawn(TOKENS, CLASSES)
    parts = [kept(teacher, method, 6, seed=seed)[0] for seed in range(200 if method == "sampled" else 1)]
    gradients = [value_and_gradient(teacher, TeacherSignal(sparse=part), divergence)[1] for part in parts]
    assert torch.stack(gradients).mean(0).abs().max() < 0.03


@pytest.mark.parametrize("divergence", ["forward_kl", "ce"])
def test_sampled_is_unbiased(divergence):
    """Over many draws loss and gradient are those of the whole distribution; those of top_k stay where they are."""
    student, teacher = drawn(TOKENS, CLASSES, seed=1), drawn(TOKENS, CLASSES, seed=2)
    dense = value_and_gradient(student, TeacherSignal(logits=teacher), divergence)
    runs = 2000
    part, _ = kept(teacher.repeat(runs, 1), "sampled", 3)
    sampled = value_and_gradient(student.repeat(runs, 1), TeacherSignal(sparse=part), divergence)
    for found, expected in zip(sampled, dense, strict=True):
        found = found.view(runs, *expected.shape)
        error, scatter = found.mean(0) - expected, found.std(0) / runs**0.5
        assert (error.abs() < 5 * scatter + 2e-3).all()
        assert found.std(0).max() > 0.1, "a canary: single draws scatter"
    biased = value_and_gradient(student, TeacherSignal(sparse=kept(teacher, "top_k", 3)[0]), divergence)
    assert max((ours - whole).abs().max() for ours, whole in zip(biased, dense, strict=True)) > 0.1


def test_each_count_is_off_by_less_than_one_sample():
    """Steps through the cumulated probabilities: independent draws would be off by several."""
    teacher = drawn(TOKENS, CLASSES)
    p = (teacher / T).softmax(-1)
    for seed in range(20):
        part, _ = kept(teacher, "sampled", 50, seed=seed)
        counts = torch.zeros_like(p).scatter_add(-1, part.ids, (50 * part.probabilities).round())
        assert (counts.sum(-1) == 50).all() and ((counts - 50 * p).abs() < 1 + 1e-6).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("classes", [2, 255, 8000, 58101, 256206])
def test_any_vocabulary_is_read_back(method, classes):
    """An id that takes one bit more than it is given would be another token."""
    teacher = drawn(5, classes, spread=6.0)
    teacher[:, -1] = teacher.max() + 1  # the highest id
    k = min(50, classes)
    part, _ = kept(teacher, method, k)
    p = (teacher / T).softmax(-1)
    assert (part.ids.max(-1).values == classes - 1).all() and part.ids.max() < classes
    tolerance = {"top_k": 2e-3, "sampled": 1 / k}[method]
    there = part.probabilities > 0
    torch.testing.assert_close(part.probabilities[there], p.gather(-1, part.ids)[there], rtol=0, atol=tolerance)


@pytest.mark.parametrize("classes", [8000, 58101])
def test_fifty_samples_take_at_most_120_bytes(classes):
    """Even where every draw is another token; a teacher that knows what it says takes a fraction."""
    _, flat = kept(torch.zeros(40, classes), "sampled", 50)
    _, sure = kept(drawn(40, classes, spread=4.0), "sampled", 50)
    assert sure < flat and flat / 40 <= 120
    # Fifty of the likeliest take as many bits for their names, and their probabilities beside them.
    assert kept(torch.zeros(40, classes), "top_k", 50)[1] / 40 <= 4 + 50 * (2 + math.ceil(math.log2(classes)) / 8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at_once", [(1, 1), (5, 2), (10**7, 3), (10**7, 10**7)])
def test_chunks_of_a_batch_add_up_to_the_batch(monkeypatch, method, at_once):
    """Computed in chunks of tokens, each token must meet its own teacher's prediction."""
    compute_few_at_once(monkeypatch, *at_once, CLASSES)
    student = Projection(drawn(TOKENS, 5, seed=1), drawn(CLASSES, 5, seed=2))
    part, _ = kept(drawn(TOKENS, CLASSES, seed=3), method, 6)
    objective, counts = Objective({"soft_targets": (0.7, SoftTargets(T))}), torch.tensor([11])
    labels = torch.zeros(TOKENS).long()
    results = []
    for chunked in (True, False):
        student.hidden.requires_grad_(True).grad = None
        student.weight.requires_grad_(True).grad = None
        if chunked:
            loss = chunked_loss(objective, student, part, labels, counts)
        else:
            loss = objective(Logits(student.logits()), TeacherSignal(sparse=part), {"labels": labels}, counts)
        loss.total.backward()
        results.append((loss.total.detach(), student.hidden.grad, student.weight.grad))
    for ours, whole in zip(*results, strict=True):
        assert whole.abs().max() > 1e-3
        torch.testing.assert_close(ours, whole)


# ---- Refusals ----


@pytest.mark.parametrize("divergence", sorted(DIVERGENCES.keys() - {"forward_kl", "ce"}))
def test_a_divergence_that_needs_all_is_refused(divergence):
    """The reverse KL of a part would be infinite, and squared errors of a part are of other logits."""
    signal = TeacherSignal(sparse=kept(drawn(TOKENS, CLASSES), "top_k", 5)[0])
    with pytest.raises(ValueError, match="forward_kl and ce alone: take one of these"):
        SoftTargets(T, divergence)(Logits(drawn(TOKENS, CLASSES)), signal, {})


def test_decoupled_soft_targets_are_refused():
    signal = TeacherSignal(sparse=kept(drawn(TOKENS, CLASSES), "top_k", 5)[0])
    batch = {"labels": torch.zeros(TOKENS).long()}
    with pytest.raises(ValueError, match="forward_kl and ce alone"):
        DecoupledSoftTargets(T)(Logits(drawn(TOKENS, CLASSES)), signal, batch)


@pytest.mark.parametrize("temperature", [1.0, 2 * T, Schedule(T, 1.0, "linear")])
def test_another_temperature_is_refused(temperature):
    """A part of softmax(t / 1.5) is none of softmax(t): the loss would look as good as the right one."""
    signal = TeacherSignal(sparse=kept(drawn(TOKENS, CLASSES), "top_k", 5)[0])
    with pytest.raises(ValueError, match=r"are of temperature 1\.5 and say nothing of another"):
        SoftTargets(temperature)(Logits(drawn(TOKENS, CLASSES)), signal, {})
    with pytest.raises(ValueError, match="standardize_logits"):
        SoftTargets(T, standardize_logits=True)(Logits(drawn(TOKENS, CLASSES)), signal, {})

"""Liger Kernel's loss over target tokens is ours, and is taken only where it is."""

import pytest
import torch
from test_chunked_loss import CLASSES, TOKENS, gradients, learned, problem
from tiny import assert_logs_alike, distance, weights
from tiny_seq2seq import ON_LAYERS, make_pairs, make_seq2seq, make_seq2seq_args, make_seq2seq_trainer
from transformers.utils import is_liger_kernel_available

from hfdistill import Objective, Seq2SeqDistillationTrainer
from hfdistill.losses import DecoupledSoftTargets, Labels, SoftTargets
from hfdistill.losses.schedules import Schedule
from hfdistill.models import deferred_logits
from hfdistill.training import deferring
from hfdistill.training.chunked_loss import chunked_loss
from hfdistill.training.liger import loss_by_liger, unknown_to_liger

with_liger = pytest.mark.skipif(not is_liger_kernel_available(), reason="needs Liger Kernel")


def usual(soft_targets=None, labels=None):
    return Objective({"labels": (0.3, labels or Labels()), "soft_targets": (0.7, soft_targets or SoftTargets(3.0))})


OBJECTIVES = {
    "forward_kl": usual(),
    "reverse_kl": usual(SoftTargets(1.7, "reverse_kl")),
    "js": usual(SoftTargets(2.0, "js", beta=0.2)),
    "no labels": Objective({"soft_targets": (1.0, SoftTargets(2.0))}),
}


@with_liger
@pytest.mark.slow
@pytest.mark.parametrize("tokens", [TOKENS, 0])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_liger_gives_our_value_and_gradient(objective, tokens, monkeypatch):
    """In several parts, of a step with more tokens than these; T², beta's direction and the mean are Liger's own."""
    monkeypatch.setattr(deferred_logits, "CHUNK_LOGITS", 5 * CLASSES)
    counts = torch.tensor([31] * len(objective.terms))
    found = []
    for way in (loss_by_liger, chunked_loss):
        student, teacher, labels = problem(torch.float32, tokens=tokens)
        learned(student)
        assert not unknown_to_liger(objective, student, teacher)
        loss = way(objective, student, teacher, labels, counts)
        (2.5 * loss.total).backward()
        found.append((loss.total.detach(), loss.terms, gradients(student)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)
    assert (found[0][0] > 0) == (tokens > 0)


@pytest.mark.parametrize(
    "objective, unknown",
    [
        (Objective({"labels": (1.0, Labels())}), "labels alone"),
        (Objective({"decoupled": (1.0, DecoupledSoftTargets())}), "other terms"),
        (Objective({"labels": (0.5, Labels()), "soft_targets": (0.5, DecoupledSoftTargets())}), "other terms"),
        (usual(SoftTargets(2.0, "tv")), "'tv'"),
        (usual(SoftTargets(2.0, "ce")), "'ce'"),
        (usual(SoftTargets(standardize_logits=True)), "standardize_logits"),
        (usual(labels=Labels(label_smoothing=0.1)), "label smoothing"),
        (usual(SoftTargets(Schedule(4.0, 1.0))), "schedules"),
        (Objective({"soft_targets": (Schedule(1.0, 0.5), SoftTargets())}), "schedules"),
    ],
)
def test_what_liger_does_not_know_is_left_to_us(objective, unknown):
    """Each of these would silently be another loss: without its smoothing, by another divergence, without a term."""
    student, teacher, _ = problem(torch.float32)
    assert unknown in unknown_to_liger(objective, student, teacher if objective.needs_teacher else None)


def test_half_precision_is_left_to_us():
    """Liger would sum a softmax over a large vocabulary in bfloat16."""
    student, teacher, _ = problem(torch.float32)
    assert not unknown_to_liger(usual(), student, teacher)
    assert "half precision" in unknown_to_liger(usual(), *problem(torch.bfloat16)[:2])
    assert "half precision" in unknown_to_liger(usual(), student, problem(torch.bfloat16)[1])
    with torch.autocast("cpu", torch.bfloat16):
        assert "half precision" in unknown_to_liger(usual(), student, teacher)


def teach(out, **changes):
    student, teacher = make_seq2seq(seed=1), make_seq2seq(seed=2)
    before = weights(student)
    trainer = make_seq2seq_trainer(out, student, make_pairs(8), teacher=teacher, max_steps=3, **changes)
    trainer.train()
    assert distance(before, weights(student)) > 0.003
    return trainer


@pytest.fixture
def liger_calls(monkeypatch):
    """How many parts of the training Liger's loss was asked for."""
    calls = []
    own = deferring.loss_by_liger
    monkeypatch.setattr(deferring, "loss_by_liger", lambda *args: calls.append(args) or own(*args))
    return calls


@with_liger
@pytest.mark.slow
@pytest.mark.parametrize("terms", [{}, ON_LAYERS], ids=["logits", "layers beside"])
def test_liger_trains_the_student_that_we_train(tmp_path, liger_calls, terms):
    """Steps, logs and gradients of the trainer, with terms on layers computed beside."""
    by_liger, ours = (teach(tmp_path, use_liger_kernel=yes, **terms) for yes in (True, False))
    assert len(liger_calls) == 3
    assert distance(weights(by_liger.model), weights(ours.model)) < 2e-6
    assert_logs_alike(by_liger, ours, "loss", "label_loss", "soft_target_loss", "grad_norm")


@with_liger
@pytest.mark.parametrize("changes", [{"divergence": "tv"}, {"alpha": 0.0}, {"bf16": True}])
def test_a_loss_that_is_not_ligers_is_warned_of(tmp_path, liger_calls, monkeypatch, changes):
    """An option that does nothing must not be silent."""
    warnings = []
    monkeypatch.setattr(deferring.logger, "warning_once", warnings.append)
    teach(tmp_path, use_liger_kernel=True, **changes)
    assert not liger_calls and any("Liger Kernel's loss is not used" in text for text in warnings)


@pytest.mark.skipif(is_liger_kernel_available(), reason="Liger Kernel is installed")
def test_liger_that_is_not_installed_is_named(tmp_path):
    with pytest.raises(ImportError, match=r"\[liger\]"):
        Seq2SeqDistillationTrainer(make_seq2seq(), make_seq2seq_args(tmp_path, use_liger_kernel=True))

"""A loss computed in chunks of tokens is the loss on all logits, in value and gradient."""

import pytest
import torch
from tiny_seq2seq import FAMILIES, compute_few_at_once, make_seq2seq

import hfdistill.models.deferred_logits as deferred_logits_module
import hfdistill.training.chunked_loss as chunked_loss_module
from hfdistill import Objective, TeacherSignal
from hfdistill.losses import DIVERGENCES, DecoupledSoftTargets, Labels, SoftTargets
from hfdistill.models.deferred_logits import Projection, deferred_logits, projects_alone
from hfdistill.training import fused_loss
from hfdistill.training.chunked_loss import Logits, chunked_loss

TOKENS, CLASSES = 23, 37


def problem(dtype=torch.float64, seed=0, tokens=TOKENS):
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    student = Projection(drawn(tokens, 7), drawn(CLASSES, 7), drawn(CLASSES))
    teacher = Projection(drawn(tokens, 11), drawn(CLASSES, 11), drawn(CLASSES))
    labels = torch.randint(CLASSES, (tokens,), generator=generator)
    return student, teacher, labels


def learned(student):
    for tensor in (student.hidden, student.weight, student.bias):
        tensor.requires_grad_(True)
    return student


def gradients(student):
    return [tensor.grad for tensor in (student.hidden, student.weight, student.bias)]


def whole(objective, student, teacher, labels, counts):
    signal = TeacherSignal(logits=teacher.logits())
    return objective(Logits(student.logits()), signal, {"labels": labels}, counts)


@pytest.mark.parametrize("at_once", [(0.1, 9), (1, 1), (5, 2), (7.9, 3), (7, 7), (10**7, 4), (10**7, 10**7)])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_value_and_gradient_at_odd_sizes(monkeypatch, divergence, at_once):
    """23 tokens by 1, 5, 7 and all: a last part that is left out, or counted for a whole one, shows."""
    compute_few_at_once(monkeypatch, *at_once, CLASSES)
    terms = {"labels": (0.3, Labels(label_smoothing=0.1)), "soft_targets": (0.7, SoftTargets(3.0, divergence))}
    terms["decoupled"] = (0.2, DecoupledSoftTargets(2.0))
    objective, counts = Objective(terms), torch.tensor([50, 61, 50])
    student, teacher, labels = problem()
    expected = whole(objective, learned(student), teacher, labels, counts)
    (2.5 * expected.total).backward()
    wanted = gradients(student)
    student, teacher, labels = problem()
    found = chunked_loss(objective, learned(student), teacher, labels, counts)
    (2.5 * found.total).backward()
    torch.testing.assert_close(found.total, expected.total)
    assert found.terms.keys() == expected.terms.keys()
    for name, value in expected.terms.items():
        torch.testing.assert_close(found.terms[name], value, check_dtype=False)
    torch.testing.assert_close(gradients(student), wanted)
    assert min(gradient.abs().max() for gradient in wanted) > 1e-3


def on_an_accelerator(monkeypatch, rows, compiled=None):
    """The path of an accelerator, on the CPU: chunks of so many rows."""
    monkeypatch.setattr(chunked_loss_module, "can_fuse", lambda *given: True)
    monkeypatch.setattr(fused_loss, "_broken", [])
    monkeypatch.setattr(deferred_logits_module, "CHUNK_LOGITS", rows * CLASSES)
    if compiled:
        monkeypatch.setattr(fused_loss, "_compiled", compiled)


def uncompiled():
    return fused_loss._value_and_gradient


def failing():
    def broken(*given):
        raise RuntimeError("no C compiler")

    return broken


@pytest.mark.parametrize("compiled", [uncompiled, failing, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_chunks_of_one_size_give_the_same(monkeypatch, divergence, compiled):
    """What an accelerator runs: a compiled objective, its last chunk filled up; where compiling fails as it is."""
    terms = {"labels": (0.3, Labels(label_smoothing=0.1)), "soft_targets": (0.7, SoftTargets(3.0, divergence))}
    terms["decoupled"] = (0.2, DecoupledSoftTargets(2.0))
    objective, counts, found = Objective(terms), torch.tensor([50, 61, 50]), []
    for rows in (None, 5, 23, 100):
        if rows:
            on_an_accelerator(monkeypatch, rows, compiled)
        student, teacher, labels = problem()
        loss = chunked_loss(objective, learned(student), teacher, labels, counts)
        (2.5 * loss.total).backward()
        found.append([loss.total.detach(), *loss.terms.values(), *gradients(student)])
    for other in found[1:]:
        for ours, expected in zip(other, found[0], strict=True):
            torch.testing.assert_close(ours, expected)


@pytest.mark.slow
def test_compiled_chunks_under_autocast(monkeypatch):
    """As on an accelerator in bfloat16: logits of half precision, weights and their gradient of full."""
    objective, counts, found = Objective({"soft_targets": (0.7, SoftTargets(2.0))}), torch.tensor([TOKENS]), []
    for rows in (None, 5):
        if rows:
            on_an_accelerator(monkeypatch, rows)
        student, teacher, labels = problem(torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            loss = chunked_loss(objective, learned(student), teacher, labels, counts)
        loss.total.backward()
        found.append([loss.total.detach(), *gradients(student)])
    for ours, expected in zip(*reversed(found), strict=True):
        assert ours.dtype == expected.dtype == torch.float32
        torch.testing.assert_close(ours, expected, rtol=2e-2, atol=2e-3)


def test_no_token_that_counts():
    """A micro-batch without labels must give a loss of 0 that can be stepped on."""
    student, teacher, labels = problem(tokens=0)
    loss = chunked_loss(
        Objective({"soft_targets": (1.0, SoftTargets())}), learned(student), teacher, labels, torch.tensor([5])
    )
    loss.total.backward()
    assert loss.total == 0 and student.weight.grad.abs().max() == 0


def test_frozen_weights_cost_no_gradient(monkeypatch):
    """A frozen output embedding must not get one."""
    compute_few_at_once(monkeypatch, 5, 2, CLASSES)
    student, teacher, labels = problem()
    student.hidden.requires_grad_(True)
    loss = chunked_loss(Objective({"labels": (1.0, Labels())}), student, None, labels, torch.tensor([TOKENS]))
    loss.total.backward()
    assert student.weight.grad is None and student.hidden.grad.abs().max() > 0


def test_half_precision_weights_give_a_float32_loss(monkeypatch):
    """The softmax over a large vocabulary is not summed in bfloat16."""
    compute_few_at_once(monkeypatch, 5, 2, CLASSES)
    objective, counts = Objective({"soft_targets": (1.0, SoftTargets())}), torch.tensor([TOKENS])
    student, teacher, labels = problem(torch.bfloat16)
    loss = chunked_loss(objective, learned(student), teacher, labels, counts)
    exact = whole(objective, *problem(torch.float64), counts)
    assert loss.total.dtype == torch.float32
    assert loss.total.item() == pytest.approx(exact.total.item(), rel=0.03)
    loss.total.backward()
    assert student.weight.grad.dtype == torch.bfloat16


def test_autocast_gives_float32_gradients():
    """Under bf16 the products are in bfloat16 and the weights in float32, as without parts."""
    objective, counts = Objective({"soft_targets": (1.0, SoftTargets())}), torch.tensor([TOKENS])
    grads = []
    for chunked in (True, False):
        student, teacher, labels = problem(torch.float32)
        learned(student)
        with torch.autocast("cpu", torch.bfloat16):
            function = chunked_loss if chunked else whole
            function(objective, student, teacher, labels, counts).total.backward()
        grads.append(student.weight.grad)
    assert grads[0].dtype == torch.float32
    torch.testing.assert_close(grads[0], grads[1], rtol=0.05, atol=0.005)


@pytest.mark.parametrize("own, used", [(torch.float32, torch.bfloat16), (torch.float16, torch.float16)])
def test_a_teachers_head_is_computed_as_in_its_forward_pass(own, used):
    """Its body runs under autocast: a float32 head would be slow and no more exact; half precision is kept."""
    seen = []

    class Watched(SoftTargets):
        def forward(self, student, teacher, *args):
            seen.append(teacher.logits.dtype)
            return super().forward(student, teacher, *args)

    student, teacher, labels = problem(torch.float32)
    teacher = Projection(teacher.hidden, teacher.weight.to(own), teacher.bias)
    with torch.autocast("cpu", torch.bfloat16):
        chunked_loss(Objective({"soft": (1.0, Watched())}), learned(student), teacher, labels, torch.tensor([TOKENS]))
    assert set(seen) == {used}


def test_the_gradient_is_taken_once():
    """It is made along with the loss and not kept: a second one would be silently wrong."""
    student, teacher, labels = problem()
    loss = chunked_loss(Objective({"labels": (1.0, Labels())}), learned(student), None, labels, torch.tensor([9]))
    loss.total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="taken once"):
        loss.total.backward()


@pytest.mark.parametrize("family", FAMILIES)
def test_deferred_logits_are_those_of_the_model(family):
    """Biases, scaling and ties of every family are in the projection; afterwards the model is as before."""
    model = make_seq2seq(family, 3).eval()
    inputs = {"input_ids": torch.tensor([[5, 6, 3]]), "decoder_input_ids": torch.tensor([[0, 7, 8, 9]])}
    with torch.no_grad():
        logits = model(**inputs).logits
        assert projects_alone(model)
        with deferred_logits(model, probed=True) as held:
            first = model(**inputs).logits
        assert first.shape == (1, 3, logits.shape[-1]) and held.explains(first)
        assert not held.explains(first + 1)
        torch.testing.assert_close(held.projection.logits()[0], logits[0])
        assert model(**inputs).logits.shape == logits.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("after", [lambda x: 30 * (x / 30).tanh(), lambda x: x + 0.1, lambda x: 1.1 * x])
def test_what_a_head_does_beside_projecting_shows_in_small_logits(dtype, after):
    """A cap at 30 changes logits of 0.5 by less than bfloat16 rounds; it was then ignored for the whole run."""

    class Changed(type(make_seq2seq("bart"))):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            output.logits = after(output.logits)
            return output

    model = make_seq2seq("bart", 3).to(dtype).eval()
    inputs = {"input_ids": torch.tensor([[5, 6, 3]]), "decoder_input_ids": torch.tensor([[0, 7, 8, 9]])}
    with torch.no_grad():
        model.lm_head.weight.mul_(0.01)
        for kind, explained in ((type(model), True), (Changed, False)):
            model.__class__ = kind
            with deferred_logits(model, probed=True) as held:
                assert held.explains(model(**inputs).logits) is explained


def test_a_head_that_is_no_projection_by_what_it_is():
    """Known before a single logit is looked at: by the config, also within, and by the module."""
    model = make_seq2seq("bart")
    for name, value in (("final_logit_softcapping", 30.0), ("logits_scaling", 8.0), ("logit_scale", 0.06)):
        setattr(model.config, name, value)
        assert not projects_alone(model)
        setattr(model.config, name, 1.0 if "scal" in name else None)
        assert projects_alone(model)
    model.config.decoder = {"final_logit_softcapping": 30.0}
    assert not projects_alone(model)
    del model.config.decoder
    handle = model.lm_head.register_forward_hook(lambda module, inputs, output: 2 * output)
    assert not projects_alone(model)
    handle.remove()
    torch.nn.utils.parametrizations.weight_norm(model.lm_head)
    assert not projects_alone(model)

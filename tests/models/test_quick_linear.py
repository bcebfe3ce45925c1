"""Linear layers by the quicker of two libraries: the same numbers, and PyTorch's own function afterwards."""

import threading

import numpy as np
import pytest
import torch
from tiny import make_model, make_rows, make_tokenizer
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from hfdistill import DistillationTrainer, DistillationTrainingArguments, ModelTeacher, soft_targets
from hfdistill.models import quick_linear as module
from hfdistill.models.quick_linear import quick_linear

OF_TORCH = F.linear

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "_mkl_keeps_to_avx2", lambda: True)
    yield quick_linear
    assert F.linear is OF_TORCH


def gradients(inputs, layer):
    inputs = inputs.detach().requires_grad_(True)
    layer.zero_grad()
    output = layer(inputs)
    output.sin().sum().backward()
    return [output.detach(), inputs.grad, *(weight.grad for weight in layer.parameters() if weight.requires_grad)]


@pytest.mark.parametrize("shape", [(64, 24), (4, 40, 24), (2, 2, 32, 24), (1, 24), (5, 24), (0, 24)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_products_and_gradients_are_pytorchs(quick, shape, bias, frozen):
    inputs, layer = torch.randn(shape), nn.Linear(24, 7, bias=bias)
    layer.weight.requires_grad_(not frozen)
    plain = gradients(inputs, layer)
    with quick():
        found = gradients(inputs, layer)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)


def test_views_and_transposed_inputs(quick):
    layer, inputs = nn.Linear(24, 7), torch.randn(24, 80)
    plain = gradients(inputs.t()[::2], layer)
    with quick():
        torch.testing.assert_close(gradients(inputs.t()[::2], layer), plain, rtol=1e-5, atol=1e-5)


def is_onednns(output):
    made, names = output.grad_fn, []
    while made is not None:
        names.append(made.name())
        made = next((before for before, _ in made.next_functions), None)
    return "_LinearBackward" in names


def test_oneDNN_computes_them(quick):
    with quick():
        assert is_onednns(nn.Linear(24, 7)(torch.randn(64, 24)))
        assert not is_onednns(nn.Linear(24, 7)(torch.randn(8, 24)))  # slower for so few rows
        assert not is_onednns(nn.Linear(24, 7).double()(torch.randn(64, 24).double()))
        with torch.autocast("cpu", torch.bfloat16):
            assert nn.Linear(24, 7)(torch.randn(64, 24)).dtype == torch.bfloat16
    assert not is_onednns(nn.Linear(24, 7)(torch.randn(64, 24)))


def test_the_gradient_of_a_gradient(quick):
    layer, inputs = nn.Linear(24, 7), torch.randn(64, 24, requires_grad=True)

    def second():
        (first,) = torch.autograd.grad(layer(inputs).pow(3).sum(), inputs, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [inputs, layer.weight])

    plain = second()
    with quick():
        torch.testing.assert_close(second(), plain, rtol=1e-4, atol=1e-4)


def test_an_output_may_be_changed_in_place(quick):
    layer, inputs = nn.Linear(24, 7), torch.randn(4, 40, 24)

    def gradient():
        layer.zero_grad()
        output = layer(inputs)
        output[:, 0] = 0
        output.mul_(2).square().sum().backward()
        return layer.weight.grad.clone()

    plain = gradient()
    with quick():
        torch.testing.assert_close(gradient(), plain, rtol=1e-5, atol=1e-5)


def test_an_output_without_a_graph_may_be_changed_within_one(quick):
    """A frozen encoder's states, to which an adapter's are added."""
    added = torch.ones(64, 7, requires_grad=True)
    with quick():
        with torch.no_grad():
            states = nn.Linear(24, 7)(torch.randn(64, 24))
        states += added
        states.sum().backward()
    assert added.grad.sum() == 64 * 7


def test_what_no_gradient_needs_may_be_changed(quick):
    """A frozen weight's inputs, and inputs' frozen weight: nothing of them is kept."""
    inputs, frozen = torch.randn(64, 24, requires_grad=True), torch.randn(7, 24)
    with quick():
        states = inputs * 1
        output = F.linear(states, frozen)
        states.add_(1)
        output.sum().backward()
    torch.testing.assert_close(inputs.grad, frozen.sum(0).expand(64, 24), rtol=1e-5, atol=1e-5)


ODD = {
    "a bias that is one number": lambda: (torch.randn(64, 24), torch.randn(7, 24), torch.randn(1).expand(7)),
    "a bias with gaps": lambda: (torch.randn(64, 24), torch.randn(7, 24), torch.randn(14)[::2]),
    "a weight with gaps": lambda: (torch.randn(64, 24), torch.randn(7, 48)[:, ::2]),
    "a sparse weight": lambda: (torch.randn(64, 24), torch.randn(7, 24).relu().to_sparse_csr()),
    "rows that overlap": lambda: (torch.randn(200).unfold(0, 24, 2)[:64], torch.randn(7, 24)),
    "one row many times": lambda: (torch.randn(1, 24).expand(64, 24), torch.randn(7, 24)),
    "rows by columns": lambda: (torch.randn(24, 70).t(), torch.randn(7, 24)),
    "many rows": lambda: (torch.randn(3, 1111, 24), torch.randn(7, 24)),
}


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("graph", [True, False])
def test_odd_operands(quick, case, graph):
    given = ODD[case]()
    with quick(), torch.set_grad_enabled(graph):
        torch.testing.assert_close(F.linear(*given), OF_TORCH(*given), rtol=1e-4, atol=1e-4)


def test_transforms_and_counters_see_pytorchs_own(quick):
    layer, inputs = nn.Linear(24, 7), torch.randn(64, 24)
    counter = FlopCounterMode(display=False)
    with quick():
        torch.func.grad(lambda rows: layer(rows).sum())(inputs)
        torch.func.vmap(layer)(inputs.expand(2, 64, 24))
        torch.func.jvp(layer, (inputs,), (inputs,))
        torch.jit.trace(layer, inputs)
        with counter:
            layer(inputs)
    assert counter.get_total_flops() == 2 * 64 * 24 * 7


def test_who_watches_pytorchs_functions_sees_them(quick):
    class Watching(TorchFunctionMode):
        seen = False

        def __torch_function__(self, function, types, args=(), kwargs=None):
            self.seen |= function is OF_TORCH
            return function(*args, **(kwargs or {}))

    with quick(), Watching() as watching:
        nn.Linear(24, 7)(torch.randn(64, 24))
    assert watching.seen


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_what_a_gradient_checkpoint_computes_again_is_the_same(quick, use_reentrant):
    layer, inputs = nn.Linear(24, 7), torch.randn(64, 24)
    plain = gradients(inputs, layer)
    with quick():
        again = inputs.clone().requires_grad_(True)
        checkpoint(layer, again, use_reentrant=use_reentrant).sin().sum().backward()
    torch.testing.assert_close(again.grad, plain[1], rtol=1e-5, atol=1e-5)


def test_a_subclass_of_tensors_is_left_to_pytorch(quick):
    class Marked(torch.Tensor):
        pass

    with quick():
        assert type(F.linear(torch.randn(64, 24).as_subclass(Marked), torch.randn(7, 24))) is Marked


def test_the_last_of_several_threads_puts_the_function_back(quick):
    inside, leave = threading.Event(), threading.Event()

    def other():
        with quick():
            inside.set()
            leave.wait(10)

    with quick():
        thread = threading.Thread(target=other)
        thread.start()
        inside.wait(10)
        with quick():
            pass
    assert F.linear is not OF_TORCH  # the thread is within it still
    leave.set()
    thread.join()
    assert F.linear is OF_TORCH


def test_what_another_library_has_put_in_its_place_stays(quick, monkeypatch):
    def others(*args):
        return OF_TORCH(*args)

    with monkeypatch.context() as patched:
        patched.setattr(F, "linear", others)
        with quick():
            assert F.linear is others
        assert F.linear is others


def test_nothing_is_left_of_it_after_an_error(quick):
    with pytest.raises(RuntimeError, match="shapes"), quick():
        nn.Linear(24, 7)(torch.randn(64, 23))
    assert F.linear is OF_TORCH


@pytest.mark.parametrize("slow", [True, False])
def test_steps_evaluations_and_passes_use_it(tmp_path, monkeypatch, slow):
    """Each of them, and only where MKL is slow: the comparisons below would not see it."""
    counted, product = [], module._product
    monkeypatch.setattr(module, "_mkl_keeps_to_avx2", lambda: slow)
    monkeypatch.setattr(module, "_product", lambda *given: counted.append(1) or product(*given))

    def used(job):
        counted.clear()
        job()
        return bool(counted)

    rows = make_rows(64)
    args = DistillationTrainingArguments(
        str(tmp_path), max_steps=1, per_device_train_batch_size=32, report_to=[], use_cpu=True, save_strategy="no"
    )
    trainer = DistillationTrainer(
        make_model(2), args, teacher=make_model(1), train_dataset=rows, processing_class=make_tokenizer()
    )
    teacher, unlabeled = ModelTeacher(make_model(1), make_tokenizer()), rows.remove_columns("labels")
    jobs = [
        trainer.train,
        lambda: trainer.evaluate(rows),
        lambda: soft_targets(teacher, unlabeled, store=tmp_path / "store"),
    ]
    assert [used(job) for job in jobs] == [slow] * 3


def test_soft_targets_are_the_same(tmp_path, monkeypatch):
    rows = make_rows(40).remove_columns("labels")
    found = []
    for slow in (True, False):
        monkeypatch.setattr(module, "_mkl_keeps_to_avx2", lambda slow=slow: slow)
        teacher = ModelTeacher(make_model(1), make_tokenizer())
        found.append(np.array(soft_targets(teacher, rows, store=tmp_path / str(slow))["teacher_logits"]))
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("more", [{}, {"gradient_checkpointing": True}, {"torch_compile": True}, {"bf16": True}])
def test_a_training_is_the_same(tmp_path, monkeypatch, more):
    if more.get("torch_compile"):
        more = {**more, "torch_compile_backend": "eager"}
    losses = []
    for slow in (True, False):
        monkeypatch.setattr(module, "_mkl_keeps_to_avx2", lambda slow=slow: slow)
        args = DistillationTrainingArguments(
            str(tmp_path), max_steps=4, logging_steps=1, report_to=[], use_cpu=True, save_strategy="no", **more
        )
        trainer = DistillationTrainer(
            make_model(2), args, teacher=make_model(1), train_dataset=make_rows(40), processing_class=make_tokenizer()
        )
        trainer.train()
        trained = [line["loss"] for line in trainer.state.log_history if "loss" in line]
        losses.append([*trained, trainer.evaluate(make_rows(20))["eval_loss"]])
    np.testing.assert_allclose(*losses, rtol=1e-4)

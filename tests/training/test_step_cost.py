"""What a step costs beside the model: counted, so that nothing creeps in unseen.

On an accelerator each operation is a launch, and each number that is read makes it wait.
"""

from __future__ import annotations

import pytest
from tiny import make_model, make_rows, make_tokenizer, make_trainer
from tiny_seq2seq import make_pairs, make_seq2seq, make_seq2seq_trainer
from tiny_seq2seq import make_tokenizer as make_translation_tokenizer
from torch.profiler import ProfilerActivity, profile
from transformers import Trainer, TrainingArguments

from hfdistill import token_soft_targets
from hfdistill.models import quick_linear


@pytest.fixture(autouse=True)
def as_on_an_accelerator(monkeypatch):
    """Which computes linear layers as PyTorch does, where some processors take a few operations more."""
    monkeypatch.setattr(quick_linear, "_mkl_keeps_to_avx2", lambda: False)


def counts(make, steps):
    trainer = make(steps)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        trainer.train()
    events = {event.key: event.count for event in profiler.key_averages() if event.key.startswith("aten::")}
    read = {"numbers read": "aten::_local_scalar_dense", "masks counted": "aten::nonzero"}
    return {"operations": sum(events.values()), **{what: events.get(name, 0) for what, name in read.items()}}


def a_step(make):
    """Of the later steps alone: the first looks closer."""
    few, many = counts(make, 4), counts(make, 12)
    return {name: (many[name] - few[name]) / 8 for name in few}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("teacher", "operations", "numbers"),
    # Numbers read: the least and the largest token id (on the CPU, before a batch is sent), and on a CPU alone whether
    # a prediction is finite. Operations: counted when this was written, and a tenth.
    [("stored", 195, 2), ("live", 660, 5)],
)
def test_a_step_beside_that_of_plain_training(tmp_path, teacher, operations, numbers):
    settings = {"logging_steps": 1000, "optim": "adamw_torch_fused", "max_grad_norm": 1.0, "num_train_epochs": 1}
    live = {"teacher": make_model(1)} if teacher == "live" else {}
    rows = make_rows(96, teacher_logits=teacher == "stored")

    def ours(steps):
        return make_trainer(tmp_path, make_model(), rows, max_steps=steps, **settings, **live)

    def plain(steps):
        args = TrainingArguments(
            str(tmp_path),
            max_steps=steps,
            per_device_train_batch_size=8,
            lr_scheduler_type="constant",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            **settings,
        )
        return Trainer(make_model(), args, train_dataset=make_rows(96), processing_class=make_tokenizer())

    more = {name: a_step(ours)[name] - value for name, value in a_step(plain).items()}
    assert more["operations"] <= operations and more["numbers read"] <= numbers


@pytest.mark.slow
def test_target_tokens_are_counted_once_a_step(tmp_path):
    """Each tensor that a mask is for counts it anew, and each time an accelerator waits."""
    teacher, pairs = make_seq2seq(seed=2), make_pairs(96)
    rows = token_soft_targets(teacher, pairs, make_translation_tokenizer(), k=6, store=tmp_path / "store")

    def ours(steps):
        return make_seq2seq_trainer(tmp_path, make_seq2seq(seed=1), rows, max_steps=steps, logging_steps=1000)

    assert a_step(ours)["masks counted"] == 1

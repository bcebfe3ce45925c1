"""The gradient does not depend on how a batch is cut: runs that must be the same run."""

import pytest
from tiny import (
    CASES,
    IN_ORDER,
    LAYOUTS,
    UNEVEN,
    assert_logs_alike,
    distance,
    live,
    logs_of,
    make_trainer,
    mixed,
    multi_label,
    plain_labels,
    run_case,
    weights,
)
from transformers import Trainer


def logged(name):
    return ("loss", "grad_norm", "label_loss", *(() if name == "plain_labels" else ("soft_target_loss",)))


def assert_same_run(trainer, reference, before, name):
    assert distance(before, weights(reference.model)) > 0.003, "the reference did not train"
    assert distance(weights(trainer.model), weights(reference.model)) < 1e-6
    assert_logs_alike(trainer, reference, *logged(name))  # float32 sums in another order, on any processor


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rows", [16, 11])
def test_any_cut_gives_one_run(tmp_path, name, rows):
    """Accumulation that multiplies the gradient, or a smaller last batch whose rows weigh more, goes unseen in AdamW.

    16 rows fill every batch of 8; 11 leave one of 3, and one micro-batch fewer to accumulate.
    """
    reference, before = run_case(tmp_path, name, rows)
    for layout in LAYOUTS:
        trainer, _ = run_case(tmp_path, name, rows, **layout)
        assert_same_run(trainer, reference, before, name)


@pytest.mark.parametrize("case", [mixed, multi_label])
def test_rows_without_label_are_as_if_they_were_not_there(tmp_path, case):
    """Dividing by all rows instead of those with a label, or learning from a -100, would change the others' step."""
    runs = []
    for drop in (False, True):
        student, rows, _, _ = case()
        rows = rows.select([row for row in range(16) if row not in UNEVEN]) if drop else rows
        trainer = make_trainer(tmp_path, student, rows, alpha=0.0, per_device_train_batch_size=16, max_steps=1)
        trainer.train()
        runs.append(trainer)
    assert distance(weights(runs[0].model), weights(runs[1].model)) < 1e-6
    assert logs_of(runs[0], "label_loss")[0] == pytest.approx(logs_of(runs[1], "label_loss")[0], rel=1e-5)


def test_the_stock_trainer_is_four_times_too_strong(tmp_path):
    """The control: if transformers mends this, the reason for a loss and a count of our own is gone."""
    norms = []
    for layout in ({}, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}):
        student, rows, _, _ = plain_labels()
        trainer = make_trainer(tmp_path, student, rows, cls=Trainer, max_steps=1, **layout)
        trainer.train()
        norms.append(logs_of(trainer, "grad_norm")[0][0])
    assert norms[1] == pytest.approx(4 * norms[0], rel=1e-4)


def test_activation_checkpointing_changes_nothing(tmp_path):
    """A recomputed forward pass must give the same gradient, and count no loss twice."""
    reference, before = run_case(tmp_path, "live")
    trainer, _ = run_case(tmp_path, "live", activation_checkpointing=True)
    assert trainer.model.is_activation_checkpointing
    assert_same_run(trainer, reference, before, "live")


def test_grouping_by_length_keeps_rows_and_their_soft_targets_together(tmp_path):
    """Reordered rows must bring their own soft targets: a whole epoch in one batch is one and the same step."""
    whole = {"per_device_train_batch_size": 16, "num_train_epochs": 1}
    reference, before = run_case(tmp_path, "stored", **whole)
    trainer, _ = run_case(tmp_path, "stored", train_sampling_strategy="group_by_length", **whole)
    assert_same_run(trainer, reference, before, "stored")


def test_a_streamed_dataset_trains_as_the_same_rows_in_memory(tmp_path):
    """A dataset without a length or columns must not lose the teacher's columns."""
    for case in (live, mixed):
        student, rows, teacher, settings = case()
        settings |= {"max_steps": 4, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}
        in_order = make_trainer(tmp_path, student, rows, teacher=teacher, **{**settings, **IN_ORDER})
        in_order.train()
        student, rows, teacher, _ = case()
        streamed = make_trainer(tmp_path, student, rows.to_iterable_dataset(), teacher=teacher, **settings)
        streamed.train()
        assert distance(weights(streamed.model), weights(in_order.model)) < 1e-6

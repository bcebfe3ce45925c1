"""The trainer: what is in the loss, and what is logged."""

import logging

import numpy as np
import pytest
import torch
from tiny import (
    CountCalls,
    accuracy,
    distance,
    live,
    logits_of,
    logs_of,
    make_model,
    make_rows,
    make_trainer,
    mixed,
    naive_label_loss,
    naive_soft_target_loss,
    padded,
    run_case,
    stored,
    unlabel,
    weights,
)

from hfdistill import Objective, Schedule
from hfdistill.losses import Labels, SoftTargets

WHOLE = {"per_device_train_batch_size": 16, "num_train_epochs": 1}


@pytest.fixture
def warnings_of(caplog):
    """The warnings so far."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# ---- The loss ----


@pytest.mark.parametrize("case", [stored, live, mixed])
def test_logged_terms_are_the_naive_ones(tmp_path, case):
    """A missing T², a mean over classes, or a label loss over unlabeled rows would change every weight in silence."""
    student, rows, teacher, settings = case()
    student_logits = logits_of(student, rows)
    teacher_logits = logits_of(teacher, rows) if teacher else torch.tensor(rows["teacher_logits"])
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, **settings, **WHOLE)
    trainer.train()
    [[loss, label_loss, soft_target_loss]] = logs_of(trainer, "loss", "label_loss", "soft_target_loss")
    temperature, alpha = trainer.args.temperature, trainer.args.alpha
    assert label_loss == pytest.approx(naive_label_loss(student_logits, rows["labels"]), rel=1e-5)
    expected = naive_soft_target_loss(student_logits, teacher_logits, temperature)
    assert soft_target_loss == pytest.approx(expected, rel=1e-5)
    assert loss == pytest.approx(alpha * soft_target_loss + (1 - alpha) * label_loss, rel=1e-5)


def test_logs_are_means_over_the_steps_since_the_last_log(tmp_path):
    """A log every three steps must give the mean of three, and a shorter last stretch its own mean."""
    every = run_case(tmp_path, "mixed", num_train_epochs=4)[0]
    third = run_case(tmp_path, "mixed", num_train_epochs=4, logging_steps=3)[0]
    names = ("loss", "label_loss", "soft_target_loss")
    assert third.state.max_steps == 8
    steps = np.array(logs_of(every, *names))
    expected = [steps[:3].mean(0), steps[3:6].mean(0)]
    np.testing.assert_allclose(logs_of(third, *names), expected, rtol=1e-5)


def test_logs_of_a_second_training_start_anew(tmp_path):
    """Losses left over from one `train()` would be added to the first log of the next, as in a search's trials."""
    trainer = run_case(tmp_path, "stored", max_steps=3, logging_steps=2)[0]
    trainer.train()
    loss, label_loss, soft_target_loss = logs_of(trainer, "loss", "label_loss", "soft_target_loss")[0]
    assert loss == pytest.approx(0.7 * soft_target_loss + 0.3 * label_loss, rel=1e-5)


def test_schedules_begin_at_start_and_finish_at_end(tmp_path):
    """A schedule that never reaches its end, or begins one step late, trains something else than was asked."""
    student, rows, _, _ = stored()
    schedules = {"temperature": 4, "temperature_end": 1.5, "temperature_schedule": "linear"}
    schedules |= {"alpha": 0.9, "alpha_end": 0.1, "alpha_schedule": "cosine"}
    trainer = make_trainer(tmp_path, student, rows, **schedules)
    trainer.train()
    names = ("temperature", "soft_targets_weight", "labels_weight", "loss", "label_loss", "soft_target_loss")
    logs = logs_of(trainer, *names)
    assert logs[0][:3] == pytest.approx([4, 0.9, 0.1])
    assert logs[1][0] == pytest.approx(4 - 2.5 / 3)
    assert logs[-1][:3] == pytest.approx([1.5, 0.1, 0.9])
    for _, soft_weight, label_weight, loss, label_loss, soft_target_loss in logs:
        assert loss == pytest.approx(soft_weight * soft_target_loss + label_weight * label_loss, rel=1e-5)


def test_labels_stay_out_of_the_model(tmp_path):
    """The model's own loss is a mean over a cut batch: it must not even be computed."""
    student, rows, teacher, settings = live()
    given = []
    for model in (student, teacher):
        model.register_forward_pre_hook(lambda _, args, kwargs: given.append(set(kwargs)), with_kwargs=True)
    make_trainer(tmp_path, student, rows, teacher=teacher, **settings).train()
    assert given
    assert all("labels" not in names for names in given)


def test_alpha_1_does_not_see_the_labels(tmp_path):
    """Soft targets alone: the same student whatever the labels say."""
    one, rows, _, _ = stored()
    make_trainer(tmp_path, one, rows, alpha=1.0).train()
    other = make_model(1)
    wrong = unlabel(rows, set(range(0, 16, 2)))
    make_trainer(tmp_path, other, wrong, alpha=1.0).train()
    assert distance(weights(one), weights(other)) == 0
    assert distance(weights(one), weights(make_model(1))) > 1e-3


def test_alpha_0_runs_no_teacher_in_training(tmp_path):
    """A weight of 0 must not cost the teacher's forward pass."""
    student, rows, teacher, _ = live()
    counter = CountCalls(teacher)
    make_trainer(tmp_path, student, rows, teacher=teacher, alpha=0.0).train()
    assert counter.calls == 0


def test_stored_soft_targets_are_used_instead_of_a_live_teacher(tmp_path):
    """What was made once must not be paid for again, and must give the same student."""
    student, rows, teacher, settings = live()
    reference = make_trainer(tmp_path, student, rows, teacher=teacher, **settings)
    reference.train()
    predictions = logits_of(teacher, rows).tolist()
    counter, other = CountCalls(teacher), make_model(1)
    with_answers = rows.add_column("teacher_logits", predictions)
    make_trainer(tmp_path, other, with_answers, teacher=teacher, **settings).train()
    assert counter.calls == 0
    assert distance(weights(student), weights(other)) < 1e-6


def test_the_teacher_is_frozen_and_quiet(tmp_path):
    """A teacher in train mode adds dropout noise to its predictions; one with gradients learns along."""
    student, rows, _, settings = live()
    teacher = make_model(2, dropout=0.5).train()
    before = weights(teacher)
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, **settings)
    trainer.train()
    assert distance(weights(teacher), before) == 0
    assert not teacher.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    quiet = make_model(1)
    make_trainer(tmp_path, quiet, rows, teacher=make_model(2), **settings).train()
    assert distance(weights(student), weights(quiet)) < 1e-6


# ---- compute_loss, called directly ----


@pytest.mark.parametrize(
    "count", [16, torch.tensor(16), torch.tensor([16, 16]), None], ids=["int", "0-d", "each", "none"]
)
def test_compute_loss_takes_every_count_that_trainers_pass(tmp_path, count):
    """Stock code passes `None`, an int or a tensor of any shape; each must divide by the same 16 rows."""
    student, rows, _, settings = stored()
    trainer = make_trainer(tmp_path, student, rows, **settings)
    batch = {**padded(rows), "labels": torch.tensor(rows["labels"])}
    batch["teacher_logits"] = torch.tensor(rows["teacher_logits"])
    loss, output = trainer.compute_loss(student.eval(), batch, return_outputs=True, num_items_in_batch=count)
    expected = 0.7 * naive_soft_target_loss(output.logits, batch["teacher_logits"], 3.0)
    expected += 0.3 * naive_label_loss(output.logits, rows["labels"])
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert list(output) == ["logits"]
    assert trainer.compute_loss(student, batch, num_items_in_batch=count).item() == pytest.approx(expected, rel=1e-5)


class HiddenNorm(SoftTargets):
    """A term that asks for hidden states."""

    outputs = frozenset({"hidden_states"})
    log_name = ""

    def forward(self, student, teacher, batch):
        assert len(student.hidden_states) == 3
        assert len(teacher.hidden_states) == 4
        return super().forward(student, teacher, batch)


def test_hidden_states_reach_the_terms_and_no_further(tmp_path):
    """Returned as outputs they would be gathered over ranks and kept for the whole evaluation."""
    student, rows, teacher, _ = live()
    objective = Objective({"norm": (1.0, HiddenNorm()), "labels": (Schedule(1.0, 0.5), Labels())})
    given = {"objective": objective, "eval_dataset": rows, "compute_metrics": accuracy}
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, given=given)
    batch = trainer.data_collator(list(trainer._remove_unused_columns(rows)))
    _, output = trainer.compute_loss(student, batch, return_outputs=True)
    assert list(output) == ["logits"]
    trainer.train()
    names = {"loss", "norm_loss", "label_loss", "labels_weight"}
    assert names <= trainer.state.log_history[0].keys()
    assert trainer.predict(rows).predictions.shape == (16, 3)


# ---- Rows without labels, and what is missing ----


def test_a_dataset_without_labels_trains_with_one_warning(tmp_path, warnings_of):
    """A transfer set has no labels: it must train on soft targets, and say that the label term is idle."""
    student, rows, _, settings = stored()
    trainer = make_trainer(tmp_path, student, rows.remove_columns("labels"), gradient_accumulation_steps=2, **settings)
    trainer.train()
    assert len([message for message in warnings_of() if "'labels' found nothing" in message]) == 1
    for loss, label_loss, soft_target_loss in logs_of(trainer, "loss", "label_loss", "soft_target_loss"):
        assert label_loss == 0
        assert loss == pytest.approx(0.7 * soft_target_loss, rel=1e-5)
    weighed = make_model(1)
    alone = {"label_weight": 0.0, "soft_target_weight": 0.7, "temperature": 3.0, "gradient_accumulation_steps": 2}
    make_trainer(tmp_path, weighed, rows, **alone).train()
    assert distance(weights(student), weights(weighed)) < 1e-6


def test_labeled_rows_train_without_a_warning(tmp_path, warnings_of):
    run_case(tmp_path, "mixed")
    assert [message for message in warnings_of() if "found nothing" in message] == []


def test_soft_targets_from_nowhere_are_an_error(tmp_path):
    """Training on without the teacher would be plain fine-tuning under another name."""
    trainer = make_trainer(tmp_path, make_model(1), make_rows(), alpha=0.5)
    with pytest.raises(ValueError, match="neither a teacher nor a column teacher_logits.*alpha=0"):
        trainer.train()


def test_a_teacher_that_predicts_nan_is_an_error(tmp_path):
    """One NaN would turn all of the student's weights into NaN, and the logs show 0."""
    student, rows, teacher, settings = live()
    with torch.no_grad():
        teacher.classifier.bias[1] = float("nan")
    before = weights(student)
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, **settings)
    with pytest.raises(ValueError, match="row 0 of the batch are not finite.*teacher_dtype"):
        trainer.train()
    assert distance(weights(student), before) == 0

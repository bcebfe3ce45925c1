"""Evaluation: exact means over the whole set, the teacher only where it is wanted, the best model by what was asked."""

import pytest
import torch
from tiny import (
    MULTI,
    REGRESSION,
    CountCalls,
    accuracy,
    distance,
    live,
    logits_of,
    make_model,
    make_rows,
    make_trainer,
    naive_label_loss,
    naive_soft_target_loss,
    stored,
    unlabel,
    weights,
)
from transformers import TrainerCallback

from hfdistill import make_student

LOSSES = ("eval_loss", "eval_label_loss", "eval_soft_target_loss", "eval_agreement")


def naive(student, rows, teacher_logits, alpha, temperature):
    """The four figures, from the whole set at once."""
    logits = logits_of(student, rows)
    label_loss = naive_label_loss(logits, rows["labels"])
    soft_target_loss = naive_soft_target_loss(logits, teacher_logits, temperature)
    agreement = (logits.argmax(-1) == teacher_logits.argmax(-1)).float().mean().item()
    return [alpha * soft_target_loss + (1 - alpha) * label_loss, label_loss, soft_target_loss, agreement]


@pytest.mark.parametrize("batch_size", [1, 4, 5, 32])
@pytest.mark.parametrize("case", [stored, live])
def test_losses_are_means_over_the_set_whatever_the_batches(tmp_path, case, batch_size):
    """A mean of batch means weighs the rows of a small last batch more, and labeled rows by their company."""
    student, rows, teacher, settings = case(11)
    rows = unlabel(rows, {0, 1, 2, 8})
    given = {"eval_dataset": rows}
    sizes = {"per_device_eval_batch_size": batch_size}
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, given=given, **settings, **sizes)
    teacher_logits = logits_of(teacher, rows) if teacher else torch.tensor(rows["teacher_logits"])
    metrics = trainer.evaluate()
    expected = naive(student, rows, teacher_logits, trainer.args.alpha, trainer.args.temperature)
    assert [metrics[name] for name in LOSSES] == pytest.approx(expected, rel=1e-5)


def test_a_teacher_can_be_left_out_of_evaluation(tmp_path):
    """Its forward pass costs more than the student's; without it the loss is the labels', not a part of a sum."""
    student, rows, teacher, settings = live()
    counter = CountCalls(teacher)
    given = {"eval_dataset": rows}
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, given=given, teacher_at_eval=False, **settings)
    metrics = trainer.evaluate()
    assert counter.calls == 0
    assert metrics["eval_loss"] == metrics["eval_label_loss"]
    assert metrics["eval_loss"] == pytest.approx(naive_label_loss(logits_of(student, rows), rows["labels"]), rel=1e-5)
    assert not {"eval_soft_target_loss", "eval_agreement"} & metrics.keys()


def test_stored_soft_targets_cost_nothing_and_are_always_reported(tmp_path):
    """teacher_at_eval is about a live teacher's cost."""
    student, rows, _, settings = stored()
    trainer = make_trainer(tmp_path, student, rows, given={"eval_dataset": rows}, teacher_at_eval=False, **settings)
    assert set(LOSSES) <= trainer.evaluate().keys()


def test_a_baseline_still_reports_how_far_it_is_from_the_teacher(tmp_path):
    """With alpha 0 the loss is the labels', but baseline and student must be comparable in agreement."""
    student, rows, teacher, _ = live()
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, given={"eval_dataset": rows}, alpha=0.0)
    metrics = trainer.evaluate()
    expected = naive(student, rows, logits_of(teacher, rows), 0.0, 2.0)
    assert [metrics[name] for name in LOSSES] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("without", [lambda rows: unlabel(rows, range(16)), lambda rows: rows.remove_columns("labels")])
def test_without_labels_the_loss_is_the_rest_of_the_objective(tmp_path, without):
    """A run that chooses its best model by this loss would end after its first epoch, for there would be none."""
    student, rows, teacher, settings = live()
    given = {"eval_dataset": without(rows)}
    best = {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"}
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, given=given, **settings, **best)
    metrics = trainer.evaluate()
    expected = naive_soft_target_loss(logits_of(student, rows), logits_of(teacher, rows), 2.0)
    assert metrics["eval_loss"] == pytest.approx(0.4 * expected, rel=1e-5)
    assert "eval_label_loss" not in metrics and "eval_agreement" in metrics
    trainer.train()
    assert trainer.state.best_metric is not None


def test_where_nothing_is_measured_there_is_no_loss(tmp_path):
    """A 0 would be the best loss that there can be."""
    student, rows, teacher, settings = live()
    given = {"eval_dataset": unlabel(rows, range(16))}
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, given=given, teacher_at_eval=False, **settings)
    assert "eval_loss" not in trainer.evaluate()


@pytest.mark.parametrize("kind", [MULTI, REGRESSION])
def test_agreement_is_of_decisions(tmp_path, kind):
    """Many labels are as many decisions, by sigmoid; a regression makes none."""
    labels = 3 if kind == MULTI else 1
    student = make_model(1, problem_type=kind, num_labels=labels)
    rows = make_rows(11, kind, teacher_logits=True, num_labels=labels)
    trainer = make_trainer(tmp_path, student, rows, given={"eval_dataset": rows}, per_device_eval_batch_size=4)
    metrics = trainer.evaluate()
    student_logits, teacher_logits = logits_of(student, rows), torch.tensor(rows["teacher_logits"])
    if kind == MULTI:
        agreement = ((student_logits.sigmoid() > 0.5) == (teacher_logits.sigmoid() > 0.5)).float().mean().item()
        assert metrics["eval_agreement"] == pytest.approx(agreement)
        labels = torch.tensor(rows["labels"])
        q = torch.where(labels == 1, student_logits.sigmoid(), 1 - student_logits.sigmoid())
        assert metrics["eval_label_loss"] == pytest.approx(-q.log().mean().item(), rel=1e-5)
    else:
        assert "eval_agreement" not in metrics
        assert metrics["eval_soft_target_loss"] == pytest.approx(
            (student_logits - teacher_logits).square().mean().item(), rel=1e-5
        )
        mse = (student_logits[:, 0] - torch.tensor(rows["labels"])).square().mean().item()
        assert metrics["eval_label_loss"] == pytest.approx(mse, rel=1e-5)


def test_a_prefix_may_be_given_by_its_place(tmp_path):
    """As `Trainer` takes it; half of the figures would stand under another name."""
    student, rows, _, settings = stored()
    trainer = make_trainer(tmp_path, student, rows, given={"compute_metrics": accuracy}, **settings)
    output = trainer.evaluation_loop(trainer.get_test_dataloader(rows), "", None, None, "final")
    assert {"final_loss", "final_agreement", "final_accuracy"} <= output.metrics.keys()
    assert not [name for name in output.metrics if name.startswith("eval_")]


def test_evaluation_leaves_training_and_its_logs_alone(tmp_path):
    """Losses of evaluation batches must not be counted into the training logs, nor move the student."""
    runs = []
    for evaluated in ({}, {"eval_strategy": "steps", "eval_steps": 1}):
        student, rows, teacher, settings = live()
        given = {"eval_dataset": rows}
        trainer = make_trainer(
            tmp_path, student, rows, teacher=teacher, given=given, **settings, **evaluated, logging_steps=2
        )
        trainer.train()
        names = ("loss", "label_loss", "soft_target_loss")
        runs.append((weights(student), [log[n] for log in trainer.state.log_history if "loss" in log for n in names]))
    assert distance(runs[0][0], runs[1][0]) == 0
    assert runs[0][1] == runs[1][1]


class KeepBest(TrainerCallback):
    """The figures and the weights of every evaluation."""

    def __init__(self):
        self.seen = []

    def on_evaluate(self, args, state, control, model=None, metrics=None, **kwargs):
        self.seen.append((metrics, weights(model)))


@pytest.mark.parametrize("metric, best", [("accuracy", max), ("loss", min), ("agreement", max), ("label_loss", min)])
def test_the_best_model_is_loaded_by_the_chosen_metric(tmp_path, metric, best):
    """A figure that is added too late for Trainer to see would leave the last model in place of the best."""
    student, rows, _, settings = stored()
    keep = KeepBest()
    given = {
        "eval_dataset": make_rows(9, teacher_logits=True, seed=5),
        "compute_metrics": accuracy,
        "callbacks": [keep],
    }
    arguments = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    arguments |= {"load_best_model_at_end": True, "metric_for_best_model": metric, "greater_is_better": best is max}
    trainer = make_trainer(tmp_path, student, rows, given=given, **settings, **arguments, num_train_epochs=4)
    trainer.args.learning_rate = 0.5
    trainer.train()
    values = [metrics[f"eval_{metric}"] for metrics, _ in keep.seen]
    assert trainer.state.best_metric == best(values)
    assert distance(weights(trainer.model), keep.seen[values.index(best(values))][1]) == 0
    assert min(values) != max(values)


def test_what_a_student_kept_before_any_training_is_logged(tmp_path):
    """`eval_on_start`, as in any `Trainer`: a cut student's own figures, not those of the teacher or of later steps."""
    _, rows, teacher, settings = live()
    student = make_student(teacher, 1)
    given = {"eval_dataset": rows, "compute_metrics": accuracy}
    kept = (logits_of(student, rows).argmax(-1) == torch.tensor(rows["labels"])).double().mean().item()
    agreement = (logits_of(student, rows).argmax(-1) == logits_of(teacher, rows).argmax(-1)).double().mean().item()
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, given=given, eval_on_start=True, **settings)
    trainer.train()
    first = trainer.state.log_history[0]
    assert (first["step"], first["eval_accuracy"]) == (0, pytest.approx(kept))
    assert first["eval_agreement"] == pytest.approx(agreement)


def test_several_columns_of_labels_are_returned(tmp_path):
    """`label_names` may name what only the metrics want, such as a group; a row without one of them has no labels."""
    rows = make_rows(6).add_column("group", [7, 7, 8, 8, 9, 9])
    trainer = make_trainer(tmp_path, make_model(), rows, alpha=0.0, label_names=["labels", "group"])
    labels, group = trainer.predict(rows).label_ids
    assert labels.tolist() == rows["labels"][:] and group.tolist() == rows["group"][:]
    assert trainer.predict(rows.remove_columns("group")).label_ids is None

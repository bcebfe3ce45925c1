"""What a search over a trainer's arguments is after."""

import copy

import pytest
from tiny import live, make_trainer

optuna = pytest.importorskip("optuna")


def search(tmp_path, space, **given):
    student, rows, teacher, _ = live()
    given = {"model_init": lambda trial: copy.deepcopy(student), "eval_dataset": rows, **given}
    args = {"eval_strategy": "epoch", "max_steps": 2}
    trainer = make_trainer(tmp_path, None, rows, teacher=teacher, given=given, **args)
    return trainer, trainer.hyperparameter_search(space, n_trials=2, direction="maximize")


def temperature(trial):
    return {"temperature": trial.suggest_float("temperature", 1.0, 6.0)}


def test_a_search_is_after_the_tasks_metrics_alone(tmp_path):
    """The sum of all metrics has the losses in it, so that the worst student would win."""
    _, best = search(tmp_path, temperature, compute_metrics=lambda prediction: {"score": 0.25, "other": 0.5})
    assert best.objective == 0.75


def test_losses_of_different_objectives_are_not_compared(tmp_path):
    """A higher temperature has a lower loss: that would be all such a search finds."""
    with pytest.raises(ValueError, match="another temperature.*compute_metrics"):
        search(tmp_path, temperature)


def test_without_metrics_a_search_is_after_the_loss(tmp_path):
    trainer, best = search(
        tmp_path, lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)}
    )
    losses = [log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log]
    assert losses and best.objective >= losses[-1] > 0

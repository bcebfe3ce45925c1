"""`hfdistill.training.stages`: one objective after the other, as if each were a run of its own."""

import pytest
import torch
from tiny import distance, logs_of, make_args, make_model, make_rows, make_trainer, weights

from hfdistill.training.stages import parse_stages, staged_scheduler

STAGES = ["hidden_states:1 epochs=2 learning_rate=0.02", "labels:0.5 soft_targets:0.5 epochs=1"]
SETTINGS = {"optim": "adamw_torch", "learning_rate": 0.01, "lr_scheduler_type": "linear", "warmup_steps": 0.25}
SETTINGS |= {"train_sampling_strategy": "sequential", "max_grad_norm": 1.0}


def run(out, student, teacher, rows=16, resume=None, **changes):
    trainer = make_trainer(out, student, make_rows(rows), teacher=teacher, **{**SETTINGS, **changes})
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_stages_are_runs_one_after_the_other(tmp_path):
    """Moments of Adam, a schedule or a clipped gradient carried over would make the second stage another run."""
    teacher = make_model(2, num_hidden_layers=3, hidden_size=24)
    staged = run(tmp_path, make_model(1), teacher, stages=STAGES)
    assert staged.state.global_step == 6
    first = run(tmp_path, make_model(1), teacher, terms=["hidden_states"], num_train_epochs=2, learning_rate=0.02)
    halfway = weights(first.model)
    second = run(tmp_path, first.model, teacher, terms=["labels:0.5", "soft_targets:0.5"], num_train_epochs=1)
    assert distance(halfway, weights(second.model)) > 1e-3
    assert distance(weights(staged.model), weights(second.model)) < 1e-6
    names = ("loss", "grad_norm", "learning_rate")
    expected = logs_of(first, *names) + logs_of(second, *names)
    assert logs_of(staged, *names) == [pytest.approx(row, rel=1e-4) for row in expected]


@pytest.mark.parametrize("step", [2, 4, 5])
def test_a_killed_run_goes_on_within_its_stage(tmp_path, step):
    """Step 2 lies within the first stage, 4 at its end, 5 within the second."""
    teacher = make_model(2, num_hidden_layers=3, hidden_size=24)
    saving = {"stages": STAGES, "save_strategy": "steps", "save_steps": 1}
    whole = run(tmp_path / "whole", make_model(1, dropout=0.2), teacher, **saving)
    checkpoint = str(tmp_path / "whole" / f"checkpoint-{step}")
    resumed = run(tmp_path / "resumed", make_model(1, dropout=0.2), teacher, resume=checkpoint, **saving)
    assert distance(weights(resumed.model), weights(whole.model)) < 1e-7
    assert distance(weights(resumed.stages), weights(whole.stages)) < 1e-7


def test_logs_are_means_over_the_steps_of_their_stage(tmp_path):
    """A term that ran in 4 of 6 logged steps, divided by 6, would look as if it had been learned."""
    teacher = make_model(2, num_hidden_layers=3, hidden_size=24)
    each = run(tmp_path, make_model(1), teacher, stages=STAGES)
    once = run(tmp_path, make_model(1), teacher, stages=STAGES, logging_steps=6)
    (log,) = [log for log in once.state.log_history if "loss" in log]
    for name, count in (("hidden_states_loss", 4), ("label_loss", 2), ("soft_target_loss", 2)):
        values = [entry[name] for entry in each.state.log_history if name in entry]
        assert len(values) == count
        assert log[name] == pytest.approx(sum(values) / count, rel=1e-4)


def test_an_evaluation_reports_the_stage_it_is_in(tmp_path):
    teacher = make_model(2)
    rows = make_rows(8)
    trainer = make_trainer(
        tmp_path,
        make_model(1),
        rows,
        teacher=teacher,
        given={"eval_dataset": rows},
        stages=STAGES,
        eval_strategy="epoch",
    )
    assert "eval_label_loss" in trainer.evaluate()
    trainer.train()
    evaluated = [set(log) for log in trainer.state.log_history if "eval_loss" in log]
    assert ["eval_hidden_states_loss" in names for names in evaluated] == [True, False, False]
    assert "eval_label_loss" in trainer.evaluate()


def test_stages_in_steps_set_the_length_of_the_run(tmp_path):
    args = make_args(tmp_path, stages=["labels steps=3", "soft_targets steps=5"])
    assert args.max_steps == 8
    assert args.make_stages().starts(8) == [0, 3, 8]
    assert make_args(tmp_path, stages=["labels epochs=0.5", "soft_targets epochs=2"]).num_train_epochs == 2.5


def test_the_best_of_two_stages_is_not_chosen_by_their_losses(tmp_path):
    """A first stage that matches layers may have the lower loss, and a student that cannot predict."""
    best = {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"}
    with pytest.raises(ValueError, match="the losses of two stages cannot be compared: set metric_for_best_model"):
        make_args(tmp_path, stages=STAGES, **best)
    make_args(tmp_path, stages=STAGES, metric_for_best_model="accuracy", **best)


def test_each_stage_has_its_own_progress(tmp_path):
    args = make_args(tmp_path, stages=["soft_targets epochs=1", "labels soft_targets epochs=3"])
    stages = args.make_stages()
    objectives = list(stages)
    for step, number, progress in ((0, 0, 0.0), (4, 0, 1.0), (5, 1, 0.0), (12, 1, 0.5), (19, 1, 1.0), (20, 1, 1.0)):
        assert stages.at(step, 20) is objectives[number]
        assert objectives[number].progress == pytest.approx(progress)
    assert stages.at(0, 0) is objectives[1], "outside of training it is the last"


def test_the_card_lists_the_stages(tmp_path):
    trainer = make_trainer(tmp_path, make_model(1), make_rows(8), teacher=make_model(2), stages=STAGES)
    assert [(term["stage"], term["name"]) for term in trainer.stages.describe()] == [
        (1, "hidden_states"),
        (2, "labels"),
        (2, "soft_targets"),
    ]
    trainer.create_model_card()
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| hidden_states | 1 | stage = 1, layer_map = uniform, distance = mse |" in card


def test_the_rate_warms_up_and_decays_anew_in_each_stage(tmp_path):
    settings = {"stages": ["labels steps=4 learning_rate=2.0", "labels steps=6"], "warmup_steps": 2}
    args = make_args(tmp_path, learning_rate=1.0, lr_scheduler_type="linear", **settings)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, rates = staged_scheduler(optimizer, args, parse_stages(args.stages), 10), []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0, 1, 2, 1, 0, 0.5, 1, 0.75, 0.5, 0.25])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["labels"], "'labels' should read TERM:WEIGHT ... epochs=N"),
        (["epochs=2"], "'epochs=2' should read TERM:WEIGHT"),
        (["labels epochs=1 steps=2"], "should read TERM:WEIGHT"),
        (["labels epoch=1"], "should read TERM:WEIGHT"),
        (["labels epochs=0"], "epochs=0 in 'labels epochs=0' must be a number in \\[1e-06, 1000000\\]"),
        (["labels epochs=two"], "epochs=two in 'labels epochs=two' must be a number"),
        (["labels epochs=nan"], "epochs=nan in .* must be a number in"),
        (["labels epochs=1 epochs=2"], "'labels epochs=1 epochs=2' should read TERM:WEIGHT"),
        (["labels steps=1.5"], "steps=1.5 in .* must be a whole number of at least 1"),
        (["labels steps=" + "9" * 5000], "must be a whole number of at least 1"),
        (["labels epochs=1 learning_rate=1e300"], "learning_rate=1e300 in .* must be a number in"),
        (["labels:nan epochs=1"], "the weight of 'labels' must be a number in"),
        (["labels epochs=1", "labels steps=1"], "count all of them in epochs, or all in steps"),
        (["label epochs=1"], "'label' is unknown; the terms are"),
    ],
)
def test_refuses_stages_it_cannot_read(lines, message):
    with pytest.raises(ValueError, match=message):
        parse_stages(lines)


def test_a_schedule_that_looks_at_the_loss_cannot_start_anew(tmp_path):
    plateau = {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"}
    args = make_args(tmp_path, stages=["labels epochs=1"], **plateau)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match="lr_scheduler_type .* cannot start anew in each stage"):
        staged_scheduler(optimizer, args, parse_stages(args.stages), 10)

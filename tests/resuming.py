"""Runs of nine steps that are interrupted, beside the same run that was not."""

import signal

from processes import run_script
from tiny import assert_logs_alike, distance, weights

#: Everything that has a state: shuffling, Adam, a learning-rate schedule. Step 3 ends an epoch, step 5 lies within one.
SETTINGS = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_train_epochs": 3}
SETTINGS |= {"optim": "adamw_torch", "learning_rate": 1e-2, "lr_scheduler_type": "linear", "save_strategy": "steps"}
SETTINGS |= {"save_steps": 1}

#: Temperature and alpha change over the run as well.
SCHEDULES = {"temperature": 4.0, "temperature_end": 1.0, "temperature_schedule": "linear", "alpha": 0.8}
SCHEDULES |= {"alpha_end": 0.2, "alpha_schedule": "cosine"}


def resumed_from_steps(build, folder, kind, steps=(3, 5)):
    """For each step the trainer that went on from its checkpoint, and one that was never interrupted.

    Args:
        build: Makes the trainer of a kind, `build(folder, kind)`.
        folder: Where all of them write.
        kind: Which run it is.
        steps: Those of the checkpoints.
    """
    reference = _whole(build, folder, kind)
    for step in steps:
        resumed = build(folder / f"resumed_{step}", kind)
        resumed.train(resume_from_checkpoint=str(folder / "whole" / f"checkpoint-{step}"))
        yield resumed, reference


def resumed_after_a_kill(build, folder, kind):
    """As `resumed_from_steps`, of a process that SIGKILL left no time to tidy up."""
    died = run_script("train_and_die.py", folder / "killed", kind)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert not (folder / "killed" / "checkpoint-6").exists()
    resumed = build(folder / "killed", kind)
    resumed.train(resume_from_checkpoint=True)
    return resumed, _whole(build, folder, kind)


def assert_same_end(resumed, reference, *logged):
    """Both did nine steps to the same student and objective, and logged the same."""
    assert resumed.state.global_step == reference.state.global_step == 9
    assert distance(weights(resumed.model), weights(reference.model)) < 1e-7
    assert distance(weights(resumed.stages), weights(reference.stages)) < 1e-7
    names = ("loss", "label_loss", "soft_target_loss", "grad_norm", "step", *logged)
    assert_logs_alike(resumed, reference, *names, rel=1e-6)


def _whole(build, folder, kind):
    trainer = build(folder / "whole", kind)
    trainer.train()
    return trainer

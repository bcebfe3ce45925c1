"""A teacher that is the moving average of its student."""

import pytest
import torch
from safetensors.torch import load_file
from tiny import CopyWeights, distance, make_model, make_rows, make_trainer, weights

from hfdistill.teachers import MovingAverageTeacher

SETTINGS = {"alpha": 0.7, "num_train_epochs": 3, "optim": "adamw_torch", "learning_rate": 1e-2}


def follow(out, decay=0.8, dropout=0.0, given=None, **changes):
    student = make_model(1, dropout)
    teacher = MovingAverageTeacher(student, decay)
    rows = make_rows(22)
    return make_trainer(out, student, rows, teacher=teacher, given=given, **{**SETTINGS, **changes})


def test_it_is_the_average_of_the_students_weights(tmp_path):
    """`θ ← d θ + (1 − d) θ_student` after each step, with `d = min(decay, 1 − 1 / (n + 1))`."""
    copies = CopyWeights()
    trainer = follow(tmp_path, given={"callbacks": [copies]})
    expected = weights(make_model(1))
    trainer.train()
    assert len(copies.steps) == 9
    for step, student in enumerate(copies.steps, start=1):
        decay = min(0.8, 1 - 1 / (step + 1))
        expected = {name: decay * average + (1 - decay) * student[name] for name, average in expected.items()}
    assert distance(weights(trainer.teacher.model), expected) < 1e-5
    assert distance(weights(trainer.teacher.model), weights(trainer.model)) > 1e-3
    plain = sum(student["classifier.bias"] for student in [weights(make_model(1)), *copies.steps[:3]]) / 4
    early = weights(make_model(1))["classifier.bias"]
    for step, student in enumerate(copies.steps[:3], start=1):
        early = early * (1 - 1 / (step + 1)) + student["classifier.bias"] / (step + 1)
    torch.testing.assert_close(early, plain)  # what the first steps are: the plain mean


def test_it_teaches_what_it_is_at_the_time(tmp_path):
    """At the first step it is the student: nothing to learn but from the labels; later there is."""
    trainer = follow(tmp_path)
    trainer.train()
    losses = [log["soft_target_loss"] for log in trainer.state.log_history if "soft_target_loss" in log]
    assert losses[0] == pytest.approx(0, abs=1e-6)
    assert min(losses[2:]) > 1e-4


@pytest.fixture
def compiled(monkeypatch):
    """The arguments of a compiled run, which leave what they ask for in the environment of every later one."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")
    return {"torch_compile": True, "torch_compile_backend": "eager", "optim": "sgd"}


def test_compiled_it_follows_and_is_kept_as_without(tmp_path, compiled):
    """A compiled model calls its weights otherwise: none would be found to follow, or in a checkpoint."""
    plain = follow(tmp_path / "plain", optim="sgd")  # Adam makes steps of the rounding of keys' biases
    plain.train()
    whole = follow(tmp_path / "whole", **compiled, save_strategy="epoch")
    whole.train()
    kept = load_file(tmp_path / "whole" / "checkpoint-9" / "moving_average_teacher.safetensors")
    assert distance(kept, dict(plain.teacher.model.named_parameters())) < 1e-5
    resumed = follow(tmp_path / "resumed", **compiled)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-6"))
    assert distance(weights(resumed.model), weights(whole.model)) < 1e-6


def test_it_never_changes_the_student(tmp_path):
    """A teacher that shares a tensor with the student would be dragged along, or drag it."""
    student = make_model(1)
    teacher = MovingAverageTeacher(student)
    own = {parameter.data_ptr() for parameter in teacher.model.parameters()}
    assert not own & {parameter.data_ptr() for parameter in student.parameters()}
    assert all(parameter.requires_grad for parameter in student.parameters())
    before = weights(student)
    teacher.follow(make_model(2), 1)
    assert distance(before, weights(student)) == 0


def test_a_resumed_run_goes_on_with_the_average(tmp_path):
    """Begun anew from the resumed student, the average would forget all that went before."""
    whole = follow(tmp_path / "whole", dropout=0.3, save_strategy="steps", save_steps=1)
    whole.train()
    resumed = follow(tmp_path / "resumed", dropout=0.3)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-5"))
    assert distance(weights(resumed.teacher.model), weights(whole.teacher.model)) < 1e-7
    assert distance(weights(resumed.model), weights(whole.model)) < 1e-7
    kept = load_file(tmp_path / "whole" / "checkpoint-9" / "moving_average_teacher.safetensors")
    assert distance(kept, dict(whole.teacher.model.named_parameters())) == 0
    whole.save_model()
    assert not (tmp_path / "whole" / "moving_average_teacher.safetensors").exists()


def test_in_an_ensemble_it_follows_and_is_kept_as_alone(tmp_path):
    """One that is not updated stays the untrained student for ever."""

    def both(out, **changes):
        student, rows = make_model(1, 0.3), make_rows(22)
        teachers = [MovingAverageTeacher(student, 0.5), make_model(2), MovingAverageTeacher(student, 0.9)]
        return make_trainer(out, student, rows, teacher=teachers, **{**SETTINGS, **changes})

    whole = both(tmp_path / "whole", save_strategy="steps", save_steps=5)
    whole.train()
    resumed = both(tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-5"))
    for number in (0, 2):
        found, expected = (weights(trainer.teacher.members[number].model) for trainer in (resumed, whole))
        assert distance(found, expected) < 1e-7
        assert distance(found, weights(make_model(1))) > 1e-3
    assert distance(weights(resumed.model), weights(whole.model)) < 1e-7


def test_another_runs_checkpoint_is_refused(tmp_path):
    """Without its average in the checkpoint the run would go on with another teacher."""
    saved = {**SETTINGS, "save_strategy": "steps", "save_steps": 1}
    make_trainer(tmp_path, make_model(1), make_rows(22), teacher=make_model(2), **saved).train()
    with pytest.raises(ValueError, match=r"holds no moving_average_teacher.safetensors: it is of a run with another"):
        follow(tmp_path / "own").train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    with pytest.raises(ValueError, match="decay must lie strictly between 0 and 1, got 1"):
        MovingAverageTeacher(make_model(1), 1)

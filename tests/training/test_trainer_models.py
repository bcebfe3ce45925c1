"""The students that a trainer is given or makes itself: their dtypes, their problem types, one for each trial."""

import copy

import numpy as np
import pytest
import torch
from tiny import (
    MULTI,
    accuracy,
    distance,
    live,
    logs_of,
    make_model,
    make_rows,
    make_tokenizer,
    make_trainer,
    run_case,
    weights,
)
from transformers import TrainerCallback

from hfdistill import Objective, soft_targets
from hfdistill.losses import Labels, SoftTargets

# ---- Dtypes ----


def test_a_half_precision_checkpoint_is_trained_in_float32(tmp_path):
    """`from_pretrained` keeps bfloat16, in which small updates are lost."""
    make_model(1).to(torch.bfloat16).save_pretrained(tmp_path / "half")
    for dtype, expected in (("float32", torch.float32), ("auto", torch.bfloat16)):
        student = type(make_model()).from_pretrained(tmp_path / "half")
        assert student.dtype == torch.bfloat16
        trainer = make_trainer(tmp_path, student, make_rows(teacher_logits=True), student_dtype=dtype)
        trainer.train()
        assert {parameter.dtype for parameter in trainer.model.parameters()} == {expected}


def test_the_teacher_keeps_its_dtype(tmp_path):
    """A teacher must not be cast along with the student, unless that is asked for."""
    for dtype, expected in (("auto", torch.float64), ("bfloat16", torch.bfloat16)):
        teacher = make_model(2).double()
        make_trainer(tmp_path, make_model(1), make_rows(), teacher=teacher, teacher_dtype=dtype).train()
        assert teacher.dtype == expected


def test_autocast_computes_the_losses_in_float32(tmp_path):
    """bf16 keeps three digits: a divergence of near distributions would be rounding."""
    student, rows, teacher, settings = live()
    seen = []

    class Watched(SoftTargets):
        def forward(self, *args):
            losses = super().forward(*args)
            seen.append(losses.dtype)
            return losses

    objective = Objective({"labels": (0.6, Labels()), "soft_targets": (0.4, Watched(2.0))})
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, given={"objective": objective}, bf16=True)
    trainer.train()
    assert set(seen) == {torch.float32}
    assert student.dtype == torch.float32
    exact = run_case(tmp_path, "live")[0]
    names = ("loss", "label_loss", "soft_target_loss")
    np.testing.assert_allclose(logs_of(trainer, *names), logs_of(exact, *names), rtol=0.05, atol=0.02)
    assert logs_of(trainer, *names) != logs_of(exact, *names), "autocast was not on"


def test_mixed_precision_ends_with_the_training(tmp_path):
    """What is measured and exported afterwards would predict in bfloat16, and diverge from the saved student."""
    trainer = make_trainer(tmp_path, make_model(1), make_rows(8), teacher=make_model(2), bf16=True, max_steps=1)
    batch = {"input_ids": torch.arange(6).view(2, 3), "attention_mask": torch.ones(2, 3, dtype=torch.long)}
    for _ in range(2):  # a second training has it again
        before = weights(trainer.model)
        trainer.train()
        assert logs_of(trainer, "loss")[0][0] > 0 and distance(before, weights(trainer.model)) > 1e-5
        trainer.save_model()
        trainer.evaluate(make_rows(4))  # does not bring it back
        saved = type(trainer.model).from_pretrained(tmp_path)
        with torch.inference_mode():
            assert torch.equal(trainer.model.eval()(**batch).logits, saved.eval()(**batch).logits)


def test_a_compiled_student_has_a_teacher(tmp_path, monkeypatch):
    """Accelerate compiles the teacher as well, and the run would end before its first step."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")  # the arguments leave it there for every later run
    plain = run_case(tmp_path, "live")[0]
    compiled = run_case(tmp_path, "live", torch_compile=True, torch_compile_backend="eager")[0]
    names = ("loss", "label_loss", "soft_target_loss")
    np.testing.assert_allclose(logs_of(compiled, *names), logs_of(plain, *names), rtol=1e-4)


# ---- model_init, and problem types that nobody wrote down ----


def test_model_init_makes_the_student(tmp_path):
    """The student is made by Trainer, twice: it must be cast, checked against the teacher, and trained."""
    rows, teacher = make_rows(), make_model(2)
    made = []

    def model_init():
        made.append(make_model(1).to(torch.bfloat16))
        return made[-1]

    trainer = make_trainer(tmp_path, None, rows, teacher=teacher, given={"model_init": model_init}, alpha=0.4)
    trainer.train()
    assert trainer.model is made[-1]
    assert trainer.model.dtype == torch.float32
    assert distance(weights(trainer.model), weights(make_model(1).to(torch.bfloat16).float())) > 1e-3


@pytest.mark.parametrize("source", ["labels", "teacher"])
def test_many_labels_at_once_are_seen_from_labels_or_teacher(tmp_path, source):
    """A student without `problem_type` would learn a softmax from the teacher and be shipped with one."""
    kind = {"problem_type": MULTI}
    rows = make_rows(16, MULTI)
    rows = rows if source == "labels" else rows.remove_columns("labels")
    runs = []
    for student_kind in (kind, {}):
        student = make_model(1, **student_kind)
        teacher = make_model(2, **(kind if source == "teacher" or student_kind else {}))
        trainer = make_trainer(tmp_path, student, rows, teacher=teacher, alpha=0.5, given={"eval_dataset": rows})
        trainer.train()
        assert student.config.problem_type == MULTI
        runs.append((weights(student), trainer.evaluate()["eval_agreement"]))
    assert distance(runs[0][0], runs[1][0]) < 1e-6
    assert runs[0][1] == runs[1][1]


def test_teacher_and_student_of_different_problems_are_refused(tmp_path):
    """A softmax teacher says nothing about independent labels, though the shapes agree."""
    student, teacher = make_model(1, problem_type=MULTI), make_model(2, problem_type="single_label_classification")
    with pytest.raises(ValueError, match="single_label_classification.*multi_label_classification"):
        make_trainer(tmp_path, student, make_rows(16, MULTI), teacher=teacher)


# ---- Search ----


class Record(TrainerCallback):
    """What each training used, by the logs and the student it began with."""

    def __init__(self):
        self.trials = []

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.trials.append({"begun": weights(model), "temperature": args.temperature, "alpha": args.alpha, "logs": []})

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.trials[-1]["logs"].append((logs["loss"], logs["label_loss"], logs["soft_target_loss"]))


@pytest.mark.parametrize("bf16", [False, True])
def test_search_uses_each_trials_arguments_and_a_fresh_student(tmp_path, bf16):
    """Values kept from the start, an int default that cuts 2.7 to 2, or a student already trained: all unseen."""
    pytest.importorskip("optuna")
    student, rows, teacher, _ = live()
    record = Record()
    given = {"model_init": lambda trial: copy.deepcopy(student), "callbacks": [record]}
    given |= {"eval_dataset": rows, "compute_metrics": accuracy}
    args = {"temperature": 2, "alpha": 1, "bf16": bf16, "eval_strategy": "epoch", "logging_steps": 3, "max_steps": 4}
    trainer = make_trainer(tmp_path, None, rows, teacher=teacher, given=given, **args)
    prepared = trainer.accelerator

    def space(trial):
        return {
            "temperature": trial.suggest_float("temperature", 2.6, 6.0),
            "alpha": trial.suggest_float("alpha", 0.2, 0.8),
        }

    trainer.hyperparameter_search(space, compute_objective=lambda metrics: metrics["eval_accuracy"], n_trials=2)
    assert trainer.accelerator is not prepared
    assert trainer.teacher._accelerator is trainer.accelerator
    temperatures = {trial["temperature"] for trial in record.trials}
    assert len(temperatures) == 2
    assert all(temperature % 1 for temperature in temperatures)
    for trial in record.trials:
        assert distance(trial["begun"], weights(make_model(1))) == 0
        loss, label_loss, soft_target_loss = trial["logs"][0]
        assert loss == pytest.approx(trial["alpha"] * soft_target_loss + (1 - trial["alpha"]) * label_loss, rel=1e-3)
        alone = {"temperature": trial["temperature"], "alpha": trial["alpha"], "bf16": bf16, "logging_steps": 3}
        reference = make_trainer(tmp_path, make_model(1), rows, teacher=make_model(2, num_hidden_layers=3), **alone)
        reference.train()
        assert trial["logs"][0] == pytest.approx(
            logs_of(reference, "loss", "label_loss", "soft_target_loss")[0], rel=1e-3 if bf16 else 1e-5
        )


@pytest.mark.parametrize("stored", [False, True])
def test_search_combines_the_teachers_by_each_trials_arguments(tmp_path, stored):
    """The combination of the start would serve all trials: a search over something that changes nothing."""
    optuna = pytest.importorskip("optuna")
    student, teachers, rows = make_model(1), [make_model(2), make_model(3)], make_rows()
    if stored:
        teachers, rows = None, soft_targets(teachers, rows, make_tokenizer())
    ways, args = ["confidence", "logits"], {"logging_steps": 3, "max_steps": 3, "alpha": 0.9}
    losses = {}
    for way in ways:
        reference = make_trainer(
            tmp_path, copy.deepcopy(student), rows, teacher=teachers, teacher_combination=way, **args
        )
        reference.train()
        losses[way] = logs_of(reference, "soft_target_loss")[0]
    assert losses["confidence"] != pytest.approx(losses["logits"], rel=1e-4)

    record = Record()
    given = {"model_init": lambda trial: copy.deepcopy(student), "callbacks": [record], "eval_dataset": rows}
    trainer = make_trainer(tmp_path, None, rows, teacher=teachers, given=given, **args)
    trainer.hyperparameter_search(
        lambda trial: {"teacher_combination": trial.suggest_categorical("teacher_combination", ways)},
        compute_objective=lambda metrics: metrics["eval_loss"],
        n_trials=2,
        sampler=optuna.samplers.GridSampler({"teacher_combination": ways}),
    )
    found = sorted(trial["logs"][0][2] for trial in record.trials)
    assert found == pytest.approx(sorted(loss for (loss,) in losses.values()), rel=1e-6)

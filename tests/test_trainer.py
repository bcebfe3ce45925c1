"""The trainer: what is in the loss, what is logged, what is refused."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
import torch
from tiny import (
    MULTI,
    CopyWeights,
    CountCalls,
    accuracy,
    distance,
    live,
    logits_of,
    logs_of,
    make_args,
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
from transformers import Trainer, TrainerCallback

from hfdistill import DistillationTrainer, ModelTeacher, Objective, Schedule
from hfdistill.losses import Labels, SoftTargets

WHOLE = {"per_device_train_batch_size": 16, "num_train_epochs": 1}


@pytest.fixture
def warnings_of(caplog):
    """The warnings so far."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# ---- The loss ----


@pytest.mark.parametrize("case", [stored, live, mixed])
def test_logged_terms_are_the_naive_ones(tmp_path, case):
    """A missing T², a mean over classes, or a label loss over unlabelled rows would change every weight in silence."""
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


def test_weights_of_their_own_need_not_sum_to_one(tmp_path):
    """label_weight and soft_target_weight replace alpha; they must not be normalised."""
    student, rows, _, _ = stored()
    trainer = make_trainer(tmp_path, student, rows, label_weight=2.0, soft_target_weight=0.25)
    trainer.train()
    for loss, label_loss, soft_target_loss in logs_of(trainer, "loss", "label_loss", "soft_target_loss"):
        assert loss == pytest.approx(2 * label_loss + 0.25 * soft_target_loss, rel=1e-5)


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


def test_label_smoothing_is_honoured(tmp_path):
    """A `compute_loss` of one's own makes transformers' label smoother idle; with its formula the runs agree."""
    runs = []
    for cls in (Trainer, DistillationTrainer):
        alpha = {"alpha": 0.0, "label_smoothing_factor": 0.2}
        student = make_model(1)
        make_trainer(tmp_path, student, make_rows(), cls=cls, **alpha).train()
        runs.append(weights(student))
    assert distance(*runs) < 1e-6
    unsmoothed = run_case(tmp_path, "plain_labels")[0]
    assert distance(runs[1], weights(unsmoothed.model)) > 1e-3


@pytest.mark.parametrize("problem", ["single", "multi_label", "regression"])
def test_alpha_0_without_teacher_is_plain_fine_tuning(tmp_path, problem):
    """A baseline on this path must be the baseline that everybody else would train, dropout and shuffling included."""
    changes = {"single": {}, "multi_label": {"problem_type": MULTI}, "regression": {"num_labels": 1}}[problem]
    kind = {"single": "single_label_classification", "multi_label": MULTI, "regression": "regression"}[problem]
    runs = []
    for cls in (Trainer, DistillationTrainer):
        student = make_model(1, dropout=0.2, **changes)
        trainer = make_trainer(tmp_path, student, make_rows(11, kind), cls=cls, alpha=0.0)
        trainer.train()
        runs.append(trainer)
    stock, ours = runs
    assert distance(weights(stock.model), weights(ours.model)) < 1e-6
    for log, expected in zip(logs_of(ours, "loss", "grad_norm"), logs_of(stock, "loss", "grad_norm"), strict=True):
        assert log == pytest.approx(expected, rel=1e-5)


def test_alpha_1_does_not_see_the_labels(tmp_path):
    """Soft targets alone: the same student whatever the labels say."""
    one, rows, _, _ = stored()
    make_trainer(tmp_path, one, rows, alpha=1.0).train()
    other = make_model(1)
    wrong = unlabel(rows, set(range(0, 16, 2)))
    make_trainer(tmp_path, other, wrong, alpha=1.0).train()
    assert distance(weights(one), weights(other)) == 0
    assert distance(weights(one), weights(make_model(1))) > 1e-3


def test_alpha_0_asks_no_teacher_in_training(tmp_path):
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
    answers = logits_of(teacher, rows).tolist()
    counter, other = CountCalls(teacher), make_model(1)
    with_answers = rows.add_column("teacher_logits", answers)
    make_trainer(tmp_path, other, with_answers, teacher=teacher, **settings).train()
    assert counter.calls == 0
    assert distance(weights(student), weights(other)) < 1e-6


def test_the_teacher_is_frozen_and_quiet(tmp_path):
    """A teacher in train mode adds dropout noise to its answers; one with gradients learns along."""
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


def test_labelled_rows_train_without_a_warning(tmp_path, warnings_of):
    """Correct use is silent."""
    run_case(tmp_path, "mixed")
    assert [message for message in warnings_of() if "found nothing" in message] == []


def test_soft_targets_from_nowhere_are_an_error(tmp_path):
    """Training on without the teacher would be plain fine-tuning under another name."""
    trainer = make_trainer(tmp_path, make_model(1), make_rows(), alpha=0.5)
    with pytest.raises(ValueError, match="neither a teacher nor a column teacher_logits.*alpha=0"):
        trainer.train()


def test_a_teacher_that_answers_nan_is_an_error(tmp_path):
    """One NaN would turn all of the student's weights into NaN, and the logs show 0."""
    student, rows, teacher, settings = live()
    with torch.no_grad():
        teacher.classifier.bias[1] = float("nan")
    before = weights(student)
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, **settings)
    with pytest.raises(ValueError, match="row 0 of the batch are not finite.*teacher_dtype"):
        trainer.train()
    assert distance(weights(student), before) == 0


# ---- What is refused ----


@pytest.mark.parametrize("wrap", [lambda model: model, ModelTeacher], ids=["model", "ModelTeacher"])
def test_a_student_is_not_its_own_teacher(tmp_path, wrap):
    """Freezing the teacher would freeze the student, and a divergence from oneself is 0."""
    student = make_model(1)
    with pytest.raises(ValueError, match="the same object"):
        make_trainer(tmp_path, student, make_rows(), teacher=wrap(student))


def test_processes_that_do_not_find_each_other_are_refused(tmp_path, monkeypatch):
    """Each would train a student of its own on all rows, and write it over the other's."""
    args = make_args(tmp_path)
    assert args.world_size == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were started.*use_cpu=True"):
        DistillationTrainer(make_model(1), args, train_dataset=make_rows())


def test_compute_loss_func_is_refused(tmp_path):
    """It would be passed over in silence."""
    with pytest.raises(ValueError, match="compute_loss_func would be ignored.*objective"):
        make_trainer(tmp_path, make_model(1), make_rows(), given={"compute_loss_func": lambda *_: 0})


def test_data_parallel_is_refused(tmp_path):
    """Several GPUs in one process would count items of one of them."""
    args = make_args(tmp_path)
    args._n_gpu = 2
    with pytest.raises(ValueError, match="2 GPUs.*accelerate launch"):
        DistillationTrainer(model=make_model(1), args=args, train_dataset=make_rows())


def test_values_set_after_the_arguments_were_checked_are_checked_again(tmp_path):
    """A search writes into the arguments: a negative temperature would turn the objective around."""
    student, rows, _, settings = stored()
    trainer = make_trainer(tmp_path, student, rows, **settings)
    trainer.args.temperature = -1.0
    with pytest.raises(ValueError, match="temperature must be .*greater than 0.*got -1.0"):
        trainer.train()


# ---- Labels by name ----

ABC = {0: "cold", 1: "mild", 2: "hot"}
BCA = {0: "mild", 1: "hot", 2: "cold"}


def named(model, id2label):
    model.config.id2label = dict(id2label)
    model.config.label2id = {name: index for index, name in id2label.items()}
    return model


def test_a_teacher_whose_labels_are_in_another_order_teaches_the_same(tmp_path):
    """Class 0 of one is not class 0 of the other: compared by position, the student would learn nonsense."""
    rows, runs = make_rows(), []
    for order in (ABC, BCA):
        student, teacher = named(make_model(1), ABC), named(make_model(2), order)
        if order is BCA:
            with torch.no_grad():
                for parameter in (teacher.classifier.weight, teacher.classifier.bias):
                    parameter.copy_(parameter[[1, 2, 0]].clone())
        trainer = make_trainer(tmp_path, student, rows, teacher=teacher, given={"eval_dataset": rows}, alpha=0.8)
        trainer.train()
        runs.append((weights(student), trainer.evaluate()["eval_agreement"]))
    assert distance(runs[0][0], runs[1][0]) < 1e-6
    assert runs[0][1] == runs[1][1]


def test_labels_of_other_names_are_refused(tmp_path):
    """Another question, though of as many answers."""
    teacher = named(make_model(2), {0: "red", 1: "green", 2: "blue"})
    with pytest.raises(ValueError, match="red.*against.*cold"):
        make_trainer(tmp_path, named(make_model(1), ABC), make_rows(), teacher=teacher)


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


@pytest.mark.parametrize("tells", ["labels", "teacher"])
def test_many_labels_at_once_are_seen_from_labels_or_teacher(tmp_path, tells):
    """A student without `problem_type` would learn a softmax from the teacher and be shipped to answer with one."""
    kind = {"problem_type": MULTI}
    rows = make_rows(16, MULTI)
    rows = rows if tells == "labels" else rows.remove_columns("labels")
    runs = []
    for student_kind in (kind, {}):
        student = make_model(1, **student_kind)
        teacher = make_model(2, **(kind if tells == "teacher" or student_kind else {}))
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


def test_mixed_precision_ends_with_the_training(tmp_path):
    """What is measured and exported afterwards would answer in bfloat16, and otherwise than the saved student."""
    trainer = make_trainer(tmp_path, make_model(1), make_rows(8), teacher=make_model(2), bf16=True, max_steps=1)
    batch = {"input_ids": torch.arange(6).view(2, 3), "attention_mask": torch.ones(2, 3, dtype=torch.long)}
    for _ in range(2):  # a second training has it again
        before = weights(trainer.model)
        trainer.train()
        assert logs_of(trainer, "loss")[0][0] > 0 and distance(before, weights(trainer.model)) > 1e-5
        trainer.save_model()
        saved = type(trainer.model).from_pretrained(tmp_path)
        with torch.inference_mode():
            assert torch.equal(trainer.model.eval()(**batch).logits, saved.eval()(**batch).logits)


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


def test_every_step_moves_the_student(tmp_path):
    """A detached loss trains nothing and looks well in the logs."""
    student, rows, teacher, settings = live()
    copies = CopyWeights()
    make_trainer(tmp_path, student, rows, teacher=teacher, given={"callbacks": [copies]}, **settings).train()
    steps = [weights(make_model(1)), *copies.steps]
    assert all(distance(one, other) > 1e-4 for one, other in zip(steps, steps[1:], strict=False))

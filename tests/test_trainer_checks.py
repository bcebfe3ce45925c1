"""What the trainer refuses, and whose labels it takes for the same."""

from __future__ import annotations

import pytest
import torch
from tiny import (
    distance,
    make_args,
    make_model,
    make_rows,
    make_trainer,
    stored,
    weights,
)

from hfdistill import DistillationTrainer, ModelTeacher

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

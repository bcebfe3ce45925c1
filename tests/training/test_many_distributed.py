"""Several teachers, one that sees, few labels, a moving teacher: two processes must train the student of one."""

import pytest
from processes import results_of_two_ranks
from tiny import distance, make_model, make_rows, make_tokenizer, make_trainer, unlabel, weights
from tiny_media import hearer, make_media_rows, seer

from hfdistill import soft_targets
from hfdistill.teachers import MovingAverageTeacher


def teachers():
    return [make_model(2), make_model(3, num_hidden_layers=1)]


def live(out, **layout):
    return make_trainer(out, make_model(1), make_rows(24), teacher=teachers(), **layout)


def drawn(out, **layout):
    """One teacher a step: each rank must hear the same one."""
    settings = {"teacher_combination": "sample", "alpha": 1.0, "num_train_epochs": 4}
    return make_trainer(out, make_model(1), make_rows(24), teacher=teachers(), **settings, **layout)


def stored(out, **layout):
    rows = soft_targets(teachers(), make_rows(24), make_tokenizer(), store=out / "store")
    return make_trainer(out, make_model(1), rows, teacher_combination="confidence", **layout)


def few_labels(out, **layout):
    rows = unlabel(make_rows(24, teacher_logits=True), set(range(24)) - {1, 7, 20})
    return make_trainer(out, make_model(1), rows, labeled_share=0.25, **layout)


def budgeted(out, **layout):
    """A step of two ranks is that of one which accumulates twice."""
    accumulated = {} if layout else {"gradient_accumulation_steps": 2}
    layout.pop("per_device_train_batch_size", None)
    rows = make_rows(24, teacher_logits=True)
    return make_trainer(out, make_model(1), rows, max_tokens_per_batch=30, **accumulated, **layout)


def moving(out, **layout):
    student = make_model(1)
    return make_trainer(out, student, make_rows(24), teacher=MovingAverageTeacher(student, 0.8), **layout)


def seeing(out, **layout):
    return make_trainer(out, make_model(1), make_media_rows(24), teacher=seer(), **layout)


def heard_once(out, **layout):
    rows = soft_targets(hearer(), make_media_rows(24), store=out / "store")
    return make_trainer(out, make_model(1), rows, **layout)


CASES = {case.__name__: case for case in (live, drawn, stored, few_labels, budgeted, moving, seeing, heard_once)}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """The students of both ranks, by case."""
    return results_of_two_ranks("train_many_in_ranks.py", tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_train_the_student_of_one(ranks, tmp_path, name):
    """A draw, an order of rows or an average of each rank's own would set the ranks apart, or lead elsewhere."""
    one = CASES[name](tmp_path)
    one.train()
    assert distance(ranks[0][name], ranks[1][name]) == 0
    assert distance(weights(one.model), weights(make_model(1))) > 0.01
    assert distance(ranks[0][name], weights(one.model)) < 1e-6

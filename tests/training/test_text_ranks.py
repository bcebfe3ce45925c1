"""Two processes train the student of one: masked and bare encoders, choices, embeddings, scores, several labels."""

from functools import partial

import pytest
import test_choices
import test_embeddings
import test_masked_lm
from processes import results_of_two_ranks
from tiny import distance, make_model, make_rows, make_trainer, weights
from transformers import AutoModel


def masked(out, **changes):
    student, teacher = (test_masked_lm.make_encoder(seed=seed) for seed in (1, 2))
    trainer = test_masked_lm.make_trainer(out, student, teacher, test_masked_lm.texts(13), **changes)
    trainer.train()
    return trainer


def bare(out, **changes):
    student, teacher = (test_masked_lm.make_encoder(seed=seed, head=AutoModel) for seed in (1, 2))
    trainer = test_masked_lm.make_trainer(
        out, student, teacher, test_masked_lm.texts(13), terms=["minilm:1", "hidden_states:1"], **changes
    )
    trainer.train()
    return trainer


def choices(out, **changes):
    return test_choices.train(out, "candidates", terms=["labels:1", "margin_mse:1"], **changes)


def embeddings(out, **changes):
    return test_embeddings.train(out, test_embeddings.encoder(1), test_embeddings.encoder(2), **changes)


def of_problem(problem_type, out, **changes):
    head = {"num_labels": 1 if problem_type == "regression" else 3, "problem_type": problem_type}
    student, teacher = (make_model(seed, **head) for seed in (1, 2))
    trainer = make_trainer(out, student, make_rows(13, problem_type), teacher=teacher, **changes)
    trainer.train()
    return trainer


RUNS = {"masked": masked, "bare": bare, "choices": choices, "embeddings": embeddings}
RUNS |= {name: partial(of_problem, name) for name in ("regression", "multi_label_classification")}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return results_of_two_ranks("train_texts_in_ranks.py", tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_ranks_train_the_student_of_one(ranks, tmp_path, name):
    alone = weights(RUNS[name](tmp_path).model)
    for found in ranks:
        assert distance(found[name], alone) < 1e-5

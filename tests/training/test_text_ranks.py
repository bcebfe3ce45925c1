"""Two processes train the student of one: masked and bare encoders, rows with choices, embeddings."""

import pytest
import test_choices
import test_embeddings
import test_masked_lm
from processes import results_of_two_ranks
from tiny import distance, weights
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


RUNS = {"masked": masked, "bare": bare, "choices": choices, "embeddings": embeddings}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return results_of_two_ranks("train_texts_in_ranks.py", tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_ranks_train_the_student_of_one(ranks, tmp_path, name):
    alone = weights(RUNS[name](tmp_path).model)
    for found in ranks:
        assert distance(found[name], alone) < 1e-5

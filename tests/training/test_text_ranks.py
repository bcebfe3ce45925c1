"""Two processes train the student of one: encoders, bare ones and on streams, choices, embeddings, scores, labels."""

from functools import partial

import pytest
import test_choices
import test_embeddings
import test_masked_lm
from datasets import Dataset
from processes import results_of_two_ranks
from tiny import WORDS, distance, make_model, make_rows, make_trainer, weights
from transformers import AutoModel

from hfdistill import text_rows


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


def streamed(out, pack=False, resume=None, **changes):
    """A stream of texts of unequal width, one text a row or several, from whose first step a killed run goes on."""
    lines = [{"text": " ".join(WORDS[4 + (n + k) % 30] for k in range(1 + n % 17))} for n in range(90)]
    stream = Dataset.from_list(lines).to_iterable_dataset()
    rows = text_rows(stream, test_masked_lm.mask_tokenizer(), max_length=24, pack=pack)
    student, teacher = (test_masked_lm.make_encoder(seed=seed) for seed in (1, 2))
    saving = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    trainer = test_masked_lm.make_trainer(out, student, teacher, rows, **saving, **changes)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def resumed(out, **changes):
    streamed(out, **changes)
    return streamed(out, resume=str(out / "checkpoint-2"), **changes)


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


RUNS = {
    "masked": masked,
    "bare": bare,
    "streamed": streamed,
    "packed": partial(streamed, pack=True),
    "resumed": resumed,
    "choices": choices,
    "embeddings": embeddings,
}
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

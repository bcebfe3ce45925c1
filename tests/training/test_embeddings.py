"""Sentence embeddings: pooled as the folder says, live and stored, in another language, and saved for its library."""

import random

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.stats import spearmanr
from tiny import WORDS, distance, make_args, make_tokenizer, weights
from transformers import BertConfig, BertModel

from hfdistill import (
    DistillationTrainer,
    ModelTeacher,
    as_sentence_encoder,
    compare,
    load_sentence_encoder,
    make_student,
    parallel_texts,
    soft_targets,
    tokenized_texts,
)
from hfdistill.models.heads import head_of
from hfdistill.models.pooling import MODES

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.4}


def encoder(seed, pooling="mean", normalize=True, **changes):
    torch.manual_seed(seed)
    sizes = {**SIZES, **QUIET, **changes}
    model = BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes))
    return as_sentence_encoder(model, pooling, normalize)


def texts(count=12, seed=1):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS[4:], k=rng.randint(2, 8))) for _ in range(count)]


def rows():
    return tokenized_texts(Dataset.from_dict({"text": texts()}), make_tokenizer())


@torch.no_grad()
def embedding(model, text, pooling, normalize):
    """Written out, of one text alone."""
    ids = torch.tensor([make_tokenizer()(text)["input_ids"]])
    states = model.eval()(input_ids=ids).last_hidden_state[0].double()
    pooled = {"mean": states.mean(0), "cls": states[0], "max": states.max(0).values, "lasttoken": states[-1]}[pooling]
    return pooled / pooled.norm() if normalize else pooled


def train(tmp_path, student, teacher, data=None, run=True, side="right", resume=None, **changes):
    tokenizer = make_tokenizer()
    tokenizer.padding_side = side
    data = rows() if data is None else data
    trainer = DistillationTrainer(
        student, make_args(tmp_path / "out", **{"num_train_epochs": 1, **changes}), teacher=teacher, train_dataset=data,
        eval_dataset=data, processing_class=tokenizer,
    )  # fmt: skip
    if run:
        trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", MODES)
@pytest.mark.parametrize("stored", [False, True])
def test_the_losses_are_those_of_texts_alone(tmp_path, pooling, normalize, stored):
    student, teacher, data = encoder(1, pooling, normalize), encoder(2, pooling, normalize), rows()
    pairs = [[embedding(model, text, pooling, normalize) for model in (student, teacher)] for text in texts()]
    square = np.mean([((s - t) ** 2).mean().item() for s, t in pairs])
    cosine = np.mean([1 - (s @ t / s.norm() / t.norm()).item() for s, t in pairs])
    if stored:
        data, teacher = soft_targets(teacher, data, make_tokenizer(), store=tmp_path / "store"), None
        assert len(data[0]["teacher_logits"]) == 16
    terms = ["soft_targets:1", "cosine_embedding:1"]
    side = "left" if pooling == "mean" else "right"
    found = train(tmp_path, student, teacher, data, run=False, side=side, terms=terms).evaluate()
    # Positions of padding on the left shift, of this BERT, so there it is only seen that padding is left out.
    expected = [square, cosine]
    if side == "right":
        losses = [found["eval_soft_target_loss"], found["eval_cosine_embedding_loss"]]
        assert losses == pytest.approx(expected, rel=1e-4)
    assert "eval_agreement" not in found


def test_cut_store_and_resume_change_nothing(tmp_path):
    def run(name, data=None, teacher=True, **changes):
        return train(tmp_path / name, encoder(1), encoder(2) if teacher else None, data, **changes)

    whole = run("whole", save_strategy="steps", save_steps=1)
    assert distance(weights(whole.model), weights(encoder(1))) > 1e-3
    stored = soft_targets(encoder(2), rows(), make_tokenizer(), store=tmp_path / "store")
    others = {
        "stored": run("stored", stored, teacher=False),
        "cut": run("cut", per_device_train_batch_size=2, gradient_accumulation_steps=4),
        "resumed": run("whole", resume=str(tmp_path / "whole/out/checkpoint-1"), save_strategy="steps", save_steps=1),
    }
    for name, other in others.items():
        assert distance(weights(whole.model), weights(other.model)) < 1e-5, name


@pytest.mark.parametrize("pooling", MODES)
@pytest.mark.parametrize("normalize", [True, False])
def test_the_folder_loads_in_sentence_transformers_and_here(tmp_path, pooling, normalize):
    library = pytest.importorskip("sentence_transformers")
    trainer = train(tmp_path, encoder(1, pooling, normalize), encoder(2, pooling, normalize))
    trainer.save_model(str(tmp_path / "saved"))
    own = torch.stack([embedding(trainer.model, text, pooling, normalize) for text in texts()]).float()
    theirs = library.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert torch.allclose(torch.tensor(theirs.encode(texts())), own, atol=1e-5)
    theirs.save(str(tmp_path / "theirs"))
    for folder in ("saved", "theirs"):
        tokenizer, again = load_sentence_encoder(str(tmp_path / folder))
        pool = head_of(again).pooling
        assert (pool.mode, pool.normalize, tokenizer.model_max_length) == (pooling, normalize, 32)
        assert distance(weights(again), weights(trainer.model)) == 0


def test_another_language_learns_the_embeddings_of_its_translations(tmp_path):
    """The student reads either sentence of a pair, the teacher the first; live and stored."""
    pairs = Dataset.from_dict({"en": texts(), "de": texts(seed=2)})
    data = tokenized_texts(parallel_texts(pairs, "en", "de"), make_tokenizer())
    assert data["text"][:] == texts() + texts(seed=2) and data["teacher_text"][:] == texts() * 2
    teacher = ModelTeacher(encoder(2), make_tokenizer(), text_columns=["teacher_text"])
    live = train(tmp_path / "live", encoder(1), teacher, data)
    stored = soft_targets(encoder(2), data, make_tokenizer(), text_columns=["teacher_text"], store=tmp_path / "store")
    assert stored[0]["teacher_logits"] == stored[12]["teacher_logits"]
    other = train(tmp_path / "stored", encoder(1), None, stored)
    assert distance(weights(live.model), weights(other.model)) < 1e-5
    with pytest.raises(ValueError, match="no column fr, only en, de"):
        parallel_texts(pairs, "en", "fr")


def test_a_student_made_of_its_teacher_pools_as_it_does():
    student = make_student(encoder(2, "cls", False), 1)
    assert head_of(student).pooling == head_of(encoder(2, "cls", False)).pooling


def test_two_widths_are_refused_with_a_way_out(tmp_path):
    wide = encoder(2, hidden_size=24)
    with pytest.raises(ValueError, match="teacher's embeddings have 24 dimensions and the student's 16.*rkd_distance"):
        train(tmp_path, encoder(1), wide)
    train(tmp_path, encoder(1), wide, terms=["rkd_distance:1"])
    with pytest.raises(ValueError, match="the teacher, a BertModel, gives representations and no logits"):
        bare = encoder(2)
        bare.config.sentence_pooling = None
        train(tmp_path, encoder(1), bare)
    with pytest.raises(ValueError, match="pooling must be one of mean, cls"):
        as_sentence_encoder(encoder(1), "sum")


def test_spearman_and_retrieval_are_those_of_scipy_and_of_a_loop():
    student, teacher, tokenizer = encoder(1), encoder(2), make_tokenizer()
    one, other = texts(20), texts(20, seed=2)
    gold = [float(round(value, 1)) for value in np.random.default_rng(0).random(20)]
    vectors = [torch.stack([embedding(student, text, "mean", True) for text in side]) for side in (one, other)]
    cosines = (vectors[0] * vectors[1]).sum(1).numpy()
    rated = compare(teacher, student, Dataset.from_dict({"text": one, "other": other, "similarity": gold}), tokenizer)
    assert rated.models["student"].metrics["spearman"] == pytest.approx(spearmanr(cosines, gold).statistic, abs=1e-3)
    found = compare(teacher, student, Dataset.from_dict({"text": one, "other": other}), tokenizer).models["student"]
    nearest = (vectors[0] @ vectors[1].T).argmax(1)
    assert found.metrics["accuracy"] == pytest.approx((nearest == torch.arange(20)).float().mean().item())
    with pytest.raises(ValueError, match="other is missing"):
        compare(teacher, student, Dataset.from_dict({"text": one}), tokenizer)

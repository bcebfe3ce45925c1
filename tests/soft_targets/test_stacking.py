"""Models, language models and votes as one ensemble: live as stored, weighed together, and where they disagree."""

import math

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from texts import make_tokenizer as make_words
from tiny import MULTI, make_args, make_model
from tiny_prompts import NAMES, TEMPLATE, VERBALIZER, make_bpe, make_causal, make_rows

from hfdistill import (
    DistillationTrainer,
    ModelTeacher,
    PromptTeacher,
    disagreement,
    from_probabilities,
    learned_weights,
    soft_targets,
    stack_soft_targets,
)

ORDER = {0: "good", 1: "bad", 2: "fair"}


def classifier(seed=3):
    """A model whose labels stand in another order than the rows'."""
    names = {"id2label": ORDER, "label2id": {name: place for place, name in ORDER.items()}}
    return make_model(seed, vocab_size=140, max_position_embeddings=64, **names)


@pytest.fixture
def rows():
    votes = [["bad", "good", "good"], ["fair", "fair", "good"]] * 6
    return make_rows().add_column("votes", votes)


@pytest.fixture
def members():
    """A classifier and a language model, each with a tokenizer of its own."""
    return [
        ModelTeacher(classifier(), make_words(["a"], 140), ["text"]),
        PromptTeacher(make_causal(), make_bpe(), TEMPLATE, VERBALIZER),
    ]


def stacked(members, rows):
    parts = [soft_targets(member, rows) for member in members]
    return stack_soft_targets([*parts, from_probabilities(rows, "votes", kind="votes")])


def test_models_prompts_and_votes_are_one_ensemble(members, rows):
    made = stacked(members, rows)
    assert made.features["teacher_label"].names == NAMES
    logits = np.array(made["ensemble_logits"])
    alone = np.array(soft_targets(members[0].model, rows, members[0].processing_class, text_columns=["text"],
                                  label_names=["good", "bad", "fair"])["teacher_logits"])  # fmt: skip
    assert logits.shape == (12, 3, 3)
    np.testing.assert_allclose(logits[:, 0], alone[:, [1, 2, 0]], atol=1e-6)
    np.testing.assert_allclose(np.exp(logits[0, 2]), [4 / 12, 1 / 12, 7 / 12], atol=1e-6)
    both = np.array(soft_targets(members, rows)["ensemble_logits"])
    np.testing.assert_allclose(logits[:, :2], both, atol=1e-6)
    weights = learned_weights(made, label_column="label")
    assert len(weights) == 3 and sum(weights) == pytest.approx(1)


def test_a_classifier_and_a_prompt_teach_live_as_stored(tmp_path, members, rows):
    tokenizer = make_words(["a"], 140)
    student = make_model(1, vocab_size=140, max_position_embeddings=64, id2label=dict(enumerate(NAMES)))
    student.config.label2id = {name: place for place, name in enumerate(NAMES)}
    tokens = rows.remove_columns("votes").rename_column("label", "labels")
    tokens = tokens.map(lambda row: tokenizer(row["text"]))
    losses = []
    for data, teacher in ((tokens, members), (soft_targets(members, tokens), None)):
        args = make_args(tmp_path, teacher_weights=[3.0, 1.0], temperature=2.0, max_steps=2)
        trainer = DistillationTrainer(
            student, args, teacher=teacher, train_dataset=data, eval_dataset=data, processing_class=tokenizer
        )
        losses.append(trainer.evaluate()["eval_soft_target_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5) and losses[0] > 0.01
    trainer.train()


def test_disagreement_is_the_entropy_that_the_mean_adds():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(3, 4, 5, dtype=torch.float64, generator=generator)
    p = logits.softmax(-1).numpy()

    def entropy(row):
        return -sum(one * math.log(one) for one in row)

    expected = [entropy(p[:, i].mean(0)) - sum(entropy(p[k, i]) for k in range(3)) / 3 for i in range(4)]
    np.testing.assert_allclose(disagreement(logits), expected, atol=1e-12)
    yes = torch.sigmoid(logits).numpy()
    pairs = np.stack([yes, 1 - yes], axis=-1)
    of_labels = [
        np.mean(
            [entropy(pairs[:, i, c].mean(0)) - sum(entropy(pairs[k, i, c]) for k in range(3)) / 3 for c in range(5)]
        )
        for i in range(4)
    ]
    np.testing.assert_allclose(disagreement(logits, MULTI), of_labels, atol=1e-12)
    np.testing.assert_allclose(disagreement(logits[..., :1]), logits[..., 0].numpy().std(0), atol=1e-12)


def test_disagreement_is_kept_beside_the_rows(tmp_path, members, rows):
    """And reaches no student, where columns that nobody reads are left in."""
    made = stacked(members, rows)
    expected = disagreement(torch.tensor(made["ensemble_logits"]).movedim(1, 0))
    np.testing.assert_allclose(made["teacher_disagreement"], expected, atol=1e-6)
    assert 0 < min(made["teacher_disagreement"]) and max(made["teacher_disagreement"]) < math.log(3)
    again = soft_targets(members[0], made)
    assert not {"ensemble_logits", "teacher_disagreement"} & set(again.column_names)
    tokenizer = make_words(["a"], 140)
    tokens = made.rename_column("label", "labels").map(lambda row: tokenizer(row["text"]))
    kept = ["input_ids", "attention_mask", "labels", "ensemble_logits", "teacher_label", "teacher_disagreement"]
    args = make_args(tmp_path, max_steps=1, remove_unused_columns=False)
    student = make_model(1, vocab_size=140, max_position_embeddings=64)
    DistillationTrainer(student, args, train_dataset=tokens.select_columns(kept), processing_class=tokenizer).train()


def test_a_dict_of_splits_and_stacks_are_stacked(rows):
    one, other = (from_probabilities(rows, "votes", kind="votes", smoothing=s) for s in (0.5, 2.0))
    splits = stack_soft_targets([DatasetDict({"train": one}), DatasetDict({"train": other})])
    assert np.array(splits["train"]["ensemble_logits"]).shape == (12, 2, 3)
    assert np.array(stack_soft_targets([splits["train"], one])["ensemble_logits"]).shape == (12, 3, 3)


def test_what_does_not_belong_together_is_refused(rows):
    made = from_probabilities(rows, "votes", kind="votes")
    with pytest.raises(ValueError, match="row 0 of dataset 2 has another text"):
        stack_soft_targets([made, made.shuffle(1)])
    with pytest.raises(ValueError, match="dataset 2 has 3 rows and the first 12"):
        stack_soft_targets([made, made.select(range(3))])
    with pytest.raises(ValueError, match="dataset 2 has no teacher_logits"):
        stack_soft_targets([made, rows])
    with pytest.raises(ValueError, match="takes two datasets or more, got 1"):
        stack_soft_targets([made])
    with pytest.raises(ValueError, match="different splits"):
        stack_soft_targets([DatasetDict({"train": made}), DatasetDict({"test": made})])
    bare = rows.remove_columns("label")
    two, three = (
        from_probabilities(bare.add_column(f"p{n}", [[1 / n] * n] * 12), f"p{n}", [f"x{i}" for i in range(n)])
        for n in (2, 3)
    )
    with pytest.raises(ValueError, match="2 labels and the student 3"):
        stack_soft_targets([three, two])
    named = Dataset.from_dict({"text": ["a"], "teacher_logits": [[0.0, 1.0, 2.0]]})
    with pytest.raises(ValueError, match="are of 2 and 3 labels"):
        stack_soft_targets([named.remove_columns("text"), from_probabilities(bare.select([0]).add_column(
            "q", [[0.5, 0.5]]), "q", ["a", "b"]).remove_columns("teacher_label")])  # fmt: skip
    tokens = Dataset.from_dict({"text": ["a", "b"], "teacher_logits": [[[0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]})
    with pytest.raises(ValueError, match="soft targets of tokens"):
        stack_soft_targets([tokens, tokens])
    assert isinstance(made.features["teacher_label"], ClassLabel)


def test_empty_and_infinite_soft_targets_are_refused(rows):
    made = from_probabilities(rows, "votes", kind="votes")
    with pytest.raises(ValueError, match="dataset 1 has no rows"):
        stack_soft_targets([made.select([]), made.select([])])
    broken = rows.select(range(2)).add_column("teacher_logits", [[0.0, 1.0], [float("nan"), 1.0]])
    with pytest.raises(ValueError, match="the soft targets of row 1 of dataset 1 are not finite"):
        stack_soft_targets([broken, broken])

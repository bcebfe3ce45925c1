"""Rows that bring embeddings in place of tokens, `inputs_embeds`: the losses, two cuts, and what is refused."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import distance, make_args, make_model, make_tokenizer, naive_soft_target_loss, weights
from transformers import default_data_collator

from hfdistill import DistillationTrainer, soft_targets


def rows(count=12, tokens=5):
    rng = np.random.default_rng(1)
    embeds = rng.normal(size=(count, tokens, 16)).astype(np.float32)
    mask = [[1] * (2 + row % 4) + [0] * (3 - row % 4) for row in range(count)]
    columns = {"inputs_embeds": embeds.tolist(), "attention_mask": mask, "labels": [row % 3 for row in range(count)]}
    return Dataset.from_dict(columns)


def make_trainer(out, **changes):
    data = rows()
    settings = {"temperature": 2.0, "num_train_epochs": 1, "train_sampling_strategy": "sequential", **changes}
    return DistillationTrainer(
        make_model(1), make_args(out, **settings), teacher=make_model(2), train_dataset=data, eval_dataset=data,
        data_collator=default_data_collator,
    )  # fmt: skip


@torch.no_grad()
def logits_of(model, row):
    inputs = {name: torch.tensor([row[name]]) for name in ("inputs_embeds", "attention_mask")}
    return model.eval()(**inputs).logits.double()


def test_the_losses_are_those_of_rows_alone(tmp_path):
    """Both models read the same embeddings; terms on hidden states know which places are padding."""
    trainer = make_trainer(tmp_path, terms=["labels:1", "soft_targets:1", "hidden_states:1"])
    student, teacher, hard, soft = make_model(1), make_model(2), [], []
    for row in rows():
        s, t = logits_of(student, row), logits_of(teacher, row)
        hard.append(-s.log_softmax(-1)[0, row["labels"]].item())
        soft.append(naive_soft_target_loss(s, t, 2.0))
    found = trainer.evaluate()
    losses = [found["eval_label_loss"], found["eval_soft_target_loss"]]
    assert losses == pytest.approx([np.mean(hard), np.mean(soft)], rel=1e-4)
    assert found["eval_hidden_states_loss"] > 0


def test_the_student_is_the_same_however_a_batch_is_cut(tmp_path):
    one, other = (
        make_trainer(tmp_path / "one"),
        make_trainer(tmp_path / "other", per_device_train_batch_size=2, gradient_accumulation_steps=4),
    )
    for trainer in (one, other):
        trainer.train()
    assert distance(weights(one.model), weights(other.model)) < 1e-5
    assert distance(weights(one.model), weights(make_model(1))) > 1e-3


def test_soft_targets_are_not_stored_of_them():
    with pytest.raises(ValueError, match="input_ids"):
        soft_targets(make_model(2), rows(), make_tokenizer())

"""Batches by a budget of tokens: every row once, within the budget, the same steps on any number of ranks."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from tiny import distance, logs_of, make_args, make_model, make_rows, make_trainer, weights
from tiny_media import make_speaker

from hfdistill import DistillationTrainer
from hfdistill.training.token_budget import TokenBudgetSampler, row_lengths

LENGTHS = st.lists(st.integers(0, 30), min_size=8, max_size=60)


def samplers(lengths, budget, ranks=1, accumulation=1, epoch=0):
    return [TokenBudgetSampler(lengths, budget, ranks, rank, accumulation, 7, lambda: epoch) for rank in range(ranks)]


@given(lengths=LENGTHS, budget=st.integers(60, 200), ranks=st.integers(1, 3), accumulation=st.integers(1, 2))
def test_every_row_once_within_the_budget(lengths, budget, ranks, accumulation):
    each = [list(one) for one in samplers(lengths, budget, ranks, accumulation)]
    assert {len(one) for one in each} == {len(samplers(lengths, budget, ranks, accumulation)[0])}
    assert len(each[0]) % accumulation == 0
    batches = [batch for one in each for batch in one]
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


@given(lengths=LENGTHS, budget=st.integers(60, 200))
def test_two_ranks_see_the_steps_of_one_that_accumulates(lengths, budget):
    """Contract: the gradient does not depend on how a step is cut."""
    (one,) = samplers(lengths, budget, accumulation=2)
    both = samplers(lengths, budget, ranks=2)
    alone = list(one)
    assert list(zip(*both, strict=True)) == list(zip(alone[::2], alone[1::2], strict=True))


def test_epochs_differ_in_order_and_not_in_number():
    lengths = [3, 4, 4, 4, 5, 9, 9, 20] * 4
    first, second = (list(samplers(lengths, 24, epoch=epoch)[0]) for epoch in (0, 1))
    assert len(first) == len(second) and first != second
    longest = [[max(lengths[row] for row in batch) for batch in epoch] for epoch in (first, second)]
    assert sorted(longest[0]) == sorted(longest[1]) and longest[0] != longest[1]  # not the longest first, each time


def test_too_few_rows_for_a_step():
    with pytest.raises(ValueError, match=r"max_tokens_per_batch: 3 rows cannot fill steps of 4 batches"):
        samplers([5, 5, 5], 100, ranks=2, accumulation=2)


def test_lengths_are_of_the_rows_as_they_stand():
    rows = make_rows(12)
    chosen = rows.select([5, 3, 8])
    assert row_lengths(chosen, "length") == [len(row["input_ids"]) for row in chosen]
    assert row_lengths(chosen.add_column("length", [4, 5, 6]), "length") == [4, 5, 6]


def test_a_target_longer_than_its_source_counts():
    """In translation a batch is as wide as its longest target, too."""
    rows = Dataset.from_dict({"input_ids": [[1, 2], [1, 2, 3, 4]], "labels": [[1, 2, 3], [1]]})
    assert row_lengths(rows, "length") == [3, 4]


def test_sounds_are_counted_in_samples_and_frames_and_rows_of_one_shape_are_refused():
    samples = [[0.5] * count for count in (90, 60, 75)]
    labels = Dataset.from_dict({"input_values": samples, "labels": [[1, 2]] * 3})
    assert row_lengths(labels, "length") == row_lengths(labels.remove_columns("labels"), "length") == [90, 60, 75]
    frames = Dataset.from_dict({"input_features": [[[0.5] * 8] * count for count in (3, 7)]})
    assert row_lengths(frames, "length") == [3, 7]
    with pytest.raises(ValueError, match="all input_features are of one length: leave it out, and say per_device"):
        row_lengths(Dataset.from_dict({"input_features": [[[0.5] * 20] * 8] * 4}), "length")
    with pytest.raises(ValueError, match="or samples or frames of sound, and the training rows have none"):
        row_lengths(Dataset.from_dict({"pixel_values": [[[0.5]]] * 4}), "length")


def test_recordings_of_like_length_share_a_batch(tmp_path):
    lengths = [60, 90, 61, 88, 62, 120, 64, 118]
    rows = Dataset.from_dict({"input_values": [[0.1 * n for n in range(one)] for one in lengths], "labels": [[1]] * 8})
    args = make_args(tmp_path, max_tokens_per_batch=240, max_steps=3, alpha=0.0)
    trainer = DistillationTrainer(make_speaker(1), args, train_dataset=rows)
    batches = [batch["input_values"].shape for batch in trainer.get_train_dataloader()]
    assert sorted(batches) == [(1, 60), (2, 90), (2, 120), (3, 64)]
    trainer.train()


def test_a_resumed_run_is_the_same_run(tmp_path):
    def run(resume=None):
        trainer = make_trainer(
            tmp_path,
            make_model(dropout=0.1),
            make_rows(24, teacher_logits=True),
            max_tokens_per_batch=24,
            num_train_epochs=3,
            save_strategy="steps",
            save_steps=4,
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole, resumed = run(), run(resume=str(tmp_path / "checkpoint-8"))
    assert whole.state.max_steps > 12
    assert distance(weights(whole.model), weights(resumed.model)) == 0
    assert logs_of(whole, "loss")[-1] == logs_of(resumed, "loss")[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labeled_share": 0.5}, "both say which rows make a batch"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size counts rows"),
        ({"dataloader_drop_last": True}, "max_tokens_per_batch leaves no row out"),
    ],
)
def test_refusals(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, make_model(), make_rows(), max_tokens_per_batch=64, **changes)


def test_a_stream_is_refused(tmp_path):
    rows = make_rows(teacher_logits=True).to_iterable_dataset()
    with pytest.raises(ValueError, match="max_tokens_per_batch mixes the rows of a Dataset"):
        make_trainer(tmp_path, make_model(), rows, max_tokens_per_batch=64, max_steps=2)


def test_out_of_range(tmp_path):
    with pytest.raises(ValueError, match="max_tokens_per_batch must be a whole number"):
        make_args(tmp_path, max_tokens_per_batch=0)


def test_the_gradient_of_a_step(tmp_path):
    """One step over all rows: batches of several lengths, accumulated, against one batch of all."""
    rows = make_rows(16, teacher_logits=True)
    settings = {"max_steps": 1, "optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant"}
    (batches,) = samplers(row_lengths(rows, "length"), 30)
    one = make_trainer(tmp_path, make_model(), rows, per_device_train_batch_size=16, **settings)
    many = make_trainer(
        tmp_path, make_model(), rows, max_tokens_per_batch=30, gradient_accumulation_steps=len(batches), **settings
    )
    one.train()
    many.train()
    torch.testing.assert_close(weights(one.model), weights(many.model), rtol=1e-5, atol=1e-6)

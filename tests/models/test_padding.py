"""Padding by arrays: the batches of `DataCollatorWithPadding`."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DataCollatorWithPadding

from hfdistill.models.padding import QuickPadding
from tests.tiny import make_tokenizer

ROWS = st.lists(st.lists(st.integers(0, 40), min_size=0, max_size=9), min_size=1, max_size=5)


def row(ids, **columns):
    return {"input_ids": ids, **columns}


@given(
    rows=ROWS.filter(any),
    side=st.sampled_from(["left", "right"]),
    multiple=st.sampled_from([None, 4]),
    extra=st.sampled_from(["none", "mask", "all"]),
)
def test_gives_the_collators_batch(rows, side, multiple, extra):
    tokenizer = make_tokenizer()
    tokenizer.padding_side = side
    more = {"none": {}, "mask": {"attention_mask": 1}, "all": {"attention_mask": 1, "token_type_ids": 1}}[extra]
    features = [
        row(
            ids, **{name: [value] * len(ids) for name, value in more.items()}, label=number % 2, teacher_logits=[0.5, 1]
        )
        for number, ids in enumerate(rows)
    ]
    collator = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=multiple)
    quick = QuickPadding.of(collator)
    assert isinstance(quick, QuickPadding)
    ours, theirs = quick._batch(features), collator([dict(one) for one in features])
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor), name


@pytest.mark.parametrize(
    "features",
    [
        [row(torch.tensor([1, 2])), row(torch.tensor([3]))],
        [row([1, 2], label=None), row([3], label=1)],
        [row([1, 2], attention_mask=[1]), row([3], attention_mask=[1])],
        [row([1, 2], position=[1, 2]), row([3], position=[1])],
        [row([1.5, 2]), row([3])],
    ],
    ids=["tensors", "no_label", "short_mask", "ragged_column", "fractions"],
)
def test_leaves_other_rows_to_the_collator(features):
    collator = DataCollatorWithPadding(make_tokenizer())

    def outcome(collate):
        try:
            return {name: tensor.tolist() for name, tensor in collate([dict(one) for one in features]).items()}
        except Exception as error:  # noqa: BLE001 (whichever it raises)
            return type(error), str(error)

    assert outcome(QuickPadding.of(collator)) == outcome(collator)


def test_other_collators_stay_as_they_are():
    class Own(DataCollatorWithPadding):
        pass

    for collator in (Own(make_tokenizer()), DataCollatorWithPadding(make_tokenizer(), padding="max_length"), dict):
        assert QuickPadding.of(collator) is collator

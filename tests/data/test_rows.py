"""Rows in a list or in a torch dataset: read as the dataset that they are."""

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from tiny import logits_of, make_model, make_rows, make_tokenizer, make_trainer

from hfdistill import compare, soft_targets
from hfdistill.data.rows import as_dataset, as_split


class Rows(torch.utils.data.Dataset):
    """A torch dataset whose rows hold tensors."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        return {
            name: torch.tensor(value) if isinstance(value, list) else value for name, value in self.rows[row].items()
        }


@pytest.mark.parametrize("kind", [list, Rows])
def test_soft_targets_and_training_take_them(tmp_path, kind):
    """They ended in an AttributeError over column names."""
    rows, teacher = make_rows(8), make_model(2)
    stored = soft_targets(teacher, kind(rows), make_tokenizer())
    assert isinstance(stored, Dataset) and stored["labels"] == rows["labels"]
    np.testing.assert_allclose(stored["teacher_logits"], logits_of(teacher, rows), atol=1e-5)
    split = soft_targets(teacher, {"train": kind(rows)}, make_tokenizer())["train"]
    assert split["teacher_logits"] == stored["teacher_logits"]
    losses = [
        make_trainer(tmp_path, make_model(1), data, teacher=teacher, max_steps=2, seed=1).train().training_loss
        for data in (rows, kind(rows))
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"input_ids": [1]}, [2]], "row 1 is a list, not a dict"),
        ([{"input_ids": [1]}, {"ids": [2]}], "row 1 has the columns ids and row 0 input_ids"),
        (iter([{"input_ids": [1]}]), "not a list_iterator: of a stream make an IterableDataset"),
        ("rows.csv", "not a str"),
        (7, "not a int"),
    ],
)
def test_what_is_no_rows_is_named(rows, message):
    with pytest.raises(ValueError, match=message):
        as_dataset(rows)


def test_one_split_is_wanted_and_loaded():
    """`compare` ended in an AttributeError over features."""
    rows = make_rows(4)
    assert as_split(list(rows)).column_names == rows.column_names
    with pytest.raises(
        ValueError, match=r"these are splits \(train, test\): give the rows of one, as dataset\['test'\]"
    ):
        compare(make_model(), make_model(), DatasetDict({"train": rows, "test": rows}), make_tokenizer())
    with pytest.raises(ValueError, match="these rows are a stream: load them, or give some"):
        as_split(rows.to_iterable_dataset())

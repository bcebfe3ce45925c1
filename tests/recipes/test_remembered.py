"""A teacher that remembers must say what it would say again."""

import sys
from pathlib import Path

import pytest
import torch
from tiny import make_model, make_rows, make_tokenizer

from hfdistill import ModelTeacher

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "benchmarks"))

from remembered import LAYERS, RememberingTeacher

KEPT = [1, 3]


def batch_of(rows, which):
    return make_tokenizer().pad(rows.select(which).remove_columns("labels").to_list(), return_tensors="pt")


def test_remembered_outputs_are_those_of_the_model():
    model, rows = make_model(2, num_hidden_layers=4), make_rows(12)
    teacher, forwarded = RememberingTeacher(model, KEPT), []
    model.register_forward_hook(lambda *_: forwarded.append(1))
    for which in (range(6), range(6, 12)):
        teacher(batch_of(rows, which), frozenset({"values"}))
    forwarded.clear()
    batch = batch_of(rows, [7, 2, 11, 3])
    found = teacher(batch, frozenset({"hidden_states", "keys"}))
    assert not forwarded
    expected = ModelTeacher(model)(batch, frozenset(LAYERS))
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
    mask = batch["attention_mask"].bool()
    for name in LAYERS:
        first = 1 if name == "hidden_states" else 0
        kept, fresh = getattr(found, name), getattr(expected, name)
        assert len(kept) == len(fresh)
        for layer in KEPT:
            torch.testing.assert_close(kept[layer + first][mask], fresh[layer + first][mask], atol=1e-5, rtol=1e-5)
        assert all(kept[layer + first].isnan().all() for layer in (0, 2))


def test_what_is_not_remembered_is_refused():
    with pytest.raises(ValueError, match="asks for .*attentions"):
        RememberingTeacher(make_model(2), [0])(batch_of(make_rows(2), range(2)), frozenset({"attentions"}))

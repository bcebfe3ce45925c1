"""Predictions for whole datasets: in the order of the rows, whatever the batch."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from hfdistill.models import inference
from hfdistill.models.inference import predict, predict_logits, token_rows
from hfdistill.models.inputs import pad_batch, pad_rows
from hfdistill.models.ragged import ragged_of


@pytest.fixture
def rows(tiny_bert, tokenizer, text_dataset):
    return token_rows(tiny_bert(), tokenizer, text_dataset, ("sentence",))


@torch.no_grad()
def one_by_one(model, tokenizer, texts, **settings):
    return np.concatenate([model.eval()(**tokenizer(text, return_tensors="pt", **settings)).logits for text in texts])


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_logits_are_in_the_order_of_the_rows(tiny_bert, tokenizer, text_dataset, rows, batch_size):
    """Rows are run in order of length: one that is not put back carries another's logits."""
    model = tiny_bert()
    expected = one_by_one(model, tokenizer, text_dataset["sentence"])
    assert np.ptp(expected, axis=0).min() > 0.1  # rows that differ
    logits = predict_logits(model, tokenizer, rows, batch_size=batch_size)
    assert logits.dtype == np.float32 and logits.shape == expected.shape
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 40, 333, 10**6])
def test_logits_do_not_depend_on_the_budget(tiny_bert, tokenizer, text_dataset, rows, tokens, monkeypatch):
    """Padding that is read, or a row that lands in another's place, shows where batches are cut otherwise."""
    monkeypatch.setattr(inference, "CPU_TOKENS", tokens)
    sizes = []
    model = tiny_bert()
    model.register_forward_pre_hook(lambda _, args, given: sizes.append(given["input_ids"].shape), with_kwargs=True)
    expected = one_by_one(model, tokenizer, text_dataset["sentence"])
    sizes.clear()
    logits = predict_logits(model, tokenizer, rows)
    np.testing.assert_allclose(logits, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    assert all(count == 1 or count * width <= tokens for count, width in sizes)
    assert len(sizes) == {1: 30, 10**6: 1}.get(tokens, len(sizes))


def out_of_memory_beyond(model, tokens):
    """The sizes of the batches that were computed; of larger ones there is no memory."""
    computed = []

    def forward(_, args, given):
        if given["input_ids"].numel() > tokens:
            raise torch.OutOfMemoryError("simulated")
        computed.append(given["input_ids"].numel())

    model.register_forward_pre_hook(forward, with_kwargs=True)
    return computed


def test_a_batch_too_large_for_the_memory_is_halved(tiny_bert, tokenizer, rows, caplog):
    """The pass would end, hours in, or leave out the rows of the batch that failed."""
    model = tiny_bert()
    expected = predict_logits(model, tokenizer, rows)
    computed = out_of_memory_beyond(model, 50)
    np.testing.assert_allclose(predict_logits(model, tokenizer, rows), expected, atol=1e-5)
    assert sum(computed) >= sum(len(row["input_ids"]) for row in rows) and max(computed) <= 50
    assert caplog.text.count("the memory does not hold") == 1


def test_a_row_too_large_for_the_memory_is_an_error(tiny_bert, tokenizer, rows):
    """Halved for ever, a single row would hang the pass."""
    model = tiny_bert()
    out_of_memory_beyond(model, 4)
    with pytest.raises(torch.OutOfMemoryError, match="simulated"):
        predict_logits(model, tokenizer, rows)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("own_mask", [False, True])
def test_columns_are_padded_as_rows_are(tokenizer, side, own_mask):
    """By columns it is another code than the tokenizer's, which might fill up otherwise, or at the other side."""
    tokenizer.padding_side = side
    rows = [
        {"input_ids": [7] * n, "token_type_ids": [1] * n, "box": [[n, i] for i in range(n)], "weights": [0.5, n]}
        | ({"attention_mask": [1] * n} if own_mask else {})
        for n in (3, 5, 1)
    ]
    by_rows = pad_rows(tokenizer, rows)
    by_columns = pad_batch(tokenizer, {name: ragged_of([row[name] for row in rows]) for name in rows[0]})
    assert by_rows.keys() == by_columns.keys()
    for name, tensor in by_rows.items():
        assert tensor.dtype == by_columns[name].dtype
        np.testing.assert_array_equal(tensor, by_columns[name], err_msg=name)
    uneven = {"input_ids": ragged_of([[1, 2], [3]]), "weights": ragged_of([[1.0], [2.0, 3.0, 4.0]])}
    with pytest.raises(ValueError, match="the column weights, which the model reads, cannot be padded"):
        pad_batch(tokenizer, uneven)


def test_half_precision_logits_are_returned_in_float32(tiny_bert, tokenizer, rows):
    """Metrics in half precision would round ties into being."""
    model = tiny_bert().to(torch.bfloat16)
    logits = predict_logits(model, tokenizer, rows)
    assert logits.dtype == np.float32 and model.dtype == torch.bfloat16


def test_texts_too_long_are_cut_as_the_tokenizer_cuts_them(tiny_bert, tokenizer, text_dataset):
    """A text beyond the positions would end in an index error; its end must still be [SEP]."""
    model, text = tiny_bert(max_position_embeddings=9), "dull " * 40
    [row] = token_rows(model, tokenizer, Dataset.from_dict({"sentence": [text]}), ["sentence"])
    assert row["input_ids"] == tokenizer(text, truncation=True, max_length=9)["input_ids"]
    [cut] = token_rows(model, tokenizer, Dataset.from_dict({"input_ids": [list(range(5, 45))]}))
    assert cut["input_ids"] == [*range(5, 13), 44]
    assert np.isfinite(predict_logits(model, tokenizer, [row])).all()


def test_a_model_is_run_in_eval_mode_and_stays_there(tiny_bert, tokenizer, rows):
    """With dropout on, each comparison would find other figures."""
    model = tiny_bert(hidden_dropout_prob=0.5).train()
    first, second = (predict_logits(model, tokenizer, rows) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not model.training
    model.train()
    assert not np.allclose(model(**tokenizer.pad(rows[:4], return_tensors="pt")).logits.detach(), first[:4], atol=1e-3)


def test_no_graph_is_kept(tiny_bert, tokenizer, rows):
    """A graph for each row of a test set fills the memory."""
    model = tiny_bert()
    grad_was_on = []
    model.register_forward_hook(lambda *_: grad_was_on.append(torch.is_grad_enabled()))
    predict(model, tokenizer, rows[:3])
    assert grad_was_on == [False]


def test_a_model_without_token_types_gets_none(tokenizer, text_dataset):
    """DistilBERT's forward refuses token types."""
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 8}
    model = DistilBertForSequenceClassification(DistilBertConfig(vocab_size=120, initializer_range=0.5, **sizes))
    rows = token_rows(model, tokenizer, text_dataset, ("sentence",))
    assert rows[0].keys() == {"input_ids"}
    expected = one_by_one(model, tokenizer, text_dataset["sentence"], return_token_type_ids=False)
    np.testing.assert_allclose(predict_logits(model, tokenizer, rows), expected, atol=1e-5)

"""Intermediate outputs of many families: what is wanted comes, is the model's own, and carries a gradient."""

import pytest
import torch
import transformers

from hfdistill.models.families import attention_projections
from hfdistill.models.intermediate_outputs import OUTPUTS, forward

SIZES = {"vocab_size": 41, "hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2}
INTERMEDIATE = {"intermediate_size": 20, "max_position_embeddings": 40}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "share_att_key": True, "position_buckets": 4}
CONFIGS = {
    "bert": transformers.BertConfig(**SIZES, **INTERMEDIATE),
    "roberta": transformers.RobertaConfig(**SIZES, **INTERMEDIATE, pad_token_id=0),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=41, dim=24, n_heads=3, n_layers=2, hidden_dim=20, max_position_embeddings=40
    ),
    "electra": transformers.ElectraConfig(**SIZES, **INTERMEDIATE, embedding_size=8),
    "deberta": transformers.DebertaConfig(**SIZES, **INTERMEDIATE, relative_attention=True, pos_att_type=["c2p"]),
    "deberta_v2": transformers.DebertaV2Config(**SIZES, **INTERMEDIATE, **RELATIVE),
    "modernbert": transformers.ModernBertConfig(**SIZES, **INTERMEDIATE, pad_token_id=0, local_attention=8),
    "mpnet": transformers.MPNetConfig(**SIZES, **INTERMEDIATE, pad_token_id=0),
    "gpt2": transformers.GPT2Config(vocab_size=41, n_embd=24, n_head=3, n_layer=2, n_positions=40, pad_token_id=0),
    "llama": transformers.LlamaConfig(**SIZES, **INTERMEDIATE, num_key_value_heads=3, pad_token_id=0),
}
BATCH = {
    "input_ids": torch.tensor([[5, 6, 7, 8, 9], [9, 4, 5, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
}


def model_of(family, **changes):
    torch.manual_seed(0)
    config = CONFIGS[family]
    return transformers.AutoModelForSequenceClassification.from_config(config, **changes).eval()


@pytest.mark.parametrize("family", CONFIGS)
def test_all_outputs_are_returned(family):
    model = model_of(family)
    plain = model(**BATCH).logits
    prediction = forward(model, BATCH, frozenset(OUTPUTS))
    torch.testing.assert_close(prediction.logits, plain, rtol=1e-4, atol=1e-5)
    assert [states.shape for states in prediction.hidden_states] == [(2, 5, 24)] * 3
    assert [maps.shape for maps in prediction.attentions] == [(2, 3, 5, 5)] * 2
    for kind in ("queries", "keys", "values"):
        assert [vectors.shape for vectors in getattr(prediction, kind)] == [(2, 5, 24)] * 2
    kinds = [prediction.queries[0], prediction.keys[0], prediction.values[0]]
    assert not any(torch.equal(kinds[i], kinds[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert all(getattr(prediction, name)[-1].requires_grad for name in OUTPUTS)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "gpt2"])
def test_queries_and_keys_make_the_models_own_attention(family):
    """A fused projection cut at the wrong places gives vectors of the right shape that mean nothing."""
    prediction = forward(model_of(family), BATCH, frozenset({"queries", "keys", "attentions"}))
    for layer in range(2):
        q, k = (x[layer].unflatten(-1, (3, 8)).transpose(1, 2) for x in (prediction.queries, prediction.keys))
        scores = q @ k.transpose(-1, -2) / 8**0.5
        seen = prediction.attentions[layer] > 0
        weights = scores.masked_fill(~seen, -1e9).softmax(-1)
        torch.testing.assert_close(weights[0], prediction.attentions[layer][0], rtol=1e-3, atol=1e-5)


def test_thirds_within_each_head_are_split():
    model = model_of("deberta")
    (first, *_) = attention_projections(model)
    output = torch.arange(72.0).expand(1, 1, 72)
    starts = [part.part(output)[0, 0, [0, 8, 16]].tolist() for part in first.values()]
    assert starts == [[0, 24, 48], [8, 32, 56], [16, 40, 64]]


def test_the_usual_attention_is_back_afterwards():
    """A student left on eager attention would be slower ever after, and measured so."""
    model = model_of("bert")
    assert model.config._attn_implementation == "sdpa"
    forward(model, BATCH, frozenset({"attentions"}))
    assert model.config._attn_implementation == "sdpa"
    assert not any(module._forward_hooks for name, module in model.named_modules() if name.endswith("query"))


def test_without_outputs_nothing_is_captured():
    prediction = forward(model_of("bert"), BATCH)
    assert prediction.hidden_states is None
    assert not hasattr(prediction, "queries")


def test_relative_positions_do_not_stand_in_for_the_tokens():
    """DeBERTa sends its relative positions through the same projection: 8 of them where there are 5 tokens."""
    model = model_of("deberta_v2")
    prediction = forward(model, BATCH, frozenset({"queries", "hidden_states"}))
    layer = model.deberta.encoder.layer[0].attention.self
    torch.testing.assert_close(prediction.queries[0], layer.query_proj(prediction.hidden_states[0]))


def test_a_model_without_known_projections_is_refused():
    model = model_of("bert")
    layer = model.bert.encoder.layer[1].attention.self
    layer.wonder = layer.query
    del layer.query
    with pytest.raises(ValueError, match=r"does not show where layer .*layer\.1 makes its queries"):
        attention_projections(model)


def test_what_comes_without_a_gradient_is_refused():
    """Reentrant checkpointing runs the layers without a graph: the loss would teach nothing."""
    model = model_of("bert").train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    with pytest.raises(ValueError, match="the queries of BertForSequenceClassification carry no gradient"):
        forward(model, BATCH, frozenset({"queries"}))
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    prediction = forward(model, BATCH, frozenset({"queries"}))
    prediction.queries[-1].sum().backward()
    assert model.bert.encoder.layer[0].output.dense.weight.grad.any()


def test_attentions_that_are_not_given_are_refused(monkeypatch):
    """transformers only logs a warning, and a loss over an empty tuple is 0."""
    model = model_of("bert")
    monkeypatch.setattr(model, "set_attn_implementation", lambda name: None)
    with pytest.raises(ValueError, match="gives no attentions with attn_implementation='sdpa', and .*: load it with"):
        forward(model, BATCH, frozenset({"attentions"}))


WINDOWED = {
    "longformer": transformers.LongformerConfig(**SIZES, **INTERMEDIATE, attention_window=[4, 4], pad_token_id=0),
    "big_bird": transformers.BigBirdConfig(
        **SIZES, intermediate_size=20, max_position_embeddings=80, block_size=4, num_random_blocks=1, pad_token_id=0
    ),
}


@pytest.mark.parametrize("family", WINDOWED)
def test_what_a_model_pads_within_is_left_out(family):
    """Longformer pads to its window and puts the tokens first; BigBird pads to its block."""
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(WINDOWED[family]).eval()
    tokens = 61 if family == "big_bird" else 2  # as many as texts: a transposed tensor has the right shape
    batch = {"input_ids": torch.randint(4, 41, (2, tokens)), "attention_mask": torch.ones(2, tokens, dtype=torch.long)}
    prediction = forward(model, batch, frozenset({"hidden_states", "queries"}))
    assert [states.shape for states in prediction.hidden_states] == [(2, tokens, 24)] * 3
    query = attention_projections(model)[0]["queries"].module
    torch.testing.assert_close(prediction.queries[0], query(prediction.hidden_states[0]))
    if family == "longformer":
        with pytest.raises(ValueError, match="attention within a window around each token"):
            forward(model, batch, frozenset({"attentions"}))


def test_a_batch_of_nothing_but_empty_texts_is_refused():
    """A tokenizer without tokens of its own makes none of an empty text, and the model failed somewhere within."""
    with pytest.raises(ValueError, match="none of the 1 texts of a batch has a token.*filter"):
        forward(model_of("gpt2"), {"input_ids": torch.zeros(1, 0, dtype=torch.long)})

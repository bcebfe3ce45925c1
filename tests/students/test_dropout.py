"""Dropout of students: every rate a family has, in the model and in what is saved of it."""

import pytest
import torch
from tiny_seq2seq import FAMILIES, make_seq2seq
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    MarianConfig,
    MarianMTModel,
    ModernBertConfig,
    ResNetConfig,
    ResNetForImageClassification,
    RobertaConfig,
)

from hfdistill.students import set_dropout

SIZES = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
RATES = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3}
ENCODERS = {
    "bert": lambda: BertConfig(**SIZES, **RATES, classifier_dropout=0.3),
    "roberta": lambda: RobertaConfig(**SIZES, **RATES),
    "electra": lambda: ElectraConfig(**SIZES, **RATES, embedding_size=16),
    "deberta": lambda: DebertaV2Config(**SIZES, **RATES, pooler_dropout=0.3),
    "modernbert": lambda: ModernBertConfig(
        **{**SIZES, **dict.fromkeys(("mlp_dropout", "attention_dropout", "classifier_dropout"), 0.3)},
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0),
    ),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=24, dropout=0.3, attention_dropout=0.3
    ),
    "gpt2": lambda: GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=2, pad_token_id=0, attn_pdrop=0.3),
}


def differs(model, **inputs):
    """Whether a model in training says something else each time."""
    model.train()
    first, second = (model(**inputs).logits for _ in range(2))
    return not torch.equal(first, second)


@pytest.mark.parametrize("family", ENCODERS)
def test_no_dropout_is_left_in_an_encoder_nor_in_what_is_saved(family, tmp_path):
    """One rate that was overlooked would make every step another one."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(ENCODERS[family]())
    inputs = {"input_ids": torch.arange(5, 25).reshape(2, 10), "attention_mask": torch.ones(2, 10, dtype=torch.long)}
    assert differs(model, **inputs)
    set_dropout(model, 0.0)
    assert not differs(model, **inputs)
    model.save_pretrained(tmp_path)
    assert not differs(AutoModelForSequenceClassification.from_pretrained(tmp_path), **inputs)
    set_dropout(model, 0.2)
    assert differs(model, **inputs)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_dropout_is_left_in_a_translator(family):
    model = make_seq2seq(family)
    ids = torch.arange(5, 25).reshape(2, 10)
    set_dropout(model, 0.5)
    assert differs(model, input_ids=ids, labels=ids)
    set_dropout(model, 0.0)
    assert not differs(model, input_ids=ids, labels=ids)


def test_a_rate_that_is_a_whole_number_is_set_too():
    """A config read from a file may say 0, and the rate that was asked for would do nothing."""
    config = MarianConfig(
        **{"vocab_size": 60, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1},
        **dict.fromkeys(("pad_token_id", "eos_token_id", "forced_eos_token_id", "decoder_start_token_id"), 0),
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24},
        **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), 0),
    )
    model, ids = MarianMTModel(config), torch.arange(5, 25).reshape(2, 10)
    assert not differs(model, input_ids=ids, labels=ids)
    set_dropout(model, 0.5)
    assert differs(model, input_ids=ids, labels=ids) and model.config.dropout == 0.5


def test_a_model_without_dropout_is_refused():
    model = ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1]))
    set_dropout(model, 0.0)
    with pytest.raises(ValueError, match="a ResNetForImageClassification has no dropout"):
        set_dropout(model, 0.1)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_what_is_no_rate_is_refused(rate, tiny_bert):
    with pytest.raises(ValueError, match="a rate of dropout is from 0"):
        set_dropout(tiny_bert(), rate)

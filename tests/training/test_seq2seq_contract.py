"""What `Seq2SeqTrainer` does for models that write text ours does as well."""

import numpy
import pytest
from both_trainers import assert_same_run, both, figures, train_both
from datasets import Dataset
from tiny import make_tokenizer
from tiny_seq2seq import make_pairs, make_seq2seq
from transformers import (
    DataCollatorForSeq2Seq,
    DataCollatorWithPadding,
    GenerationConfig,
    LEDConfig,
    LEDForConditionalGeneration,
    set_seed,
)

EVALUATED = {"eval_strategy": "steps", "eval_steps": 3}
ARGUMENTS = {
    "nothing": {},
    "label_smoothing_factor": {"label_smoothing_factor": 0.1},
    "group_by_length": {"train_sampling_strategy": "group_by_length"},
    "neftune_noise_alpha": {"neftune_noise_alpha": 5.0},
    "activation_checkpointing": {"activation_checkpointing": True},
    "predict_with_generate": {"predict_with_generate": True, "save_strategy": "epoch"},
    "include_num_input_tokens_seen": {"include_num_input_tokens_seen": "non_padding"},
}


@pytest.mark.parametrize(
    "arguments, family",
    [(arguments, "marian") for arguments in ARGUMENTS.values()] + [({}, "t5"), ({"label_smoothing_factor": 0.1}, "t5")],
    ids=[*ARGUMENTS, "T5", "T5 label_smoothing_factor"],
)
def test_an_argument_means_what_it_means_to_the_stock_trainer(tmp_path, arguments, family):
    given = {"model": lambda: make_seq2seq(family, 1), "train_dataset": lambda: make_pairs(family=family)}
    # That makes the decoder's inputs, which the stock trainer needs where it takes the labels away.
    given["data_collator"] = DataCollatorForSeq2Seq(make_tokenizer(), model=make_seq2seq(family))
    assert_same_run(*train_both(tmp_path, seq2seq=True, **given, **arguments))


def test_evaluation_in_training_has_the_same_loss_where_batches_have_as_many_tokens(tmp_path):
    """`Trainer` takes the mean over batches; ours is over tokens, whatever batch they are in."""
    rows = make_pairs(4, seed=1)
    stock, ours = train_both(tmp_path, seq2seq=True, eval_dataset=lambda: rows, **EVALUATED)
    assert_same_run(stock, ours)


GENERATION = {
    "of the model": ({}, {}),
    "of the arguments": ({"generation_max_length": 9, "generation_num_beams": 2}, {}),
    "generation_config": (
        {
            "generation_config": GenerationConfig(
                **{"max_length": 8, "num_beams": 2, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 3}
            )
        },
        {},
    ),
    "a call's own": ({"generation_max_length": 9}, {"max_length": 6, "num_beams": 2}),
    "other ways to decode": ({}, {"no_repeat_ngram_size": 2, "min_length": 4, "length_penalty": 2.0, "num_beams": 3}),
}


def shape_of_text(tokens):
    """Each row up to its padding: how far rows are padded is not what is said."""
    return [[token for token in row.tolist() if token not in (0, -100)] for row in tokens]


@pytest.mark.parametrize("arguments, called", GENERATION.values(), ids=GENERATION)
def test_translations_follow_the_generation_settings(tmp_path, arguments, called):
    rows = make_pairs(6, seed=4)
    stock, ours = (
        trainer.predict(rows, **called)
        for trainer in both(tmp_path, seq2seq=True, predict_with_generate=True, **arguments)
    )
    assert shape_of_text(stock.predictions) == shape_of_text(ours.predictions)
    assert shape_of_text(stock.label_ids) == shape_of_text(ours.label_ids)
    assert figures(stock.metrics).keys() <= ours.metrics.keys()


@pytest.mark.parametrize("generate", [True, False])
def test_logits_or_translations_of_rows(tmp_path, generate):
    rows = make_pairs(6, seed=4)
    stock, ours = (trainer.predict(rows) for trainer in both(tmp_path, seq2seq=True, predict_with_generate=generate))
    # Without generation `Seq2SeqTrainer` hands over the encoder's states as well.
    theirs = stock.predictions if generate else stock.predictions[0]
    assert generate or theirs.shape == ours.predictions.shape
    assert generate or numpy.allclose(theirs, ours.predictions, atol=1e-5)


def test_rows_without_targets_are_translated(tmp_path):
    rows = make_pairs(6, seed=4).remove_columns("labels")
    collator = DataCollatorWithPadding(make_tokenizer())
    trainers = both(tmp_path, seq2seq=True, predict_with_generate=True, data_collator=collator)
    stock, ours = (trainer.predict(rows) for trainer in trainers)
    assert shape_of_text(stock.predictions) == shape_of_text(ours.predictions)
    assert stock.label_ids is None and ours.label_ids is None
    assert figures(stock.metrics).keys() == figures(ours.metrics).keys()
    # That of translations hands over labels that are not there, of which the stock trainer asks for a loss.
    usual = both(tmp_path, seq2seq=True, predict_with_generate=True)[1].predict(rows)
    assert shape_of_text(usual.predictions) == shape_of_text(ours.predictions)


def test_all_that_a_model_reads_is_read_where_it_translates(tmp_path):
    """LED looks from some tokens at the whole text: a translation that forgot them would be another one."""
    settings = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 40, "attention_window": 4}
    settings |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_encoder_position_embeddings": 32}
    settings |= {"pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 2, "decoder_start_token_id": 2, "init_std": 1.0}

    def model():
        set_seed(1)
        led = LEDForConditionalGeneration(LEDConfig(**settings))
        led.generation_config.update(max_length=8)
        return led

    rows = Dataset.from_dict({"input_ids": [[*range(5, 15), 3]] * 4, "labels": [[7, 8, 3]] * 4})
    looks = rows.add_column("global_attention_mask", [[index % 2] * 11 for index in range(4)])
    trainers = both(tmp_path, seq2seq=True, model=model, predict_with_generate=True)
    stock, ours = (shape_of_text(trainer.predict(looks).predictions) for trainer in trainers)
    assert stock == ours
    assert ours[0] != ours[1]


def test_a_resumed_run_is_that_of_the_stock_trainer(tmp_path):
    settings = {"seq2seq": True, "save_strategy": "steps", "save_steps": 3}
    train_both(tmp_path, **settings)
    assert_same_run(*train_both(tmp_path, resume=True, **settings))

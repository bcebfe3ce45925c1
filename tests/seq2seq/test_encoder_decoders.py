"""Decoder inputs, and teachers of many languages."""

from __future__ import annotations

import pytest
import torch
from tiny import make_tokenizer
from tiny_seq2seq import END, FAMILIES, PAD, make_seq2seq, make_translator, shifted

from hfdistill.seq2seq import check_translator, decoder_inputs, set_languages


@pytest.mark.parametrize("family", FAMILIES)
def test_decoder_inputs_are_the_labels_behind_the_start(family):
    """M2M100 has no shift of its own to call; mBART begins with the language that its labels end with."""
    model = make_seq2seq(family)
    first, second = [5, 6, 7, END, 39], [8, END, 39]
    labels = torch.tensor([first, [*second, -100, -100]])
    made = decoder_inputs(model, labels)
    start = model.config.decoder_start_token_id
    assert made[0].tolist() == shifted(first, family, start)
    assert made[1].tolist()[:3] == shifted(second, family, start)
    assert -100 not in made and made[1, 4] == PAD


def test_a_config_without_a_start_is_named():
    model = make_seq2seq("m2m100")
    model.config.decoder_start_token_id = None
    with pytest.raises(ValueError, match="M2M100ForConditionalGeneration lacks decoder_start_token_id"):
        decoder_inputs(model, torch.tensor([[5, END]]))


def multilingual():
    tokenizer = make_tokenizer()
    tokenizer.src_lang = tokenizer.tgt_lang = None
    tokenizer.add_special_tokens({"additional_special_tokens": ["eng_Latn", "__de__"]})
    return tokenizer


def test_the_teacher_begins_with_the_target_language():
    model, tokenizer = make_seq2seq("m2m100", vocab_size=60), multilingual()
    set_languages(model, tokenizer, "eng_Latn", "de")
    assert (tokenizer.src_lang, tokenizer.tgt_lang) == ("eng_Latn", "de")
    german = tokenizer.convert_tokens_to_ids("__de__")
    assert model.generation_config.forced_bos_token_id == german
    assert model.generate(torch.tensor([[5, 6, END]]))[0, 1] == german


def test_a_language_that_the_teacher_lacks_is_named():
    with pytest.raises(ValueError, match="no language 'fra_Latn'; it knows"):
        set_languages(make_seq2seq("m2m100"), multilingual(), "eng_Latn", "fra_Latn")
    with pytest.raises(ValueError, match="knows no language tags"):
        set_languages(make_seq2seq(), make_tokenizer(), "en", "de")


def test_a_translator_that_cannot_work_is_refused_before_it_is_asked():
    """Each of these would be noticed after hours, or never."""
    model, tokenizer = make_translator()
    check_translator(model, tokenizer, 32)
    with pytest.raises(ValueError, match="max_length 33 is more than the 32 positions"):
        check_translator(model, tokenizer, 33)
    tokenizer.add_tokens(["of", "another"])
    with pytest.raises(ValueError, match=rf"ids up to {len(tokenizer) - 1} and the teacher embeddings for"):
        check_translator(model, tokenizer, 32)
    model.generation_config.eos_token_id = tokenizer.unk_token_id
    with pytest.raises(ValueError, match=r"does not close a text with \['<unk>'\]"):
        check_translator(model, tokenizer, 32)
    model.generation_config.eos_token_id = None
    with pytest.raises(ValueError, match="no eos_token_id, so that its translations could never end"):
        check_translator(model, tokenizer, 32)

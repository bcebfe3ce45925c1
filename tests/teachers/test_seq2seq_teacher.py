"""Decoder inputs, and teachers of many languages."""

import json

import pytest
import sentencepiece
import torch
from texts import TEXTS
from tiny import make_tokenizer
from tiny_seq2seq import END, FAMILIES, PAD, make_seq2seq, make_translator, shifted
from transformers import M2M100Tokenizer, MBart50Tokenizer, MBartTokenizer, NllbTokenizer

from hfdistill.teachers.seq2seq import check_translator, decoder_inputs, languages_agree, set_languages


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


def test_labels_that_no_decoder_can_read_are_refused():
    """An index out of range deep within the model would not say which."""
    with pytest.raises(ValueError, match="the labels of a whole batch are empty"):
        decoder_inputs(make_seq2seq(), torch.empty(2, 0, dtype=torch.long))
    with pytest.raises(ValueError, match="33 tokens long, more than the 32 positions of the MarianMTModel"):
        decoder_inputs(make_seq2seq(), torch.full((2, 33), 5))


def m2m100_tokenizer(folder):
    """One of real pieces: "en" and "de" are among them, and among the languages."""
    with open(folder / "pieces.model", "wb") as file:
        settings = {"bos_id": 0, "pad_id": 1, "eos_id": 2, "unk_id": 3, "user_defined_symbols": ["en", "de"]}
        settings |= {"vocab_size": 60, "hard_vocab_limit": False, "minloglevel": 2}
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXTS), model_writer=file, **settings)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "pieces.model"))
    vocabulary = {pieces.id_to_piece(id_): id_ for id_ in range(len(pieces))}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    return M2M100Tokenizer(str(folder / "vocabulary.json"), str(folder / "pieces.model"))


def nllb_tokenizer(**settings):
    words = ["<s>", "<pad>", "</s>", "<unk>", "en", "de"]
    return NllbTokenizer(vocab={word: id_ for id_, word in enumerate(words)}, **settings)


MANY_LANGUAGES = {
    "mbart25": ("mbart", lambda folder: MBartTokenizer(), ("en_XX", "de_DE", "fr_XX")),
    "mbart50": ("mbart", lambda folder: MBart50Tokenizer(), ("en_XX", "de_DE", "fr_XX")),
    "nllb": ("m2m100", lambda folder: nllb_tokenizer(), ("eng_Latn", "deu_Latn", "fra_Latn")),
    "m2m100": ("m2m100", m2m100_tokenizer, ("en", "de", "fr")),
}


def multilingual(name, folder):
    """A model of many languages, its tokenizer, the tags of three, and the token of the second."""
    family, make, tags = MANY_LANGUAGES[name]
    tokenizer = make(folder)
    end = tokenizer.eos_token_id
    # mBART-25 has no start token: it begins with the language.
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": end, "start": None if name == "mbart25" else end}
    model = make_seq2seq(family, vocab_size=200, bos_token_id=0, **special)
    return model, tokenizer, tags, tokenizer.convert_tokens_to_ids(f"__{tags[1]}__" if name == "m2m100" else tags[1])


@pytest.mark.parametrize("name", MANY_LANGUAGES)
def test_generation_begins_as_training_does(tmp_path, name):
    """The language twice, or a piece that reads like its tag, is a beginning that no target text of training has."""
    model, tokenizer, (source, target, _), language = multilingual(name, tmp_path)
    set_languages(model, tokenizer, source, target)
    assert (tokenizer.src_lang, tokenizer.tgt_lang) == (source, target)
    labels = torch.tensor([tokenizer(text_target="the film")["input_ids"]])
    trained = [*decoder_inputs(model, labels)[0, :1].tolist(), *labels[0].tolist()]
    begin = trained[: 1 if name == "mbart25" else 2]
    assert begin[-1] == language and language not in begin[:-1]
    written = model.generate(torch.tensor([tokenizer("a film")["input_ids"]]), min_new_tokens=4)[0].tolist()
    assert written[: len(begin)] == begin and language not in written[len(begin) :]


@pytest.mark.parametrize("name", MANY_LANGUAGES)
def test_whether_generation_and_targets_agree_on_a_language(tmp_path, name):
    """Generation was forced into one language, and targets were marked with another, or with the source's."""
    model, tokenizer, (source, target, other), language = multilingual(name, tmp_path)
    model.generation_config.forced_bos_token_id = language
    assert tokenizer.tgt_lang is None and not languages_agree(model, tokenizer)
    assert tokenizer.tgt_lang is None, "asking must not set it"
    set_languages(model, tokenizer, source, target)
    assert languages_agree(model, tokenizer)
    tokenizer.tgt_lang = other
    assert not languages_agree(model, tokenizer)
    set_languages(model, tokenizer, source, other)
    assert languages_agree(model, tokenizer)


def test_one_language_agrees_with_itself():
    assert languages_agree(make_seq2seq(), make_tokenizer())
    assert languages_agree(make_seq2seq("bart", forced_bos_token_id=7), make_tokenizer())


def test_a_language_that_the_teacher_lacks_is_named(tmp_path):
    """NLLB and M2M100 have the pieces "en" and "de", which are no languages of NLLB."""
    model, tokenizer, *_ = multilingual("nllb", tmp_path)
    told = {"en": "calls it eng_Latn", "ger": "calls it deu_Latn", "xxx_Latn": "knows ace_Arab, ace_Latn"}
    for tag, sentence in told.items():
        with pytest.raises(ValueError, match=f"no language '{tag}'; it {sentence}"):
            set_languages(model, tokenizer, "eng_Latn", tag)
    with pytest.raises(ValueError, match="no language 'zh'; it calls it zho_Hans or zho_Hant"):
        set_languages(model, tokenizer, "zh", "eng_Latn")
    assert tokenizer.src_lang == "eng_Latn" and model.generation_config.forced_bos_token_id is None
    model, tokenizer, *_ = multilingual("m2m100", tmp_path)
    with pytest.raises(ValueError, match="no language 'the'; it knows af, am, ar"):
        set_languages(model, tokenizer, "en", "the")
    with pytest.raises(ValueError, match="knows no language tags"):
        set_languages(make_seq2seq(), make_tokenizer(), "en", "de")
    listing_none = make_tokenizer()
    listing_none.src_lang = None
    with pytest.raises(ValueError, match=r"no language 'w1'; its tokenizer lists none \("):
        set_languages(make_seq2seq(), listing_none, "w1", "w2")


def test_a_tokenizer_that_ends_with_the_language_is_refused_where_the_model_begins_with_it(tmp_path):
    """The student would learn texts without a language, and be asked to write behind one."""
    model, *_ = multilingual("nllb", tmp_path)
    with pytest.raises(ValueError, match="writes 'deu_Latn' where a M2M100For.* does not begin: .*legacy_behaviour"):
        set_languages(model, nllb_tokenizer(legacy_behaviour=True), "eng_Latn", "deu_Latn")


def test_a_translator_that_cannot_work_is_refused_before_it_is_run():
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

"""Models of a trimmed vocabulary: every family computes what it did before, and what cannot be trimmed is refused."""

import pytest
import torch
from texts import make_tokenizer as make_wordpiece
from tiny import WORDS, make_model, make_tokenizer
from tiny_seq2seq import FAMILIES, make_seq2seq
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AutoModel,
    BertForMaskedLM,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    ElectraForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from hfdistill import TrimmedVocabulary, make_student, trim_vocabulary
from hfdistill.students.vocabulary import with_vocabulary


def make_albert():
    sizes = {"embedding_size": 8, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
    return AlbertForMaskedLM(AlbertConfig(vocab_size=len(WORDS), **sizes, **ENDS))


ENDS = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
BERT = make_model().config
MODELS = {
    "masked BERT": lambda: BertForMaskedLM(BERT),
    "masked ALBERT": make_albert,
    "low rank": lambda: make_student(make_model(), 1, embedding_size=4),
    "ELECTRA": lambda: make_student(make_student(make_model(), 2, embedding_size=8), 1, embedding_size=4),
    "DeBERTa": lambda: DebertaV2ForSequenceClassification(
        DebertaV2Config(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    ),
    "RoBERTa": lambda: RobertaForSequenceClassification(
        RobertaConfig(**{**BERT.to_dict(), **ENDS, "pad_token_id": 1, "max_position_embeddings": 34})
    ),
    "GPT-2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, **ENDS)),
    "padded table": lambda: make_model(vocab_size=64),
    **{family: (lambda family=family: make_seq2seq(family)) for family in FAMILIES},
}
KEPT = ["w3", "w8", "w21", "w34", "w35"]


@torch.no_grad()
def predictions(model, tokenizer, words):
    inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt", return_token_type_ids=False)
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = inputs["input_ids"]
    return model.eval()(**inputs).logits


@pytest.mark.parametrize("name", MODELS)
def test_every_table_and_head_of_tokens_is_cut_alike(tmp_path, name):
    torch.manual_seed(0)
    model, tokenizer = MODELS[name](), make_tokenizer()
    student, own = trim_vocabulary(model, tokenizer, [" ".join(KEPT)], 14)
    student.save_pretrained(tmp_path)
    student = type(student).from_pretrained(tmp_path)
    order = torch.tensor([tokenizer.get_vocab()[token] for token in own.convert_ids_to_tokens(range(len(own)))])
    before, after = predictions(model, tokenizer, KEPT), predictions(student, own, KEPT)
    torch.testing.assert_close(after, before[..., order] if before.shape[-1] > 3 else before)
    assert sorted(order.tolist()) == order.tolist() and student.get_input_embeddings().num_embeddings == len(own) == 14
    padding, before = (one.get_input_embeddings().padding_idx for one in (student, model))
    assert padding == (None if before is None else order.tolist().index(before))


def make_marian():
    """Its end and padding stand last, as OPUS-MT's."""
    ends = {"pad_token_id": 39, "eos_token_id": 38, "bos_token_id": None, "start": 39}
    model = make_seq2seq("marian", **ends)
    model.generation_config.update(bad_words_ids=[[39], [20]], suppress_tokens=[30, 7], forced_eos_token_id=38)
    return model


def test_the_ids_in_configs_are_the_new_ones():
    model = make_marian()
    student, tokenizer = trim_vocabulary(model, make_tokenizer(), [" ".join(KEPT)], 12)
    ids = tokenizer.get_vocab()
    config, generation = student.config, student.generation_config
    assert (config.pad_token_id, config.eos_token_id, config.decoder_start_token_id) == (ids["w35"], ids["w34"], 11)
    assert (config.vocab_size, config.decoder_vocab_size, generation.forced_eos_token_id) == (12, 12, ids["w34"])
    assert generation.bad_words_ids == [[ids["w35"]]] and generation.suppress_tokens == [ids["w3"]]
    assert student.get_input_embeddings().padding_idx == 11
    # The one given is as it was.
    assert model.config.pad_token_id == 39 and model.generation_config.bad_words_ids == [[39], [20]]
    assert not {one.data_ptr() for one in student.parameters()} & {one.data_ptr() for one in model.parameters()}


def test_a_student_of_fewer_layers_and_tokens():
    teacher, tokenizer = make_model(), make_tokenizer()
    vocabulary = TrimmedVocabulary.choose(teacher, tokenizer, [" ".join(KEPT)], 14)
    student = make_student(teacher, 1, vocabulary=vocabulary)
    torch.testing.assert_close(
        predictions(student, vocabulary.tokenizer, KEPT), predictions(make_student(teacher, 1), tokenizer, KEPT)
    )
    assert make_student(teacher, vocabulary=vocabulary).config.num_hidden_layers == 2
    small = make_student(teacher, 1, vocabulary=vocabulary, embedding_size=6, hidden_size=8)
    assert isinstance(small, ElectraForSequenceClassification)
    assert tuple(small.get_input_embeddings().weight.shape) == (14, 6)
    translator = make_seq2seq("marian")
    cut = make_student(translator, num_decoder_layers=1, vocabulary=vocabulary)
    assert cut.config.decoder_layers == 1 and cut.lm_head.out_features == 14


def refused(match, model=None, tokenizer=None, texts=("w1 w2",), size=20, error=ValueError):
    with pytest.raises(error, match=match):
        trim_vocabulary(model or make_model(), tokenizer or make_tokenizer(), texts, size)


def test_what_cannot_be_chosen_is_refused():
    refused("there is not one token in the 2 texts", texts=["", " "])
    refused("there is not one token in the 0 texts", texts=[])
    refused("texts is one text", texts="w1 w2", error=TypeError)
    with pytest.raises(TypeError, match="held_out is one text"):  # it was measured on its letters
        TrimmedVocabulary.choose(make_model(), make_tokenizer(), ["w1 w2"], 20, held_out="w1 w2")
    with pytest.raises(TypeError, match=r"vocabulary is a int: choose the tokens first, by TrimmedVocabulary.choose"):
        make_student(make_model(), 1, vocabulary=20)
    refused(r"texts\[1\] is None, which is no text", texts=["w1", None], error=TypeError)
    refused(r"3 is too small: special and.*are 4. Give a size \(--student_vocab_size\) from 4 to 39", size=3)
    refused("40 is no smaller than the tokenizer's, which has 40 tokens", size=40)
    letters = make_wordpiece()
    spelled = ["abcdefghijklmnopqrstuvwxyz"]
    refused("50 is too small: .*57", model=make_model(vocab_size=120), tokenizer=letters, size=50, texts=spelled)
    refused(r"texts\[1\] holds half of a character \('\\ud83d'\)", texts=["w1", "joy \ud83d"])


def test_what_cannot_be_trimmed_is_refused():
    class Slow:
        unk_token = None

    refused("a Slow has no core in Rust.*student_vocab_size", tokenizer=Slow())
    refused("token of the id 39.*embeddings for the ids 0 to 29", model=make_model(vocab_size=30))
    roberta = MODELS["RoBERTa"]()
    vocabulary = TrimmedVocabulary.choose(make_model(), make_tokenizer(), ["w1"], 6)
    roberta.roberta.embeddings.position_embeddings.padding_idx = 5
    with pytest.raises(ValueError, match="counts positions from the id of its padding token"):
        with_vocabulary(roberta, vocabulary)
    named = make_model(pad_token_id=30)
    with pytest.raises(ValueError, match="pad_token_id is 30, and the trimmed vocabulary lacks that token"):
        make_student(named, 1, vocabulary=vocabulary)
    translator = make_seq2seq("marian")
    translator.generation_config.sequence_bias = [[[5], -1.0]]
    refused("generation_config has sequence_bias", model=translator)
    refused("no PreTrainedModel", model=torch.nn.Linear(1, 1), error=TypeError)
    two = make_seq2seq("marian", share_encoder_decoder_embeddings=False, decoder_vocab_size=44)
    refused("only a model of one vocabulary", model=two)


def test_loading_needs_no_network(monkeypatch):
    """A tokenizer that came from the Hub is not looked for there again."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tokenizer = make_tokenizer()
    tokenizer.name_or_path = "somebody/some-model"
    assert trim_vocabulary(make_model(), tokenizer, ["w1"], 8)[1].name_or_path == ""


def test_a_model_without_a_head():
    model = AutoModel.from_config(BERT)
    student, _ = trim_vocabulary(model, make_tokenizer(), ["w1"], 8)
    assert student.config.name_or_path == "" and student.embeddings.word_embeddings.num_embeddings == 8

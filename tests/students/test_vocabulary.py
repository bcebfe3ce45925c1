"""Trimmed vocabularies: of every kind of tokenizer, cut as before, and what is told of them."""

import json
import random

import pytest
import torch
from datasets import Dataset
from texts import make_tokenizer as make_wordpiece
from tiny import WORDS, make_args, make_model, make_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    BertTokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    T5Tokenizer,
    XLMRobertaTokenizer,
)

from hfdistill import DistillationTrainer, ModelTeacher, TrimmedVocabulary, trim_vocabulary
from hfdistill.students import trimmed_tokenizer
from hfdistill.students.trimmed_tokenizer import TokenCounts, TokenizerParts, choose_tokens
from hfdistill.students.vocabulary import with_vocabulary

LANGUAGES = {
    "German": "Der Film über die Straße nach Süden ist schöner als das Buch, größer, süßer und übermütiger",
    "English": "the long and winding last act of this play is a joy, never ends, and moved everyone in the room",
    "Chinese": "今天的天气很好 我们去看电影 这部电影非常好看 明天再来学习中文 他们不喜欢下雨天",
    "Arabic": "مرحبا بالعالم هذا الفيلم جميل جدا والكتاب أجمل من الفيلم في المدينة الكبيرة",
    "Hindi": "नमस्ते दुनिया यह फिल्म बहुत अच्छी है और किताब उससे भी अच्छी लगी हमें",
    "Russian": "этот фильм очень хороший, а книга ещё лучше фильма и гораздо длиннее",
    "emoji": "😀 👍🏽 good 🎬🎬 👩‍👩‍👧 bad 😡 ☕️ joy",
}
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def texts_of(seed, count=40):
    """Sentences of the words of one language each."""
    rng = random.Random(seed)
    words = {name: text.split() for name, text in LANGUAGES.items()}
    return [" ".join(rng.choices(words[name], k=rng.randint(1, 9))) for name in words for _ in range(count)]


TRAINING, UNSEEN = texts_of(0), texts_of(1, 15)


def _trained(model, trainer, pre_tokenizer, decoder, texts=TRAINING, normalizer=None):
    core = Tokenizer(model)
    core.pre_tokenizer, core.decoder = pre_tokenizer, decoder
    if normalizer is not None:
        core.normalizer = normalizer
    core.train_from_iterator(texts, trainer)
    ends = [(token, core.token_to_id(token)) for token in ("<s>", "</s>")]
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return core


def _fast(core):
    names = {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=64, **names)


def _settings(size):
    return {"vocab_size": size, "special_tokens": SPECIAL, "show_progress": False}


def wordpiece():
    trainer = trainers.WordPieceTrainer(**_settings(400))
    model = models.WordPiece(unk_token="<unk>")
    split = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    return _fast(_trained(model, trainer, *split, normalizer=normalizers.BertNormalizer(lowercase=True)))


def _merges(core):
    settings = json.loads(core.to_str())["model"]
    return {"vocab": settings["vocab"], "merges": [tuple(pair) for pair in settings["merges"]]}


def _bytes():
    trainer = trainers.BpeTrainer(**_settings(700), initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    return _trained(models.BPE(), trainer, pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel())


def byte_level():
    return RobertaTokenizer(**_merges(_bytes()))


def whole_words_first():
    """As Llama 3's: a word that is a token is one, whatever its merges."""
    core, found = _bytes(), _merges(_bytes())
    core.model = models.BPE(**{**found, "merges": found["merges"][::3]}, ignore_merges=True)
    return _fast(core)


def bpe_of_sentencepiece():
    """With bytes for what is in no merge."""
    trainer = trainers.BpeTrainer(**_settings(700), limit_alphabet=60)
    settings = {"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True}
    split = pre_tokenizers.Metaspace(), decoders.Metaspace()
    core = _trained(models.BPE(**settings), trainer, *split)
    found, bytes_ = _merges(core), [f"<0x{byte:02X}>" for byte in range(256)]
    vocab = {**found["vocab"], **{token: len(found["vocab"]) + place for place, token in enumerate(bytes_)}}
    core.model = models.BPE(vocab=vocab, merges=found["merges"], **settings)
    return _fast(core)


def ends_of_words():
    trainer = trainers.BpeTrainer(**_settings(500), end_of_word_suffix="</w>")
    split = pre_tokenizers.WhitespaceSplit(), decoders.BPEDecoder()
    return _fast(_trained(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"), trainer, *split))


def insides_of_words():
    trainer = trainers.BpeTrainer(**_settings(500), continuing_subword_prefix="##")
    split = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece()
    return _fast(_trained(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"), trainer, *split))


def _unigram():
    trainer = trainers.UnigramTrainer(**_settings(450), unk_token="<unk>")
    return _trained(models.Unigram(), trainer, pre_tokenizers.Metaspace(), decoders.Metaspace())


def unigram():
    tokenizer = _fast(_unigram())
    tokenizer.add_tokens([AddedToken("der Film", normalized=True), "@user"])
    return tokenizer


def unigram_of_xlm_roberta():
    vocabulary = json.loads(_unigram().to_str())["model"]["vocab"]
    return XLMRobertaTokenizer(vocab=[tuple(pair) for pair in vocabulary if pair[0] != "<mask>"])


def unigram_of_t5():
    vocabulary = json.loads(_unigram().to_str())["model"]["vocab"]
    first = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=[*first, *(tuple(pair) for pair in vocabulary if pair[0] not in SPECIAL)], extra_ids=7)


KINDS = (
    *(wordpiece, byte_level, whole_words_first, bpe_of_sentencepiece, ends_of_words, insides_of_words),
    *(unigram, unigram_of_xlm_roberta, unigram_of_t5),
)
CACHE = {}


def made(kind):
    """A tokenizer, made once, and its small BERT."""
    if kind not in CACHE:
        tokenizer = kind()
        CACHE[kind] = tokenizer, make_model(vocab_size=len(tokenizer), max_position_embeddings=256)
    return CACHE[kind]


def sizes_of(tokenizer):
    """Sizes from the smallest possible one on."""
    parts = TokenizerParts(tokenizer)
    least = len(parts.indispensable() | parts.model.characters().keys())
    return [least + (len(tokenizer) - least) * sixth // 6 for sixth in (0, 1, 2, 4, 5)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_kept_tokens_is_cut_as_before(kind):
    """Word by word, over languages and sizes, and so that both ways are seen: kept ones, and ones cut anew."""
    tokenizer, model = made(kind)
    seen = set()
    for size in sizes_of(tokenizer):
        trimmed = TrimmedVocabulary.choose(model, tokenizer, TRAINING, size).tokenizer
        known = trimmed.get_vocab().keys()
        assert len(known) <= size and known < tokenizer.get_vocab().keys()
        for text in [*TRAINING, *UNSEEN]:
            before, after = tokenizer.tokenize(text), trimmed.tokenize(text)
            seen.add(kept := known >= {*before})
            assert after == before if kept else len(after) >= len(before) or tokenizer.unk_token in after
    assert seen == {True, False}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_readable_stays_so(kind):
    """Of every single character of the texts there is a token: none becomes unknown, even with the smallest size."""
    tokenizer, model = made(kind)
    trimmed = TrimmedVocabulary.choose(model, tokenizer, TRAINING, sizes_of(tokenizer)[0]).tokenizer
    letters = [token for token in tokenizer.get_vocab() if len(token.strip("▁#")) == 1]
    for letter in letters:
        before, after = (one.tokenize(letter) for one in (tokenizer, trimmed))
        assert after == before or tokenizer.unk_token not in after, letter


@pytest.mark.parametrize("kind", KINDS)
def test_a_trimmed_tokenizer_is_saved_and_loaded_as_any_other(tmp_path, kind):
    """By its class, and by `tokenizer.json` alone, which other libraries read."""
    tokenizer, model = made(kind)
    trimmed = TrimmedVocabulary.choose(model, tokenizer, TRAINING, sizes_of(tokenizer)[3]).tokenizer
    trimmed.save_pretrained(tmp_path)
    again, core = AutoTokenizer.from_pretrained(tmp_path), Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert sorted(trimmed.get_vocab().values()) == list(range(len(trimmed)))
    assert (again.special_tokens_map, again.model_max_length) == (
        tokenizer.special_tokens_map,
        tokenizer.model_max_length,
    )
    for text in UNSEEN:
        assert again(text)["input_ids"] == trimmed(text)["input_ids"] == core.encode(text).ids
        assert trimmed.convert_ids_to_tokens(trimmed("")["input_ids"]) == tokenizer.convert_ids_to_tokens(
            tokenizer("")["input_ids"]
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_trimmed_model_predicts_the_same(kind):
    tokenizer, model = made(kind)
    vocabulary = TrimmedVocabulary.choose(model, tokenizer, TRAINING, sizes_of(tokenizer)[4])
    student = with_vocabulary(model, vocabulary)
    assert student.config.vocab_size == len(vocabulary.tokenizer) < model.config.vocab_size
    same = [text for text in UNSEEN if vocabulary.tokenizer.tokenize(text) == tokenizer.tokenize(text)]
    assert len(same) > 10
    for text in same[::3]:
        before, after = (
            one.eval()(**reader(text, return_tensors="pt")).logits
            for one, reader in ((model, tokenizer), (student, vocabulary.tokenizer))
        )
        torch.testing.assert_close(after, before)


def first_states(model, tokenizer, text):
    """The first token's hidden state after each layer."""
    with torch.no_grad():
        states = model.eval()(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
    return [layer[0, 0].double() for layer in states[1:]]


def test_layers_of_whole_texts_are_compared_with_a_teacher_of_more_tokens(tmp_path):
    """Each text as the one and the other reads it, of which there are as many tokens as it has."""
    tokenizer, teacher = made(wordpiece)
    vocabulary = TrimmedVocabulary.choose(teacher, tokenizer, TRAINING, sizes_of(tokenizer)[1])
    other = make_model(3, vocab_size=len(tokenizer), max_position_embeddings=256)
    student, own = with_vocabulary(other, vocabulary), vocabulary.tokenizer
    texts = [text for text in UNSEEN if len(tokenizer.tokenize(text)) < len(own.tokenize(text))][:7]
    rows = Dataset.from_dict({"text": texts, "labels": [0] * 7}).map(lambda row: own(row["text"]))
    args = make_args(tmp_path, terms=["patient:1", "similarity:1"], per_device_eval_batch_size=7)
    reads = ModelTeacher(teacher, tokenizer, text_columns=["text"])
    found = DistillationTrainer(student, args, teacher=reads, eval_dataset=rows, processing_class=own).evaluate()
    pairs = [(first_states(student, own, text), first_states(teacher, tokenizer, text)) for text in texts]
    patient = [2 * (1 - torch.cosine_similarity(s[0], t[0], dim=0)) for s, t in pairs]
    assert found["eval_patient_loss"] == pytest.approx(torch.stack(patient).mean().item(), rel=1e-4)
    grams = [torch.stack([side[-1] for side in sides]) for sides in zip(*pairs, strict=True)]
    alike = [torch.nn.functional.normalize(gram @ gram.T, dim=-1) for gram in grams]
    assert found["eval_similarity_loss"] == pytest.approx((alike[0] - alike[1]).square().mean().item(), rel=1e-4)


CHARACTERS = [chr(0x4E00 + number) for number in range(300)]


def of_many_characters(kind):
    """A tokenizer of more characters than a small student has tokens, as of Chinese, and words of some of them."""
    words = ["".join(CHARACTERS[start : start + 2]) for start in range(0, 40, 2)]
    if kind == "Unigram":
        pieces = [("<unk>", 0.0), *((char, -9.0) for char in CHARACTERS), *((word, -3.0) for word in words)]
        core = Tokenizer(models.Unigram(pieces, unk_id=0))
        return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    inner = [f"##{char}" for char in CHARACTERS]
    pieces = ["<unk>", *CHARACTERS, *inner, *words, *(f"##{word}" for word in words)]
    core = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


@pytest.mark.parametrize("kind", ["WordPiece", "Unigram"])
def test_of_more_characters_than_there_is_room_for_those_of_the_texts_are_kept(kind):
    """A ready size was refused for every tokenizer of Chinese, or of a hundred languages."""
    tokenizer = of_many_characters(kind)
    model, texts = make_model(vocab_size=len(tokenizer)), ["".join(CHARACTERS[:30]), "".join(CHARACTERS[4:12])]
    vocabulary = TrimmedVocabulary.choose(model, tokenizer, texts, 120)
    own = vocabulary.tokenizer
    for text in [*texts, "".join(CHARACTERS[29::-1])]:
        assert own.tokenize(text) == tokenizer.tokenize(text) and "<unk>" not in own.tokenize(text)
    assert len(own) == 120 and vocabulary.growth == 1.0
    # While there is room, characters come before words that no text has.
    assert CHARACTERS[30] in own.get_vocab() and not {*own.get_vocab()} & {CHARACTERS[36] + CHARACTERS[37]}
    unknown = [one.unk_token_id in one(CHARACTERS[299])["input_ids"] for one in (tokenizer, own)]
    assert unknown == [False, True]
    lost = {char for char in CHARACTERS if not {char, f"##{char}"} & {*tokenizer.get_vocab()} <= {*own.get_vocab()}}
    assert vocabulary.unreadable == len(lost) > 190
    assert f"{len(lost)} single characters, which these texts lack, have no token any more" in str(vocabulary)


def test_all_characters_are_kept_where_they_leave_half_of_the_room():
    """Words that no text has are dropped for them: of another domain they can still be spelled."""
    words = [one + other for one in "abcdefghij" for other in "klmnopqrst"]
    parts = TokenizerParts(make_wordpiece(words, vocab_size=157))
    counts = TokenCounts.of(parts.core, [" ".join(words)])
    kept = choose_tokens(parts, counts, 114)
    assert kept >= parts.model.characters().keys() and not parts.unreadable(kept)
    fewer = choose_tokens(parts, counts, 113)
    assert parts.unreadable(fewer) == {*"uvwxyz"}


def test_bytes_are_never_missed():
    """Nothing stands for an unknown byte."""
    tokenizer, model = made(byte_level)
    with pytest.raises(ValueError, match=r"is too small: .* from 261 to"):
        trim_vocabulary(model, tokenizer, ["w1 w2"], 200)


def test_the_most_frequent_tokens_are_kept():
    tokenizer, texts = make_tokenizer(), ["w9 w9 w9 w5 w5 w30"]
    kept = TrimmedVocabulary.choose(make_model(), tokenizer, texts, 6).tokenizer.get_vocab()
    assert {*kept} == {*WORDS[:4], "w5", "w9"}
    more = TrimmedVocabulary.choose(make_model(), tokenizer, texts, 9).tokenizer.get_vocab()
    assert {*more} == {*WORDS[:4], "w5", "w9", "w30", "w0", "w1"}


def test_tokens_that_no_text_has_make_no_room_for_others():
    """BERT's `[unused5]` come first in its vocabulary, and are split at their brackets."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused5]", "a", "##a", "film", "##s", "play"]
    tokenizer = BertTokenizer(vocab={word: place for place, word in enumerate(words)})
    vocabulary = TrimmedVocabulary.choose(make_model(vocab_size=11), tokenizer, ["film"], 10)
    assert vocabulary.tokenizer.get_vocab().keys() == {*words} - {"[unused5]"}


def test_unknown_characters_are_weighed_as_before():
    """Unigram takes its lowest score less 10 for one: without that score it would take `pa <unk> bq` here."""
    vocabulary = [("<unk>", 0.0), *((letter, -20.0) for letter in "pqab"), ("pa", -1.0), ("bq", -1.0), ("aXb", -20.0)]
    core = Tokenizer(models.Unigram([*vocabulary, ("zz", -60.0), ("zzz", -50.0)], unk_id=0))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    trimmed = TrimmedVocabulary.choose(make_model(), tokenizer, ["paXbq pa bq"], 9).tokenizer
    assert trimmed.tokenize("paXbq") == tokenizer.tokenize("paXbq") == ["p", "aXb", "q"]


ENDS_LAST = [*(f"w{number}" for number in range(9)), "[UNK]", "[CLS]", "[SEP]", "[PAD]"]
SEP_AND_CLS = ("[SEP]", 11), ("[CLS]", 10)
AROUND = {
    "template": processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 10), ("[SEP]", 11)]),
    "as BERT": processors.BertProcessing(*SEP_AND_CLS),
    "as RoBERTa": processors.RobertaProcessing(*SEP_AND_CLS),
    "one after the other": processors.Sequence([processors.ByteLevel(), processors.BertProcessing(*SEP_AND_CLS)]),
}


@pytest.mark.parametrize("name", AROUND)
def test_the_tokens_around_a_text_have_their_new_ids(name):
    """Where special tokens stand last, all of them change."""
    core = Tokenizer(models.WordLevel({word: place for place, word in enumerate(ENDS_LAST)}, unk_token="[UNK]"))
    core.pre_tokenizer, core.post_processor = pre_tokenizers.WhitespaceSplit(), AROUND[name]
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **names)
    tokenizer.add_tokens(["@user"])
    assert tokenizer("w2 @user", padding=True)["input_ids"] == [10, 2, 13, 11]
    trimmed = TrimmedVocabulary.choose(make_model(pad_token_id=12), tokenizer, ["w2 w4"], 7).tokenizer
    assert trimmed.backend_tokenizer.padding["pad_id"] == trimmed.pad_token_id == 5
    assert trimmed("w2 @user")["input_ids"] == [3, 0, 6, 4]
    padded = trimmed(["w2", "w2 w4 w9"], padding=True)["input_ids"]
    assert padded == [[3, 0, 4, 5, 5], [3, 0, 1, 2, 4]]


def test_what_is_told_of_the_texts():
    tokenizer = make_tokenizer()
    vocabulary = TrimmedVocabulary.choose(make_model(), tokenizer, iter(["w9 w5 nothing", "w9 w9 w30"]), 5)
    assert (vocabulary.texts, vocabulary.used, vocabulary.old_size) == (2, 4, 40)
    assert (vocabulary.growth, vocabulary.unknown, vocabulary.unknown_before) == (1.0, 3 / 6, 1 / 6)
    assert "and the most frequent of the 4 that 2 texts are made of." in str(vocabulary)
    assert "5 of 40 tokens" in str(vocabulary) and "50 % are unknown (17 % before)" in str(vocabulary)


def test_it_is_told_of_texts_that_it_was_not_chosen_by(caplog):
    """Of a few texts the tokens are all kept, and others are spelled letter by letter."""
    tokenizer, chosen_by = make_wordpiece(), ["the film is a joy"]
    model = make_model(vocab_size=len(tokenizer))
    same = TrimmedVocabulary.choose(model, tokenizer, chosen_by, 62)
    assert (same.growth, same.held_out, same.is_poor) == (1.0, 0, False) and "cuts these texts" in str(same)
    other = TrimmedVocabulary.choose(model, tokenizer, chosen_by, 62, iter(["her second novel never ends"]))
    assert other.tokenizer.get_vocab() == same.tokenizer.get_vocab()
    assert (other.growth, other.held_out, other.is_poor) == (23 / 5, 1, True)
    assert f"the {other.used} that 1 texts are made of, and others that they lack." in str(other)
    assert "cuts 1 held-out texts into 4.60 times as many tokens" in str(other)
    assert "keep more tokens (--student_vocab_size)" in str(other)
    trim_vocabulary(model, tokenizer, chosen_by, 62, ["her second novel never ends"])
    assert "4.60 times as many tokens" in caplog.text  # as a warning
    unknown = TrimmedVocabulary.choose(make_model(), make_tokenizer(), ["w9 w5"], 6, ["w9 w8"])
    assert unknown.unknown == 0.5 and unknown.is_poor
    assert TrimmedVocabulary.choose(make_model(), make_tokenizer(), ["w9 w5"], 6, [""]).growth == 1.0


def test_texts_are_read_one_after_the_other(monkeypatch):
    """A stream is enough, of which some texts are kept for the second look: as many of its end as of its beginning."""
    monkeypatch.setattr(trimmed_tokenizer, "SAMPLE", 200)
    core = trimmed_tokenizer.plain_core(make_tokenizer())
    counts = trimmed_tokenizer.TokenCounts.of(core, (f"w{number * 36 // 4000}" for number in range(4000)))
    assert counts.texts == 4000 and len(counts.sample) == 200 and set(counts.tokens.values()) <= {111, 112}
    assert 60 < sum(int(text[1:]) < 18 for text in counts.sample) < 140

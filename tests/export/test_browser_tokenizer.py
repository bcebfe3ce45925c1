"""Marian's SentencePiece files as a `tokenizer.json`: the same ids, whatever the text."""

import io
import json

import pytest
from texts import TEXTS, make_tokenizer
from transformers import MarianTokenizer

from hfdistill.export.browser_tokenizer import browser_tokenizer

sentencepiece = pytest.importorskip("sentencepiece", reason="the extra `translation` is not installed")

GERMAN = [
    "der Hund schläft im Garten",
    "die Katze spielt draußen",
    "große Straßen führen zur Stadt",
    "ein Lied ist schön",
]
#: What such texts are made of in real life.
HARD = [
    "",
    " ",
    "  two   spaces  ",
    "a joy",
    "ﬁne ligatures and ｆｕｌｌ width",
    "unknown ☃ here and 漢字",
    "Straße",
    ">>deu<< a song is good",
    "tabs\tand\nlines",
    "</s> in the middle",
]


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    """A tokenizer as OPUS-MT's: a unigram model for each side, one vocabulary in an order of its own."""
    folder = tmp_path_factory.mktemp("marian")
    pieces = []
    for name, texts in (("source", TEXTS), ("target", GERMAN * 8)):
        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=written, vocab_size=60, hard_vocab_limit=False, minloglevel=2
        )
        (folder / f"{name}.spm").write_bytes(written.getvalue())
        model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
        pieces += [model.id_to_piece(number) for number in range(3, model.get_piece_size())]
    names = ["</s>", "<unk>", ">>deu<<", *sorted(set(pieces)), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    paths = [str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")]
    return MarianTokenizer(*paths)


def test_it_reads_texts_as_marian_does(marian):
    """Pieces of the target alone are never found in a source text, and letters that no one knows are unknown."""
    made = browser_tokenizer(marian, TEXTS)
    for text in [*TEXTS, *HARD]:
        assert made.encode(text).ids == marian(text).input_ids, text
    foreign = set(marian(text_target="der Hund schläft").input_ids) - {marian.eos_token_id}
    assert foreign, "the target's pieces are in the vocabulary"


def test_it_writes_texts_as_marian_does(marian):
    made = browser_tokenizer(marian, TEXTS)
    for text in GERMAN:
        ids = marian(text_target=text).input_ids
        assert made.decode(ids) == marian.decode(ids, skip_special_tokens=True) == text


def test_what_is_a_browsers_already_is_left_alone():
    assert browser_tokenizer(make_tokenizer(), TEXTS) is None


def test_what_has_no_vocabulary_of_both_sides_is_refused(marian):
    marian.separate_vocabs = True
    try:
        with pytest.raises(ValueError, match="a MarianTokenizer has no tokenizer.json, .*export for ctranslate2"):
            browser_tokenizer(marian, TEXTS)
    finally:
        marian.separate_vocabs = False


def test_a_tokenizer_that_would_read_otherwise_is_refused(marian, monkeypatch):
    """Other ids are other words, and no check of the graph would show it."""
    monkeypatch.setattr("hfdistill.export.browser_tokenizer._normalizers", lambda characters: iter(()))
    texts = ["ﬁne"] * 3
    with pytest.raises(ValueError, match="reads 3 of 3 texts otherwise, such as 'ﬁne'"):
        browser_tokenizer(marian, texts)

"""The demo corpus: fixed by its seed, clean where it is measured, and labeled as its sentences read."""

import os
import re
import subprocess
import sys
import time
from collections import Counter

import pytest

from hfdistill.tasks import demo as shared
from hfdistill.tasks.classification import demo

DOWNTONED, PLAIN, INTENSIFIED = 1, 2, 3


@pytest.fixture(scope="module")
def corpus():
    return demo.demo_dataset()


@pytest.fixture(scope="module")
def tokenizer(corpus):
    return shared.demo_tokenizer(corpus["train"]["sentence"])


# ---- A second reading of the language, which shares no code with the grammar ----


def read_clause(clause: str) -> int:
    word = clause.split()[-1]
    praise = word in demo.POSITIVE_WORDS + demo.TEST_ONLY_POSITIVE_WORDS
    assert praise != (word in demo.NEGATIVE_WORDS + demo.TEST_ONLY_NEGATIVE_WORDS), clause
    sign = 1 if praise else -1
    if re.search(r"\b(not|never|hardly|nobody)\b", clause):
        return -sign * PLAIN
    if re.search(r"\b(really|truly|utterly|extremely)\b", clause):
        return sign * INTENSIFIED
    if re.search(r"\b(slightly|somewhat|a bit|a little)\b", clause):
        return sign * DOWNTONED
    return sign * PLAIN


def decisive_part(sentence: str) -> str:
    """What is left without fillers, full stop and the conceding side."""
    parts = [part for part in sentence.removesuffix(" .").split(" , ") if part not in demo.FILLERS]
    for part in parts:
        if part.startswith(("but ", "yet ")):
            return part.split(maxsplit=1)[1]
    (decisive,) = (part for part in parts if not part.startswith(("although ", "even if ")))
    return decisive


def read(sentence: str) -> str:
    score = sum(read_clause(clause) for clause in decisive_part(sentence).split(" and "))
    assert score != 0, sentence
    return "positive" if score > 0 else "negative"


@pytest.mark.parametrize(
    ("sentence", "label"),
    [
        ("the plot was good .", "positive"),
        ("the plot was not good .", "negative"),
        ("nobody would call the soup really dull , last night .", "positive"),
        ("the plot was slightly dull and the cast was superb .", "positive"),
        ("the plot was utterly dull and the cast was not really bad .", "negative"),
        ("although the plot was good , the cast was bad .", "negative"),
        ("in my view , the cast was bad , although the plot was good and the soup was good .", "negative"),
        ("the plot was utterly good , but the cast was never good .", "negative"),
        ("the cast was a bit funny , even if i did not find the plot funny .", "positive"),
    ],
)
def test_the_reader_reads_as_a_person_does(sentence, label):
    assert read(sentence) == label


@pytest.mark.parametrize("split", ["validation", "test"])
def test_labels_follow_the_sentences(corpus, split):
    """Silent failure: a conceding side that decides, or a negation that does not turn its clause around."""
    rows = corpus[split]
    names = rows.features["label"].names
    assert [read(sentence) for sentence in rows["sentence"]] == [names[label] for label in rows["label"]]


def test_annotators_disagree_in_train_only(corpus):
    rows = corpus["train"]
    names = rows.features["label"].names
    flipped = [read(sentence) != names[label] for sentence, label in zip(rows["sentence"], rows["label"], strict=True)]
    assert 0.13 < sum(flipped) / len(flipped) < 0.17


@pytest.mark.parametrize("share", [-0.1, 0.5, 15])
def test_noise_that_drowns_the_labels_is_refused(share):
    with pytest.raises(ValueError, match="annotator_noise"):
        demo.demo_dataset(annotator_noise=share)


# ---- The splits ----


def test_columns_sizes_and_speed():
    start = time.perf_counter()
    corpus = demo.demo_dataset()
    assert time.perf_counter() - start < 3
    assert {split: rows.num_rows for split, rows in corpus.items()} == {
        "train": 12_000,
        "validation": 1_000,
        "test": 1_000,
    }
    for rows in corpus.values():
        assert rows.column_names == ["sentence", "label"]
        assert rows.features["label"].names == ["negative", "positive"]


def test_labels_are_balanced(corpus):
    for rows in corpus.values():
        assert 0.45 < sum(rows["label"]) / rows.num_rows < 0.55


def test_counting_opinion_words_is_not_enough(corpus):
    """If it were, a bag of words would do and there would be nothing to distil."""
    rows = corpus["validation"]
    right = 0
    for sentence, label in zip(rows["sentence"], rows["label"], strict=True):
        words = sentence.split()
        praise = sum(word in demo.POSITIVE_WORDS for word in words)
        blame = sum(word in demo.NEGATIVE_WORDS for word in words)
        right += (praise > blame) == bool(label)
    assert 0.5 < right / rows.num_rows < 0.8


def test_no_sentence_occurs_twice(corpus):
    sentences = [sentence for rows in corpus.values() for sentence in rows["sentence"]]
    assert [sentence for sentence, count in Counter(sentences).items() if count > 1] == []


def test_only_test_has_words_of_its_own(corpus):
    words = {split: {word for s in rows["sentence"] for word in s.split()} for split, rows in corpus.items()}
    own = {*demo.TEST_ONLY_POSITIVE_WORDS, *demo.TEST_ONLY_NEGATIVE_WORDS, *demo.TEST_ONLY_THINGS}
    assert words["validation"] <= words["train"]
    assert words["test"] - words["train"] == own


# ---- The same on any machine ----


# Run here and in another process, which loads the file and not the package: that starts faster.
FINGERPRINT = """
import hashlib, json, runpy
demo = runpy.run_path({path!r})
corpus = demo["demo_dataset"](seed=3, num_train=300, num_eval=50)
tokenizer = runpy.run_path({shared!r})["demo_tokenizer"](corpus["train"]["sentence"])
rows = [[split["sentence"][:], split["label"][:]] for split in corpus.values()]
text = json.dumps(rows) + tokenizer.backend_tokenizer.to_str()
fingerprint = hashlib.sha256(text.encode()).hexdigest()
"""


@pytest.mark.slow
def test_the_same_seed_gives_the_same_corpus_and_tokenizer_in_another_process():
    """Silent failure: an order taken from a set or a hash, which another process has otherwise."""
    script = FINGERPRINT.format(path=demo.__file__, shared=shared.__file__)
    here: dict[str, str] = {}
    exec(script, here)
    other = subprocess.run(
        [sys.executable, "-c", f"{script}print(fingerprint)"],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == here["fingerprint"]


# ---- The tokenizer ----


def test_training_words_are_whole_and_unseen_ones_in_pieces(tokenizer):
    for word in demo.POSITIVE_WORDS + demo.NEGATIVE_WORDS + demo.THINGS:
        assert len(tokenizer.tokenize(word)) == 1, word
    for word in demo.TEST_ONLY_POSITIVE_WORDS + demo.TEST_ONLY_NEGATIVE_WORDS + demo.TEST_ONLY_THINGS:
        pieces = tokenizer.tokenize(word)
        assert len(pieces) > 1 and tokenizer.unk_token not in pieces, word
    assert tokenizer.tokenize("soulless")[-1] == tokenizer.tokenize("meaningless")[-1] == "less"


def test_tokenizer_round_trip(corpus, tokenizer):
    for sentence in corpus["test"]["sentence"][:200]:
        ids = tokenizer(sentence)["input_ids"]
        assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == sentence


# ---- The models ----


def test_student_is_smaller_than_the_small_teacher(tokenizer):
    teacher, student = demo.demo_teacher(tokenizer), demo.demo_student(tokenizer)
    assert student.num_parameters() * 3 < teacher.num_parameters() < 500_000
    for model in (teacher, student):
        assert model.config.id2label == {0: "negative", 1: "positive"}
        assert model.config.vocab_size == len(tokenizer)
        assert model.config.pad_token_id == tokenizer.pad_token_id

"""The generated corpus: the same on every machine, right German, and combinations that only the test split has."""

import random

import pytest

from hfdistill.tasks.translation.demo import ADJECTIVES, PERSONS, THINGS, VERBS, _Writer, demo_translations, is_unseen
from hfdistill.tasks.translation.from_scratch import joint_tokenizer


@pytest.fixture(scope="module")
def corpus():
    return demo_translations(num_train=1500, num_eval=150)


def unseen_pairs(sentence):
    """The pairs of an adjective and a noun in an English sentence that are kept for the test split."""
    nouns = {form: noun.english for noun in (*PERSONS, *THINGS) for form in (noun.english, noun.plural)}
    words = sentence.rstrip(".").split()
    adjectives = {english for english, _ in ADJECTIVES}
    pairs = [
        (one, nouns[two]) for one, two in zip(words, words[1:], strict=False) if one in adjectives and two in nouns
    ]
    return [pair for pair in pairs if is_unseen(*pair)]


def test_the_same_seed_gives_the_same_corpus(corpus):
    assert demo_translations(num_train=1500, num_eval=150)["test"]["de"] == corpus["test"]["de"]
    assert demo_translations(seed=1, num_train=50, num_eval=5)["train"]["en"] != corpus["train"]["en"][:50]


def test_no_sentence_comes_twice_and_the_test_split_has_its_own_combinations(corpus):
    sources = [text for split in corpus.values() for text in split["en"]]
    assert len(set(sources)) == len(sources) == 1800
    assert not any(unseen_pairs(text) for split in ("train", "validation") for text in corpus[split]["en"])
    # The first word of a sentence is capitalized, so one that begins with its adjective is not found.
    assert sum(bool(unseen_pairs(text)) for text in corpus["test"]["en"]) > 120


def test_each_noun_and_adjective_is_in_the_training_split(corpus):
    """An unseen combination is of known words: a test of grammar, not of guessing."""
    words = set(" ".join(corpus["train"]["en"]).replace(".", "").lower().split())
    assert {noun.english for noun in (*PERSONS, *THINGS)} <= words
    assert {english for english, _ in ADJECTIVES} <= words


def test_case_and_gender_decide_the_endings():
    """Written out by hand: nominative, accusative and dative of each gender, after either article and in the plural."""
    expected = {
        ("Hund", "the", False): ("der kleine Hund", "den kleinen Hund", "dem kleinen Hund"),
        ("Hund", "a", False): ("ein kleiner Hund", "einen kleinen Hund", "einem kleinen Hund"),
        ("Katze", "the", False): ("die kleine Katze", "die kleine Katze", "der kleinen Katze"),
        ("Katze", "a", False): ("eine kleine Katze", "eine kleine Katze", "einer kleinen Katze"),
        ("Kind", "the", False): ("das kleine Kind", "das kleine Kind", "dem kleinen Kind"),
        ("Kind", "a", False): ("ein kleines Kind", "ein kleines Kind", "einem kleinen Kind"),
        ("Kind", "the", True): ("die kleinen Kinder", "die kleinen Kinder", "den kleinen Kindern"),
        ("Kind", "a", True): ("kleine Kinder", "kleine Kinder", "kleinen Kindern"),
    }
    found = {}
    writer = _Writer(random.Random(0))
    for _ in range(20_000):
        phrase = writer._phrase(PERSONS, described=1.0, unseen=False)
        words = phrase.english.split()
        noun = {"dog": "Hund", "dogs": "Hund", "cat": "Katze", "child": "Kind", "children": "Kind"}.get(words[-1])
        if "small" in words and noun:
            found[noun, "the" if words[0] == "the" else "a", phrase.plural] = tuple(phrase.german.values())
    assert expected.items() <= found.items()


def test_the_verb_is_second_or_last():
    """The order of words is what a word-for-word translation gets wrong."""
    writer = _Writer(random.Random(0))
    call = next(verb for verb in VERBS if verb.infinitive == "anrufen")
    subject = next(
        phrase for phrase in (writer._phrase(PERSONS, 0.0, False) for _ in range(999)) if phrase.english == "the dog"
    )
    middle = ["die Katze", "nicht", "im Garten"]

    def german(tense, verb_last=False, time=""):
        return {writer._german(call, subject, tense, middle, time, verb_last) for _ in range(30)}

    assert german("present") == {"der Hund ruft die Katze nicht im Garten an"}
    assert german("will") == {"der Hund wird die Katze nicht im Garten anrufen"}
    assert german("past") == {
        "der Hund rief die Katze nicht im Garten an",
        "der Hund hat die Katze nicht im Garten angerufen",
    }
    assert german("present", time="heute") == {
        "heute ruft der Hund die Katze nicht im Garten an",
        "der Hund ruft heute die Katze nicht im Garten an",
    }
    assert german("present", verb_last=True) == {"der Hund die Katze nicht im Garten anruft"}
    assert german("can", verb_last=True) == {"der Hund die Katze nicht im Garten anrufen kann"}


def test_the_tokenizer_gives_texts_back(corpus, tmp_path):
    """What is lost between text and tokens is lost to BLEU: spaces, capitals, umlauts, the final stop."""
    train = corpus["train"]
    tokenizer = joint_tokenizer([*train["en"], *train["de"]], vocab_size=500, max_length=48)
    for text in [*corpus["test"]["de"], *corpus["test"]["en"]]:
        ids = tokenizer(text)["input_ids"]
        assert ids[-1] == tokenizer.eos_token_id and tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len(tokenizer) <= 500
    tokenizer.save_pretrained(tmp_path)
    loaded = type(tokenizer).from_pretrained(tmp_path)
    assert loaded("Der Hund schläft.")["input_ids"] == tokenizer("Der Hund schläft.")["input_ids"]

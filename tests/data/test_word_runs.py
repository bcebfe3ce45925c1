"""Texts that are kept away from those that are measured on, in scripts with spaces and without them."""

import random
import re
from itertools import product

import pytest
from datasets import Dataset

from hfdistill.data.splits import SHARED_WORDS, are_held_out, are_near_copies
from hfdistill.data.word_runs import runs_of, words_of

#: The characters of a script, and how many make eight words.
SCRIPTS = {
    "Chinese": (range(0x4E00, 0x9FFF), 20),
    "Japanese": ([*range(0x3041, 0x3090), *range(0x30A1, 0x30F0), *range(0x4E00, 0x5000)], 20),
    "Thai": ([*range(0x0E01, 0x0E3A), *range(0x0E40, 0x0E4E)], 40),
    "Burmese": (range(0x1000, 0x103F), 40),
}
LATIN = [
    "Ein",
    "ärgerlicher",
    "don't",
    "42",
    "Zürich",
    "Привет",
    "мир",
    "한국어",
    "문장",
    "ελληνικά",
    "_",
    "नमस्ते",
    "a-b",
    "–",
]


def text_of(script, count, rng):
    return "".join(map(chr, rng.sample(list(SCRIPTS[script][0]), count)))


def held_out(text, *measured, share=0.0):
    splits = {"test": Dataset.from_dict({"text": list(measured)})}
    return bool(are_held_out(Dataset.from_dict({"text": [text]}), splits, ("text",), share)[0])


def near_copy(text, measured):
    splits = {"test": Dataset.from_dict({"text": [measured]})}
    return bool(are_near_copies(Dataset.from_dict({"text": [text]}), splits, "text")[0])


@pytest.mark.parametrize(("script", "seed"), [*product(SCRIPTS, range(5))])
def test_texts_without_spaces_share_runs_of_characters(script, seed):
    """A sentence was one word, and a training text that held the whole of a test text was none of it."""
    rng, enough = random.Random(seed), SCRIPTS[script][1]
    parts = text_of(script, enough + 20, rng)
    shared, before, behind = parts[:enough], parts[enough : enough + 10], parts[enough + 10 :]
    assert held_out(f"{before}{shared}{behind}", f"{behind}{shared}。")
    assert not held_out(f"{before}{shared[:-1]}{behind[::-1]}", f"{behind}{shared[:-1]}。")
    assert held_out(f"{shared[:5]}，{shared[5:]}！", shared), "punctuation aside"


@pytest.mark.parametrize("script", SCRIPTS)
def test_texts_without_spaces_have_near_copies(script):
    rng = random.Random(7)
    text = text_of(script, 30, rng)
    other = chr(SCRIPTS[script][0][-1])
    assert near_copy(text[:9] + other + text[10:], text) and near_copy(text[:-1], text)
    assert not near_copy(text[:9] + other + other + text[11:], text)
    assert not near_copy("我喜欢吃鱼", "我喜欢吃肉"), "another text, as short ones are"


def test_a_text_of_both_kinds_is_measured_by_both():
    shared = "模型 BERT 的训练数据 GLUE and SQuAD"  # four words, and seven characters, nearly three words
    assert not held_out(f"前{shared}后", f"中{shared}外")
    assert held_out(f"前{shared} 2.0 后", f"中{shared} 2.0 外")


@pytest.mark.parametrize("seed", range(20))
def test_of_texts_with_spaces_words_and_runs_are_what_they_were(seed):
    rng = random.Random(seed)
    text = " ".join(rng.choices(LATIN, k=rng.randint(0, 30)))
    words = re.findall(r"\w+", text.casefold()) or [text]
    assert words_of(text) == words
    runs = [tuple(words[start : start + SHARED_WORDS]) for start in range(len(words) - SHARED_WORDS + 1)]
    assert list(runs_of(words, SHARED_WORDS)) == list(map(hash, runs))

"""More text for the teacher: what is made, that it is always the same, and what the teacher says about it."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration

from hfdistill import noised, soft_targets
from hfdistill.data.augmentation.augmenters import (
    Augmenter,
    BackTranslation,
    LocalShuffle,
    Masking,
    NGrams,
    WordDropout,
    WordReplacement,
)
from hfdistill.data.augmentation.rows import augment, augmentation_report

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}


@pytest.fixture
def masked_model():
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(vocab_size=120, max_position_embeddings=64, initializer_range=0.5, **SIZES))


@pytest.fixture
def translator(tokenizer):
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    model = T5ForConditionalGeneration(T5Config(vocab_size=120, decoder_start_token_id=0, eos_token_id=3, **sizes))
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return model, tokenizer


@pytest.fixture
def pairs(text_dataset):
    rows = text_dataset.rename_columns({"sentence": "first", "label": "labels"})
    return rows.add_column("second", [f"and {text}" for text in rows["first"]])


def rngs(count, seed=0):
    return [random.Random(f"{seed} {row}") for row in range(count)]


# ---- Each augmenter ----


def test_words_are_masked_at_the_given_rate():
    text = " ".join(f"w{number}" for number in range(2000))
    [masked] = Masking("[MASK]", 0.1)([text], rngs(1))
    pairs = list(zip(text.split(), masked.split(), strict=True))
    share = sum(new == "[MASK]" for _, new in pairs) / 2000
    assert 0.08 < share < 0.12
    assert all(new in (old, "[MASK]") for old, new in pairs)


def test_words_are_left_out_at_the_given_rate():
    """In their order, and never all of a text."""
    text = " ".join(f"w{number}" for number in range(2000))
    [fewer] = WordDropout(0.1)([text], rngs(1))
    assert fewer.split() == sorted(fewer.split(), key=lambda word: int(word[1:])) and 1750 < len(fewer.split()) < 1850
    assert WordDropout(0.99)(["a b", ""] * 20, rngs(40)) == ["a", ""] * 20


def test_words_move_by_no_more_than_the_distance():
    words = [f"w{number}" for number in range(500)]
    [moved] = LocalShuffle(3)([" ".join(words)], rngs(1))
    moves = [abs(place - words.index(word)) for place, word in enumerate(moved.split())]
    assert sorted(moved.split()) == sorted(words) and {*moves} == {0, 1, 2, 3}
    assert LocalShuffle(0)([" ".join(words)], rngs(1)) == [" ".join(words)]


def test_noise_is_a_rows_own(pairs):
    """Whatever the batches; the other column stays, and so does a text where no noise is wanted."""
    rows = noised(pairs, "first", mask_token="<unk>")
    assert rows["second"] == pairs["second"] and rows.features == pairs.features
    assert sum(new != old for new, old in zip(rows["first"], pairs["first"], strict=True)) > len(rows) / 2
    assert "<unk>" in " ".join(rows["first"]).split() and all(rows["first"])
    assert noised(pairs.select(range(7)), "first", mask_token="<unk>")["first"] == rows["first"][:7]
    assert noised(pairs, "first", mask_token="<unk>", seed=1)["first"] != rows["first"]
    assert noised(pairs, "first", drop=0, distance=0)["first"] == [" ".join(text.split()) for text in pairs["first"]]


def test_noise_that_is_none_is_refused(pairs):
    for settings, said in (
        ({"drop": 1.0}, r"drop is the probability of each word, in \[0, 1\); got 1.0"),
        ({"distance": -1}, "distance is how many places a word may move, 0 or more; got -1"),
        ({"column": "third"}, "no column third to change; the rows have"),
    ):
        with pytest.raises(ValueError, match=said):
            noised(pairs, **{"column": "first", **settings})


def test_n_grams_are_stretches_of_the_text():
    text = "a b c d e f g h"
    made = NGrams()([text] * 400, rngs(400))
    assert all(f" {one} " in f" {text} " for one in made)
    counts = Counter(len(one.split()) for one in made)
    assert set(counts) == {1, 2, 3, 4, 5} and min(counts.values()) > 50
    assert {one.split()[0] for one in made} == set(text.split())
    assert set(NGrams()(["one two"] * 50, rngs(50))) == {"one", "two", "one two"}


def test_words_are_replaced_by_what_the_model_proposes(masked_model, tokenizer):
    """Against the naive way: each chosen word masked alone in the original text, one forward pass each."""
    texts = ["the film is a joy", "that song never ends and made me laugh"]
    made = WordReplacement(masked_model, tokenizer, probability=0.5, candidates=3, batch_size=2)(texts, rngs(2))
    changed = 0
    for text, new in zip(texts, made, strict=True):
        words, others = text.split(), new.split()
        assert len(words) == len(others)
        for place, (word, other) in enumerate(zip(words, others, strict=True)):
            if word != other:
                masked = " ".join([*words[:place], "[MASK]", *words[place + 1 :]])
                batch = tokenizer(masked, return_tensors="pt")
                where = batch["input_ids"][0].tolist().index(tokenizer.mask_token_id)
                logits = masked_model.eval()(**batch).logits[0, where]
                words_only = {word: id_ for word, id_ in tokenizer.get_vocab().items() if word[0] not in "[#"}
                likeliest = sorted(words_only, key=lambda word: -logits[words_only[word]].item())[:3]
                assert other in likeliest
                changed += 1
    assert changed >= 3
    assert WordReplacement(masked_model, tokenizer, probability=0.0)(texts, rngs(2)) == texts


def test_a_word_beyond_what_the_model_reads_stays(masked_model, tokenizer):
    """Its mask is cut off with the end of the text, and the first token would be taken for it."""
    text = " ".join(["film"] * 100)
    [made] = WordReplacement(masked_model, tokenizer, probability=1.0)([text], rngs(1))
    assert len(made.split()) == 100
    assert made.split()[-30:] == ["film"] * 30 and made.split()[:30].count("film") < 10


def test_a_translation_back_is_its_rows_own(translator):
    """Sampled in a batch, a text would depend on its neighbors; sampled from the global state, on what ran before."""
    texts = ["the film is a joy", "that song never ends", "this play is dull"]
    augmenter = BackTranslation(translator, translator, max_new_tokens=6)
    made = augmenter(texts, rngs(3))
    torch.rand(7)
    assert augmenter(texts[1:2], rngs(3)[1:2]) == made[1:2]
    assert len({*made, *augmenter(texts, rngs(3, seed=1))}) > 3


def test_a_tokenizer_without_a_mask_is_refused(masked_model, tokenizer):
    """Nothing would be masked, and the first token of each text replaced."""
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match="has no mask token"):
        WordReplacement(masked_model, tokenizer)


# ---- The dataset ----


class Shout(Augmenter):
    """Text in capitals, with the row's own number."""

    def __call__(self, texts, rngs):
        return [f"{text.upper()} {rng.randrange(10**6)}" for text, rng in zip(texts, rngs, strict=True)]


def test_made_rows_follow_without_a_label(text_dataset):
    """A made text under the old label would teach a lie wherever the change matters."""
    rows = augment(text_dataset, [Shout()], ["sentence"], "label", copies=2)
    assert len(rows) == 90
    assert rows["label"][:] == text_dataset["label"][:] + [-100] * 60
    assert rows["augmented_from"][:] == [-1] * 30 + list(range(30)) * 2
    for row in range(30, 90):
        source = text_dataset["sentence"][rows["augmented_from"][row]]
        assert rows["sentence"][row].startswith(source.upper())
    assert len(set(rows["sentence"])) == 90  # each copy draws anew
    assert rows.features["label"] == text_dataset.features["label"]


def test_what_is_made_depends_on_seed_and_row_alone(text_dataset):
    """Another batch size, or fewer rows, must not make other texts."""
    whole = augment(text_dataset, [NGrams(), Masking("[MASK]", 0.5)], ["sentence"], "label", copies=2, seed=4)
    again = augment(text_dataset, [NGrams(), Masking("[MASK]", 0.5)], ["sentence"], "label", copies=2, seed=4)
    assert whole["sentence"][:] == again["sentence"][:]
    part = augment(text_dataset.select(range(10)), [NGrams(), Masking("[MASK]", 0.5)], ["sentence"], "label", 2, 4)
    made = {text for text, source in zip(part["sentence"], part["augmented_from"], strict=True) if source >= 0}
    assert made <= set(whole["sentence"])
    other = augment(text_dataset, [NGrams(), Masking("[MASK]", 0.5)], ["sentence"], "label", copies=2, seed=5)
    assert whole["sentence"][:] != other["sentence"][:]
    kinds = ["[MASK]" in text for text in whole["sentence"]]
    assert any(kinds) and not all(kinds[30:])  # the augmenters take turns


def test_a_text_that_is_there_already_is_left_out():
    """Repeated rows would weigh more than the others; an empty text is none."""
    rows = Dataset.from_dict({"text": ["one", "two", " "], "labels": [0, 1, 0]})
    assert augment(rows, [NGrams()], ["text"], copies=5)["text"][:] == ["one", "two", " "]


def test_of_a_pair_one_text_is_changed(pairs):
    """With both changed, little of a pair's meaning is left."""
    rows = augment(pairs, [Shout()], ["first", "second"])
    made = rows.select(range(30, 60))
    changed = [
        (a != old["first"], b != old["second"]) for a, b, old in zip(made["first"], made["second"], pairs, strict=True)
    ]
    assert set(changed) == {(True, False), (False, True)}


def test_changed_teacher_predictions_are_counted(text_dataset, tiny_bert, tokenizer):
    """The report must count made texts by their own source, whatever was left out."""
    rows = augment(text_dataset, [NGrams(2)], ["sentence"], "label", copies=3)
    with pytest.raises(ValueError, match="needs the columns augmented_from"):
        augmentation_report(rows)
    rows = soft_targets(tiny_bert(), rows, tokenizer, text_columns=["sentence"])
    report = augmentation_report(rows)
    decisions = np.argmax(rows["teacher_logits"][:], -1)
    made = [(row, source) for row, source in enumerate(rows["augmented_from"]) if source >= 0]
    expected = sum(decisions[row] != decisions[source] for row, source in made)
    assert (report.rows, report.made, report.changed) == (30, len(made), expected)
    assert 0 < expected < len(made) and f"{expected:,} of them" in str(report)
    several = soft_targets([tiny_bert(), tiny_bert()], rows, tokenizer, text_columns=["sentence"])
    assert augmentation_report(several) == report


def test_labels_of_which_there_are_several_are_unknown_each():
    """A number stood where a list was expected; the largest of several logits decides nothing."""
    rows = Dataset.from_dict({"text": ["one two", "three"], "labels": [[1.0, 0.0], [0.0, 0.0]]})
    rows = augment(rows, [Shout()], ["text"])
    assert rows["labels"][:] == [[1.0, 0.0], [0.0, 0.0], [-100.0, -100.0], [-100.0, -100.0]]
    rows = rows.add_column("teacher_logits", [[2.0, -1.0], [-2.0, -1.0], [2.0, 1.0], [-2.0, -1.5]])
    assert augmentation_report(rows, "multi_label_classification").changed == 1
    scores = rows.remove_columns("teacher_logits").add_column("teacher_logits", [[0.5], [0.1], [0.9], [0.0]])
    told = augmentation_report(scores, "regression")
    assert told.changed is None and str(told) == "2 texts were made of 2."


def test_columns_of_the_old_text_are_refused(text_dataset, tiny_bert, tokenizer):
    """Made rows would carry the tokens and soft targets of the text they were made of."""
    rows = soft_targets(tiny_bert(), text_dataset, tokenizer, text_columns=["sentence"])
    with pytest.raises(ValueError, match="teacher_logits would be of the old text: change the texts first"):
        augment(rows, [NGrams()], ["sentence"], "label")
    with pytest.raises(ValueError, match="no column text to change; the rows have sentence, label"):
        augment(text_dataset, [NGrams()], ["text"], "label")
    with pytest.raises(ValueError, match="copies must be at least 1, got 0"):
        augment(text_dataset, [NGrams()], ["sentence"], "label", copies=0)
    with pytest.raises(ValueError, match="needs an augmenter"):
        augment(text_dataset, [], ["sentence"], "label")


@pytest.mark.parametrize("augmenters", [["masking"], "masking", Masking("[MASK]")], ids=str)
def test_names_of_augmenters_are_refused(text_dataset, augmenters):
    """The recipes take names, so that one tries them here; the way from a name to an augmenter is told."""
    with pytest.raises(TypeError, match="takes a list of augmenters, got .*by their names with load_augmenter"):
        augment(text_dataset, augmenters, ["sentence"], "label")


def test_one_column_is_a_name(text_dataset):
    assert len(augment(text_dataset, [Shout()], "sentence", "label")) == 60

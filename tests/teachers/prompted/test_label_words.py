"""Label words scored: as a naive loop over texts, labels and tokens has it, for every kind of language model."""

import numpy as np
import pytest
from tiny_prompts import (
    CAUSAL,
    NAMES,
    TEMPLATE,
    VERBALIZER,
    causal_score,
    make_bpe,
    make_causal,
    make_masked,
    make_rows,
    make_t5,
    make_wordpiece,
    masked_score,
    seq2seq_score,
)

from hfdistill import PromptTeacher, soft_targets
from hfdistill.teachers.prompted import causal


def logits_of(teacher, rows, store, **settings):
    return np.array(soft_targets(teacher, rows, store=store, **settings)["teacher_logits"][:])


def naive(rows, score, words=None):
    """The log of the sum of each label's words' probabilities, of each text; `score(text, word)` has their logs."""
    words = words or VERBALIZER
    groups = [[some] if isinstance(some, str) else some for some in words.values()]
    return [[np.logaddexp.reduce([score(text, word) for word in some]) for some in groups] for text in rows["text"]]


#: Long words that begin alike, and one that does not: what was read of one must not be left for the next.
WORDS = {**VERBALIZER, "good": ["good", "made dull"]}


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("family", CAUSAL)
def test_a_causal_model_scores_whole_words(family, batch_size, tmp_path):
    """Padding, the cache, positions, or the first token of a word alone: each gives another number."""
    model, tokenizer, rows = make_causal(family), make_bpe(), make_rows(5)
    teacher = PromptTeacher(model, tokenizer, TEMPLATE, WORDS)
    assert len({word[0] for word in teacher.model.words if len(word) > 1}) > 1

    def score(text, word):
        prompt, whole = (tokenizer(TEMPLATE.format(text=text) + end)["input_ids"] for end in ("", f" {word}"))
        assert whole[: len(prompt)] == prompt
        return causal_score(model, prompt, whole[len(prompt) :])

    expected = naive(rows, score, WORDS)
    np.testing.assert_allclose(logits_of(teacher, rows, tmp_path, batch_size=batch_size), expected, atol=2e-4)
    assert np.ptp(expected, axis=0).min() > 0.05  # a canary: the text matters


def test_what_stands_behind_the_label_ends_the_word(tmp_path):
    """Of the words `very` and `very fair` the first would else have all that the second has."""
    model, tokenizer, rows = make_causal(), make_bpe(), make_rows(3)
    words = {"bad": "very", "fair": "very fair", "good": "good"}
    teacher = PromptTeacher(model, tokenizer, TEMPLATE + " {label}.\nNext:", words)

    def score(text, word):
        prompt = tokenizer(TEMPLATE.format(text=text))["input_ids"]
        return causal_score(model, prompt, tokenizer(f" {word}.")["input_ids"])

    np.testing.assert_allclose(logits_of(teacher, rows, tmp_path), naive(rows, score, words), atol=2e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
def test_a_cached_prefix_changes_nothing(family, tmp_path, monkeypatch):
    """And saves: what all prompts begin with is read once a batch, each prompt once for all words."""
    model, rows = make_causal(family), make_rows(12)
    template = "The word good is good, the word bad is bad.\n\n" + TEMPLATE
    teacher, read = PromptTeacher(model, make_bpe(), template, VERBALIZER), []
    model.register_forward_pre_hook(lambda _, args, inputs: read.append(inputs["input_ids"].numel()), with_kwargs=True)
    cached = logits_of(teacher, rows, tmp_path / "cached")
    with_cache, _ = sum(read), read.clear()
    monkeypatch.setattr(causal, "_can_go_back", lambda *_: False)
    np.testing.assert_allclose(logits_of(teacher, rows, tmp_path / "plain"), cached, atol=1e-4)
    assert with_cache < sum(read) / 3


def test_a_masked_model_fills_as_many_masks_as_the_word_has_tokens(tmp_path):
    model, tokenizer, rows = make_masked(), make_wordpiece(), make_rows(6)
    for template in ("review : {text} . it was {label} .", "{label} : {text}"):
        teacher = PromptTeacher(model, tokenizer, template, VERBALIZER)

        def score(text, word, template=template):
            ids = tokenizer(template.format(text=text, label="[MASK]"))["input_ids"]
            return masked_score(model, ids, 4, tokenizer(word, add_special_tokens=False)["input_ids"])

        found = logits_of(teacher, rows, tmp_path / template[:2], batch_size=4)
        np.testing.assert_allclose(found, naive(rows, score), atol=1e-4)


def test_a_mask_in_the_text_is_not_the_labels(tmp_path):
    model, tokenizer = make_masked(), make_wordpiece()
    rows = make_rows(2).map(lambda row: {"text": "[MASK] " + row["text"]})
    teacher = PromptTeacher(model, tokenizer, "{text} it was {label} .", VERBALIZER)
    before = logits_of(teacher, rows, tmp_path / "last")
    ids = tokenizer(f"{rows['text'][0]} it was [MASK] .", return_tensors="pt")
    place = ids["input_ids"][0].tolist().index(4, 5)
    scores = model(**ids).logits[0, place].log_softmax(-1)
    [good] = tokenizer("good", add_special_tokens=False)["input_ids"]
    assert before[0, 2] == pytest.approx(scores[good].item(), abs=1e-4)


def test_an_encoder_decoder_writes_the_word_to_its_end(tmp_path):
    model, tokenizer, rows = make_t5(), make_wordpiece(), make_rows(6)
    teacher = PromptTeacher(model, tokenizer, "review : {text} it was", VERBALIZER)

    def score(text, word):
        ids = tokenizer(f"review : {text} it was")["input_ids"]
        return seq2seq_score(model, ids, tokenizer(text_target=word)["input_ids"])

    np.testing.assert_allclose(logits_of(teacher, rows, tmp_path, batch_size=4), naive(rows, score), atol=1e-4)


def test_a_tokenizer_that_closes_texts_does_not_close_a_prompt(tmp_path):
    """A causal model would read [SEP] before the label."""
    model, tokenizer, rows = make_causal(vocab_size=140), make_wordpiece(), make_rows(3)
    teacher = PromptTeacher(model, tokenizer, TEMPLATE, VERBALIZER)

    def score(text, word):
        prompt = tokenizer(TEMPLATE.format(text=text))["input_ids"][:-1]
        return causal_score(model, prompt, tokenizer(word, add_special_tokens=False)["input_ids"])

    np.testing.assert_allclose(logits_of(teacher, rows, tmp_path), naive(rows, score), atol=2e-4)


def test_names_may_be_their_own_words(tmp_path):
    listed = PromptTeacher(make_causal(), make_bpe(), TEMPLATE, ["bad=bad, very dull", "fair=very fair", "good"])
    assert listed.model.config.id2label == dict(enumerate(NAMES))
    named = PromptTeacher(make_causal(), make_bpe(), TEMPLATE, VERBALIZER)
    assert listed.model.words == named.model.words


def test_a_mask_before_a_label_between_two_texts_is_not_the_labels(tmp_path):
    """The first mask was the label's, so that calibration, whose texts are masks, looked at the text's."""
    model, tokenizer = make_masked(), make_wordpiece()
    rows = make_rows(2).map(lambda row: {"pair": row["text"], "text": "[MASK] it"})
    teacher = PromptTeacher(model, tokenizer, "{text} ? {label} , {text_pair}", VERBALIZER, ["text", "pair"])
    found = logits_of(teacher, rows, tmp_path / "between")
    ids = tokenizer(f"[UNK] it ? [MASK] , {rows['pair'][0]}", return_tensors="pt")
    place = ids["input_ids"][0].tolist().index(4)
    scores = model(**ids).logits[0, place].log_softmax(-1)
    [good] = tokenizer("good", add_special_tokens=False)["input_ids"]
    assert found[0, 2] == pytest.approx(scores[good].item(), abs=1e-4)

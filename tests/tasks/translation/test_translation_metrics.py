"""BLEU and chrF are sacreBLEU's, with its signature, and of texts alone."""

import builtins

import numpy as np
import pytest
import sacrebleu
from tiny import WORDS, make_tokenizer
from transformers import EvalPrediction

from hfdistill.tasks.translation.metrics import (
    TRANSLATION_METRICS,
    corpus_scores,
    sentence_bleu,
    signatures,
    translation_metrics,
)

TEXTS = ["the small dog sees the old cat .", "a bird sings", "it is raining today"]
REFERENCES = ["the small dog saw the old cat .", "a bird sings", "today it rains"]


def test_scores_are_those_of_sacrebleu():
    scores = corpus_scores(TEXTS, REFERENCES)
    assert scores["bleu"] == sacrebleu.corpus_bleu(TEXTS, [REFERENCES]).score
    assert scores["chrf"] == sacrebleu.corpus_chrf(TEXTS, [REFERENCES]).score
    assert 20 < scores["bleu"] < scores["chrf"] < 95
    assert sentence_bleu("a bird sings", "a bird sings") > 99 > 60 > sentence_bleu(TEXTS[0], REFERENCES[0]) > 20


def test_batches_and_several_references():
    """An evaluate metric takes what comes batch by batch, and as many references for each as there are."""
    metric = TRANSLATION_METRICS["bleu"](keep_in_memory=True)
    others = ["a small dog sees the old cat .", "birds sing", "it is raining"]
    for text, one, other in zip(TEXTS, REFERENCES, others, strict=True):
        metric.add_batch(predictions=[text], references=[[one, other]])
    result = metric.compute()
    assert result["bleu"] == sacrebleu.corpus_bleu(TEXTS, [REFERENCES, others]).score
    assert "nrefs:2" in result["bleu_signature"]
    with pytest.raises(ValueError, match="as many references for each"):
        metric.compute(predictions=["a", "b"], references=[["a"], ["b", "c"]])


def test_the_signature_is_what_is_cited():
    assert "nrefs:1" in signatures()["bleu"] and "tok:13a" in signatures()["bleu"]
    assert "nc:6" in signatures()["chrf"] and f"version:{sacrebleu.__version__}" in signatures()["chrf"]


def test_tokens_become_texts_without_padding():
    """-100 is no token, and padding, start and end are no words."""
    tokenizer = make_tokenizer()
    ids = [tokenizer.convert_tokens_to_ids(word) for word in WORDS[4:10]]
    predictions = np.array([[0, *ids[:4], 3, -100, -100], [0, *ids, 3]])
    labels = np.array([[*ids[:4], 3, -100, -100], [*ids, 3]])
    scores = translation_metrics(tokenizer)(EvalPrediction(predictions, labels))
    assert scores["bleu"] == pytest.approx(100) and scores["chrf"] == pytest.approx(100)
    assert set(scores) == {"bleu", "chrf"}


def test_logits_are_refused():
    with pytest.raises(ValueError, match="set predict_with_generate=True"):
        translation_metrics(make_tokenizer())(EvalPrediction(np.zeros((2, 3, 40)), np.zeros((2, 3))))


def test_without_sacrebleu(monkeypatch):
    """What to install is said when the metric is made, before anything is trained."""
    usual = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "sacrebleu":
            raise ImportError(name)
        return usual(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install .*\[translation\]'"):
        translation_metrics(make_tokenizer())

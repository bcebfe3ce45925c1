"""Entities as seqeval and the CoNLL evaluation find them, and the metrics made of them, against examples by hand."""

import random

import numpy as np
import pytest
from transformers import EvalPrediction

from hfdistill import Seqeval, token_classification_metrics
from hfdistill.tasks.tagging.entities import Entity, entities, entity_kinds, marked
from hfdistill.tasks.tagging.metrics import TagMetrics

NAMES = ("O", "B-x", "I-x", "B-y", "I-y")


@pytest.mark.parametrize(
    ("tags", "found", "strict"),
    [
        ("O B-x I-x O", [("x", 1, 3)], [("x", 1, 3)]),
        ("B-x B-x I-x", [("x", 0, 1), ("x", 1, 3)], [("x", 0, 1), ("x", 1, 3)]),
        ("O I-x I-x O", [("x", 1, 3)], []),  # which no annotator would write
        ("B-x I-y", [("x", 0, 1), ("y", 1, 2)], [("x", 0, 1)]),
        ("B-x O I-x", [("x", 0, 1), ("x", 2, 3)], [("x", 0, 1)]),
        ("O O", [], []),
    ],
)
def test_entities_of_iob(tags, found, strict):
    assert entities(tags.split()) == [Entity(*one) for one in found]
    assert entities(tags.split(), "IOB2") == [Entity(*one) for one in strict]


@pytest.mark.parametrize("letters", ["BIES", "BILU"])
def test_entities_of_iobes(letters):
    begin, inside, end, single = letters
    tags = [f"{begin}-x", f"{inside}-x", f"{end}-x", f"{single}-x", f"{end}-x", "O", f"{begin}-x"]
    whole = [Entity("x", 0, 3), Entity("x", 3, 4)]
    assert entities(tags, "IOBES") == whole
    assert entities(tags) == [*whole, Entity("x", 4, 5), Entity("x", 6, 7)]
    assert entities([f"{begin}-x", f"{end}-x", f"{end}-x"]) == [Entity("x", 0, 2), Entity("x", 2, 3)]


def test_kinds_and_schemes():
    assert entity_kinds(NAMES) == ["x", "y"] and entity_kinds(["NOUN", "VERB", "O"]) is None
    with pytest.raises(ValueError, match=r"B-x, and y does not: write B-y and I-y"):
        entity_kinds(["O", "B-x", "I-x", "y"])


def test_sentences_are_marked():
    assert marked("to New York now".split(), [Entity("place", 1, 3)]) == "to [New York | place] now"


def test_f1_is_of_whole_entities():
    """By hand: 2 of 3 predicted and of 4 labeled entities are right; kind y has none of its own right."""
    true = ["B-x I-x O B-y".split(), "B-x O B-y".split()]
    found = ["B-x I-x O B-x".split(), "B-x O O".split()]
    metrics = TagMetrics(NAMES)
    sums = metrics.counts(found, true).sum(0)
    assert metrics.of_sums(sums) == pytest.approx({"f1": 4 / 7, "precision": 2 / 3, "recall": 0.5, "accuracy": 5 / 7})
    assert metrics.by_kind(sums)["x"] == pytest.approx({"f1": 0.8, "precision": 2 / 3, "recall": 1.0, "number": 2})
    assert metrics.by_kind(sums)["y"] == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "number": 2}
    report = Seqeval().compute(predictions=found, references=true)
    assert report["overall_f1"] == pytest.approx(4 / 7) and report["x"]["number"] == 2


def test_labels_that_name_no_entities_are_measured_one_by_one():
    metrics = TagMetrics(("DET", "NOUN", "VERB"))
    sums = metrics.counts([["DET", "NOUN", "NOUN"]], [["DET", "NOUN", "VERB"]]).sum(0)
    assert metrics.of_sums(sums) == pytest.approx({"accuracy": 2 / 3, "f1_macro": (1 + 2 / 3 + 0) / 3})


def test_a_trainer_gets_the_metrics_of_labeled_tokens():
    rng = random.Random(0)
    labels = np.array([[-100, 1, 2, -100, 0, 3], [-100, 0, 1, -100, -100, -100]])
    logits = np.eye(5)[np.where(labels < 0, rng.randrange(5), labels)] * 3.0
    logits[0, 5] = np.eye(5)[0]
    found = token_classification_metrics(NAMES)(EvalPrediction(predictions=logits, label_ids=labels))
    assert found == pytest.approx({"f1": 0.8, "precision": 1.0, "recall": 2 / 3, "accuracy": 5 / 6})
    with pytest.raises(ValueError, match="none of the 2 evaluation rows has a labeled word"):
        token_classification_metrics(NAMES)(EvalPrediction(predictions=logits, label_ids=np.full_like(labels, -100)))

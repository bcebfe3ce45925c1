"""Two pipelines as one: it answers as a loop over the rows by the threshold of the curve does."""

import random

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image
from tiny import WORDS, make_model, make_tokenizer
from tiny_media import make_vit
from transformers import pipeline

from hfdistill import Router, choose_threshold, classification_metrics, routing_curve, soft_targets

NAMES = {0: "cold", 1: "mild", 2: "hot"}


def classifier(seed, names=NAMES, **changes):
    labels = {"id2label": names, "label2id": {name: place for place, name in names.items()}}
    return make_model(seed, **labels, **changes).eval()


def make_texts(count):
    rng = random.Random(3)
    return [" ".join(rng.choices(WORDS[4:], k=rng.randint(2, 9))) for _ in range(count)]


def logits_of(models, texts):
    rows = soft_targets(models, Dataset.from_dict({"text": texts}), make_tokenizer(), text_columns=["text"])
    return np.array(rows["ensemble_logits"])


def pipelines(*models, **settings):
    return [pipeline("text-classification", model=one, tokenizer=make_tokenizer(), **settings) for one in models]


def test_it_answers_as_the_curve_says():
    texts, models = make_texts(40), [classifier(1), classifier(2)]
    logits = logits_of(models, texts)
    labels = logits[:, 1].argmax(1)
    curve = routing_curve(*np.moveaxis(logits, 1, 0), labels, classification_metrics(["accuracy"]))
    chosen = choose_threshold(curve, max_share=0.3)
    assert 0 < chosen.share < 1
    router = Router(*pipelines(*models), threshold=chosen.threshold)
    answers = router(texts, truncation=True, batch_size=8)
    assert np.mean([one["label"] == NAMES[label] for one, label in zip(answers, labels, strict=True)]) == chosen.metric
    assert (router.asked, router.passed_on / router.asked) == (40, chosen.share)
    alone = [one(texts) for one in (router.student, router.teacher)]
    picked = [(one, other)[one["score"] < chosen.threshold] for one, other in zip(*alone, strict=True)]
    assert [one["label"] for one in answers] == [one["label"] for one in picked]
    assert router(texts[0])["label"] == answers[0]["label"] and router.asked == 41
    assert router([]) == [] and router.asked == 41


def test_of_several_labels_all_decisions_must_be_sure():
    texts = make_texts(30)
    models = [classifier(seed, problem_type="multi_label_classification") for seed in (1, 2)]
    p = 1 / (1 + np.exp(-logits_of(models, texts)[:, 0]))
    sure = np.maximum(p, 1 - p).prod(1)
    threshold = float(np.median(sure)) + 1e-6
    router = Router(*pipelines(*models, top_k=None), threshold=threshold, multi_label=True)
    answers = router(texts)
    teachers = router.teacher(texts)
    asked = [one == other for one, other in zip(answers, teachers, strict=True)]
    assert asked == (sure < threshold).tolist() and router.passed_on == sum(asked)
    with pytest.raises(ValueError, match="tells of 1 of 3 labels: make both with top_k=None"):
        Router(*pipelines(*models), threshold=0.5, multi_label=True)(texts)


def test_pictures_are_routed(tmp_path):
    (model, processor), (other, _) = make_vit(1), make_vit(2)
    both = [pipeline("image-classification", model=one.eval(), image_processor=processor) for one in (model, other)]
    picture = Image.new("RGB", (8, 8), "green")
    for threshold, asked in ((0.0, 0), (1.1, 1)):
        router = Router(*both, threshold=threshold)
        assert router(picture) == both[asked](picture) and router.passed_on == asked


def test_models_that_cannot_stand_in_for_one_another_are_refused():
    with pytest.raises(ValueError, match="the student answers with .*hot.* and the teacher with LABEL_0"):
        Router(*pipelines(classifier(1), make_model(2)), threshold=0.5)
    scores = [classifier(seed, {0: "score"}, num_labels=1) for seed in (1, 2)]
    with pytest.raises(ValueError, match="gives a score"):
        Router(*pipelines(*scores), threshold=0.5)


def test_scores_that_are_no_probabilities_are_refused():
    """Whether a logit is above a threshold says nothing of how sure a student is."""
    router = Router(*pipelines(classifier(1), classifier(2)), threshold=0.9)
    with pytest.raises(ValueError, match="no probabilities: leave function_to_apply out"):
        router(make_texts(8), function_to_apply="none")

"""Taggers compared on words: entity F1 by kind, marked sentences, other orders of labels, words that are cut off."""

import pytest
import torch
from datasets import Dataset, DatasetDict
from tiny import WORDS, make_tokenizer
from transformers import BertConfig, BertForTokenClassification, pipeline

from hfdistill import compare
from hfdistill.tasks.tagging.entities import entities
from hfdistill.tasks.tagging.metrics import TagMetrics

NAMES = ("O", "B-x", "I-x", "B-y", "I-y")


def tagger(seed, names=NAMES, positions=32):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
    config = {"vocab_size": len(WORDS), "max_position_embeddings": positions, "initializer_range": 0.4}
    return BertForTokenClassification(BertConfig(**config, **sizes, **labels))


def permuted(model, order):
    """The same model with its labels in another order."""
    other = tagger(0, [NAMES[one] for one in order])
    state = model.state_dict()
    for name in ("classifier.weight", "classifier.bias"):
        state[name] = state[name][order]
    other.load_state_dict(state)
    return other


def rows(count=20, words=6):
    torch.manual_seed(3)
    tokens = [[f"w{n}" for n in torch.randint(36, (2 + row % words,)).tolist()] for row in range(count)]
    labels = [torch.randint(5, (len(row),)).tolist() for row in tokens]
    labels[0][1] = -100
    return Dataset.from_dict({"tokens": tokens, "labels": labels})


def tags_of(model, words):
    ids = make_tokenizer()(words, is_split_into_words=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return [NAMES[one] for one in model.eval()(input_ids=ids).logits[0].argmax(-1)]


@pytest.fixture(scope="module")
def compared():
    student = tagger(1)
    models = {"teacher": permuted(student, [3, 0, 4, 2, 1]), "student": student, "baseline": tagger(2)}
    data = rows()
    return models, data, compare(models["teacher"], student, data, make_tokenizer(), baseline=models["baseline"])


def test_figures_are_those_of_a_loop_over_sentences(compared):
    models, data, comparison = compared
    for role in ("student", "baseline"):
        true, found = [], []
        for row in data:
            there = [place for place, label in enumerate(row["labels"]) if label >= 0]
            tags = tags_of(models[role], [row["tokens"][place] for place in there])
            found.append(tags)
            true.append([NAMES[row["labels"][place]] for place in there])
        metrics = TagMetrics(NAMES)
        sums = metrics.counts(found, true).sum(0)
        assert comparison.models[role].metrics == pytest.approx(metrics.of_sums(sums))
        kinds = {one.name: one for one in comparison.classes}
        for kind, scores in metrics.by_kind(sums).items():
            assert kinds[kind].scores[role] == pytest.approx(scores["f1"])
            assert (
                kinds[kind].rows == scores["number"] == sum(one.kind == kind for tags in true for one in entities(tags))
            )


def test_labels_are_compared_by_name_and_sentences_shown_marked(compared):
    _, data, comparison = compared
    assert comparison.models["student"].agreement == 1.0 and not comparison.disagreements
    other = compare(tagger(2), tagger(1), data, make_tokenizer())
    shown = other.disagreements[0]
    assert shown.text.replace("[", "") and " | x]" in " ".join(
        one.predictions["teacher"] for one in other.disagreements
    )
    with pytest.raises(ValueError, match="name their labels differently"):
        compare(tagger(2, ["O", "B-x", "I-x", "B-z", "I-z"]), tagger(1), data, make_tokenizer())


def test_words_that_a_model_cuts_off_are_outside_of_entities_to_it():
    long = Dataset.from_dict({"tokens": [["w1"] * 40], "labels": [[0] * 30 + [1] * 10]})
    comparison = compare(tagger(1), tagger(1), long, make_tokenizer())
    assert comparison.models["student"].metrics["recall"] < 1
    with pytest.raises(ValueError, match="give compare the rows before they are tokenized"):
        compare(tagger(1), tagger(1), long.map(lambda _: {"labels": [0] * 3}), make_tokenizer())


def test_the_saved_student_runs_in_a_pipeline(tmp_path):
    tagger(1).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    ner = pipeline("ner", model=str(tmp_path), aggregation_strategy="simple")
    for found in ner("w1 w2 w3 w4 w5 w6"):
        assert found["entity_group"] in ("x", "y")


@pytest.mark.parametrize(
    ("given", "way_out"),
    [
        (DatasetDict(test=rows(4)), r"give the rows of one, as dataset\['test'\]"),
        (rows(4).to_iterable_dataset(), "stream"),
    ],
)
def test_splits_and_streams_are_refused_with_a_way_out(given, way_out):
    with pytest.raises(ValueError, match=way_out):
        compare(tagger(0), tagger(1), given, make_tokenizer())

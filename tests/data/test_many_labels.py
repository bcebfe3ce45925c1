"""Lists of labels: names, numbers, or a number for each; and what is no such list."""

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hfdistill import text_classification_dataset

NAMES = ["anger", "fear", "joy"]
TEXTS = ["one", "two", "three", "four"]
WRITTEN = [["joy"], [], ["fear", "anger"], ["Joy", "fear"]]
HELD = [[0, 0, 1], [0, 0, 0], [1, 1, 0], [0, 1, 1]]


def read(labels, features=None, **settings):
    rows = Dataset.from_dict({"text": TEXTS[: len(labels)], "labels": labels}, features=features)
    return text_classification_dataset(rows, rows, rows, **settings)


def numbered(names):
    return Features({"text": Value("string"), "labels": List(ClassLabel(names=names))})


def test_names_numbers_and_vectors_are_the_same_labels():
    own = [[name.lower() for name in row] for row in WRITTEN]
    by_number = [[NAMES.index(name) for name in row] for row in own]
    shuffled = ["joy", "anger", "fear"]
    of_others = [[shuffled.index(name) for name in row] for row in own]
    for data in (
        read(own),
        read(by_number, label_names=NAMES),
        read(by_number, numbered(NAMES)),
        read(of_others, numbered(shuffled), label_names=NAMES),
        read(of_others, class_names=shuffled, label_names=NAMES),
        read(HELD, label_names=NAMES),
        read([[row[NAMES.index(name)] for name in shuffled] for row in HELD], class_names=shuffled, label_names=NAMES),
        read([[float(one) for one in row] for row in HELD], class_names=NAMES),
        read(WRITTEN, label_names=NAMES),
    ):
        assert data.dataset["train"]["labels"][:] == HELD and data.label_names == tuple(NAMES)
        assert (data.problem_type, data.num_labels) == ("multi_label_classification", 3)
        assert data.head["problem_type"] == data.problem_type
    assert read(HELD).label_names is None and read(by_number).num_labels == 3


def test_a_text_without_a_list_has_no_labels():
    data = read([["joy"], None, ["fear", "joy"]])
    assert data.dataset["train"]["labels"][:] == [[0, 1], [-100, -100], [1, 1]]


def test_lists_of_one_are_one_label():
    assert read([["joy"], ["fear"]]).problem_type == "single_label_classification"


def test_a_label_that_no_text_has_is_told(caplog):
    read([["joy"], ["fear", "joy"]], label_names=NAMES)
    assert "1 of the 3 labels hold for no training text: ['anger']" in caplog.text


@pytest.mark.parametrize(
    ("labels", "settings", "said"),
    [
        ([["joy"], ["glee", "joy"]], {"label_names": NAMES}, "Row 2 of the train split: unknown label 'glee'"),
        ([[0], [1, 3]], {"label_names": NAMES}, "label 3 is out of range; the labels are 0 to 2"),
        ([[0, 1], [1, 0]], {"label_names": NAMES}, "a list of 2 numbers for each text, and there are 3 labels"),
        ([[0], [-2, 1]], {}, "-2 is no number of a label"),
        (["joy", "fear"], {"problem_type": "multi_label_classification"}, "holds 'joy', one label; .* JSON lines"),
        ([["joy"], ["joy", "fear"]], {"problem_type": "single_label_classification"}, "is a list; expected one"),
        ([[], []], {}, "has 0 different labels"),
    ],
)
def test_what_is_no_list_of_labels_is_refused(labels, settings, said):
    with pytest.raises(ValueError, match=said):
        read(labels, **settings)

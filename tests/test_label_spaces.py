"""`hfdistill.label_spaces`: class 0 of the teacher is not class 0 of the student because both are 0."""

import logging

import pytest
import torch
from datasets import ClassLabel, Features, Value
from transformers import BertConfig
from transformers.utils import logging as transformers_logging

from hfdistill.label_spaces import class_column, label_names, label_order, same_labels


def order(teacher, student):
    return label_order(teacher, student, len(teacher), len(student))


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [
        (["negative", "positive"], ["positive", "negative"], [1, 0]),
        # A cycle: the inverse permutation is another one, and a swap would not tell them apart.
        (["a", "b", "c"], ["b", "c", "a"], [1, 2, 0]),
        (["NEGATIVE", "POSITIVE"], ["positive", "negative"], [1, 0]),
        # Where the names are the same to the letter, letters that differ only in case are different labels.
        (["A", "a"], ["a", "A"], [1, 0]),
        (["STRASSE", "weg"], ["weg", "straße"], [1, 0]),
    ],
)
def test_finds_each_label_by_name(teacher, student, expected):
    """Distilling towards permuted classes trains without complaint, to a student that is wrong."""
    assert order(teacher, student) == expected
    logits = torch.arange(float(len(teacher)))
    found = [teacher[int(index)].casefold() for index in logits[..., expected]]
    assert found == [name.casefold() for name in student]


@pytest.mark.parametrize("student", [["no", "yes"], ["No", "YES"]])
def test_the_same_order_needs_no_permutation(student):
    assert order(["no", "yes"], student) is None


@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        (["no", "yes"], ["no", "maybe"]),
        (["a", "a"], ["a", "b"]),
        (["a", "b"], ["a", "a"]),
        (["a", "a"], ["a", "a"]),
        (["A", "a"], ["a", "b"]),
        (["a", "b"], ["A", "a"]),
    ],
    ids=str,
)
def test_refuses_names_that_cannot_be_matched(teacher, student):
    """A duplicate would map two of the student's labels to one of the teacher's."""
    with pytest.raises(ValueError, match="name their labels differently: .* against .*; give both the same id2label"):
        order(teacher, student)


def test_a_long_list_of_names_is_cut_short():
    teacher, student = ([f"{who}{index}" for index in range(150)] for who in "ts")
    with pytest.raises(ValueError, match=r"t0, .*t9, … \(150 in all\) against s0") as error:
        order(teacher, student)
    assert "t10" not in str(error.value)


@pytest.mark.parametrize("names", [None, ["a", "b", "c"]])
def test_refuses_different_numbers(names):
    with pytest.raises(ValueError, match="the teacher has 3 labels and the student 2"):
        label_order(names, ["a", "b"], 3, 2)


def test_placeholders_name_nothing():
    """LABEL_0 of one model matched with LABEL_0 of another would pass for a comparison."""
    assert label_names(BertConfig(num_labels=3)) is None
    assert label_names(BertConfig(id2label={1: "LABEL_0", 0: "LABEL_1"})) == ["LABEL_1", "LABEL_0"]
    assert label_names(BertConfig(id2label={"1": "yes", "0": "no"})) == ["no", "yes"]
    twelve = {index: f"name{index}" for index in range(12)}
    assert label_names(BertConfig(id2label=twelve)) == list(twelve.values())


@pytest.mark.parametrize(("teacher", "student"), [(None, ["no", "yes"]), (["no", "yes"], None), (None, None)])
def test_without_names_the_order_is_taken_to_be_the_same_and_said_so(teacher, student, caplog):
    transformers_logging.enable_propagation()
    try:
        with caplog.at_level(logging.WARNING):
            assert label_order(teacher, student, 2, 2) is None
    finally:
        transformers_logging.disable_propagation()
    said = "Only one of teacher and student names its labels (no, yes)" in caplog.text
    assert said == (teacher is not None or student is not None)


@pytest.mark.parametrize("column", ["label", "labels"])
def test_the_classes_of_a_dataset_are_those_of_its_label_column(column):
    """The languages of the rows would be taken for the answers to them."""
    language, classes = ClassLabel(names=["en", "de"]), ClassLabel(names=["no", "yes"])
    assert class_column(Features({"lang": language, column: classes})) == (column, ["no", "yes"])
    assert class_column(Features({"lang": language})) is None
    assert class_column(Features({"lang": language, column: Value("int64")})) is None
    assert class_column(Features({"label": classes, "labels": classes})) is None
    assert class_column(None) is None


def test_numbers_are_no_names_of_classes():
    """`class_encode_column` makes names of numbers, which would differ from every model's."""
    assert class_column(Features({"label": ClassLabel(num_classes=2)})) is None
    assert class_column(Features({"label": ClassLabel(names=["1", "0"])})) == ("label", ["1", "0"])


def test_the_same_labels_in_the_same_order():
    """Names that differ in case only are the same ones, unless both cases are there."""
    assert same_labels(["NO", "Yes"], ["no", "yes"])
    assert not same_labels(["yes", "no"], ["no", "yes"])
    assert same_labels(["yes", "no"], ["No", "yes"], in_order=False)
    assert not same_labels(["A", "a"], ["a", "A"])
    assert not same_labels(["no"], ["no", "yes"], in_order=False)

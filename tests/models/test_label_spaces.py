"""`hfdistill.models.labels`: class 0 of the teacher is not class 0 of the student because both are 0."""

import logging
import time
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import BertConfig
from transformers.utils import logging as transformers_logging

from hfdistill.models import labels as label_module
from hfdistill.models.labels import MULTI, REGRESSION, SINGLE, LabelSpace


def named(config):
    names = LabelSpace.of_config(config).names
    return names and list(names)


def classes_of(features):
    found = LabelSpace.of_features(features)
    return found and (found[0], list(found[1].names))


def order(teacher, student):
    return LabelSpace.of_names(student).order_in(LabelSpace.of_names(teacher))


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


@pytest.mark.parametrize("names", [None, ("a", "b", "c")])
def test_refuses_different_numbers(names):
    with pytest.raises(ValueError, match="the teacher has 3 labels and the student 2"):
        LabelSpace(2, ("a", "b")).order_in(LabelSpace(3, names))


def test_placeholders_name_nothing():
    """LABEL_0 of one model matched with LABEL_0 of another would pass for a comparison."""
    assert named(BertConfig(num_labels=3)) is None
    assert named(BertConfig(id2label={1: "LABEL_0", 0: "LABEL_1"})) == ["LABEL_1", "LABEL_0"]
    assert named(BertConfig(id2label={"1": "yes", "0": "no"})) == ["no", "yes"]
    twelve = {index: f"name{index}" for index in range(12)}
    assert named(BertConfig(id2label=twelve)) == list(twelve.values())


def test_numbers_written_as_texts_are_in_the_order_of_numbers():
    twelve = {str(index): f"name{index}" for index in range(12)}
    config = SimpleNamespace(id2label=dict(sorted(twelve.items())), num_labels=12, problem_type=None)
    assert named(config) == list(twelve.values())


@pytest.mark.parametrize(("teacher", "student"), [(None, ("no", "yes")), (("no", "yes"), None), (None, None)])
def test_without_names_the_order_is_taken_to_be_the_same_with_a_warning(teacher, student, caplog):
    transformers_logging.enable_propagation()
    try:
        with caplog.at_level(logging.WARNING):
            assert LabelSpace(2, student).order_in(LabelSpace(2, teacher)) is None
    finally:
        transformers_logging.disable_propagation()
    warned = "Only one of teacher and student names its labels (no, yes)" in caplog.text
    assert warned == (teacher is not None or student is not None)


@pytest.mark.parametrize("column", ["label", "labels"])
def test_the_classes_of_a_dataset_are_those_of_its_label_column(column):
    """The languages of the rows would be taken for the predictions for them."""
    language, classes = ClassLabel(names=["en", "de"]), ClassLabel(names=["no", "yes"])
    assert classes_of(Features({"lang": language, column: classes})) == (column, ["no", "yes"])
    assert classes_of(Features({"lang": language})) is None
    assert classes_of(Features({"lang": language, column: Value("int64")})) is None
    assert classes_of(Features({"label": classes, "labels": classes})) is None
    assert classes_of(None) is None


def test_numbers_are_no_names_of_classes():
    """`class_encode_column` makes names of numbers, which would differ from every model's."""
    assert classes_of(Features({"label": ClassLabel(num_classes=2)})) is None
    assert classes_of(Features({"label": ClassLabel(names=["1", "0"])})) == ("label", ["1", "0"])


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["no", "yes"], None), (["NO", "Yes"], None), (["yes", "no"], [1, 0]), (["neg", "pos"], None), (["0", "1"], None)],
    ids=str,
)
def test_a_dataset_numbers_the_labels_otherwise(names, expected):
    """Where they share no name they are taken to mean the same, in this order."""
    features = Features({"label": ClassLabel(names=names)})
    assert LabelSpace.of_names(["no", "yes"]).numbering_of(features, "train") == expected


@pytest.mark.parametrize("names", [["no", "maybe"], ["no"], ["no", "yes", "maybe"]], ids=str)
def test_a_dataset_of_other_labels_is_refused(names):
    features = Features({"label": ClassLabel(names=names)})
    with pytest.raises(ValueError, match="train numbers its labels no.* and the student no, yes: where they mean the"):
        LabelSpace.of_names(["no", "yes"]).numbering_of(features, "train")


# ---- A column of labels ----


def read(labels, number=3, problem_type=None, item="row"):
    space = LabelSpace(number, ("a", "b", "c")[:number], problem_type, item)
    return space.read_column(Dataset.from_dict({"labels": labels}), "labels", "the rows")


@pytest.mark.parametrize(
    ("labels", "space", "expected"),
    [
        ([0, 2, 1], {}, [0, 2, 1]),
        ([-1, 0, -100, None], {}, [-100, 0, -100, -100]),
        ([0.0, 2.0, float("nan"), -1.0], {}, [0, 2, -100, -100]),
        ([True, False], {}, [1, 0]),
        ([[0], [2], None], {}, [0, 2, -100]),
        ([[0.0], [2.0]], {"problem_type": SINGLE}, [0, 2]),
        ([None, None], {}, [-100, -100]),
        ([[0, 1, 1], [-100] * 3], {"problem_type": MULTI}, [[0.0, 1.0, 1.0], [-100.0] * 3]),
        ([[True, False, True]], {"problem_type": MULTI}, [[1.0, 0.0, 1.0]]),
        ([[0.0, 1.0, 0.5]], {}, [[0.0, 1.0, 0.5]]),
        ([[1], [0]], {"number": 1, "problem_type": MULTI}, [[1.0], [0.0]]),
        ([-1, 4, -100], {"number": 1}, [-1.0, 4.0, -100.0]),
        ([[0.5, -1.0]], {"number": 2, "problem_type": REGRESSION}, [[0.5, -1.0]]),
        ([[0, -100], [2]], {"item": "token"}, [0, -100, 2]),
    ],
    ids=str,
)
def test_labels_are_read_as_what_they_mean(labels, space, expected):
    """Each of these reached torch, which took it for something else or ended in a traceback."""
    found = read(labels, **space)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == (np.float64 if isinstance(np.ravel(expected)[0], float) else np.int64)


def test_rows_of_minus_one_are_counted_aloud(monkeypatch):
    """Somebody may have numbered the classes from -1."""
    warned = []
    monkeypatch.setattr(label_module.logger, "warning_once", warned.append)
    read([-1, 0, -100, -1])
    read([-1.0, 2.0], number=1)
    assert warned == ["the rows: 2 of 4 rows have the label -1 and count as unlabeled."]


@pytest.mark.parametrize(
    ("labels", "space", "sentence"),
    [
        (
            [0, -2],
            {},
            "label of row 1 in column 'labels' of the rows, -2, is no class .*: where a row has no label write",
        ),
        (
            [1, 2, 3],
            {},
            "row 2 in .*, 3, is no class .* 0 to 2: they are numbered from 1 here, so subtract 1 from each",
        ),
        ([0, 1, 5, 4], {}, r"row 2 in .*, 5 \(and 1 more\), is no class of the model, which has 3, 0 to 2: take a"),
        ([1_700_000_000_000, 2], {}, "row 0 in .*, 1700000000000, is no class .*: is this a column of ids or times"),
        ([0.0, 0.5], {}, "row 1 in .*, 0.5, is no class, .*: number them; scores are for a model of one output"),
        ([0.0, float("inf")], {}, "row 1 in .*, inf, is no class"),
        ([0.0, float("inf")], {"number": 1}, "row 1 in .*, inf, is not a finite number"),
        ([[0, 1, 1]], {}, "row 0 in .* is a list of 3 labels, .*config.problem_type = 'multi_label_classification'"),
        (
            [[0, 1], [2]],
            {},
            "row 1 in .* is a list of 1 where others have 2: write one class for each row, or a 0 or 1",
        ),
        ([0, 2], {"problem_type": MULTI}, "row 0 in .* is 0, one class, and the model's problem_type is multi_label"),
        ([[0, 1]], {"problem_type": MULTI}, "row 0 in .* is a list of 2, .* with 3 labels: write a list of 3 zeros"),
        ([[0, 1, 2]], {"problem_type": MULTI}, "row 0 in .*, 2, is not between 0 and 1"),
        (
            [[0.5, 1.0]],
            {"number": 3, "problem_type": REGRESSION},
            "row 0 in .* is a list of 2 scores, and the model has 3",
        ),
        (
            ["a", "b"],
            {},
            "column 'labels' of the rows holds texts, such as 'a', .* as the student does, config.label2id",
        ),
        (
            [datetime(2020, 1, 1)],
            {},
            "column 'labels' of the rows holds values of the type timestamp.*, such as 2020-01",
        ),
        ([{"id": 1}], {}, "holds values of the type struct"),
        ([[[1]]], {}, "holds values of the type list"),
        ([[0, 3]], {"item": "token"}, "3, is no class"),
    ],
    ids=str,
)
def test_labels_that_do_not_fit_are_refused(labels, space, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        read(labels, **space)
    assert "\n" not in str(error.value)


VALUES = st.one_of(
    st.integers(-3, 5),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.sampled_from([0.0, 1.0, 2.0, -1.0, float("nan"), None, -100]),
    st.booleans(),
)
COLUMNS = st.one_of(
    st.lists(st.integers(-101, 5)),
    st.lists(st.integers(0, 2) | st.none()),
    st.lists(st.integers(0, 2**64 - 1)),
    st.lists(st.floats() | st.none()),
    st.lists(st.sampled_from([0.0, 1.0, 2.0]) | st.none()),
    st.lists(st.booleans() | st.none()),
    st.lists(st.text(max_size=5) | st.none()),
    st.lists(st.binary(max_size=5)),
    st.lists(st.datetimes() | st.dates()),
    st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-99, max_value=99)),
    st.lists(st.none()),
    st.lists(st.lists(st.integers(-100, 3), max_size=4) | st.none()),
    st.lists(st.lists(st.integers(0, 1), min_size=3, max_size=3)),
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3) | st.none()),
    st.lists(st.lists(st.lists(st.integers(0, 1), max_size=2), max_size=2)),
    st.lists(st.dictionaries(st.sampled_from("ab"), st.integers(0, 1), min_size=1)),
    st.lists(VALUES),
)


@settings(max_examples=300, deadline=1000)
@given(COLUMNS, st.sampled_from([1, 2, 3, 1000]), st.sampled_from([None, SINGLE, MULTI, REGRESSION]))
@example([None, []], 1, None)
def test_any_column_is_read_as_what_it_means_or_refused_in_a_line(labels, number, problem_type):
    """Within a second (`deadline`) and without more memory than the rows themselves take."""
    try:
        column = pa.array(labels)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return  # no dataset could hold it
    try:
        found = LabelSpace(number, None, problem_type).read_column(
            Dataset(pa.table({"label": column})), "label", "train"
        )
    except ValueError as error:
        assert "column 'label' of train" in str(error) and "\n" not in str(error)
        return
    assert len(found) == len(labels)
    there = [value != -100 for value in found.ravel().tolist()]
    regression = problem_type == REGRESSION or (problem_type is None and number == 1)
    if found.dtype == np.int64:
        assert all(0 <= value < number for value in found[found != -100])
        flat = [value[0] if isinstance(value, list) and value else value for value in labels]
    elif not regression:
        assert found.shape[1] == number and all(0 <= value <= 1 for value in found[found != -100])
    if found.ndim == 1:
        flat = [value[0] if isinstance(value, list) and value else value for value in labels]
        meant = [value for value, counts in zip(flat, there, strict=True) if counts]
        assert [float(value) for value in meant] == found[found != -100].astype(float).tolist()


def test_a_million_labels_are_read_in_a_moment():
    """Row by row in Python it would take many seconds."""
    rows = Dataset(pa.table({"labels": np.arange(1_000_000) % 3}))
    began = time.perf_counter()
    assert len(LabelSpace(3).read_column(rows, "labels", "rows")) == 1_000_000
    assert time.perf_counter() - began < 2

"""Labels understood as classes, ids or scores, or refused by file and line."""

import json

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hfdistill.data import text_classification_dataset


def labels_of(data, split="train"):
    return data.dataset[split][data.label_column][:]


def test_names_are_sorted_and_numbered(read_task):
    data = read_task("a\tpos", "b\tneg", "c\t pos ", "d\tmixed", "e\tironic", validation=["f\tPOS"])
    assert labels_of(data) == [3, 2, 3, 1, 0]
    assert labels_of(data, "validation") == [3]
    assert data.label_names == ("ironic", "mixed", "neg", "pos")
    assert (data.num_labels, data.problem_type) == (4, "single_label_classification")


def test_names_follow_the_teacher_whatever_the_case(read_task):
    data = read_task("a\tneg", "b\tpos", label_names=["POS", "NEG"])
    assert labels_of(data) == [1, 0]
    assert data.label_names == ("POS", "NEG")


def test_digits_that_are_names_are_names(read_task):
    """Catches the off-by-one of star ratings: with names 1 to 5, the label 1 is class 0."""
    stars = [str(star) for star in range(1, 6)]
    assert labels_of(read_task("a\t1", "b\t5", label_names=stars)) == [0, 4]
    assert labels_of(read_task("a\t0", "b\t4", label_names=stars)) == [0, 4]
    polarity = read_task("a\t-1", "b\t0", "c\t1", label_names=["-1", "0", "1"])
    assert labels_of(polarity) == [0, 1, 2]


def test_ids_are_kept(read_task):
    data = read_task("a\t2", "b\t0", "c\t1.0")
    assert labels_of(data) == [2, 0, 1]
    assert (data.label_names, data.num_labels) == (None, 3)
    assert read_task("a\t0", "b\t1", label_names=["x", "y", "z"]).num_labels == 3


def test_scores_are_a_regression(read_task):
    data = read_task("a\t3.8", "b\t5.0", "c\t-1.0", "d\t", validation=["e\t2", "f\t-1"])
    assert (data.problem_type, data.num_labels, data.label_names) == ("regression", 1, None)
    assert labels_of(data) == [3.8, 5.0, -1.0, -100.0]
    assert labels_of(data, "validation") == [2.0, -1.0]
    assert labels_of(read_task("a\t3", "b\t2.5", problem_type="regression")) == [3.0, 2.5]


@pytest.mark.parametrize("missing", ["", "-1", "-100"])
@pytest.mark.parametrize(("label", "expected"), [("1", 1), ("yes", 0)])
def test_unlabelled_rows(read_task, caplog, missing, label, expected):
    data = read_task(f"a\t{missing}", f"b\t{label}")
    assert labels_of(data) == [-100, expected]
    assert "train.tsv: 1 of 2 rows count as unlabelled" in caplog.text


def test_unlabelled_rows_of_typed_files(write):
    rows = [{"text": "a", "label": True}, {"text": "b", "label": None}, {"text": "c"}, {"text": "d", "label": 0}]
    path = write("a.jsonl", "\n".join(map(json.dumps, rows)))
    data = text_classification_dataset(path, path)
    assert (labels_of(data), data.label_names) == ([1, -100, -100, 0], None)
    spoilt = Dataset.from_dict({"text": ["a", "b", "c"], "label": [1.0, float("nan"), 0.0]})
    assert labels_of(text_classification_dataset(spoilt, spoilt)) == [1, -100, 0]


def test_class_labels_follow_the_teacher(write):
    """Catches ids taken over unseen from a dataset that numbers its classes in another order than the teacher."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=["positive", "negative"])})
    rows = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, -1]}, features=features)
    assert text_classification_dataset(rows, rows).label_names == ("positive", "negative")
    assert labels_of(text_classification_dataset(rows, rows)) == [0, 1, -100]
    data = text_classification_dataset(rows, rows, label_names=["NEGATIVE", "POSITIVE"])
    assert labels_of(data) == [1, 0, -100]
    with pytest.raises(ValueError, match="Row 1 of the train split: unknown label 'positive'; the labels are x, y"):
        text_classification_dataset(rows, rows, label_names=["x", "y"])


@pytest.mark.parametrize(
    ("rows", "validation", "options", "message"),
    [
        (["a\t0", "b\t1", "c\t1.5"], None, {}, r"Line 4 of .*train\.tsv: label 1\.5 is not an integer"),
        (["a\t0.5"], None, {"label_names": ["x"]}, r"Line 2 of .*train\.tsv: label 0\.5 is not an integer"),
        (["a\t0", "b\t1"], ["c\tx"], {}, r"Line 2 of .*validation\.tsv: label x is not an integer"),
        (
            ["a\t0", "b\t1"],
            ["c\t1", "d\t2"],
            {},
            r"Line 3 of .*validation\.tsv: label 2 is out of range; the 2 classes are 0 to 1",
        ),
        (["a\t0", "b\t-2"], None, {}, r"Line 3 of .*train\.tsv: label -2 is out of range; the 1 classes are 0 to 0"),
        (["a\t0", "b\t3"], None, {"label_names": ["x", "y"]}, r"Line 3 of .*train\.tsv: label 3 is out of range"),
        (
            ["a\tpositive", "b\tnegative"],
            ["c\tpostive"],
            {},
            r"Line 2 of .*validation\.tsv: unknown label 'postive' \(did you mean 'positive'\?\); the labels are",
        ),
        (["a\tzzz"], None, {"label_names": ["no", "yes"]}, r"unknown label 'zzz'; the labels are no, yes\."),
        (["a\tzzz"], None, {"label_names": [f"c{n}" for n in range(30)]}, r"c18, c19, … \(30 in all\)\."),
        (["a\t1.5"], ["b\tgood"], {}, r"Line 2 of .*validation\.tsv: label 'good' is not a number"),
        (["a\t", "b\t-1"], None, {}, r"Column 'label' of .*train\.tsv holds no label"),
        (["a\t1"], None, {"problem_type": "ranking"}, r"problem_type must be .* got 'ranking'"),
    ],
)
def test_labels_not_understood(read_task, rows, validation, options, message):
    with pytest.raises(ValueError, match=message):
        read_task(*rows, validation=validation, **options)


def test_a_list_of_labels_is_refused(write):
    path = write("a.jsonl", '{"text": "a", "label": [0, 1]}')
    with pytest.raises(
        ValueError, match=r"Line 1 of .*a\.jsonl: label \[0, 1\] is a list; expected one name or number"
    ):
        text_classification_dataset(path, path)


def test_one_fraction_among_json_integers_is_a_slip(write):
    path = write("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 1.5}\n')
    with pytest.raises(ValueError, match=r"Line 2 of .*a\.jsonl: label 1\.5 is not an integer"):
        text_classification_dataset(path, path)


def test_absent_classes_are_told(read_task, caplog):
    read_task("a\t1", "b\t2")
    assert "1 of the 3 classes have no training row: 0." in caplog.text
    caplog.clear()
    read_task("a\t0", "b\t1")
    assert "no training row" not in caplog.text

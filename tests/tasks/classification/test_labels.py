"""Labels understood as classes, ids or scores, or refused by file and line."""

import json
import math

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfdistill.data.class_names import read_class_names
from hfdistill.tasks.classification.data import labeled_texts, text_classification_dataset


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
def test_unlabeled_rows(read_task, caplog, missing, label, expected):
    data = read_task(f"a\t{missing}", f"b\t{label}")
    assert labels_of(data) == [-100, expected]
    assert "train.tsv: 1 of 2 rows count as unlabeled" in caplog.text


def test_unlabeled_rows_of_typed_files(write):
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


def test_one_fraction_among_json_integers_is_a_slip(write):
    path = write("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 1.5}\n')
    with pytest.raises(ValueError, match=r"Line 2 of .*a\.jsonl: label 1\.5 is not an integer"):
        text_classification_dataset(path, path)


def test_absent_classes_are_warned_of(read_task, caplog):
    read_task("a\t1", "b\t2")
    assert "1 of the 3 classes have no training row: 0." in caplog.text
    caplog.clear()
    read_task("a\t0", "b\t1")
    assert "no training row" not in caplog.text


# ---- What are no labels ----


@pytest.mark.parametrize("labels", [[1_700_000_000_000 + row % 2 for row in range(20)], [0, 12_000]], ids=str)
def test_ids_and_times_are_no_classes(labels):
    """The reader would count every number up to them, until the memory is full."""
    rows = Dataset.from_dict({"text": [f"film {row}" for row in range(len(labels))], "label": labels})
    with pytest.raises(
        ValueError, match=r"label \d+ would make [\d,]+ classes, and 2 occur: is 'label' a column of ids"
    ):
        text_classification_dataset(rows, rows)
    named = [f"c{index}" for index in range(12_001)]
    assert labels[0] or text_classification_dataset(rows, rows, label_names=named).num_labels == 12_001


@pytest.mark.parametrize("of", [str, int, "user{}".format])
def test_a_label_of_its_own_for_nearly_every_row_is_an_id(of):
    """Ten million classes of one row each would be trained on."""
    rows = Dataset.from_dict(
        {"text": [f"film {row}" for row in range(1500)], "label": [of(row) for row in range(1500)]}
    )
    with pytest.raises(
        ValueError, match="column 'label' has 1,500 different labels in 1,500 rows, such as .*label_column"
    ):
        text_classification_dataset(rows, rows)
    some = Dataset.from_dict(
        {"text": [f"film {row}" for row in range(3000)], "label": [row % 1200 for row in range(3000)]}
    )
    assert text_classification_dataset(some, some).num_labels == 1200


def test_one_label_in_a_list_is_that_label(write):
    path = write("a.jsonl", '{"text": "a", "label": ["x"]}\n{"text": "b", "label": ["y"]}')
    assert labels_of(text_classification_dataset(path, path)) == [0, 1]


CELLS = st.one_of(
    st.integers(-3, 5),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.text(max_size=6),
    st.none(),
    st.lists(st.integers(0, 2), max_size=2),
    st.dates(),
    st.datetimes(),
    st.dictionaries(st.text(max_size=1), st.integers(), max_size=1),
)
SAME_KIND = st.sampled_from(
    [st.integers(0, 3), st.integers(0, 2**62), st.floats(), st.text("ab1.", max_size=3), st.booleans(), st.datetimes()]
)


@settings(max_examples=150, deadline=1000, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CELLS, min_size=1, max_size=8) | SAME_KIND.flatmap(lambda kind: st.lists(kind, min_size=1, max_size=8)))
def test_any_column_of_labels_is_read_or_refused_in_a_line(labels):
    """Within a second, and without counting up to whatever stands there."""
    try:
        rows = Dataset.from_dict({"text": ["a", *"bcdefgh"][: len(labels)], "label": labels})
    except Exception:  # nothing that a dataset could hold
        return
    try:
        data = labeled_texts(rows)
    except ValueError as error:
        assert "\n" not in str(error) and ("the test split" in str(error))
        return
    read = labels_of(data, "test")
    assert len(read) == len(labels)
    if data.problem_type == "regression":
        assert all(math.isfinite(score) for score in read)
    elif data.problem_type == "multi_label_classification":
        assert all(len(row) == data.num_labels and all(one == -100 or 0 <= one <= 1 for one in row) for row in read)
    else:
        assert all(label == -100 or 0 <= label < data.num_labels for label in read)
        assert data.num_labels <= 1001


# ---- What the classes are called ----


NAMES = "cold\nmild\nhot\n"


def test_numbers_get_the_names_that_are_given(read_task):
    data = read_task("a\t2", "b\t0", "c\t-1", class_names=["cold", "mild", "hot"])
    assert (labels_of(data), data.label_names) == ([2, 0, -100], ("cold", "mild", "hot"))


def test_numbers_become_those_of_the_teacher(read_task):
    given = {"class_names": ["cold", "mild", "hot"], "label_names": ["HOT", "COLD", "MILD"]}
    assert labels_of(read_task("a\t2", "b\t0", "c\t1.0", **given)) == [0, 1, 2]
    other = {"class_names": ["neg", "pos"], "label_names": ["NEGATIVE", "POSITIVE"]}
    assert labels_of(read_task("a\t1", "b\t0", **other)) == [1, 0]  # with a warning
    with pytest.raises(ValueError, match="unknown label 'warm'"):
        read_task("a\t2", **{**given, "class_names": ["cold", "mild", "warm"]})
    # They were taken to mean the same, too, and the first number without a label was said to be out of range.
    with pytest.raises(ValueError, match="texts have 3 classes, cold, mild, hot, and a teacher knows 2 others, NEGAT"):
        read_task("a\t2", **{**given, "label_names": other["label_names"]})


def test_names_in_the_file_take_the_given_order(read_task):
    assert labels_of(read_task("a\thot", "b\tcold", class_names=["cold", "mild", "hot"])) == [2, 0]


def test_scores_have_no_names(read_task):
    data = read_task("a\t1.5", "b\t2.0", class_names=["cold", "mild", "hot"])
    assert (labels_of(data), data.label_names) == ([1.5, 2.0], None)


def test_more_numbers_than_names_are_refused(read_task):
    with pytest.raises(
        ValueError, match=r"Line 2 of .*: label 3 is out of range; 3 classes have names, 0 to 2: cold, mild"
    ):
        read_task("a\t3", class_names=["cold", "mild", "hot"])


def test_names_are_found_beside_the_texts(write, caplog):
    """And it is said: somebody else may have left the file there."""
    texts, names = write("train.tsv", "text\tlabel\na\t2\n"), write("labels.txt", NAMES)
    assert read_class_names(None, texts) == ("cold", "mild", "hot")
    assert f"The classes are named by {names}: cold, mild, hot." in caplog.text
    assert read_class_names([str(names)]) == read_class_names(["cold", "mild", "hot"]) == ("cold", "mild", "hot")
    write("labels.txt", "cold\ncold\n")
    assert read_class_names(None, texts) is None
    assert "is not taken for the names of classes: it has 'cold' twice" in caplog.text
    names.unlink()
    assert read_class_names(None, texts) is None
    assert read_class_names(None) is None


@pytest.mark.parametrize("given", [["cold", "cold"], ["nowhere.txt"]], ids=str)
def test_what_names_no_classes_is_refused(given):
    with pytest.raises(ValueError, match="--class_names takes the names of two classes or more, each once"):
        read_class_names(given)

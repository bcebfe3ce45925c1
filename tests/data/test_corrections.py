"""Corrections of a person: put where they belong, counted, and refused where they cannot be."""

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from hfdistill import apply_corrections

NAMES = ["bad", "fair", "good"]
ROWS = [("a bore", 2), ("a joy", 2), ("so so", 1), ("a bore", 0), ("a\tbore", 2), ("no idea", -1)]


def dataset(rows=ROWS, names=NAMES):
    kind = ClassLabel(names=names) if names else Value("int64")
    features = Features({"sentence": Value("string"), "label": kind, "other": Value("int64")})
    numbers = range(len(rows))
    columns = {"sentence": [text for text, _ in rows], "label": [label for _, label in rows], "other": numbers}
    return Dataset.from_dict(columns, features=features)


@pytest.fixture
def corrected(write):
    """`corrected(line, ...)`: a file of `text,label,corrected`, applied to the rows."""

    def apply(*lines, rows=None, header="text,label,corrected", **settings):
        file = write("reviewed.csv", "\n".join([header, *lines]) + "\n")
        return apply_corrections(dataset() if rows is None else rows, file, text_columns="sentence", **settings)

    return apply


def test_a_correction_is_of_its_text_with_its_old_label(corrected):
    """The same text with another label is another matter; a tab that a spreadsheet made a space is none."""
    found, told = corrected("a bore,good,bad", "a joy,good,", "no idea,,FAIR")
    assert found["label"][:] == [0, 2, 1, 0, 0, 1]
    assert found.features == dataset().features and found["other"][:] == dataset()["other"][:]
    assert told == "Labels corrected by a person (reviewed.csv): 3 in the rows."


def test_splits_are_counted_each(corrected):
    splits = DatasetDict(train=dataset(), validation=dataset(ROWS[:2]), test=dataset(ROWS[1:3]))
    found, told = corrected("a bore,good,bad", rows=splits)
    assert [rows["label"][:2] for rows in found.values()] == [[0, 2], [0, 2], [2, 1]]
    assert told.endswith(": 2 in train, 1 in validation.") and isinstance(found, DatasetDict)


def test_what_was_corrected_before_stays(corrected):
    once, _ = corrected("a bore,good,bad")
    again, told = corrected("a bore,good,bad", rows=once)
    assert again["label"][:] == once["label"][:] and told.endswith(": none.")


def test_labels_may_be_numbers(corrected):
    assert corrected("so so,1,2")[0]["label"][2] == 2
    plain, _ = corrected("so so,1,2", rows=dataset(names=None))
    assert plain["label"][2] == 2


def test_a_text_that_is_not_there_is_named(corrected, caplog):
    found, _ = corrected("a bore,good,bad", "another film,good,bad", "a joy,fair,bad")
    assert "no row has the text 'another film' with this label; so it is with 2 of 3 corrections" in caplog.text
    assert "Line 3 of" in caplog.text and found["label"][:2] == [0, 2]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["x,good,bad", "y,good,fair"], "Line 2 of .*: no row has the text 'x' with this label.* all 2 corrections"),
        (["a bore,good,bad", "a bore,good,fair"], "Line 3 of .*corrects 'a bore' otherwise than Line 2 of .* does"),
        (["a bore,good,bda"], r"Line 2 of .*: unknown label 'bda' \(did you mean 'bad'\?\); the labels are bad, fair"),
        (["a bore,good,"], "no filled cell in column 'corrected'"),
    ],
)
def test_what_cannot_be_meant_is_refused(corrected, lines, message):
    with pytest.raises(ValueError, match=message):
        corrected(*lines)


def test_another_kind_of_file_is_refused(corrected):
    with pytest.raises(
        ValueError, match="has no column 'corrected'; its columns are 'text', 'label'.*hfdistill review"
    ):
        corrected("a bore,good", header="text,label")


def test_pairs_are_of_two_texts(write):
    rows = Dataset.from_dict({"one": ["a", "a"], "other": ["b", "c"], "labels": [0, 0]})
    file = write("pairs.jsonl", '{"text": "a", "text_pair": "c", "label": 0, "corrected": 1}\n')
    found, _ = apply_corrections(rows, file, text_columns=["one", "other"], label_names=["no", "yes"])
    assert found["labels"][:] == [0, 1]


def test_rows_of_many_labels_are_refused(write):
    file = write("reviewed.csv", "text,label,corrected\na,0,1\n")
    with pytest.raises(ValueError, match="one class a row, and the rows have labels such as"):
        apply_corrections(Dataset.from_dict({"text": ["a"], "labels": [[1.0, 0.0]]}), file, text_columns="text")

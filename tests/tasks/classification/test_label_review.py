"""Which rows a review brings, in which order, with which reasons; and its file, that goes back in as corrections."""

import csv
import json

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hfdistill import apply_corrections, review
from hfdistill.soft_targets.dataset import soft_target_features, with_soft_targets

NAMES = ["bad", "good"]
MULTI = "multi_label_classification"


def logits_of(chances):
    """Logits of two classes, whose second has this probability."""
    chances = np.asarray(chances)
    return np.log(np.stack([1 - chances, chances], 1))


def rows_of(labels, names=NAMES):
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"text": [f"t{row}" for row in range(len(labels))], "label": labels}, features=features)


#: Of rows 0 to 5: right; wrong and surely so; wrong, says a model that is not sure; right; right; no label.
LABELS = [0, 0, 1, 1, 1, -1]
TEACHER = [0.1, 0.97, 0.45, 0.9, 0.95, 0.8]
STUDENT = [0.1, 0.95, 0.40, 0.9, 0.30, 0.15]


def reviewed(**settings):
    predictions = {"teacher": logits_of(TEACHER), "student": logits_of(STUDENT)}
    return review(rows_of(LABELS), predictions, text_columns="text", **settings)


def test_contradicted_labels_come_first_and_each_row_says_why():
    found = reviewed()
    assert [one["text"] for one in found.rows] == ["t1", "t2", "t4", "t5"]
    first, unsure, differing, _ = found.rows
    assert (first["row"], first["label"], first["suggested_label"]) == (2, "bad", "good")
    # Rows labeled good have 0.425, 0.9 and 0.625 on average.
    assert first["reason"] == "labeled bad; on average the models give good 0.96, as much as rows labeled so (0.65)"
    assert first["teacher"] == "good" and first["teacher_probability"] == 0.97 and first["student_probability"] == 0.95
    assert unsure["reason"].startswith("labeled good; on average the models give bad 0.57, as much as")
    assert differing["reason"] == "the models differ: teacher good 0.95, student bad 0.70"
    assert found.labeled == 5 and all(one["corrected"] == "" for one in found.rows)
    assert found.contradicted == sum("as much as" in one["reason"] for one in found.rows) == 2


def test_rows_without_a_label_are_those_on_which_models_differ():
    [unlabeled] = [one for one in reviewed().rows if one["text"] == "t5"]
    assert unlabeled["label"] == "" and unlabeled["reason"] == "the models differ: teacher good 0.80, student bad 0.85"


def test_the_score_is_the_larger_of_both_doubts():
    [first, *_] = reviewed().rows
    assert first["score"] == pytest.approx(1 - 0.04, abs=1e-4)
    for quality in ("normalized_margin", "confidence_weighted_entropy"):
        assert [one["text"] for one in reviewed(quality=quality).rows][0] == "t1"
    assert len(reviewed(most=2).rows) == 2 and reviewed(most=2).contradicted == 2


def test_the_order_of_the_classes_does_not_matter():
    turned = [1 - label if label >= 0 else label for label in LABELS]
    predictions = {"teacher": logits_of(TEACHER)[:, ::-1], "student": logits_of(STUDENT)[:, ::-1]}
    found = review(rows_of(turned, NAMES[::-1]), predictions, text_columns="text")
    assert found.rows == reviewed().rows


def test_soft_targets_that_rows_carry_are_models_in_their_own_order():
    rows = rows_of(LABELS)
    both = [logits_of(TEACHER)[:, ::-1], logits_of(STUDENT)[:, ::-1]]
    carried = with_soft_targets(rows, both, soft_target_features(2, NAMES[::-1], 2))
    found = review(carried, text_columns="text")
    assert found.rows[0]["soft_targets_1"] == "good" and found.rows[0]["soft_targets_2_probability"] == 0.95
    assert [one["text"] for one in found.rows] == [one["text"] for one in reviewed().rows]
    one = with_soft_targets(rows, both[:1], soft_target_features(2, NAMES[::-1]))
    alone = review(one, text_columns="text").rows
    assert alone[0]["reason"] == "labeled bad; soft_targets gives good 0.97, as much as rows labeled so (0.77)"


def test_each_of_many_labels_is_a_question():
    """Of three labels the second of row 1 is contradicted."""
    labels = [[1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    chances = np.array([[0.9, 0.1, 0.1], [0.9, 0.99, 0.9], [0.1, 0.9, 0.1], [0.1, 0.8, 0.9]])
    rows = Dataset.from_dict({"text": list("abcd"), "labels": labels})
    predictions = {"teacher": np.log(chances / (1 - chances))}
    settings = {"label_names": ["x", "y", "z"], "problem_type": MULTI}
    [found] = review(rows, predictions, text_columns="text", **settings).rows
    assert (found["text"], found["label"], found["suggested_label"]) == ("b", "x, z", "x, y, z")
    assert found["reason"] == "labeled not y; teacher gives y 0.99, as much as rows labeled so (0.85)"
    assert found["teacher_probability"] == pytest.approx(0.9 * 0.99 * 0.9, abs=1e-4)
    unlabeled = rows.remove_columns("labels")
    other = {**predictions, "student": predictions["teacher"] * np.array([[1], [-1], [1], [1]])}
    [differing] = review(unlabeled, other, text_columns="text", **settings).rows
    assert differing["text"] == "b" and differing["label"] == ""


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 1, 1], [-1, 1, -1]])
def test_tiny_data_of_one_class(labels):
    found = review(rows_of(labels), {"teacher": logits_of([0.1, 0.6, 0.9])}, text_columns="text")
    assert len(found.rows) == (labels[0] == 1) and 0 <= found.wrong <= 1
    if found.rows:
        assert found.rows[0]["reason"] == "labeled good; teacher gives bad 0.90, and no row is labeled so"
    else:
        assert "No row is in doubt" in found.summary()


def test_a_model_that_knows_the_labels_by_heart_is_named():
    labels = [row % 2 for row in range(200)]
    found = review(rows_of(labels), {"teacher": logits_of(np.clip(labels, 0.01, 0.99))}, text_columns="text")
    assert found.known == ["teacher"] and "teacher predicts nearly every label" in found.summary()
    half = review(rows_of(labels), {"teacher": logits_of(np.linspace(0.1, 0.9, 200))}, text_columns="text")
    assert half.known == [] and "learned" not in half.summary()


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([-1, -1], {"teacher": [[0.0, 1.0]] * 2}, "no row has a label, and teacher is one model"),
        ([0, 1], {}, "compares labels with models"),
        ([0, 1], {"teacher": [[0.0, 1.0]]}, r"teacher have the shape \(1, 2\), expected \(2, 2\)"),
        ([0, 1], {"teacher": [[0.0, float("nan")]] * 2}, "teacher for row 0 .* are not finite"),
        ([0, 1], {"teacher": [[0.0, 1.0]] * 2, "student": [[0.0] * 3] * 2}, r"student have the shape \(2, 3\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        review(rows_of(labels), predictions, text_columns="text")


def test_labels_beyond_the_head_and_scores_are_refused():
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [0, 2]})
    with pytest.raises(ValueError, match="the label of row 1 in column 'label' of the rows, 2, is no class"):
        review(rows, {"teacher": logits_of([0.1, 0.2])}, text_columns="text")
    with pytest.raises(ValueError, match="teacher has one output, a score"):
        review(rows, {"teacher": [[0.1], [0.2]]}, text_columns="text")


@pytest.mark.parametrize("name", ["review.csv", "review.jsonl"])
def test_the_file_goes_back_in_as_corrections(tmp_path, name):
    """Line ends, quotes and commas in a text must not keep its label from being corrected."""
    texts = ['one, "two"\nthree', "=1+1", "t2", "t3", "t4", "ünï 🙂"]
    rows = rows_of(LABELS).remove_columns("text").add_column("text", texts)
    predictions = {"teacher": logits_of(TEACHER), "student": logits_of([1 - one for one in STUDENT])}
    found = review(rows, predictions, text_columns="text")
    found.save(tmp_path / name)
    lines = (tmp_path / name).read_text(encoding="utf-8-sig").splitlines(keepends=True)
    kept = [json.loads(line) for line in lines] if name.endswith("l") else list(csv.DictReader(lines))
    assert [one["text"].split() for one in kept] == [one["text"].split() for one in found.rows]
    for one in kept:
        one["corrected"] = "good"
    Dataset.from_list(kept).to_json(tmp_path / "filled.jsonl")
    corrected, told = apply_corrections(rows, tmp_path / "filled.jsonl", text_columns="text")
    expected = list(LABELS)
    for one in found.rows:
        expected[one["row"] - 1] = 1
    assert corrected["label"][:] == expected and "in the rows" in told


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"review.xlsx should end in .csv"):
        reviewed().save(tmp_path / "review.xlsx")


def test_a_label_that_is_as_likely_as_any_is_in_no_doubt():
    """Of two as likely ones the first was suggested, so that votes that tie contradicted half of the labels."""
    tied = {"votes": np.zeros((4, 2))}
    assert review(rows_of([0, 1, 0, 1]), tied, text_columns="text").rows == []


@pytest.mark.parametrize(
    ("predictions", "settings", "message"),
    [
        ({"label": logits_of(TEACHER)}, {}, "a model cannot be called 'label'"),
        ({"a": logits_of(TEACHER), "a_probability": logits_of(TEACHER)}, {}, "cannot be called 'a_probability'"),
        (
            {"a": logits_of(TEACHER)},
            {"text_columns": "sentence"},
            "there is no column 'sentence'; the columns are text",
        ),
        ({"a": logits_of(TEACHER)}, {"most": 0}, "keeps one row at least, got 0"),
        ({"a": logits_of(TEACHER)}, {"most": -1}, "keeps one row at least, got -1"),
    ],
)
def test_settings_that_would_spoil_the_file_are_refused(predictions, settings, message):
    """A model called `label` stood in place of the labels; -1 rows were all but the last."""
    with pytest.raises(ValueError, match=message):
        review(rows_of(LABELS), predictions, **{"text_columns": "text", **settings})


def test_no_rows_are_no_review():
    with pytest.raises(ValueError, match="no rows to review"):
        review(rows_of([]), {"a": np.empty((0, 2))}, text_columns="text")

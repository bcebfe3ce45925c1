"""Probabilities made elsewhere: one distribution whatever they come in, or refused by row and column."""

import json
import math

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from tiny import logs_of, make_model, make_tokenizer, make_trainer
from tiny import make_rows as make_tokens

from hfdistill import from_probabilities, soft_targets
from hfdistill.soft_targets.probabilities import FLOOR

NAMES = ["bad", "fair", "good"]
P = np.array([[0.7, 0.2, 0.1], [0.05, 0.15, 0.8], [0.25, 0.5, 0.25]])
LOGS = np.log(P)


def by_label(rows):
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in rows]


def softmax(dataset, temperature=1.0):
    powers = np.exp(np.array(dataset["teacher_logits"][:], dtype=np.float64) / temperature)
    return powers / powers.sum(1, keepdims=True)


def test_files_are_read_and_named_by_their_lines(write):
    lines = [json.dumps({"text": "a b", "p": row}) for row in by_label(P)]
    csv = ["text,bad,fair,good", *(f"a b,{row[0]},{row[1]},{row[2]}" for row in P)]
    for file, columns in [
        (write("a.jsonl", "\n".join(lines)), "p"),
        (write("a.csv", "\n".join(csv)), NAMES),
        (write("b.csv", "text,p\n" + "\n".join(f'a,"[{row[0]}, {row[1]}, {row[2]}]"' for row in P)), "p"),
    ]:
        found = from_probabilities(file, columns, NAMES)
        np.testing.assert_allclose(softmax(found), P, atol=1e-6)
    broken = write("broken.csv", "\n".join([*csv[:2], "", "a b,0.9,0.9,0.1"]))
    with pytest.raises(
        ValueError, match=r"Line 4 of .*broken.csv, columns 'bad', 'fair', 'good': it holds probabilities"
    ):
        from_probabilities(broken, NAMES)


FORMS = {
    "a list": ({"p": P.tolist()}, "p", {}),
    "a dict by label": ({"p": by_label(P)}, "p", {}),
    "labels with scores": ({"p": [[{"label": k, "score": v} for k, v in row.items()] for row in by_label(P)]}, "p", {}),
    "JSON in a cell": ({"p": [json.dumps(row) for row in by_label(P)]}, "p", {}),
    "a column a label": ({name: P[:, place].tolist() for place, name in enumerate(NAMES)}, NAMES, {}),
    "texts of numbers": ({f"p_{name}": list(map(str, P[:, i])) for i, name in enumerate(NAMES)}, None, {}),
    "logarithms": ({"p": LOGS.tolist()}, "p", {"kind": "log_probabilities"}),
    "logarithms by label": ({"p": by_label(LOGS)}, "p", {"kind": "log_probabilities"}),
    "rounded": ({"p": (P + [[0.003, 0, 0]]).tolist()}, "p", {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_distribution(form):
    columns, column, settings = FORMS[form]
    column = column or {name: f"p_{name}" for name in NAMES}
    found = from_probabilities(Dataset.from_dict(columns), column, NAMES, **settings)
    np.testing.assert_allclose(softmax(found), P, atol=3e-3 if form == "rounded" else 1e-6)
    assert found["teacher_label"] == P.argmax(1).tolist() and found.features["teacher_label"].names == NAMES
    tempered = P ** (1 / 4) / (P ** (1 / 4)).sum(1, keepdims=True)
    np.testing.assert_allclose(softmax(found, temperature=4), tempered, atol=3e-3)


def test_they_get_the_order_of_the_datasets_labels():
    features = Features({"p": {name: Value("float64") for name in NAMES}, "label": ClassLabel(names=NAMES[::-1])})
    rows = Dataset.from_dict({"p": by_label(P), "label": [0, 1, 2]}, features=features)
    for given in (None, ["FAIR", "good", "bad"]):
        found = from_probabilities(rows, "p", given)
        assert found.features["teacher_label"].names == NAMES[::-1]
        np.testing.assert_allclose(softmax(found), P[:, ::-1], atol=1e-6)
    with pytest.raises(ValueError, match="name their labels differently: bad, fair, best"):
        from_probabilities(rows.remove_columns("p").add_column("p", P.tolist()), "p", ["bad", "fair", "best"])


def test_names_are_those_that_the_rows_name():
    found = from_probabilities(DatasetDict(train=Dataset.from_dict({"p": [{"b": 0.2, "a": 0.8}]})), "p")["train"]
    assert found.features["teacher_label"].names == ["a", "b"] and found["teacher_label"] == [0]
    found = from_probabilities([{"p": [0.2, 0.8]}], "p")
    assert found.column_names == ["p", "teacher_logits"]


def test_what_top_k_leaves_is_spread_over_the_labels_left_out(caplog):
    """Against the dense distribution, which has as much for each of those."""
    dense = np.array([[0.6, 0.2, 0.1, 0.1], [0.91, 0.03, 0.03, 0.03]])
    top = [{"a": 0.6, "b": 0.2}, {"a": 0.91}]
    found = from_probabilities([{"p": json.dumps(one)} for one in top], "p", list("abcd"))
    np.testing.assert_allclose(softmax(found), dense, atol=1e-6)
    assert "2 of 2 rows name not all labels in column 'p': the 14.5 % that they leave on average" in caplog.text
    whole = from_probabilities([{"p": json.dumps({"a": 0.6, "b": 0.4})}], "p", list("abcd"))
    np.testing.assert_allclose(softmax(whole), [[0.6, 0.4, 0, 0]], atol=4 * FLOOR)
    assert np.isfinite(whole["teacher_logits"][0]).all()


@pytest.mark.parametrize("form", ["columns", "lists", "JSON", "numbers"])
def test_votes_are_counted(form):
    votes = [["good", "good", "bad"], ["fair", None, None]]
    rows = {
        "columns": {f"annotator_{n}": [vote[n] for vote in votes] for n in range(3)},
        "lists": {"votes": votes},
        "JSON": {"votes": list(map(json.dumps, votes))},
        "numbers": {"votes": [[2, 2, 0], [1]]},
    }[form]
    columns = list(rows) if form == "columns" else "votes"
    found = from_probabilities(Dataset.from_dict(rows), columns, NAMES, kind="votes", smoothing=0.5)
    expected = [[1.5 / 4.5, 0.5 / 4.5, 2.5 / 4.5], [0.5 / 2.5, 1.5 / 2.5, 0.5 / 2.5]]
    np.testing.assert_allclose(softmax(found), expected, atol=1e-6)


TOP = [(" good", 0.6), ("Good", 0.1), (" fai", 0.2), ("The", 0.05), ("\n", 0.01)]
AS_LIST = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in TOP]
POSITION = {"token": " good", "logprob": math.log(0.6), "top_logprobs": AS_LIST}
SPACE = {"token": "\n", "logprob": -0.1, "top_logprobs": [{"token": "\n", "logprob": -0.1}]}
ANSWERS = {
    "the whole answer": {"id": "x", "choices": [{"index": 0, "logprobs": {"content": [POSITION]}}]},
    "a line of a batch": {"custom_id": "1", "response": {"body": {"choices": [{"logprobs": {"content": [POSITION]}}]}}},
    "its logprobs": {"content": [POSITION], "refusal": None},
    "positions": [POSITION, {**POSITION, "token": "."}],
    "behind a line break": [SPACE, POSITION],
    "top_logprobs": AS_LIST,
    "completions": {"tokens": [" good"], "top_logprobs": [{token: math.log(p) for token, p in TOP}]},
    "a dict": {token: math.log(p) for token, p in TOP},
}


@pytest.mark.parametrize("form", ANSWERS)
def test_an_apis_tokens_as_they_come(form):
    """Summed over each label's tokens; a label of none gets what all tokens leave, and no more than the least."""
    found = from_probabilities([{"answer": json.dumps(ANSWERS[form])}], "answer", NAMES, kind="top_logprobs")
    label = np.array([min(1 - 0.96, 0.01), 0.2, 0.7])
    np.testing.assert_allclose(softmax(found), [label / label.sum()], atol=1e-5)


def test_an_apis_other_words():
    answer = json.dumps({" Yes": math.log(0.8), " no": math.log(0.2)})
    words = {"good": ["yes", "sure"], "bad": "no"}
    found = from_probabilities([{"a": answer}], "a", kind="top_logprobs", words=words)
    assert found.features["teacher_label"].names == ["good", "bad"]
    np.testing.assert_allclose(softmax(found), [[0.8, 0.2]], atol=1e-6)


def test_each_of_many_labels_has_a_probability_of_its_own():
    found = from_probabilities([{"p": [0.9, 0.8, 0.0]}], "p", NAMES, multi_label=True)
    sigmoid = 1 / (1 + np.exp(-np.array(found["teacher_logits"][0])))
    np.testing.assert_allclose(sigmoid, [0.9, 0.8, 0], atol=2 * FLOOR)


def test_they_teach_as_the_model_does(tmp_path):
    """Probabilities are logits but for a constant, which no temperature sees."""
    rows, teacher = make_tokens(16), make_model(2, id2label=dict(enumerate(NAMES)))
    kept = soft_targets(teacher, rows, make_tokenizer(), store=tmp_path / "kept")
    logits = np.array(kept["teacher_logits"][:], dtype=np.float64)
    given = rows.add_column("p", (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).tolist())
    losses = []
    for one in (kept, from_probabilities(given, "p", NAMES)):
        trainer = make_trainer(tmp_path, make_model(1, id2label=dict(enumerate(NAMES))), one, temperature=4.0)
        trainer.train()
        losses.append(logs_of(trainer, "soft_target_loss"))
    np.testing.assert_allclose(*losses, rtol=1e-3)


GOOD = [0.2, 0.3, 0.5]


@pytest.mark.parametrize(
    ("cell", "settings", "message"),
    [
        ([-0.1, 0.6, 0.5], {}, "column 'p': it holds -0.1 for 'bad', and no probability is negative"),
        ([0.2, 0.3, 1.5], {}, "column 'p': it holds 1.5 for 'good', and no probability is above 1"),
        ([0.2, 0.3, math.nan], {}, "column 'p': it holds NaN: filter such rows out"),
        ([0.2, 0.3, 0.3], {}, "column 'p': it holds probabilities whose sum is 0.8, not 1"),
        ([0.9, 0.3, 0.3], {}, "whose sum is 1.5, not 1"),
        ([0.5, 0.5], {}, r"holds 2 numbers, and there are 3 labels \(bad, fair, good\)"),
        (
            {"bad": 0.5, "goof": 0.5},
            {},
            r"names the label 'goof' \(did you mean 'good'\?\), and the labels are",
        ),
        ({"bad": 0.9, "good": 0.5}, {}, "whose sum is 1.4, not 1"),
        ({"bad": "high"}, {}, "holds 'high', which is no number"),
        (None, {}, "column 'p': it is empty: filter such rows out"),
        ("{broken", {}, "column 'p': it is no JSON"),
        ([-0.1, -2.0, 0.5], {"kind": "log_probabilities"}, "holds 0.5 for 'good', which is above 0"),
        (["good", "goof"], {"kind": "votes"}, r"names the label 'goof' \(did you mean 'good'"),
        ([None], {"kind": "votes"}, "holds no vote"),
        (
            {" The": -0.1, " good": -2.0},
            {"kind": "top_logprobs"},
            "answers with ' The', which none of the labels",
        ),
        (
            {"choices": [{"message": {"content": "good"}}]},
            {"kind": "top_logprobs"},
            "holds no top_logprobs: ask",
        ),
        ({"bad": 0.5, "good": 0.5}, {"multi_label": True}, "has no probability of 'fair'"),
    ],
)
def test_what_is_no_distribution_is_refused_by_row_and_column(cell, settings, message):
    good = {"votes": ["good"], "top_logprobs": {"good": -0.1}, "log_probabilities": np.log(GOOD).tolist()}
    first = good.get(settings.get("kind"), GOOD)
    cells = [one if one is None or isinstance(one, str) else json.dumps(one) for one in (first, cell, cell)]
    where = f"Row 2 of the dataset, .*{message}.*1 more rows have such faults"
    with pytest.raises(ValueError, match=where):
        from_probabilities([{"p": one} for one in cells], "p", NAMES, **settings)


@pytest.mark.parametrize(
    ("column", "settings", "message"),
    [
        ("q", {}, "the dataset has no column 'q'; its columns are 'p'"),
        ("p", {"kind": "logits"}, "kind is one of probabilities, log_probabilities, votes, top_logprobs, not 'logits'"),
        ("p", {"kind": "votes", "multi_label": True}, "votes are about one label a text"),
        ("p", {"smoothing": 0.0}, "smoothing must be above 0"),
        ("p", {"label_names": ["bad"]}, "the labels of column 'p' are not known"),
        ("p", {"words": {"best": "x"}, "label_names": NAMES}, "words names the label 'best', and the labels are bad"),
    ],
)
def test_settings_that_mean_nothing_are_refused(column, settings, message):
    with pytest.raises(ValueError, match=message):
        from_probabilities([{"p": GOOD}], column, **settings)
    with pytest.raises(ValueError, match="this is a stream: make a Dataset"):
        from_probabilities(Dataset.from_list([{"p": GOOD}]).to_iterable_dataset(), "p", NAMES)


def test_few_votes_are_not_lost_among_many_labels():
    """With half a vote for each of 40 labels, three that agree were worth 15 %."""
    names = [f"l{number}" for number in range(40)]
    found = softmax(from_probabilities([{"v": ["l3"] * 3}], "v", names, kind="votes"))[0]
    assert found[3] == pytest.approx((3 + 1 / 40) / 4) and found[4] == pytest.approx(1 / 40 / 4)


def test_votes_that_are_numbers_are_the_labels_numbers():
    """There were as many labels as annotators; and of texts 10 came before 2."""
    votes = [[0, 4, 4], [1, 0, 0]]
    found = softmax(from_probabilities(Dataset.from_dict({"v": votes}), "v", kind="votes"))
    assert found.shape == (2, 5) and found.argmax(1).tolist() == [4, 0]
    texts = from_probabilities(Dataset.from_dict({"v": list(map(str, range(12)))}), "v", kind="votes")
    assert texts.features["teacher_label"].names == list(map(str, range(12)))
    assert softmax(texts).argmax(1).tolist() == list(range(12))


def test_votes_of_numbered_classes_go_by_their_names():
    """The column's own numbers were taken for those of the labels, which may stand in another order."""
    one = ClassLabel(names=["good", "bad"])
    features = Features({"v": List(one), "w": one})
    rows = Dataset.from_dict({"v": [[0, 0, 1], [1, -1, 1]], "w": [0, 1]}, features=features)
    for column in ("v", "w"):
        found = from_probabilities(rows, column, ["bad", "good"], kind="votes")
        assert softmax(found).argmax(1).tolist() == [1, 0]
    assert from_probabilities(rows, "v", kind="votes").features["teacher_label"].names == ["bad", "good"]


def test_a_label_is_one_however_it_is_written():
    """A space before it made another label of it, and its case an error."""
    rows = Dataset.from_dict({"v": [["Good ", "good"], [" bad", "bad"]]})
    found = from_probabilities(rows, "v", kind="votes")
    assert found.features["teacher_label"].names == ["Good", "bad"]
    np.testing.assert_allclose(softmax(found), [[2.5 / 3, 0.5 / 3], [0.5 / 3, 2.5 / 3]], atol=1e-6)


def test_all_splits_have_the_labels_of_all():
    """A label that nobody gave in one split was none of its labels there, and the numbers of others moved."""
    splits = DatasetDict({"train": Dataset.from_dict({"v": ["a", "b", "c"]}), "test": Dataset.from_dict({"v": ["c"]})})
    found = from_probabilities(splits, "v", kind="votes")
    assert found["test"].features["teacher_label"].names == ["a", "b", "c"]
    assert softmax(found["test"]).argmax(1).tolist() == [2]


def test_no_rows_are_refused():
    rows = Dataset.from_dict({"v": []})
    for settings in ({}, {"kind": "votes"}, {"kind": "votes", "combine": "dawid_skene"}):
        with pytest.raises(ValueError, match="the dataset has no rows: was everything filtered out of it"):
            from_probabilities(rows, "v", NAMES, **settings)


@pytest.mark.parametrize(
    ("cell", "settings", "message"),
    [
        ({"bad": 0.3, "good": 0.5, "Good": 0.7}, {}, "has two numbers for the label 'good'"),
        ([{"label": one, "score": 0.5} for one in ("bad", "bad")], {}, "has two numbers for the label 'bad'"),
        ({"bad": 0.4, "great": 0.3, "good": 0.3}, {"words": {"good": ["great"]}}, "two numbers for the label 'good'"),
        ([0.011] * 100, {"label_names": [f"l{number}" for number in range(100)]}, "whose sum is 1.1, not 1"),
        (
            {"top_logprobs": [{"ba": -0.1}]},
            {"label_names": ["bad", "base"], "kind": "top_logprobs"},
            "begins bad, base",
        ),
    ],
)
def test_what_was_read_wrongly_is_refused(cell, settings, message):
    """The last of two numbers counted, of 100 labels any sum up to 1.5 passed, a token of two labels was no label's."""
    with pytest.raises(ValueError, match=message):
        from_probabilities([{"p": json.dumps(cell)}], "p", **{"label_names": NAMES, **settings})


def test_a_token_that_may_begin_another_label_is_told_of(caplog):
    answer = {"top_logprobs": [{"no": -0.1, "yes": -3.0}]}
    from_probabilities([{"a": json.dumps(answer)}], "a", ["no", "none", "yes"], kind="top_logprobs")
    assert "token 'no' counts for that label, though it may begin 'none'" in caplog.text


def test_columns_that_are_called_as_some_of_the_labels_are_refused():
    """They were taken by their places: the column `good` for the label `bad`."""
    rows = Dataset.from_dict({"good": [0.9], "p_bad": [0.1]})
    with pytest.raises(ValueError, match="called as some of the labels bad, good and not as others"):
        from_probabilities(rows, ["good", "p_bad"], ["bad", "good"])

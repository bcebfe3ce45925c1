"""`hfdistill.data`: files read as written, labels understood or refused by file and line."""

import gzip
import json
import logging

import datasets
import huggingface_hub.constants
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from transformers import AutoConfig, AutoTokenizer

from hfdistill.data import (
    HubUnreachableError,
    hub_errors,
    load_hub_dataset,
    read_table,
    split_validation,
    text_classification_dataset,
)


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path; `.gz` compresses."""

    def write_file(name, content):
        path = tmp_path / name
        content = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write_file


@pytest.fixture
def read_task(write):
    """`text_classification_dataset` of a training file, as TSV rows of text and label, validated on the same."""

    def read(*rows, header="text\tlabel", validation=None, **options):
        train = write("train.tsv", "\n".join((header, *rows)) + "\n")
        if validation is not None:
            options["validation_file"] = write("validation.tsv", "\n".join((header, *validation)) + "\n")
        return text_classification_dataset(train, **{"validation_file": train, **options})

    return read


# ---- read_table


def test_tsv_has_no_quoting_and_no_missing_values(write):
    """Catches a reader that swallows lines after a bare quote, or turns the text `nan` into a missing value."""
    path = write("a.tsv", 'text\tlabel\n"so-called "film\tNA\nnan\tnull\n\u2028x\x0by\x85\t007\n  \t\n')
    assert read_table(path).to_dict() == {
        "text": ['"so-called "film', "nan", "\u2028x\x0by\x85", "  "],
        "label": ["NA", "null", "007", ""],
    }


def test_tsv_of_a_spreadsheet(write):
    path = write("a.tsv", b"\xef\xbb\xbftext\tlabel\r\nfine\t1\r\n\r\n")
    assert read_table(path).to_dict() == {"text": ["fine"], "label": ["1"]}


def test_csv_has_standard_quoting(write):
    path = write("a.csv", 'text,label\n"two\nlines, ""quoted""",1\n\nNA,null\n')
    assert read_table(path).to_dict() == {"text": ['two\nlines, "quoted"', "NA"], "label": ["1", "null"]}


def test_csv_takes_long_documents(write):
    path = write("a.csv", f"text,label\n{'x' * 200_000},1\n")
    assert len(read_table(path)["text"][0]) == 200_000


def test_json_lines_keep_their_types(write):
    path = write("a.jsonl", '{"text": "nan", "label": 1}\n\n{"label": null, "text": "b", "more": 0.5}\n')
    assert read_table(path).to_dict() == {"text": ["nan", "b"], "label": [1, None], "more": [None, 0.5]}


def test_json_may_be_one_array(write):
    path = write("a.json", json.dumps([{"text": "a"}, {"text": "b"}], indent=1))
    assert read_table(path).to_dict() == {"text": ["a", "b"]}


def test_parquet_keeps_class_names(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    Dataset.from_dict({"text": ["a"], "label": [1]}, features=features).to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").features["label"].names == ["no", "yes"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv.gz", "text\tlabel\na\t1\n"),
        ("a.CSV.gz", "text,label\na,1\n"),
        ("a.jsonl.gz", '{"text": "a", "label": "1"}'),
    ],
)
def test_gzip(write, name, content):
    assert read_table(write(name, content)).to_dict() == {"text": ["a"], "label": ["1"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.tsv",
            "text\tlabel\na\t1\nb\n",
            r"Line 3 of .*a\.tsv has 1 columns, expected 2 .*\(text, label\); .* one tab",
        ),
        ("a.tsv", "text\tlabel\na\tb\t1\n", r"Line 2 of .*a\.tsv has 3 columns, expected 2"),
        ("a.csv", 'text,label\n"a\nb",1\n\nc,d,1\n', r"Line 5 of .*a\.csv has 3 columns, expected 2 .*quote the cells"),
        ("a.csv", 'text,label\n"a"b,1\n', r"Line 2 of .*a\.csv is not CSV: .*; check its quotes"),
        ("a.csv", 'text,label\n"a,1\nb,1\n', r"Line 3 of .*a\.csv is not CSV: unexpected end"),
        ("a.tsv", "", r"a\.tsv is empty; expected a header line"),
        ("a.csv", "", r"a\.csv is empty; expected a header line"),
        ("a.jsonl", "\n", r"a\.jsonl is empty; expected one JSON object a line"),
        ("a.json", "[]", r"a\.json is empty; expected one JSON object a line"),
        ("a.tsv", "text\tlabel\n", r"a\.tsv has a header but no rows"),
        ("a.tsv", "text\ttext\na\tb\n", r"The header of .*a\.tsv has the column 'text' twice"),
        ("a.tsv", b"text\tlabel\na\t1\ncaf\xe9\t1\n", r"Line 3 of .*a\.tsv is not UTF-8 \(byte 0xe9\)"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "caf\xe9"}\n', r"Line 2 of .*a\.jsonl is not UTF-8"),
        ("a.jsonl", '{"text": "a"}\n{"text": }\n', r"Line 2 of .*a\.jsonl is not JSON: .*; write one object a line"),
        ("a.jsonl", '{"text": "a"}\n"b"\n', r"Line 2 of .*a\.jsonl holds a str; expected a JSON object"),
        ("a.json", '[{"text": "a"}, 5]', r"Row 2 of .*a\.json holds a int; expected a JSON object"),
        (
            "a.jsonl",
            '{"x": "a"}\n{"x": 5}\n{"x": "b"}',
            r"Column 'x' of .*a\.jsonl mixes types: str 2 times, int 1 times",
        ),
        ("a.parquet", "text", r"a\.parquet is not a whole Parquet file"),
        ("a.txt", "text", r"Cannot read .*a\.txt: its ending must be one of \.csv, \.tsv, \.json, \.jsonl, \.parquet"),
        ("a.parquet.gz", "text", r"Cannot read .*a\.parquet\.gz: its ending"),
    ],
)
def test_unreadable_files(write, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_table(write(name, content))


def test_missing_and_cut_files(tmp_path, write):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*nowhere\.tsv \(looked in "):
        read_table(tmp_path / "nowhere.tsv")
    path = write("a.tsv.gz", "text\tlabel\n" + "a\t1\n" * 1000)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"a\.tsv\.gz is not a whole gzip file"):
        read_table(path)


# ---- columns


@pytest.mark.parametrize(
    ("header", "row", "options", "texts", "label"),
    [
        ("id\treview\tlabel", "17\tfine words\t1", {}, ("review",), "label"),
        ("note\tsentence\tlabels", "n\tfine words\t1", {}, ("sentence",), "labels"),
        ("sentence2\tid\tsentence1\tlabel", "b\tx\ta\t1", {}, ("sentence1", "sentence2"), "label"),
        ("title\ttext\tstars", "a\tb\t1", {"label_column": "stars"}, ("text",), "stars"),
        ("title\ttext\tlabel", "a\tb\t1", {"text_column": "title"}, ("title",), "label"),
        ("title\tbody\tlabel", "a\tb\t1", {"text_pair_column": "body"}, ("title", "body"), "label"),
        ("a\tb\tlabel", "x\ty\t1", {"text_column": "b", "text_pair_column": "a"}, ("b", "a"), "label"),
    ],
)
def test_columns_found(read_task, header, row, options, texts, label):
    data = read_task(row, header=header, **options)
    assert (data.text_columns, data.label_column) == (texts, label)
    assert data.dataset["train"].column_names == [*texts, label]
    cells = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert data.dataset["train"][0] == {**{name: cells[name] for name in texts}, label: 1}


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        (
            "text\tstars",
            {},
            r"train\.tsv has no column 'label' or 'labels'; its columns are 'text', 'stars'; .*label_column",
        ),
        (
            "text\tlabel",
            {"text_column": "body"},
            r"has no column 'body'; its columns are 'text', 'label'; check text_column",
        ),
        ("text\tlabel", {"text_pair_column": "b"}, r"has no column 'b'; .*check text_pair_column"),
        ("text\tlabel", {"label_column": "stars"}, r"has no column 'stars'; .*check label_column"),
        (
            "label\tid",
            {},
            r"has no column of text beside the label; its columns are 'label', 'id'; name it with text_column",
        ),
    ],
)
def test_columns_missing(read_task, header, options, message):
    with pytest.raises(ValueError, match=message):
        read_task("1\t1", header=header, **options)


def test_columns_missing_elsewhere_name_that_file(read_task, write):
    other = write("other.tsv", "body\tlabel\na\t1\n")
    for option in ("validation_file", "test_file", "unlabeled_file"):
        with pytest.raises(ValueError, match=r"other\.tsv has no column 'text'; its columns are 'body', 'label'"):
            read_task("a\t1", **{option: other})
    unlabelled = write("unlabelled.tsv", "text\nb\n")
    with pytest.raises(ValueError, match=r"unlabelled\.tsv has no column 'label'; its columns are 'text'"):
        read_task("a\t1", test_file=unlabelled)


def test_text_must_be_text(write):
    path = write("a.jsonl", '{"text": "a", "label": 1}\n{"text": 5, "label": 1}\n')
    with pytest.raises(ValueError, match=r"Line 2 of .*a\.jsonl: column 'text' holds 5; expected text"):
        text_classification_dataset(path, path)
    path = write("a.jsonl", '{"text": "a", "label": 1}\n\n{"label": 1}\n')
    with pytest.raises(ValueError, match=r"Line 3 of .*a\.jsonl: column 'text' holds nothing; expected text"):
        text_classification_dataset(path, path)


# ---- labels


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


# ---- splits


def test_unlabelled_file_joins_train(read_task, write):
    """Its own label column is not read: whatever stands there is for the teacher to say."""
    more = write("more.csv", "label,text\nunheard of,c\n")
    data = read_task("a\t0", "b\t1", unlabeled_file=more)
    assert data.dataset["train"].to_dict() == {"text": ["a", "b", "c"], "label": [0, 1, -100]}
    assert len(data.dataset["validation"]) == 2
    assert labels_of(read_task("a\t0.5", "b\t1.5", unlabeled_file=more)) == [0.5, 1.5, -100.0]


def test_a_task_of_unlabelled_training_texts(read_task):
    """Only the teacher labels `train`; what the labels mean is learnt from the validation file."""
    data = read_task("a\t", "b\t", validation=["c\t1", "d\t0"], label_names=["no", "yes"])
    assert labels_of(data) == [-100, -100]
    assert labels_of(data, "validation") == [1, 0]


def test_validation_share_is_deterministic(read_task, caplog):
    caplog.set_level(logging.INFO, logger="hfdistill.data")
    rows = [f"text {n % 90}\t{n % 2}" for n in range(180)]
    first = read_task(*rows, validation_file=None).dataset
    assert "18 of 180 training rows are set aside for validation" in caplog.text
    assert (len(first["train"]), len(first["validation"])) == (162, 18)
    assert not set(first["train"]["text"]) & set(first["validation"]["text"])
    again = read_task(*reversed(rows), validation_file=None).dataset
    assert set(again["validation"]["text"]) == set(first["validation"]["text"])
    other = read_task(*rows, validation_file=None, seed=1).dataset
    assert set(other["validation"]["text"]) != set(first["validation"]["text"])
    larger = read_task(*rows, validation_file=None, validation_share=0.5).dataset
    assert len(larger["validation"]) == 90


def test_validation_is_labelled():
    rows = Dataset.from_dict({"text": [str(n) for n in range(50)], "label": [0, 1] + [-100] * 48})
    train, validation = split_validation(rows, ["text"], "label", share=0.5)
    assert (len(train), len(validation)) == (49, 1)
    assert validation["label"][0] != -100
    with pytest.raises(ValueError, match="train has 1 different labelled texts, too few"):
        split_validation(rows.select([0, 5, 6]), ["text"], "label")
    with pytest.raises(ValueError, match="validation_share must lie between 0 and 1, got 1.5"):
        split_validation(rows, ["text"], "label", share=1.5)


def test_leaks_are_counted(read_task, write, caplog):
    test = write("test.tsv", "text\tlabel\nb\t0\nc\t1\na\t1\na\t1\n")
    read_task("a\t0", "b\t1", validation=["z\t1"], test_file=test)
    assert [record.getMessage() for record in caplog.records] == [
        "3 of the 4 test texts are also in train: the figures will flatter the model."
    ]


def test_pairs_leak_as_pairs(write, caplog):
    train = write("train.tsv", "sentence1\tsentence2\tlabel\na\tb\t0\nc\td\t1\n")
    test = write("test.tsv", "sentence1\tsentence2\tlabel\na\td\t0\n")
    text_classification_dataset(train, test, test)
    assert caplog.records == []


# ---- the Hub

UNREACHABLE = (
    r"'nobody/nothing' is neither here nor in the local cache, and .* cannot be reached .*--train_file.*--demo"
)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))


def test_unreachable_dataset(offline):
    with pytest.raises(HubUnreachableError, match=UNREACHABLE):
        load_hub_dataset("nobody/nothing")


@pytest.mark.parametrize("auto_class", [AutoConfig, AutoTokenizer])
def test_unreachable_model(offline, auto_class):
    with pytest.raises(HubUnreachableError, match=UNREACHABLE), hub_errors("nobody/nothing"):
        auto_class.from_pretrained("nobody/nothing")


def test_unreachable_is_said_once(offline):
    with pytest.raises(HubUnreachableError) as caught, hub_errors("nobody/nothing"):
        load_hub_dataset("nobody/nothing")
    assert str(caught.value).count("cannot be reached") == 1


def test_missing_folder(offline):
    with (
        pytest.raises(FileNotFoundError, match=r"There is no folder '\./no/such/teacher'"),
        hub_errors("./no/such/teacher"),
    ):
        AutoConfig.from_pretrained("./no/such/teacher")


def test_other_errors_pass(offline, tmp_path):
    with pytest.raises(ValueError, match="Unrecognized model"), hub_errors(str(tmp_path)):
        AutoConfig.from_pretrained(tmp_path)
    with pytest.raises(PermissionError, match="mine"), hub_errors("x"):
        raise PermissionError("mine")

"""Tables are read as they are written, whatever the format, or refused by file and line."""

import json

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hfdistill.data import read_table


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

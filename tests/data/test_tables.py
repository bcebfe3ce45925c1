"""Tables are read as they are written, whatever the format, or refused by file and line."""

import contextlib
import functools
import json
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hfdistill.data.tables import read_table
from hfdistill.tasks.classification.data import text_classification_dataset
from hfdistill.tasks.translation.reading import read_texts

#: A row like others, before the one that is at fault.
OK = '{"x": "a"}\n'


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
        ("a.xls", "text", r"Cannot read .*a\.xls: its ending must be one of \.csv, \.tsv, \.json, \.jsonl, \.parquet"),
        ("a.parquet.gz", "text", r"Cannot read .*a\.parquet\.gz: its ending"),
        *[
            (name, content, r"The header of .*a\.\w+ has NUL in the name of column 2, as UTF-16 has it; save the file")
            for name, content in (
                ("a.csv", "text,la\0bel\na,1\n"),
                ("a.tsv", "text\tla\0bel\na\t1\n"),
                ("a.jsonl", '{"text": "a", "la\\u0000bel": 1}'),
            )
        ],
        ("a.csv", "text,label\na,1\n".encode("utf-16"), r"Line 1 of .*a\.csv is not UTF-8 \(byte 0xff\)"),
        ("a.csv", "text,label\na,1\n".encode("utf-16-le"), r"The header of .*a\.csv has NUL in the name of column 1"),
        *[
            (name, "text\rlabel\r", rf"{name} ends its lines with a carriage return alone; save it with line feeds")
            for name in ("a.csv", "a.tsv", "a.jsonl")
        ],
        ("a.jsonl", OK + '{"x": "cut \\ud83d"}', r"Line 2 of .*: column 'x' holds half of a character.*'cut \\ud83d'"),
        ("a.json", '[{"x": "a"}, {"x": "\\udc00"}]', r"Row 2 of .*a\.json: column 'x' holds half of a character"),
        ("a.jsonl", OK + '{"x": {"y": ["\\udc00"]}}', r"Line 2 of .*: column 'x' holds half of a character"),
        ("a.jsonl", OK + '{"x\\ud83d": 1}', r"Line 2 of .*: column 'x\\ud83d' holds half of a character"),
        ("a.jsonl", OK + f'{{"x": {2**63}}}', rf"Line 2 of .*: column 'x' holds {2**63}, a number beyond 64 bits"),
        ("a.jsonl", OK + f'{{"x": [{-(2**63) - 1}]}}', r"Line 2 of .*: column 'x' holds -9\d+, a number beyond 64"),
        ("a.jsonl", OK + f'{{"x": {"1" * 1000}}}', r"Line 2 of .*: column 'x' holds 1+… \(1000 characters\), a number"),
        ("a.jsonl", OK + f'{{"x": {"1" * 5000}}}', r"Line 2 of .*a\.jsonl holds a number of thousands of digits"),
        ("a.jsonl", OK + f'{{"x": {"[" * 99999}{"]" * 99999}}}', r"Line 2 of .*a\.jsonl is nested too deeply"),
        ("a.jsonl", OK + f'{{"x": {"[" * 99}{"]" * 99}}}', r"Line 2 of .*: column 'x' is nested more than 50 deep"),
        ("a.jsonl", OK + '{"x": 1, "x": 2}', r"Line 2 of .*a\.jsonl has 'x' twice in one object; keep one"),
        ("a.jsonl", OK + '{"x": -Infinity}', r"Line 2 of .*a\.jsonl holds -Infinity, which is no number"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_unreadable_files(write, name, content, message):
    path = write(name, content)
    # Of a column that it does not use, the reader of a task does not ask what kind it is.
    texts = functools.partial(read_texts, split="texts", name="text" if "text" in str(content) else "x")
    tasks = () if "mixes types" in message else (text_classification_dataset, texts)
    for read in (read_table, *tasks):
        with pytest.raises(ValueError, match=message) as refused:
            read(path)
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


def test_nan_is_nothing_and_other_characters_stay(write):
    """Whole emojis, escaped as two halves, and NUL in a text are texts like others."""
    path = write("a.jsonl", '{"x": "\\ud83d\\ude00", "y": NaN}\n{"x": "a\\u0000", "y": -9223372036854775808.0}')
    assert read_table(path)["x"][:] == ["😀", "a\0"]


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def test_damaged_parquet_is_refused_by_column(tmp_path):
    """Arrow takes lengths and encodings on trust: the error would come from whoever reads the text."""
    offsets, letters = np.array([0, 1, 2], "int32"), b"a\xff"
    text = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(offsets), pa.py_buffer(letters)])
    with pytest.raises(ValueError, match=r"Column 'text' of .*a\.parquet is damaged: .*UTF8"):
        read_table(parquet(tmp_path / "a.parquet", label=pa.array([0, 1]), text=text))
    whole = parquet(tmp_path / "b.parquet", text=pa.array(["a"] * 99)).read_bytes()
    for content in (whole[:-9], whole[:9] + whole[99:], b"PAR1" * 99, b""):
        (tmp_path / "b.parquet").write_bytes(content)
        with pytest.raises(ValueError, match=r"b\.parquet is not a whole Parquet file: "):
            read_table(tmp_path / "b.parquet")


def test_parquet_that_datasets_does_not_know_is_refused_by_file(tmp_path):
    """Features told wrongly, kinds of columns it has no name for, and two columns of one name."""
    kind = pa.map_(pa.string(), pa.int64())
    with pytest.raises(ValueError, match=r"a\.parquet is no table that datasets can hold: Arrow type map<"):
        read_table(parquet(tmp_path / "a.parquet", x=pa.array([[("a", 1)]], kind)))
    table = pa.table({"x": ["a"]}).replace_schema_metadata({"huggingface": "{"})
    pq.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet is no table that datasets can hold: Expecting"):
        read_table(tmp_path / "b.parquet")
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, ["x", "x"]), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=r"The header of .*c\.parquet has the column 'x' twice; rename one"):
        read_table(tmp_path / "c.parquet")


@pytest.mark.parametrize("label", ["1" * 60_000 + "x", "1" * 5000, "9223372036854775808"])
def test_long_numbers_are_read_at_once_or_refused(write, label):
    """A pattern that tries every way to cut a row of digits takes minutes; a class for each number all memory."""
    path = write("a.csv", f"text,label\na joy,{label}\na bore,0\n")
    began = time.monotonic()
    with contextlib.suppress(ValueError):
        text_classification_dataset(path, validation_share=0.5)
    assert time.monotonic() - began < 5


def test_missing_and_cut_files(tmp_path, write):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*nowhere\.tsv \(looked in "):
        read_table(tmp_path / "nowhere.tsv")
    path = write("a.tsv.gz", "text\tlabel\n" + "a\t1\n" * 1000)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"a\.tsv\.gz is not a whole gzip file"):
        read_table(path)

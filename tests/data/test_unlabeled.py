"""Texts without labels, whatever the task: they are read to disk, and blank ones left out."""

import json
import logging
from itertools import chain, islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from processes import run_script

from hfdistill import question_answering_dataset, token_classification_dataset

TAGGED = [{"tokens": [f"w{n}", "in", "rome"], "ner_tags": ["O", "O", "B-place"]} for n in range(30)]
ASKED = [
    {"question": f"where is w{n} ?", "context": f"w{n} is in rome", "answers": {"text": ["rome"], "answer_start": [-1]}}
    for n in range(30)
]
for row in ASKED:
    row["answers"]["answer_start"] = [row["context"].index("rome")]


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def squad(path, rows):
    paragraphs = [{"context": row["context"], "qas": [{"question": row["question"]}]} for row in rows]
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return path


def sentences(folder, rows, kind):
    """The words of texts as people write them down; of blank texts there are none in files of words."""
    words = [row["text"].split() for row in rows]
    if kind == "csv":
        path = folder / "more.csv"
        lines = [f"{n},{word}" for n, row in enumerate(words) for word in row]
        path.write_text("\n".join(["sentence_id,word", *lines]))
        return path
    if kind == "conll":
        path = folder / "more.conll"
        path.write_text("\n\n".join("\n".join(row) for row in words if row))
        return path
    content = rows if kind == "text" else [{"tokens": row} for row in words]
    return write(folder / "more.jsonl", content) if kind != "loaded" else Dataset.from_list(content)


@pytest.mark.parametrize("kind", ["text", "tokens", "loaded", "csv", "conll"])
def test_sentences_are_on_disk_and_blank_ones_left_out_and_counted(tmp_path, caplog, kind):
    """They were dropped without a word, or refused."""
    train = write(tmp_path / "train.jsonl", TAGGED)
    texts = [{"text": text} for text in ("one two", "", "three", " ", "w1 in rome", "four five six")]
    more = sentences(tmp_path, texts, kind)
    with caplog.at_level(logging.WARNING, logger="hfdistill"):
        data = token_classification_dataset(train, write(tmp_path / "v.jsonl", TAGGED[1:2]), unlabeled_file=more)
    rows = data.dataset["train"]
    assert rows["tokens"][30:] == [["one", "two"], ["three"], ["four", "five", "six"]]
    assert rows["labels"][30:] == [[-100] * 2, [-100], [-100] * 3] and rows.cache_files
    blank = "2 of the 6 unlabeled texts are empty or blank, and left out" in caplog.text
    assert blank == (kind in ("text", "tokens", "loaded"))


def test_the_same_sentences_are_drawn_as_when_all_were_in_memory(tmp_path):
    train = write(tmp_path / "train.jsonl", TAGGED)
    texts = [{"text": f"unheard {n}"} for n in range(50)]
    more = write(tmp_path / "more.jsonl", texts)
    rows = token_classification_dataset(train, train, unlabeled_file=more, max_unlabeled=10).dataset["train"]
    drawn = Dataset.from_list(texts).shuffle(42)["text"][:10]
    assert [" ".join(words) for words in rows["tokens"][30:]] == drawn


@pytest.mark.parametrize("kind", ["rows", "squad", "loaded"])
def test_questions_are_on_disk_and_blank_ones_left_out_and_counted(tmp_path, caplog, kind):
    """One blank question was an error in a file of a million, whose answers nobody has to give."""
    train = write(tmp_path / "train.jsonl", ASKED)
    texts = [("where ?", "in rome"), ("", "in rome"), ("why ?", " "), ("who ?", "anna")]
    given = [dict(zip(("question", "context"), pair, strict=True)) for pair in texts]
    kinds = {"rows": write, "squad": squad, "loaded": lambda _, rows: Dataset.from_list(rows)}
    more = kinds[kind](tmp_path / "more.json", given)
    with caplog.at_level(logging.WARNING, logger="hfdistill"):
        rows = question_answering_dataset(train, train, unlabeled_file=more).dataset["train"]
    assert rows["question"][30:] == ["where ?", "who ?"] and rows["answers"][30:] == [None, None] and rows.cache_files
    assert "2 of the 4 unlabeled texts are empty or blank, and left out" in caplog.text


def test_what_is_no_question_is_refused(tmp_path):
    train = write(tmp_path / "train.jsonl", ASKED)
    for name, row, said in [
        ("no.jsonl", {"question": "where ?"}, r"Line 1 of .*no.jsonl has no column 'context'; its columns are 'quest"),
        ("three.jsonl", {"question": 3, "context": "a"}, "Line 1 of .*: column 'question' holds 3; expected text"),
        ("more.txt", {}, r"more\.txt has one text a line, and the texts here are pairs \(question, context\)"),
    ]:
        with pytest.raises(ValueError, match=said):
            question_answering_dataset(train, train, unlabeled_file=write(tmp_path / name, [row]))


def test_sentences_of_unlike_lines_are_refused_with_the_way_out(tmp_path):
    train, more = write(tmp_path / "train.jsonl", TAGGED), tmp_path / "more.txt"
    more.write_text("a text of words\nanother text\n")
    with pytest.raises(ValueError, match="Line 2 of .* texts that nobody has split belong in a table with a column te"):
        token_classification_dataset(train, train, unlabeled_file=more)


def rows_of(task, name, count):
    """Texts that are not those of training, as lines of a file; or as rows of a Parquet file."""
    texts = (f"{n} {'some words of a sentence ' * 4}" for n in range(count))
    if name.endswith("conll"):
        return (text.replace(" ", "\n") for text in texts)
    if name.endswith("jsonl"):
        both = "context" if task == "answering" else "text"
        return (json.dumps({"question": f"which {n} ?", both: text}) for n, text in enumerate(texts))
    return texts if name.endswith(("parquet", "txt")) else chain(["text"], texts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "name"),
    [
        *(("classification", name) for name in ("more.parquet", "more.csv", "more.txt")),
        *(("tagging", name) for name in ("more.parquet", "more.conll")),
        ("answering", "more.jsonl"),
    ],
)
def test_memory_does_not_grow_with_the_unlabeled_texts(tmp_path, task, name):
    """Half a million sentences took half a gigabyte, words of them more."""
    if task == "classification":
        train = tmp_path / "train.csv"
        train.write_text("text,label\n" + "".join(f"a {n},{n % 2}\n" for n in range(30)))
    else:
        train = write(tmp_path / "train.jsonl", TAGGED if task == "tagging" else ASKED)
    peaks = []
    for count in (20_000, 200_000):
        texts, file = rows_of(task, name, count), tmp_path / f"{count}_{name}"
        if name.endswith("parquet"):  # bit by bit, as a process begins with the peak of the one that starts it
            with pq.ParquetWriter(file, schema := pa.schema({"text": pa.string()})) as writer:
                while some := list(islice(texts, 10_000)):
                    writer.write_table(pa.table([some], schema=schema))
        else:
            with open(file, "w", encoding="utf-8") as lines:
                lines.writelines(f"{text}\n" for text in texts)
        done = run_script("read_unlabeled.py", task, train, file, HF_HOME=str(tmp_path / f"home_{count}"))
        assert done.returncode == 0, done.stderr[-3000:]
        rows, peak = map(int, done.stdout.split())
        assert rows == count
        peaks.append(peak * 1024)
    assert peaks[1] - peaks[0] < 100e6, peaks

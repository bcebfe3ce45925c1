"""Whatever stands in a file: it is read, or refused in a line that names it."""

import csv
import gzip
import io
import json
import random
import resource
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.utils.logging import disable_progress_bar
from fuzzing import FACTOR, HALVES, NUMBERS, WORDS, damaged, json_value

from hfdistill.data.tables import read_table
from hfdistill.tasks.classification.data import labeled_texts, plain_texts, text_classification_dataset
from hfdistill.tasks.translation.data import translation_dataset

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "jsonl.gz", "csv.gz")
NAMES = ["text", "label", "sentence", "sentence1", "sentence2", "en", "de", "translation", "labels", "id", "", "a b"]
NAMES += ["é"]


def table(draw, format_):
    """The bytes of a file, most of it in order."""
    names = draw.sample(NAMES, draw.randint(1, 4))
    names = draw.choice([["text", "label"], ["en", "de"], ["translation"], names])
    if draw.random() < 0.05:
        names = [*names, draw.choice([names[0], "na\0me", "\ud83d"])]
    count = draw.choice([0, 1, 2, 7, 7, 7])
    if format_.startswith("json"):
        rows = [json_row(draw, names, row) for row in range(count)]
        return ("[" + ",".join(rows) + "]" if draw.random() < 0.3 else "\n".join(rows)).encode("utf-8", "surrogatepass")
    rows = [[cell(draw, name, row) for name in names] for row in range(count)]
    if format_ == "parquet":
        return parquet(draw, names, rows)
    text = io.StringIO(newline="")
    csv.writer(text, delimiter="\t" if format_ == "tsv" else ",").writerows([names, *rows])
    return text.getvalue().encode("utf-8", "surrogatepass")


def cell(draw, name, row):
    if draw.random() < 0.03:
        return draw.choice(NUMBERS + WORDS + HALVES)
    return str(row % 2) if name.startswith("label") else f"a good {name} {row}"


def json_row(draw, names, row):
    if draw.random() < 0.01:
        return json_value(draw)
    pair = json.dumps({"en": f"film {row}", "de": f"Film {row}"})
    ordinary = {name: str(row % 2) if name.startswith("label") else json.dumps(f"a {name} {row}") for name in names}
    ordinary |= {"translation": pair} if "translation" in names else {}
    values = [json_value(draw) if draw.random() < 0.03 else ordinary[name] for name in names]
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in zip(names, values, strict=True)) + "}"


def parquet(draw, names, rows):
    kinds = [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string()), pa.list_(pa.string())]
    numbers = [pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.timestamp("ms"), pa.decimal128(5), pa.bool_()]
    numbers += [pa.duration("s"), pa.date32(), pa.null()]
    columns = []
    for number, name in enumerate(names):
        if draw.random() < 0.2:
            values = [draw.choice([0, 1, row, None]) for row in range(len(rows))]
            columns.append(arrow(values, draw.choice(numbers)))
        elif name.startswith("label"):
            columns.append(arrow([row % 2 for row in range(len(rows))], pa.int64()))
        else:
            texts = [row[number].encode("utf-8", "replace").decode() for row in rows]
            kind = draw.choice(kinds) if draw.random() < 0.3 else pa.string()
            columns.append(arrow([[text] for text in texts] if kind == kinds[-1] else texts, kind))
    names = [name.encode("utf-8", "replace").decode() for name in names]
    made = pa.Table.from_arrays(columns, names)
    if draw.random() < 0.2:
        features = {
            "label": {"names": draw.choice([["bad"], ["bad", "good"], []]), "_type": draw.choice(["ClassLabel", "Odd"])}
        }
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file = io.BytesIO()
    pq.write_table(made, file, compression=draw.choice(["none", "snappy"]))
    return file.getvalue()


def arrow(values, kind):
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError):
        return pa.array([None] * len(values), kind)


def read(draw, path):
    """By one of the readers, with some of its options."""
    columns = {"text_column": draw.choice([None, None, "text", "nowhere", "label"])}
    labels = {**columns, "label_column": draw.choice([None, None, "labels", "text"])}
    labels["label_names"] = draw.choice([None, None, ["bad", "good"], []])
    labels["problem_type"] = draw.choice([None, None, "regression", "single_label_classification", "odd"])
    reader = draw.randrange(6)
    if reader == 0:
        return read_table(path)
    if reader == 1:
        return plain_texts(path, **columns)
    if reader == 2:
        return labeled_texts(path, **labels)
    if reader == 3:
        return translation_dataset(path, skip_empty=draw.random() < 0.8)
    split = draw.choice(["validation_file", "test_file", "unlabeled_file"])
    return text_classification_dataset(path, **{split: path}, **labels)


@pytest.mark.slow
def test_files_of_all_kinds_are_read_or_refused(tmp_path):
    """No other exception, no line that names nothing, no hang, no memory without end."""
    disable_progress_bar()
    refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = int(2000 * FACTOR)
    for seed in range(total):
        draw = random.Random(seed)
        format_ = draw.choice(FORMATS)
        content = table(draw, format_.removesuffix(".gz"))
        if draw.random() < 0.3:
            content = damaged(content, draw)
        if format_.endswith(".gz"):
            content = gzip.compress(content)
            content = damaged(content, draw) if draw.random() < 0.2 else content
        (path := tmp_path / f"a.{format_}").write_bytes(content)
        began = time.monotonic()
        try:
            read(draw, path)
        except ValueError as error:
            refused += 1
            assert_names_it(error, path, seed)
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__} of {path.name}") from error
        assert time.monotonic() - began < 10, f"seed {seed} takes too long"
    assert 0.2 * total < refused < 0.9 * total, "too tame, or so wild that nothing is read"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000, "kilobytes"


def assert_names_it(error, path, seed):
    message = str(error)
    options = ("text_column", "label_column", "problem_type", "a validation file", "source_lang")
    named = str(path) in message or any(option in message for option in options)
    if not named or "\n" in message or len(message) > 1500:
        raise AssertionError(f"seed {seed}: {type(error).__name__} {message[:300]!r} ({len(message)})") from error

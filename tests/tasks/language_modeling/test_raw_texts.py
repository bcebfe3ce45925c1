"""Raw texts from files and streams as rows: nothing is cut off, nothing is empty, and packed texts stay texts."""

import gzip
import json
import math

import numpy as np
import pytest
import torch
from datasets import Dataset, IterableDataset
from tiny import WORDS, make_tokenizer
from transformers import BertConfig, BertModel

from hfdistill import load_encoder, raw_texts, text_rows
from hfdistill.tasks.language_modeling.data import _only_text, _without
from hfdistill.tasks.language_modeling.metrics import token_counts, token_metrics

LINES = [" ".join(WORDS[4 + (n + k) % 30] for k in range(2 + 7 * n % 40)) for n in range(40)]


def tokens(rows):
    """The words of all texts in their order, without the tokens that begin and end a row."""
    return [id_ for row in rows for id_ in row["input_ids"] if id_ > 3]


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("streaming", [False, True])
def test_every_word_of_every_text_is_in_some_row(tmp_path, pack, streaming):
    (tmp_path / "texts.txt").write_text("\n".join([*LINES[:20], "", "  ", *LINES[20:]]), encoding="utf-8")
    (tmp_path / "held.txt").write_text("w1 w2\nw3", encoding="utf-8")
    texts = raw_texts(tmp_path / "texts.txt", tmp_path / "held.txt", streaming=streaming)
    assert isinstance(texts.train, IterableDataset) == streaming
    rows = list(texts.rows(make_tokenizer(), 16, pack))
    assert tokens(rows) == [WORDS.index(word) for line in LINES for word in line.split()]
    assert max(len(row["input_ids"]) for row in rows) <= 16 and all(row["input_ids"] for row in rows)
    if pack:
        for row in rows:
            segments = row["segment_ids"]
            begins = [place for place, one in enumerate(segments) if place == 0 or segments[place - 1] != one]
            assert [segments[place] for place in begins] == list(range(1, len(begins) + 1))
        assert len(rows) < len(list(texts.rows(make_tokenizer(), 16)))


def write_texts(path, ending, lines):
    if ending == "parquet":
        Dataset.from_dict({"text": lines}).to_parquet(path)
        return
    written = {
        "txt": lines,
        "csv": ["text", *(f'"{line}"' for line in lines)],
        "tsv": ["number\ttext", *(f"{number}\t{line}" for number, line in enumerate(lines))],
        "jsonl": [json.dumps({"text": line}) for line in lines],
    }[ending.removesuffix(".gz")]
    content = "".join(f"{line}\n" for line in written).encode()
    path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet", "txt", "txt.gz", "csv.gz", "de"])
def test_any_file_gives_the_same_texts(tmp_path, ending):
    """None is cut at what other programs take for the end of a line, streamed or not."""
    lines = [f"{line} \u2028 a\fb \x85 c \x1d d" for line in LINES]
    path, held = tmp_path / f"texts.{ending}", tmp_path / "held.txt"
    write_texts(path, "txt" if ending == "de" else ending, lines)
    held.write_text("w1\n", encoding="utf-8")
    whole = raw_texts(path)
    assert sorted([*whole.train["text"], *whole.validation["text"]]) == sorted(lines) and len(whole.validation) == 4
    for streaming in (False, True):
        texts = raw_texts(path, held, streaming=streaming)
        assert [row["text"] for row in texts.train] == lines and texts.validation["text"] == ["w1"]
    stream = raw_texts(path, streaming=True)
    assert sorted([*(row["text"] for row in stream.train), *stream.validation["text"]]) == sorted(lines)


@pytest.mark.parametrize("streaming", [False, True])
def test_no_text_is_trained_on_and_measured_on(tmp_path, streaming, caplog):
    path, held = tmp_path / "texts.txt", tmp_path / "held.txt"
    path.write_text("\n".join(LINES * 2), encoding="utf-8")
    texts = raw_texts(path, streaming=streaming)
    trained = {row["text"] for row in texts.train}
    assert trained and not trained & {*texts.validation["text"]}
    held.write_text("\n".join(["other", *LINES[:3]]), encoding="utf-8")
    texts = raw_texts(path, held, streaming=streaming)
    assert [row["text"] for row in texts.train] == LINES[3:] * 2
    assert streaming or f"6 of the 80 texts of {path} are measured on, in {held}" in caplog.text


def test_processes_that_share_a_stream_of_several_files_read_what_is_left_once(tmp_path):
    """A number of rows to pass over would be split among them, and texts that are measured on be learned from."""
    rows = Dataset.from_dict({"sentence": LINES}).to_iterable_dataset(num_shards=4)
    measured = Dataset.from_dict({"text": LINES[:4]})
    kept = _without(_only_text(rows, None, "texts"), measured, "texts")
    read = [row["text"] for process in range(2) for row in kept.shard(2, process)]
    assert sorted(read) == sorted(LINES[4:])


UNREADABLE = {
    "missing.txt": (None, FileNotFoundError, "no file .*missing.txt"),
    "latin.txt": ("gut\nschön\n".encode("latin-1"), ValueError, "Line 2 of .*latin.txt is not UTF-8"),
    "wide.txt": ("gut\nschön\n".encode("utf-16"), ValueError, "Line 1 of .*wide.txt is not UTF-8"),
    "plain.txt": ("gut\nschön\n".encode("utf-16-le"), ValueError, "plain.txt has NUL in its first line"),
    "broken.txt.gz": (gzip.compress(b"a\n" * 99)[:-9], ValueError, "broken.txt.gz is not a whole gzip file"),
    "empty.txt": (b"", ValueError, "empty.txt has .*texts"),
    "blank.txt": (b"\n \n\t\n", ValueError, "blank.txt has .*texts"),
    "few.txt": (b"a\nb\n\n", ValueError, "few.txt has 2 texts, too few .* give a validation file"),
    "same.txt": (b"a\n" * 20, ValueError, "all texts of .*same.txt are measured on, and none is left"),
    "other.csv": (b"a,b\n1,2\n", ValueError, "other.csv has no column of text"),
    "gap.jsonl": (b'{"text": "a"}\n{"text": null}\n', ValueError, "Line 2 of .*gap.jsonl: .*'text' holds nothing"),
    "texts.pdf": (b"%PDF", ValueError, "Cannot read .*texts.pdf: its ending must be one of"),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_named(tmp_path, name, streaming):
    content, error, said = UNREADABLE[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=said):
        raw_texts(tmp_path / name, streaming=streaming)


def test_of_a_stream_a_line_that_cannot_be_read_is_named_when_it_comes(tmp_path):
    (tmp_path / "texts.txt").write_bytes("\n".join([*LINES, "schön"]).encode("latin-1"))
    (tmp_path / "held.txt").write_text("w1", encoding="utf-8")
    texts = raw_texts(tmp_path / "texts.txt", tmp_path / "held.txt", streaming=True)
    with pytest.raises(ValueError, match="Line 41 of .*texts.txt is not UTF-8"):
        list(texts.rows(make_tokenizer()))


def test_a_column_that_is_not_there_or_holds_no_text_is_named(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    for streaming in (False, True):
        with pytest.raises(ValueError, match="other.csv has no column 'c'; its columns are 'a', 'b'; check text_colum"):
            raw_texts(tmp_path / "other.csv", streaming=streaming, text_column="c")
    rows = Dataset.from_dict({"number": [1, 2]})
    for loaded in (rows, rows.to_iterable_dataset()):
        with pytest.raises(ValueError, match="my/texts has no column text or sentence, only number"):
            _only_text(loaded, None, "my/texts")
        with pytest.raises(ValueError, match="column 'number' of my/texts holds 1; expected text"):
            list(_only_text(loaded, "number", "my/texts"))
    with pytest.raises(ValueError, match="give --train_file or --dataset_name"):
        raw_texts()
    with pytest.raises(ValueError, match="take a fast tokenizer"):
        text_rows(Dataset.from_dict({"text": ["a"]}), object())


def test_metrics_are_those_of_torch():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(3, 6, 9)), random.integers(0, 9, (3, 6))
    labels[:, ::2] = -100
    found = token_metrics(sum(token_counts(*row) for row in zip(logits, labels, strict=True)))
    flat = torch.tensor(logits).flatten(0, 1), torch.tensor(labels).flatten()
    assert found["perplexity"] == pytest.approx(math.exp(torch.nn.functional.cross_entropy(*flat)))
    chosen = flat[1] >= 0
    assert found["accuracy"] == pytest.approx((flat[0].argmax(-1) == flat[1])[chosen].float().mean().item())


def test_no_row_is_longer_than_an_encoder_has_positions(tmp_path):
    """Whatever its tokenizer says: the first long text would end the training."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=12, **sizes)).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)  # of 32 tokens
    tokenizer, encoder = load_encoder(str(tmp_path))
    rows = text_rows(Dataset.from_dict({"text": LINES}), tokenizer, max_length=128)
    assert max(map(len, rows["input_ids"])) == encoder.config.max_position_embeddings

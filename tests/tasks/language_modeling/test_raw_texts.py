"""Raw texts from files and streams as rows: nothing is cut off, nothing is empty, and packed texts stay texts."""

import math

import numpy as np
import pytest
import torch
from datasets import Dataset, IterableDataset
from tiny import WORDS, make_tokenizer

from hfdistill import raw_texts, text_rows
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


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "txt"])
def test_any_file_gives_the_same_texts(tmp_path, ending):
    path, data = tmp_path / f"texts.{ending}", Dataset.from_dict({"text": LINES})
    if ending == "txt":
        path.write_text("\n".join(LINES), encoding="utf-8")
    else:
        {"csv": data.to_csv, "jsonl": data.to_json, "parquet": data.to_parquet}[ending](path)
    whole = raw_texts(path)
    assert sorted([*whole.train["text"], *whole.validation["text"]]) == sorted(LINES) and len(whole.validation) == 4
    stream = raw_texts(path, path, streaming=True)
    assert [row["text"] for row in stream.train] == LINES


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.txt").write_bytes("gut\nschön\n".encode("latin-1"))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    for path, how, error, said in (
        ("missing.txt", {}, FileNotFoundError, "no file .*missing.txt"),
        ("missing.txt", {"streaming": True}, FileNotFoundError, "no file .*missing.txt"),
        ("latin.txt", {}, ValueError, "Line 2 of .*latin.txt is not UTF-8"),
        ("other.csv", {"streaming": True}, ValueError, "no column text or sentence, only a, b"),
        ("other.csv", {"streaming": True, "text_column": "c"}, ValueError, "no column c, only a, b"),
    ):
        with pytest.raises(error, match=said):
            raw_texts(tmp_path / path, **how)
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

"""Pairs of texts from files: both ways to write them, and complaints that name the line."""

import gzip
import json
import logging

import pytest
from datasets import Dataset
from texts import make_tokenizer

from hfdistill.tasks.translation.data import translation_dataset

PAIRS = [(f"the {noun} sleeps", f"{german} schläft") for noun, german in [("dog", "der Hund"), ("cat", "die Katze")]]
PAIRS += [(f"number {number}", f"Nummer {number}") for number in range(8)]


def write(path, pairs=PAIRS, names=("en", "de")):
    rows = [dict(zip(names, pair, strict=True)) for pair in pairs]
    if path.name.endswith(".jsonl.gz"):
        content = "".join(json.dumps({"translation": row}) + "\n" for row in rows)
        path.write_bytes(gzip.compress(content.encode()))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        path.write_text("\n".join(separator.join(row) for row in [names, *pairs]) + "\n", encoding="utf-8")
    return path


def pairs_of(rows):
    return list(zip(rows["en"], rows["de"], strict=True))


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.jsonl", "pairs.jsonl.gz"])
def test_every_format_gives_the_same_pairs(tmp_path, name):
    path = write(tmp_path / name)
    data = translation_dataset(path, path, path)
    assert all(pairs_of(data.dataset[split]) == PAIRS for split in ("train", "validation", "test"))
    assert (data.source, data.target, data.monolingual) == ("en", "de", None)


def test_the_other_direction_is_a_matter_of_names(tmp_path):
    data = translation_dataset(*[write(tmp_path / "pairs.jsonl.gz")] * 2, source="de", target="en")
    assert data.dataset["train"].column_names == ["de", "en"] and data.dataset["train"]["de"][0] == "der Hund schläft"


def test_a_share_is_set_aside_to_validate_on(tmp_path):
    data = translation_dataset(write(tmp_path / "pairs.tsv"), validation_share=0.3)
    train, validation = pairs_of(data.dataset["train"]), pairs_of(data.dataset["validation"])
    assert len(validation) == 3 and sorted(train + validation) == sorted(PAIRS)


def test_empty_sides_are_skipped_with_a_count_or_refused(tmp_path, caplog):
    """A pair without a target would teach the student to say nothing."""
    path = write(tmp_path / "pairs.tsv", [*PAIRS[:3], ("", "leer"), ("empty", " "), *PAIRS[3:]])
    with caplog.at_level(logging.WARNING, "hfdistill"):
        data = translation_dataset(path, path)
    assert pairs_of(data.dataset["train"]) == PAIRS
    assert "2 rows with an empty side are skipped, the first at Line 5 of" in caplog.text
    with pytest.raises(ValueError, match=r"Line 5 of .*pairs\.tsv: a side of the pair is empty, as in 1 more"):
        translation_dataset(path, path, skip_empty=False)


def test_same_texts_and_leaks_are_warned_of(tmp_path, caplog):
    path = write(tmp_path / "pairs.tsv", [*PAIRS, ("Berlin", "Berlin")])
    with caplog.at_level(logging.WARNING, "hfdistill"):
        translation_dataset(path, write(tmp_path / "other.tsv", PAIRS[:2]))
    assert "pairs with the same text on both sides: 1." in caplog.text
    assert "2 of the 2 validation sources are also in train" in caplog.text


def test_source_texts_alone(tmp_path, caplog):
    path = write(tmp_path / "pairs.tsv")
    (tmp_path / "more.csv").write_text("en\nmore text\n\nand more\n", encoding="utf-8")
    data = translation_dataset(path, path, unlabeled_file=tmp_path / "more.csv")
    assert data.monolingual["en"] == ["more text", "and more"] and data.monolingual.column_names == ["en"]
    (tmp_path / "more.txt").write_text("more text\n\nand more\n", encoding="utf-8")
    data = translation_dataset(path, path, unlabeled_file=tmp_path / "more.txt")
    assert len(data.monolingual) == 2 and "1 rows without text are skipped, the first at Line 2 of" in caplog.text


@pytest.mark.parametrize(
    "rows, sentence",
    [
        ({"en": ["a"], "fr": ["un"]}, r"no column 'de'; its columns are 'en', 'fr'; .*target_lang"),
        ({"translation": [{"en": "a", "fr": "un"}]}, r"Row 1 of the train split: .* languages en, fr and not 'de'"),
        ({"translation": ["a"]}, r"Row 1 of the train split: 'translation' holds 'a'; expected an object"),
        ({"en": ["a"], "de": [7]}, r"Row 1 of the train split: 'de' holds 7; expected text"),
        ({"en": [" "], "de": [""]}, r"has no row with text in en and de"),
        ({"en": ["a", "b"], "de": ["a", "b"]}, r"the texts of en and de are the same in every row.*target_lang"),
    ],
)
def test_what_is_no_pair_is_refused(rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        translation_dataset(Dataset.from_dict(rows))


@pytest.mark.parametrize(
    "line, sentence",
    [
        ('{"translation": null}', "'translation' holds None; expected an object"),
        ('{"translation": {"en": "a cat"}}', "'translation' has the languages en and not 'de'"),
    ],
)
def test_a_row_that_is_no_pair_is_named(tmp_path, line, sentence):
    """One of a million rows is not found without its line."""
    path = write(tmp_path / "pairs.jsonl")
    rows = [json.dumps({"translation": json.loads(row)}) for row in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("\n".join([*rows[:3], "", line, *rows[3:]]), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^Line 5 of .*pairs\.jsonl: {sentence}"):
        translation_dataset(path)


def test_one_language_is_no_pair(tmp_path):
    with pytest.raises(ValueError, match="source and target are both 'en'"):
        translation_dataset(write(tmp_path / "pairs.tsv"), target="en")


def test_pairs_that_are_cut_are_counted(tmp_path, caplog):
    """Those that fit exactly are whole; test texts that are cut lower everybody's figures."""
    tokenizer = make_tokenizer([" ".join(pair) for pair in PAIRS])
    lengths = [max(len(tokenizer(text).input_ids) for text in pair) for pair in PAIRS]
    limit = sorted(lengths)[0]
    path = write(tmp_path / "pairs.tsv")
    with caplog.at_level(logging.WARNING, "hfdistill"):
        dataset = translation_dataset(path, path, path).tokenized(tokenizer, limit)
    count = sum(length > limit for length in lengths)
    assert 0 < count < len(PAIRS) and max(map(len, dataset["train"]["input_ids"])) <= limit
    for kind in ("training", "test"):
        assert f"{count} of 10 {kind} pairs ({10 * count:.1f} %) are cut to max_length {limit}." in caplog.text
    with pytest.raises(ValueError, match="max_length 2 cuts every training pair"):
        translation_dataset(path, path).tokenized(tokenizer, 2)

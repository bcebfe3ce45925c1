"""Words and tags from files of every shape, and what is refused of them."""

import json
import logging

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from tiny import make_tokenizer

from hfdistill import token_classification_data, token_classification_dataset
from hfdistill.tasks.tagging.conll import words_of_text

ROWS = [
    {"tokens": ["w1", "w2", "w3"], "ner_tags": ["B-x", "I-x", "O"]},
    {"tokens": ["w4", "w5"], "ner_tags": ["O", "B-y"]},
]
NAMES = ("O", "B-x", "I-x", "B-y")
IDS = [[1, 2, 0], [0, 3]]


def jsonl(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def as_conll(folder):
    path = folder / "train.conll"
    path.write_text("-DOCSTART- O\n\nw1 NN B-x\nw2 NN I-x\nw3 NN O\n\n\nw4 NN O\nw5 NN B-y\n")
    return path


def as_csv(folder):
    path = folder / "train.csv"
    path.write_text("Sentence #,Word,Tag\n".lower().replace("sentence #", "Sentence #")
                    + "1,w1,B-x\n,w2,I-x\n,w3,O\n2,w4,O\n,w5,B-y\n")  # fmt: skip
    return path


def as_ids(folder):
    (folder / "labels.txt").write_text("\n".join(NAMES))
    rows = [{"words": row["tokens"], "labels": ids} for row, ids in zip(ROWS, IDS, strict=True)]
    return jsonl(folder / "train.jsonl", rows)


def as_class_labels(folder):
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=list(NAMES)))})
    return Dataset.from_list(ROWS, features=features)


@pytest.mark.parametrize("write", [lambda f: jsonl(f / "train.jsonl", ROWS), as_conll, as_csv, as_ids, as_class_labels])
def test_every_way_to_write_tags_is_one_dataset(tmp_path, write):
    file = write(tmp_path)
    if isinstance(file, Dataset):
        data = token_classification_dataset(file, file)
    else:
        data = token_classification_data(file, file)
    assert data.label_names == NAMES
    assert data.dataset["train"]["tokens"][:] == [row["tokens"] for row in ROWS]
    assert data.dataset["train"]["labels"][:] == IDS
    assert data.head["label2id"]["B-y"] == 3


def test_ids_follow_the_order_of_the_teacher(tmp_path):
    order = ("B-y", "I-x", "B-x", "O")
    file = as_class_labels(tmp_path)
    data = token_classification_dataset(file, file, label_names=order)
    assert data.dataset["train"]["labels"][:] == [[2, 1, 3], [3, 0]]


def test_unlabeled_texts_have_item_masks_and_no_labels(tmp_path):
    train = jsonl(tmp_path / "train.jsonl", ROWS)
    texts = jsonl(tmp_path / "texts.jsonl", [{"text": "w6, w7!"}, {"text": " ".join(ROWS[0]["tokens"])}])
    held = jsonl(tmp_path / "test.jsonl", [{"tokens": ["w9"], "ner_tags": ["O"]}])
    data = token_classification_dataset(train, held, held, unlabeled_file=texts)
    rows = data.tokenized(make_tokenizer())["train"]
    assert rows["tokens"][2] == ["w6", ",", "w7", "!"]
    assert rows["labels"][2] == [-100] * 4 and rows["item_mask"][2] == [True] * 4
    assert len(rows) == 4 and rows["labels"][0] == IDS[0]


def test_raw_text_is_split_at_marks():
    assert words_of_text("@ann said (to me): it's 5.30, see http://a.b/c.") == [
        *("@ann", "said", "(", "to", "me", ")", ":", "it's", "5.30", ",", "see", "http://a.b/c", "."),
    ]


def test_labels_that_name_no_entities_are_said_to_be_plain(tmp_path, caplog):
    rows = [{"tokens": ["w1", "w2"], "tags": ["NOUN", "VERB"]}]
    with caplog.at_level(logging.WARNING):
        data = token_classification_dataset(*[jsonl(tmp_path / "t.jsonl", rows)] * 2)
    assert data.label_names == ("NOUN", "VERB") and "name no entities" in caplog.text


BAD = [
    ([{"tokens": ["a", "b"], "ner_tags": ["O"]}, *ROWS], r"Line 1 of .*: 2 words and 1 labels, in 'a b'"),
    ([*ROWS, {"tokens": ["a"], "ner_tags": ["x"]}], r"such as B-x, and x does not: write B-x and I-x"),
    ([*ROWS, {"tokens": [], "ner_tags": []}], r"Line 3 of .* holds \[\]; expected a list of words, none empty"),
    ([*ROWS, {"tokens": ["a", ""], "ner_tags": ["O", "O"]}], r"Line 3 of .* holds ''; expected a list of words"),
    ([{"tokens": ["a", "b"], "ner_tags": [0, 1]}], "numbers its labels and does not name them"),
    ([{"tokens": ["a"], "ner_tags": "OB"}], "Line 1 of .* holds 'OB'; expected a list of labels"),
    ([{"text": "a b", "label": "O"}], "has no column 'tokens' of words; its columns are 'text', 'label'"),
]


@pytest.mark.parametrize(("rows", "said"), BAD)
def test_what_is_no_tagged_sentence_is_refused(tmp_path, rows, said):
    with pytest.raises(ValueError, match=said):
        token_classification_dataset(*[jsonl(tmp_path / "train.jsonl", rows)] * 2)


def test_tags_that_train_does_not_know_are_refused(tmp_path):
    train = jsonl(tmp_path / "train.jsonl", ROWS)
    other = jsonl(tmp_path / "test.jsonl", [{"tokens": ["a"], "ner_tags": ["B-z"]}])
    with pytest.raises(ValueError, match=r"Line 1 of .*test.jsonl: unknown label 'B-z' \(did you mean 'B-y'\?\)"):
        token_classification_dataset(train, train, other)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.conll", "a O\nb\n", "Line 2 of .* has 1 columns, and the first word 2"),
        ("t.csv", "word,tag\na,O\nb,O\n", "has a word in each row, and no column says of which sentence"),
    ],
)
def test_files_of_words_that_say_too_little_are_refused(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        token_classification_dataset(*[tmp_path / name] * 2)


TAGGED = {
    "IOB2": ["B-x", "O", "B-y", "I-y", "I-y", "B-y", "B-x", "I-x"],
    "IOBES": ["S-x", "O", "B-y", "I-y", "E-y", "S-y", "B-x", "E-x"],
    "BILOU": ["U-x", "O", "B-y", "I-y", "L-y", "U-y", "B-x", "L-x"],
}


@pytest.mark.parametrize("written", TAGGED)
@pytest.mark.parametrize("read", [None, *TAGGED])
def test_tags_are_read_in_the_scheme_of_the_given_names_else_in_iob2(tmp_path, caplog, written, read):
    """A teacher of other letters would refuse them, and a pipeline groups no entities of `S-x` and `E-x`."""
    order = None if read is None else tuple(sorted({"O", *TAGGED[read], *(f"I-{kind}" for kind in "xy")}, reverse=True))
    rows = [{"tokens": [f"w{place}" for place in range(8)], "ner_tags": tags} for tags in (TAGGED[written], ["O"] * 8)]
    file = jsonl(tmp_path / "train.jsonl", rows)
    data = token_classification_dataset(file, file, label_names=order)
    first, second = ([data.label_names[one] for one in row] for row in data.dataset["train"]["labels"])
    assert first == TAGGED[read or "IOB2"] and second == ["O"] * 8
    assert len(data.label_names) == len(order or "OBIBI")
    assert ("are read as" in caplog.text) == (written != (read or "IOB2"))


def test_numbered_tags_and_holes_are_read_in_another_scheme_too(tmp_path):
    names = ["O", "B-x", "E-x", "S-x"]
    rows = [{"tokens": ["w1", "w2", "w3", "w4"], "ner_tags": tags} for tags in ([1, 2, 3, 0], [-100, 3, -100, 0])]
    file = jsonl(tmp_path / "train.jsonl", rows)
    data = token_classification_dataset(file, file, class_names=names)
    assert data.label_names == ("O", "B-x", "I-x")
    assert data.dataset["train"]["labels"][:] == [[1, 2, 1, 0], [-100, 1, -100, 0]]


@pytest.mark.parametrize("tag", ["S-z", "x"])
def test_an_unknown_tag_is_refused_though_the_others_are_read_in_another_scheme(tmp_path, tag):
    file = jsonl(tmp_path / "train.jsonl", [{"tokens": ["w1", "w2"], "ner_tags": ["S-x", "O"]}])
    held = jsonl(tmp_path / "test.jsonl", [{"tokens": ["w1", "w2"], "ner_tags": [tag, "O"]}])
    with pytest.raises(ValueError, match="unknown label"):
        token_classification_dataset(file, held)

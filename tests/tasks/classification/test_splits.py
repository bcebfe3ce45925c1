"""How rows come to train, validation and test, and the texts that are in two of them."""

import logging

import pytest
from datasets import Dataset

from hfdistill.data.splits import split_validation
from hfdistill.tasks.classification.data import text_classification_dataset


def test_unlabeled_file_joins_train(read_task, write):
    """Its own label column is not read: the teacher labels these rows."""
    more = write("more.csv", "label,text\nunheard of,c\n")
    data = read_task("a\t0", "b\t1", unlabeled_file=more)
    assert data.dataset["train"].to_dict() == {"text": ["a", "b", "c"], "label": [0, 1, -100]}
    assert len(data.dataset["validation"]) == 2
    assert read_task("a\t0.5", "b\t1.5", unlabeled_file=more).dataset["train"]["label"][:] == [0.5, 1.5, -100.0]


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_texts_that_are_measured_on_are_not_labeled_by_the_teacher(read_task, write, caplog, held_out):
    """A student that was told the answers would look as good as its teacher."""
    long = "one two three four five six seven eight nine"
    measured = write("held.csv", f'text,label\n"Is it, this?",1\n{long},0\n"!",1\n')
    own = {"validation_file": measured} if held_out == "validation" else {"test_file": measured}
    copies = ["is it this", f"So: {long.upper()} ten", "!", "? ", "is it", "two three four five six seven eight", "!!"]
    more = write("more.csv", "text\n" + "\n".join(f'"{text}"' for text in copies))
    data = read_task("a\t0", "b\t1", unlabeled_file=more, **own)
    assert data.dataset["train"]["text"][2:] == ["? ", "is it", "two three four five six seven eight", "!!"]
    assert "3 of the 7 unlabeled texts are left out: they are validation or test texts, or share 8" in caplog.text


def test_of_the_unlabeled_texts_so_many_are_drawn(read_task, write):
    more = write("more.csv", "text\n" + "\n".join(f"unheard {number}" for number in range(50)))
    drawn = [read_task("a\t0", "b\t1", unlabeled_file=more, max_unlabeled=count) for count in (10, 10, 99)]
    texts = [one.dataset["train"]["text"][2:] for one in drawn]
    assert texts[0] == texts[1] and len(set(texts[0])) == 10 and len(texts[2]) == 50
    assert sorted(texts[0]) != sorted(texts[2][:10])


def test_the_same_texts_are_drawn_of_any_source(read_task, write):
    """Stored soft targets and published figures are of those that a seed stood for when all were in memory."""
    texts = [f"unheard {number}" for number in range(50)]
    loaded = Dataset.from_dict({"text": texts})
    sources = [
        write("more.csv", "text\n" + "\n".join(texts)),
        write("more.txt.gz", "\n".join(texts)),
        write("more.jsonl", "\n".join(f'{{"id": 1, "text": "{text}"}}' for text in texts)),
        loaded,
    ]
    for source in sources:
        drawn = read_task("a\t0", "b\t1", unlabeled_file=source, max_unlabeled=10).dataset["train"]
        assert drawn["text"][2:] == loaded.shuffle(42)["text"][:10] and drawn["label"][2:] == [-100] * 10
    assert drawn.cache_files  # on disk


def test_blank_texts_are_not_labeled_by_the_teacher(read_task, write, caplog):
    """They were kept, labeled and trained on; of a draw those that are left are the same."""
    texts = [f"unheard {number}" if number % 3 else " " * (number % 2) for number in range(30)]
    more = write("more.csv", "text\n" + "\n".join(f'"{text}"' for text in texts))
    assert read_task("a\t0", "b\t1", unlabeled_file=more).dataset["train"]["text"][2:] == [*filter(str.strip, texts)]
    assert "10 of the 30 unlabeled texts are empty or blank, and left out" in caplog.text
    drawn = read_task("a\t0", "b\t1", unlabeled_file=more, max_unlabeled=12).dataset["train"]["text"][2:]
    assert drawn == [*filter(str.strip, Dataset.from_dict({"text": texts}).shuffle(42)["text"][:12])]


BAD_TEXTS = {
    "no.csv": ("sentence\na\n", r"Line 2 of .*no\.csv has no column 'text'; its columns are 'sentence'"),
    "no.jsonl": ('{"text": "a"}\n{"text": 3}\n', r"Line 2 of .*no\.jsonl: column 'text' holds 3; expected text"),
    "null.jsonl": ('{"text": null}\n', r"Line 1 of .*null\.jsonl: column 'text' holds nothing; expected text"),
    "utf16.txt": ("text".encode("utf-16-le"), "utf16.txt has NUL in its first line"),
    "texts.tmx": ("", r"Cannot read .*texts\.tmx: its ending must be one of [^t]*tsv, .json, .jsonl, .parquet, .txt "),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_unlabeled_texts_that_cannot_be_read_are_refused(read_task, write, name):
    content, sentence = BAD_TEXTS[name]
    with pytest.raises(ValueError, match=sentence):
        read_task("a\t0", "b\t1", unlabeled_file=write(name, content))
    with pytest.raises(ValueError, match=r"Row 1 of the unlabeled split has no column 'text'; its columns are 'words'"):
        read_task("a\t0", "b\t1", unlabeled_file=Dataset.from_dict({"words": ["a"]}))


def test_a_file_of_single_texts_is_none_of_pairs(write):
    train = write("pairs.csv", "sentence1,sentence2,label\na,b,0\nc,d,1\n")
    with pytest.raises(ValueError, match=r"more\.txt has one text a line, and the texts here are pairs \(sentence1"):
        text_classification_dataset(train, train, unlabeled_file=write("more.txt", "a\n"))


def test_a_task_of_unlabeled_training_texts(read_task):
    """Only the teacher labels `train`; what the labels mean is learned from the validation file."""
    data = read_task("a\t", "b\t", validation=["c\t1", "d\t0"], label_names=["no", "yes"])
    assert data.dataset["train"]["label"][:] == [-100, -100]
    assert data.dataset["validation"]["label"][:] == [1, 0]


def test_validation_share_is_deterministic(read_task, caplog):
    caplog.set_level(logging.INFO, logger="hfdistill")
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


def test_validation_is_labeled():
    rows = Dataset.from_dict({"text": [str(n) for n in range(50)], "label": [0, 1] + [-100] * 48})
    train, validation = split_validation(rows, ["text"], "label", share=0.5)
    assert (len(train), len(validation)) == (49, 1)
    assert validation["label"][0] != -100
    with pytest.raises(ValueError, match="train has 1 different labeled texts, too few"):
        split_validation(rows.select([0, 5, 6]), ["text"], "label")
    with pytest.raises(ValueError, match="validation_share must lie between 0 and 1, got 1.5"):
        split_validation(rows, ["text"], "label", share=1.5)


def test_leaks_are_counted(read_task, write, caplog):
    test = write("test.tsv", "text\tlabel\nb\t0\nc\t1\na\t1\na\t1\n")
    read_task("a\t0", "b\t1", validation=["z\t1"], test_file=test)
    assert [record.getMessage() for record in caplog.records] == [
        "3 of the 4 test texts are also in train: the figures will flatter the models."
    ]


def test_pairs_leak_as_pairs(write, caplog):
    train = write("train.tsv", "sentence1\tsentence2\tlabel\na\tb\t0\nc\td\t1\n")
    test = write("test.tsv", "sentence1\tsentence2\tlabel\na\td\t0\n")
    text_classification_dataset(train, test, test)
    assert caplog.records == []

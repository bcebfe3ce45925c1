"""Which columns hold the texts and the label, found or asked for."""

import pytest

from hfdistill.tasks.classification.data import text_classification_dataset


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
    unlabeled = write("unlabeled.tsv", "text\nb\n")
    with pytest.raises(ValueError, match=r"unlabeled\.tsv has no column 'label'; its columns are 'text'"):
        read_task("a\t1", test_file=unlabeled)


def test_text_must_be_text(write):
    path = write("a.jsonl", '{"text": "a", "label": 1}\n{"text": 5, "label": 1}\n')
    with pytest.raises(ValueError, match=r"Line 2 of .*a\.jsonl: column 'text' holds 5; expected text"):
        text_classification_dataset(path, path)
    path = write("a.jsonl", '{"text": "a", "label": 1}\n\n{"label": 1}\n')
    with pytest.raises(ValueError, match=r"Line 3 of .*a\.jsonl: column 'text' holds nothing; expected text"):
        text_classification_dataset(path, path)

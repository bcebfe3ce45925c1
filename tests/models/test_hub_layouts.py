"""The layouts of the Hub's repositories, as folders: what is read of them."""

import pytest
import torch
from hub_layouts import CLASSIFIER, LAYOUTS, MULTI30K, PICKLED_CLASSIFIER, SST2

from hfdistill.data.hub import load_hub_dataset
from hfdistill.models.loading import load_classifier
from hfdistill.tasks.classification.data import text_classification_dataset
from hfdistill.tasks.translation.data import translation_dataset


@pytest.fixture
def folder(tmp_path):
    """`folder(name)`: the files of a repository."""

    def write(name):
        for path, content in LAYOUTS[name]().items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(content)
        return str(tmp_path / name)

    return write


def test_pickled_weights_and_a_plain_vocabulary(folder):
    """A tokenizer configuration of 48 bytes says that the teacher reads lower case, and 512 tokens."""
    (old_tokenizer, old), (tokenizer, model) = map(load_classifier, map(folder, (PICKLED_CLASSIFIER, CLASSIFIER)))
    texts = ["The FILM is a joy", "this play never ends"]
    read = [each([*texts, texts[0].lower()])["input_ids"] for each in (old_tokenizer, tokenizer)]
    assert read[0] == read[1] and read[0][0] == read[0][2]
    assert old_tokenizer.model_max_length == tokenizer.model_max_length == 512
    with torch.no_grad():
        one, other = (each(**tokenizer(texts, padding=True, return_tensors="pt")).logits for each in (old, model))
    assert torch.equal(one, other) and one.dtype == torch.float32 and len(one.unique()) == 4


def test_the_classes_of_a_data_set_are_those_of_its_card(folder):
    """And a test split whose labels are hidden is none to measure on."""
    splits = load_hub_dataset(folder(SST2))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 30, "validation": 10, "test": 8}
    data = text_classification_dataset(splits["train"], splits["validation"])
    assert (data.text_columns, data.label_names) == (("sentence",), ("negative", "positive"))
    assert set(splits["test"]["label"]) == {-1}
    with pytest.raises(ValueError, match="the test split has rows but no label"):
        text_classification_dataset(splits["train"], splits["validation"], splits["test"])


def test_json_lines_are_splits_by_their_names(folder):
    splits = load_hub_dataset(folder(MULTI30K))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 30, "validation": 8, "test": 6}
    data = translation_dataset(splits["train"], splits["validation"], splits["test"])
    assert data.dataset["test"].column_names == ["en", "de"]

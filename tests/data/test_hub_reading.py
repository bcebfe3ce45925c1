"""What cannot be loaded from the Hub is said in one sentence."""

import datasets
import huggingface_hub.constants
import pytest
from transformers import AutoConfig, AutoTokenizer

from hfdistill.data import HubUnreachableError, hub_errors, load_hub_dataset

UNREACHABLE = r"'nobody/nothing' is neither here .* cannot be reached .* give a folder or files of your own\.$"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))


def test_unreachable_dataset(offline):
    with pytest.raises(HubUnreachableError, match=UNREACHABLE):
        load_hub_dataset("nobody/nothing")


@pytest.mark.parametrize("auto_class", [AutoConfig, AutoTokenizer])
def test_unreachable_model(offline, auto_class):
    with pytest.raises(HubUnreachableError, match=UNREACHABLE), hub_errors("nobody/nothing"):
        auto_class.from_pretrained("nobody/nothing")


def test_a_dataset_without_a_train_split(tmp_path):
    """A test set alone is not what a recipe can train on."""
    (tmp_path / "test.csv").write_text("en,de\na,ein\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"has no split 'train' but test: .*files of your own\."):
        load_hub_dataset(str(tmp_path))
    (tmp_path / "train.csv").write_text("en,de\na,ein\n", encoding="utf-8")
    assert set(load_hub_dataset(str(tmp_path))) == {"train", "test"}


def test_unreachable_is_said_once(offline):
    with pytest.raises(HubUnreachableError) as caught, hub_errors("nobody/nothing"):
        load_hub_dataset("nobody/nothing")
    assert str(caught.value).count("cannot be reached") == 1


def test_missing_folder(offline):
    with (
        pytest.raises(FileNotFoundError, match=r"There is no folder '\./no/such/teacher'"),
        hub_errors("./no/such/teacher"),
    ):
        AutoConfig.from_pretrained("./no/such/teacher")


def test_other_errors_pass(offline, tmp_path):
    with pytest.raises(ValueError, match="Unrecognized model"), hub_errors(str(tmp_path)):
        AutoConfig.from_pretrained(tmp_path)
    with pytest.raises(PermissionError, match="mine"), hub_errors("x"):
        raise PermissionError("mine")

"""What cannot be loaded from the Hub is said in one sentence."""

import datasets
import huggingface_hub.constants
import pytest
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import hf_raise_for_status, httpx
from transformers import AutoConfig, AutoTokenizer

from hfdistill.data.hub import load_hub_dataset
from hfdistill.models.hub import HubRefusalError, HubUnreachableError, check_token, hub_errors
from hfdistill.models.loading import load_tokenizer

UNREACHABLE = r"'nobody/nothing' is neither here .* cannot be reached .* give a folder or files of your own\.$"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))


def test_unreachable_dataset(offline):
    with pytest.raises(HubUnreachableError, match=UNREACHABLE) as caught, hub_errors("nobody/nothing"):
        load_hub_dataset("nobody/nothing")
    assert str(caught.value).count("cannot be reached") == 1


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


def test_missing_folder(offline):
    with (
        pytest.raises(FileNotFoundError, match=r"There is no folder '\./no/such/teacher'"),
        hub_errors("./no/such/teacher"),
    ):
        AutoConfig.from_pretrained("./no/such/teacher")


def test_other_errors_pass(offline, tmp_path):
    with pytest.raises(ValueError, match="Unrecognized model"), hub_errors(str(tmp_path)):
        AutoConfig.from_pretrained(tmp_path)
    with pytest.raises(PermissionError, match="own"), hub_errors("x"):
        raise PermissionError("own")


def refuse(status, **headers):
    """Raises as the Hub's client does, and `transformers` after it."""
    request = httpx.Request("HEAD", "https://huggingface.co/owner/name/resolve/main/config.json")
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        hf_raise_for_status(httpx.Response(status, headers=headers, request=request))
    except HfHubHTTPError as error:
        raise OSError("There was a specific connection error when trying to load\nowner/name") from error


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (
            401,
            {"X_Error_Code": "GatedRepo"},
            r"is gated: ask for access at .*/owner/name, and log in \(`hf auth login`",
        ),
        (
            403,
            {"X_Error_Code": "GatedRepo"},
            r"is gated: ask for access at .*/owner/name, and log in \(`hf auth login`",
        ),
        (429, {"RateLimit": '"api";r=0;t=171'}, "too many requests .* wait 171 seconds"),
        (429, {"Retry_After": "12"}, "too many requests .* wait 12 seconds"),
        (401, {"X_Error_Message": "Invalid credentials in Authorization header"}, "to nobody with a wrong token"),
    ],
)
def test_what_the_hub_refuses(status, headers, message):
    with pytest.raises(HubRefusalError, match=message) as caught, hub_errors("owner/name"):
        refuse(status, **headers)
    assert "\n" not in str(caught.value)


def test_a_repository_that_is_not_there():
    with pytest.raises(FileNotFoundError, match="There is no model 'owner/name' on the Hub, or it is private: check"):
        with hub_errors("owner/name"):
            refuse(404, X_Error_Code="RepoNotFound")


def test_the_error_of_a_missing_file_is_kept():
    """That the Hub has no such file in a repository is no failure to reach it."""
    with pytest.raises(OSError, match="specific connection error"), hub_errors("owner/name"):
        refuse(404, X_Error_Code="EntryNotFound")


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError, httpx.ReadTimeout])
def test_a_connection_that_breaks(error):
    with pytest.raises(HubUnreachableError, match=r"cannot be reached \(gone\)"), hub_errors("owner/name"):
        raise error("gone")


def test_no_token_to_push_with(offline, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(HubRefusalError, match=r"no token to push to the Hub with: log in .* or give --hub_token"):
        check_token()
    with pytest.raises(HubUnreachableError, match=r"cannot be reached .* leave --push_to_hub out"):
        check_token("hf_mine")


def test_a_tokenizer_that_needs_sentencepiece(tmp_path, monkeypatch):
    """Without it `transformers` knows no tokenizer of a Marian, and does not say why."""
    monkeypatch.setattr("hfdistill.models.loading.is_sentencepiece_available", lambda: False)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ValueError, match=r"needed: .* need sentencepiece: pip install"):
        load_tokenizer(str(tmp_path))

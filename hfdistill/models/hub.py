"""Errors for a Hub that cannot be reached, or refuses a model, a dataset or a push."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import httpx, parse_ratelimit_headers

#: How to be known to the Hub.
LOG_IN = "log in (`hf auth login`, or HF_TOKEN)"
#: What a connection that fails, or is cut, ends in.
_NO_CONNECTION = (LocalEntryNotFoundError, ConnectionError, TimeoutError, httpx.TransportError)


class HubUnreachableError(ConnectionError):
    """The Hugging Face Hub cannot be reached, and what is requested is not in the local cache."""


class HubRefusalError(OSError):
    """The Hugging Face Hub was reached, and refuses the request."""


def check_token(token: str | None = None) -> None:
    """Checks that the Hub lets a token push, before there is anything to push.

    Args:
        token: The token; by default the one that is kept on this machine, or that of HF_TOKEN.

    Raises:
        HubRefusalError: If there is none, or one that is wrong or may only read.
        HubUnreachableError: If the Hub cannot be reached.
    """
    try:
        account = HfApi().whoami(token=token)
    except LocalTokenNotFoundError:
        raise HubRefusalError(f"there is no token to push to the Hub with: {LOG_IN}, or give --hub_token.") from None
    except (OSError, httpx.HTTPError) as error:
        response = getattr(error, "response", None)
        if response is not None and response.status_code == 401:
            raise HubRefusalError(
                f"the Hub does not know the token to push with (Invalid user token): {LOG_IN}, or give --hub_token."
            ) from None
        raise HubUnreachableError(
            f"the Hub, which the student is to be pushed to, cannot be reached ({_first_line(error)}); connect, or "
            "leave --push_to_hub out."
        ) from None
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise HubRefusalError(
            f"the token of {account['name']} may only read, and the student is to be pushed: take one that may write."
        )


@contextmanager
def hub_errors(name: str, kind: str = "model") -> Iterator[None]:
    """Put around `load_dataset` or `from_pretrained`: one sentence on why `name` cannot be had, and the way out.

    Other errors of files pass as they are.

    Args:
        name: A folder, or a name on the Hub.
        kind: `model` or `dataset`.

    Raises:
        HubUnreachableError: If the Hub cannot be reached and `name` is not in the local cache.
        HubRefusalError: If it is gated, or there were too many requests.
        FileNotFoundError: If there is nothing at this path or of this name.
        ValueError: If what is there is of another kind, such as a folder without a tokenizer.
    """
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        _refuse_code(name, error)
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{name!r} holds no model, tokenizer or dataset of the kind that is needed: {reason}"
        ) from error
    except (HubUnreachableError, HubRefusalError):
        raise
    except (OSError, httpx.HTTPError) as error:
        clear = _in_one_sentence(name, kind, list(_causes(error)))
        if clear is None:
            raise
        raise clear from None


def _in_one_sentence(name: str, kind: str, causes: list[BaseException]) -> OSError | None:
    """The error to raise for what went wrong; `None` where it was neither the name nor the Hub."""
    from datasets.exceptions import DatasetNotFoundError  # seconds, that whoever only catches these errors is spared

    if _any(causes, HFValidationError):
        return FileNotFoundError(
            f"There is no folder {name!r}, and a name on the Hub would be written owner/name; check its spelling."
        )
    # `datasets` keeps no cause of its own errors.
    not_found = [error for error in causes if isinstance(error, (RepositoryNotFoundError, DatasetNotFoundError))]
    if _any(causes, GatedRepoError) or any("gated dataset" in str(error) for error in not_found):
        page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"
        return HubRefusalError(f"{name!r} is gated: ask for access at {page}, and {LOG_IN}.")
    if not_found:
        return FileNotFoundError(
            f"There is no {kind} {name!r} on the Hub, or it is private: check its spelling, or {LOG_IN}."
        )
    refused = {error.response.status_code: error.response for error in causes if isinstance(error, HfHubHTTPError)}
    if 401 in refused:
        return HubRefusalError(
            f"The Hub gives {name!r} to nobody with a wrong token, as the one kept here is: {LOG_IN}."
        )
    if 429 in refused:
        limit = parse_ratelimit_headers(refused[429].headers)
        seconds = limit.reset_in_seconds if limit else refused[429].headers.get("Retry-After", 300)
        return HubRefusalError(
            f"The Hub has had too many requests to give {name!r} now: wait {seconds} seconds; it allows more to those "
            f"who {LOG_IN}."
        )
    if _any(causes, _NO_CONNECTION):
        lost = [error for error in causes if isinstance(error, (*_NO_CONNECTION, HfHubHTTPError))]
        return HubUnreachableError(
            f"{name!r} is neither here nor in the local cache, and the Hugging Face Hub cannot be reached "
            f"({_first_line(lost[-1])}); connect, or give a folder or files of your own."
        )
    return None


def _any(causes: list[BaseException], kind: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    return any(isinstance(cause, kind) for cause in causes)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")


def _refuse_code(name: str, error: Exception) -> None:
    """Refuses code that is kept with a model or dataset, about which `transformers` would prompt on standard input.

    Raises:
        ValueError: if the error is about that; of other errors than ours, a `RuntimeError` passes as it is.
    """
    if "Dataset scripts are no longer supported" in str(error):
        raise ValueError(f"{name!r} is a program that makes a dataset, which is not run: give files.") from None
    if isinstance(error, RuntimeError):
        raise error
    if "trust_remote_code" in str(error):
        raise ValueError(
            f"{name!r} comes with code of its own, which is not run unless you ask for it: read it, and then say "
            "--trust_remote_code true (from Python, load the model yourself with trust_remote_code=True)."
        ) from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that led to it; `datasets` hides the last of them from its traceback."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

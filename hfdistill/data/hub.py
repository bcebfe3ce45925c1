"""Datasets and models from the Hub, and what to say when it cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from datasets import DatasetDict, load_dataset
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from transformers import AutoTokenizer, PreTrainedTokenizerBase


class HubUnreachableError(ConnectionError):
    """The Hugging Face Hub cannot be reached, and what was asked of it is not in the local cache."""


def load_hub_dataset(name: str, config: str | None = None) -> DatasetDict:
    """`datasets.load_dataset(name, config)`, with one clear sentence when there is nothing to train on.

    Raises:
        HubUnreachableError: If the Hub cannot be reached and `name` is not in the local cache.
        FileNotFoundError: If `name` is a path at which there is nothing.
        ValueError: If it has no split `train`.
    """
    with hub_errors(name):
        splits = load_dataset(name, config)
    if "train" not in splits:
        raise ValueError(
            f"the dataset {name!r} has no split 'train' but {', '.join(splits)}: name one that has, or give files of "
            "your own."
        )
    return splits


def load_tokenizer(name: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """A tokenizer, from a folder or the Hub.

    Args:
        name: The folder, or the name on the Hub.
        trust_remote_code: Whether code that is kept there is run.

    Raises:
        HubUnreachableError: when the Hub is asked and does not answer.
        OSError: when there is nothing of this name.
        ValueError: when what is there has no tokenizer.
    """
    with hub_errors(name):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    # For a folder without a vocabulary `transformers` makes up a tokenizer to which every word is unknown.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ValueError(f"{name!r} has no tokenizer: save the one of the model there, tokenizer.save_pretrained(...).")
    return tokenizer


@contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """Put around `load_dataset` or `from_pretrained` of `name`: says plainly that the Hub cannot be reached.

    Other errors of files and the network, such as a repository that does not exist, pass as they are.

    Raises:
        HubUnreachableError: If the Hub cannot be reached and `name` is not in the local cache.
        FileNotFoundError: If `name` is a path at which there is nothing.
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
    except HubUnreachableError:
        raise
    except OSError as error:
        causes = list(_causes(error))
        if any(isinstance(cause, HFValidationError) for cause in causes):
            raise FileNotFoundError(
                f"There is no folder {name!r}, and a name on the Hub would be written owner/name; check its spelling."
            ) from None
        if not any(isinstance(cause, (LocalEntryNotFoundError, ConnectionError, TimeoutError)) for cause in causes):
            raise
        reason = str(causes[-1]).partition(". ")[0]
        raise HubUnreachableError(
            f"{name!r} is neither here nor in the local cache, and the Hugging Face Hub cannot be reached ({reason}); "
            "connect, or give a folder or files of your own."
        ) from None


def _refuse_code(name: str, error: Exception) -> None:
    """Says of code that somebody keeps with a model or dataset what `transformers` asks on standard input.

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
    """The error and what it was explicitly raised from; errors met on the way to it explain nothing."""
    while error is not None:
        yield error
        error = error.__cause__

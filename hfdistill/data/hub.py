"""Datasets of the Hub."""

from __future__ import annotations

from typing import Any

from datasets import DatasetDict, load_dataset

from hfdistill.models.hub import hub_errors


def load_hub_dataset(name: str, config: str | None = None, **how: Any) -> DatasetDict:
    """`datasets.load_dataset(name, config)`, with one clear sentence when there is nothing to train on.

    Args:
        name: The dataset.
        config: Its configuration.
        **how: As for `load_dataset`, such as `streaming`.

    Raises:
        HubUnreachableError: If the Hub cannot be reached and `name` is not in the local cache.
        HubRefusalError: If it is gated, or there were too many requests.
        FileNotFoundError: If there is nothing of this name.
        ValueError: If it has no split `train`.
    """
    with hub_errors(name, "dataset"):
        splits = load_dataset(name, config, **how)
    if "train" not in splits:
        raise ValueError(
            f"the dataset {name!r} has no split 'train' but {', '.join(splits)}: name one that has, or give files of "
            "your own."
        )
    return splits

"""Rows with choices, such as the endings of a text or the candidates of a query, as a batch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hfdistill.models.heads import CHOICE_MASK
from hfdistill.teachers import TEACHER_LOGITS


class ChoiceCollator:
    """A batch of rows whose `input_ids` are a list for each choice: `(batch, choices, tokens)`, and `choice_mask`.

    Rows may have choices of unequal number: those of fewer are filled up with their first one, which the mask leaves
    out. `labels` is the number of the right choice, −100 for none; `teacher_logits` are padded alike.

    Args:
        tokenizer: The student's.
        pad_to_multiple_of: Of how many tokens the width of a batch is a multiple.

    Raises:
        ValueError: for a row with fewer than two choices, or whose label is none of them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, pad_to_multiple_of: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.pad_to_multiple_of = pad_to_multiple_of

    def __call__(self, features: list[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The batch."""
        counts = [len(row["input_ids"]) for row in features]
        for number, (row, count) in enumerate(zip(features, counts, strict=True)):
            _check(number, row, count)
        most = max(counts)
        columns = [name for name in self.tokenizer.model_input_names if name in features[0]]
        every = [
            {name: row[name][choice if choice < count else 0] for name in columns}
            for row, count in zip(features, counts, strict=True)
            for choice in range(most)
        ]
        padded = self.tokenizer.pad(every, return_tensors="pt", pad_to_multiple_of=self.pad_to_multiple_of)
        batch = {name: tensor.view(len(features), most, -1) for name, tensor in padded.items()}
        batch[CHOICE_MASK] = torch.arange(most) < torch.tensor(counts)[:, None]
        label = next((name for name in ("label", "labels") if name in features[0]), None)
        if label is not None:
            batch["labels"] = torch.tensor([int(row[label]) for row in features])
        if TEACHER_LOGITS in features[0]:
            batch[TEACHER_LOGITS] = torch.tensor(
                [[*row[TEACHER_LOGITS], *[0.0] * (most - len(row[TEACHER_LOGITS]))] for row in features]
            )
        return batch


def check_choice(row: str, label: float, count: int) -> None:
    """Refuses a label that is not the number of one of a row's choices, or −100.

    Raises:
        ValueError: naming the row.
    """
    if label != -100 and label not in range(count):  # nor a grade in between
        raise ValueError(f"{row} has {count} choices, 0 to {count - 1}, and the label {label}.")


def _check(number: int, row: Mapping[str, Any], count: int) -> None:
    if not count or not np.ndim(row["input_ids"][0]) or count < 2:
        raise ValueError(
            f"row {number} of a batch has no two choices to choose from: its input_ids must be a list of token ids for "
            "each of them."
        )
    label = row.get("labels", row.get("label", -100))
    check_choice(f"row {number} of a batch", label, count)
    if TEACHER_LOGITS in row and len(row[TEACHER_LOGITS]) != count:
        raise ValueError(
            f"row {number} of a batch has {count} choices and {len(row[TEACHER_LOGITS])} teacher_logits: run "
            "soft_targets on the rows as they are."
        )


def tokenize_choices(
    rows: Mapping[str, Sequence[Any]],
    tokenizer: PreTrainedTokenizerBase,
    context: str,
    choices: str | Sequence[str],
    max_length: int = 128,
) -> dict[str, list[list[Any]]]:
    """Token ids of a context with each of its choices, as for `dataset.map(..., batched=True)`.

    Args:
        rows: Columns of a dataset.
        tokenizer: The student's.
        context: The column of the question, premise or query.
        choices: The columns of the choices, one each; or the one column with a list of them.
        max_length: The most tokens of a pair.

    Raises:
        ValueError: for a row without choices.
    """
    names = [choices] if isinstance(choices, str) else list(choices)
    columns = [rows[name] for name in names]
    every = list(columns[0]) if isinstance(choices, str) else list(zip(*columns, strict=True))
    if empty := [number for number, row in enumerate(every) if not row]:
        raise ValueError(f"row {empty[0]} has no choices in {', '.join(names)}: filter such rows out.")
    pairs = [(text, choice) for text, row in zip(rows[context], every, strict=True) for choice in row]
    found = tokenizer(*map(list, zip(*pairs, strict=True)), truncation=True, max_length=max_length)
    ends = list(itertools.accumulate(len(row) for row in every))
    return {
        name: [found[name][begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        for name in found
        if name != "overflow_to_sample_mapping"
    }

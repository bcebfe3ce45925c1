"""What a model reads of a dataset row: its own tokens of the text, or the tokens that the row brings."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hfdistill.models.ragged import Column, Ragged, list_of, ragged_of
from hfdistill.models.wrappers import config_of, forward_parameters, unwrapped, without_adapters

#: What the `pad` of every tokenizer knows.
TOKEN_COLUMNS = ("input_ids", "attention_mask", "token_type_ids", "special_tokens_mask")

#: What a `forward` takes that no row brings to be read: the targets, a cache, and options of its output.
_NOT_OF_A_ROW = ("start_positions", "end_positions", "past_key_values", "encoder_outputs")
_OPTIONS = ("output_", "return_", "use_")


@dataclass(frozen=True)
class TokenReader:
    """What a model reads of dataset rows: token columns without padding, cut to the length it has positions for.

    Apart from the model itself, so that `datasets` need not hash its weights to name the result.

    Args:
        processing_class: The model's tokenizer.
        text_columns: The columns of raw text to tokenize; when empty the rows bring `input_ids` of its vocabulary.
        inputs: The columns that the model takes: those of tokens, and whatever else the rows may have for it.
        max_length: The most tokens it can read.
    """

    processing_class: PreTrainedTokenizerBase
    text_columns: tuple[str, ...]
    inputs: tuple[str, ...]
    max_length: int

    def __call__(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The token columns, and `cut`: whether a row was longer than the model can read."""
        columns, cut = self._tokenized(rows) if self.text_columns else self._shared(rows)
        return {**columns, "cut": cut}

    def _tokenized(self, rows: Mapping[str, Sequence[Any]]) -> tuple[dict[str, list[Any]], list[bool]]:
        texts = (list(rows[column]) for column in self.text_columns)
        encoding = self.processing_class(*texts, truncation=True, max_length=self.max_length)
        if "cut" in encoding:  # of a processor that cuts texts in a way of its own
            cut = encoding["cut"]
        elif encoding.encodings is None:  # tokenizers without a Rust core do not report it
            cut = [len(ids) == self.max_length for ids in encoding["input_ids"]]
        else:
            cut = [bool(one.overflowing) for one in encoding.encodings]
        return {name: encoding[name] for name in self._names(encoding)}, cut

    def _shared(self, rows: Mapping[str, Sequence[Any]]) -> tuple[dict[str, list[Any]], list[bool]]:
        columns, cut = self.shared({name: ragged_of(rows[name]) for name in self.shared_columns(rows)})
        return {name: list_of(column) for name, column in columns.items()}, cut.tolist()

    def shared_columns(self, names: Iterable[str]) -> list[str]:
        """Which of a dataset's columns it reads where the rows bring their tokens."""
        return [*self._names(names), *({"attention_mask"} & set(names))]

    def shared(self, columns: Mapping[str, Column]) -> tuple[dict[str, Column], np.ndarray]:
        """Columns of tokens without their padding and cut to the length, and whether each row was cut.

        Raises:
            ValueError: when a mask is not as long as its row.
        """
        read: dict[str, Any] = dict(columns)
        mask, ids = read.pop("attention_mask", None), read["input_ids"]
        if not isinstance(ids, Ragged) or (mask is not None and not _is_of_tokens("attention_mask", mask, ids.lengths)):
            raise ValueError("the attention_mask of some row is not as long as its input_ids: tokenize the rows again.")
        of_tokens = [name for name, one in read.items() if _is_of_tokens(name, one, ids.lengths)]
        if mask is not None and not mask.values.all():
            ids = _keep(read, of_tokens, mask.values != 0)
        cut = ids.lengths > self.max_length
        if cut.any():
            # The last token closes a text ([SEP]) for the models that have one: it stays.
            last = ids.places == np.repeat(ids.lengths - 1, ids.lengths)
            _keep(read, of_tokens, (ids.places < self.max_length - 1) | last)
        return read, cut

    def _names(self, rows: Iterable[str]) -> list[str]:
        # No attention mask: without padding it is all ones, and the tokenizer's `pad` makes it.
        return [name for name in self.inputs if name != "attention_mask" and name in rows]


def _is_of_tokens(name: str, column: Any, lengths: np.ndarray) -> bool:
    """Whether a column has one entry for each of the source's tokens in every row."""
    # What a decoder reads is of another text, whose length may be the same by accident.
    return isinstance(column, Ragged) and not name.startswith("decoder_") and np.array_equal(column.lengths, lengths)


def _keep(columns: dict[str, Any], names: Sequence[str], wanted: np.ndarray) -> Ragged:
    """Leaves the wanted tokens in these columns; returns their ids."""
    columns.update({name: columns[name].kept(wanted) for name in names})
    return columns["input_ids"]


def token_inputs(model: Any) -> tuple[str, ...]:
    """The columns of a row that a model's `forward` takes, its main input first: all but labels, caches and options.

    A model made of others lists them itself, in an attribute `reads`.
    """
    names = getattr(unwrapped(model), "reads", None) or forward_parameters(model) or TOKEN_COLUMNS[:-1]
    read = [name for name in names if not (name in _NOT_OF_A_ROW or name.startswith(_OPTIONS) or "label" in name)]
    main = main_input(model)
    return tuple(sorted(read, key=lambda name: name != main))


def main_input(model: Any) -> str:
    """What a model reads above all: `input_ids`, `pixel_values`, `input_values`, `input_features`, ..."""
    return getattr(without_adapters(model), "main_input_name", None) or "input_ids"


def taken_inputs(model: Any, names: Sequence[str]) -> tuple[str, ...]:
    """Those of `names` that a model's `forward` takes."""
    taken = forward_parameters(model)
    return tuple(names) if taken is None else tuple(name for name in names if name in taken)


def pad_rows(
    processing_class: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]], **settings: Any
) -> dict[str, Tensor]:
    """A batch of rows, also of what a tokenizer's `pad` does not know, such as `global_attention_mask`.

    Args:
        processing_class: The tokenizer.
        rows: What a model reads of each, `input_ids` among it.
        **settings: As for the tokenizer's `pad`.

    Raises:
        ValueError: for a column that cannot be padded.
    """
    others = [name for name in rows[0] if name not in padded_by(processing_class)]
    known = [{name: value for name, value in row.items() if name not in others} for row in rows]
    batch = dict(processing_class.pad(known, return_tensors="pt", **settings))
    side = settings.get("padding_side") or processing_class.padding_side
    return batch | pad_columns(others, rows, batch["input_ids"].shape[1], side)


def pad_batch(
    processing_class: PreTrainedTokenizerBase, columns: Mapping[str, Column], side: str | None = None, multiple: int = 1
) -> dict[str, Tensor]:
    """As `pad_rows`, of a batch that is read by columns: at once, where the tokenizer pads as most do.

    Args:
        processing_class: The tokenizer.
        columns: What a model reads of each row, `input_ids` among it.
        side: `right` or `left`; the tokenizer's own where left out.
        multiple: Of how many tokens the width of the batch is a multiple.

    Raises:
        ValueError: for a column that cannot be padded.
    """
    side, ids = side or processing_class.padding_side, columns["input_ids"]
    paddings = usual_paddings(processing_class)
    if paddings is None or not isinstance(ids, Ragged):
        return pad_rows(processing_class, _rows_of(columns), padding_side=side, pad_to_multiple_of=multiple)
    given = dict(columns)
    if "attention_mask" in processing_class.model_input_names:
        given.setdefault("attention_mask", Ragged(np.ones(len(ids.values), np.int64), ids.lengths))
    width = -(-int(ids.lengths.max()) // multiple) * multiple
    return {name: _padded(name, one, ids.lengths, width, side, paddings.get(name, 0)) for name, one in given.items()}


def usual_paddings(processing_class: Any) -> dict[str, int] | None:
    """What a tokenizer fills columns up with, other than zeros; `None` of one that pads in its own way, or not."""
    kind, usual = type(processing_class), PreTrainedTokenizerBase
    if not isinstance(processing_class, usual):
        return None
    usually = kind.pad is usual.pad and kind._pad is usual._pad and processing_class.model_input_names[0] == "input_ids"
    if not usually or processing_class.pad_token_id is None:
        return None
    return {
        "input_ids": processing_class.pad_token_id,
        "token_type_ids": processing_class.pad_token_type_id,
        "special_tokens_mask": 1,
    }


def _rows_of(columns: Mapping[str, Column]) -> list[dict[str, Any]]:
    lists = [list_of(column) for column in columns.values()]
    return [dict(zip(columns, values, strict=True)) for values in zip(*lists, strict=True)]


def padded_by(processing_class: Any) -> frozenset[str]:
    """The columns that a tokenizer's `pad` makes one length."""
    return frozenset({*TOKEN_COLUMNS, *getattr(processing_class, "model_input_names", ())})


def pad_columns(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], width: int, padding_side: str
) -> dict[str, Tensor]:
    """Tensors of columns: with zeros at the padding where there is an entry for each token, otherwise as they are.

    Zero is no global attention, the first position or language, an empty box; the attention mask hides it.

    Args:
        names: The columns.
        rows: The rows of a batch, with `input_ids`.
        width: The tokens of each row with its padding.
        padding_side: `right` or `left`.

    Raises:
        ValueError: for a column of text, or of unequal lengths that are not those of the texts, naming it.
    """
    lengths = np.array([len(row["input_ids"]) for row in rows])
    return {name: _padded(name, ragged_of([row[name] for row in rows]), lengths, width, padding_side) for name in names}


def _padded(name: str, column: Column, lengths: np.ndarray, width: int, side: str, padding: int = 0) -> Tensor:
    """A column as one tensor; `lengths` are those of the source's tokens."""
    if isinstance(column, Ragged) and _is_of_tokens(name, column, lengths):
        return torch.from_numpy(column.padded(width, padding, side))
    if isinstance(column, Ragged) and (column.lengths == column.lengths[0]).all():
        return torch.from_numpy(column.padded(int(column.lengths[0])))
    try:
        return torch.from_numpy(np.asarray(list_of(column)))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the column {name}, which the model reads, cannot be padded to a batch: it needs one number for each of a "
            "row's input_ids, or as many numbers in every row; bring it so, pad it in a data_collator of your own, or "
            "remove the column."
        ) from error


def check_token_ids(
    ids: Tensor | Sequence[Any], table: int | None, who: str, rows: Sequence[int] | None = None, dataset: str = ""
) -> None:
    """Refuses token ids that a model has no embedding for; torch would end in an `IndexError` without row or id.

    Args:
        ids: Token ids of some rows, padded or not, not on an accelerator, which would have to wait.
        table: How many ids the model knows; `None` takes any.
        who: Whose table it is, such as `teacher`.
        rows: The numbers of the rows in their dataset; those in the batch when left out.
        dataset: The dataset's name, where there are several.

    Raises:
        ValueError: naming the row and the id.
    """
    if table is None:
        return
    if isinstance(ids, Tensor) and (not ids.numel() or (int(ids.max()) < table and int(ids.min()) >= 0)):
        return
    for number, row in enumerate(ids):
        if len(row) and not (0 <= min(row) and max(row) < table):
            token = next(int(one) for one in row if not 0 <= one < table)
            where = (
                f"row {number} of the batch" if rows is None else f"row {rows[number]}{dataset and f' of {dataset}'}"
            )
            raise ValueError(
                f"{where} has the token id {token}, and the {who} has embeddings for the ids 0 to {table - 1}: "
                f"tokenize the rows with the {who}'s own tokenizer, or call its resize_token_embeddings where its "
                "training has known these tokens."
            )


def decoder_positions(config: Any) -> int | None:
    """How many target tokens a decoder has positions for; `None` where there is no limit (T5).

    Args:
        config: That of an encoder-decoder.
    """
    names = ("max_target_positions", "max_decoder_position_embeddings", "max_position_embeddings")
    sides = (config, getattr(config, "decoder", None))
    found = (getattr(side, name, None) for side in sides for name in names)
    return next((positions for positions in found if positions is not None), None)


def max_positions(model: Any, processing_class: PreTrainedTokenizerBase | None = None) -> int:
    """How many tokens of a text a model can read: its positions, or what its tokenizer allows if that is less."""
    limits = [
        sys.maxsize,
        getattr(config_of(model), "max_position_embeddings", None),
        getattr(processing_class, "model_max_length", None),
    ]
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            # RoBERTa's positions begin after the padding index, so that many are never used.
            limits.append(module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1))
    return min(int(limit) for limit in limits if limit is not None and limit > 0)

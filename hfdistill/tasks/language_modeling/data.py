"""Raw texts, from files, the Hub or a stream, as the rows that a language model is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, IterableDataset, List, Value
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from hfdistill.data.columns import find_texts, no_text
from hfdistill.data.files import recognized_texts
from hfdistill.data.hub import load_hub_dataset
from hfdistill.data.lines import text_lines
from hfdistill.data.masking import MaskedTextCollator, packed_rows
from hfdistill.data.parallel import streamed_rows
from hfdistill.data.shortening import shortened
from hfdistill.data.tables import first_rows, place, table_rows
from hfdistill.models.packed_texts import SEGMENT_IDS
from hfdistill.tasks.classification.demo import demo_dataset

#: The most texts that are set aside to measure on, and of a dataset the most of it.
MEASURED_TEXTS, MEASURED_SHARE = 1000, 0.1
DEMO_TEXTS = 4000
_TEXT = "text"
_FEATURES = Features({_TEXT: Value("string")})

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class RawTexts:
    """Texts without labels, none of them blank, each in a column `text`.

    Attributes:
        train: Those to learn from; an `IterableDataset` where they are streamed.
        validation: Those to measure on.
        name: What a card calls them.
        demo: Whether they were generated.
    """

    train: Any
    validation: Dataset
    name: str = ""
    demo: bool = False

    def rows(self, tokenizer: PreTrainedTokenizerBase, max_length: int = 128, pack: bool = False) -> Any:
        """The texts to learn from as token ids: long ones in several rows, with `pack` short ones together in one."""
        return text_rows(self.train, tokenizer, max_length, pack)

    def measured(self, collator: MaskedTextCollator, max_length: int = 128) -> Dataset:
        """The texts to measure on, in which the same tokens are masked each time."""
        return text_rows(self.validation, collator.tokenizer, max_length).map(collator.masked, desc="Masking")


def raw_texts(
    train_file: str | Path | None = None,
    validation_file: str | Path | None = None,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    *,
    text_column: str | None = None,
    streaming: bool = False,
    demo: bool = False,
) -> RawTexts:
    """Texts without labels: of a file, of a dataset on the Hub, or the demo's; blank ones are left out.

    Without a validation file some texts are set aside: of a stream among the first ones. What is measured on is not
    trained on: the same texts elsewhere are left out, which a warning counts unless they are streamed.

    Args:
        train_file: One text a line (`.txt`, `.en`), or csv, tsv, json, jsonl or parquet with a column of texts; all but
            parquet may be compressed (`.gz`, `.zst`). Only `\\n` and `\\r\\n` end a line.
        validation_file: Likewise, to measure on.
        dataset_name: A dataset on the Hub, in place of files.
        dataset_config_name: Its configuration.
        text_column: The column of the texts; by default `text` or `sentence`, else, of a file, the first with words.
        streaming: Whether the texts are read as they are needed, none of them kept.
        demo: Whether to take the generated corpus of the classification demo, without its labels.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when a file cannot be read, or has no texts or no column of them; of a stream, when it comes there.
        HubUnreachableError: when the Hub is needed and cannot be reached.
    """
    if demo:
        corpus = demo_dataset(num_train=DEMO_TEXTS, num_eval=500).rename_column("sentence", _TEXT).select_columns(_TEXT)
        return RawTexts(corpus["train"], corpus["validation"], "a generated corpus", demo=True)
    if train_file is not None:
        train = _file(train_file, text_column, streaming)
    elif dataset_name is not None:
        splits = load_hub_dataset(dataset_name, dataset_config_name, streaming=streaming)
        train = _only_text(splits["train"], text_column, dataset_name)
    else:
        raise ValueError("there are no texts: give --train_file or --dataset_name.")
    name = str(train_file or dataset_name)
    measured = _set_aside(train, name) if validation_file is None else _file(validation_file, text_column)
    kept = _without(train, measured, name)
    if validation_file is not None and isinstance(train, Dataset) and len(kept) < len(train):
        logger.warning(
            "%d of the %d texts of %s are measured on, in %s, and so not trained on.",
            len(train) - len(kept),
            len(train),
            name,
            validation_file,
        )
    return RawTexts(kept, measured, name)


def _file(path: str | Path, column: str | None, streaming: bool = False) -> Any:
    """The texts of a file: on disk, in the cache of `datasets`, or read as they are needed."""
    by_lines = recognized_texts(path) == "lines"
    source: dict[str, Any] = {"path": str(path), "column": None if by_lines else _column(path, column)}
    if streaming:
        return IterableDataset.from_generator(_rows, _FEATURES, gen_kwargs=source)

    def rows() -> Iterator[tuple[int, str]]:
        return ((number, row[_TEXT]) for number, row in enumerate(_rows(**source)))

    found = streamed_rows(rows, [Path(path)], [_TEXT], **source).select_columns(_TEXT)
    if not len(found):
        raise ValueError(f"{path} has no texts: its lines are blank.")
    return found


def _column(path: str | Path, given: str | None) -> str:
    return find_texts(first_rows(path), given, None)[0]


def _rows(path: str, column: str | None) -> Iterator[dict[str, str]]:
    """The texts that are not blank."""
    texts = text_lines(Path(path)) if column is None else _cells(path, column)
    return ({_TEXT: text} for text in texts if text.strip())


def _cells(path: str, column: str) -> Iterator[str]:
    for row, (line, cells) in enumerate(table_rows(path)):
        text = cells.get(column)
        if not isinstance(text, str):
            raise no_text(text, column, place(line, row, path))
        yield text


def _only_text(dataset: Any, column: str | None, name: str) -> Any:
    """The dataset with its column of texts alone, as `text`, and none that are blank."""
    columns = list(dataset.column_names or next(iter(dataset), {}))
    wanted = [column] if column else [_TEXT, "sentence"]
    found = next((one for one in wanted if one in columns), None)
    if found is None:
        raise ValueError(
            f"{name} has no column {' or '.join(wanted)}, only {', '.join(columns)}: name the column of the texts with "
            "--text_column."
        )

    def has_words(text: Any) -> bool:
        if not isinstance(text, str | None):
            raise ValueError(f"column {found!r} of {name} holds {shortened(text)}; expected text: check --text_column.")
        return bool(text and text.strip())

    dataset = dataset.select_columns(found).filter(has_words, input_columns=found)
    return dataset if found == _TEXT else dataset.rename_column(found, _TEXT)


def _set_aside(train: Any, name: str) -> Dataset:
    """Some of the texts, to measure on: of a stream some of the first."""
    if isinstance(train, IterableDataset):
        first = train.take(int(MEASURED_TEXTS / MEASURED_SHARE))
        train = Dataset.from_dict({_TEXT: [row[_TEXT] for row in first]}, _FEATURES)
    count = min(MEASURED_TEXTS, int(len(train) * MEASURED_SHARE))
    if not count:
        raise ValueError(f"{name} has {len(train)} texts, too few to set some aside: give a validation file.")
    return train.train_test_split(count, seed=0)["test"]


def _without(train: Any, measured: Dataset, name: str) -> Any:
    """The texts that are not measured on, told by what they say: places change where processes share a stream."""
    held_out = set(measured[_TEXT])
    kept = train.filter(lambda text: text not in held_out, input_columns=_TEXT)
    if next(iter(kept), None) is None:
        raise ValueError(f"all texts of {name} are measured on, and none is left to train on: give others to measure.")
    return kept


def text_rows(
    texts: Any, tokenizer: PreTrainedTokenizerBase, max_length: int = 128, pack: bool = False
) -> Dataset | IterableDataset:
    """Token ids of texts: no text is cut, a long one is several rows; empty ones are left out.

    Args:
        texts: A `Dataset` or `IterableDataset` with a column `text`.
        tokenizer: The student's, a fast one.
        max_length: The most tokens of a row.
        pack: Whether short texts share a row, each attending to itself alone (`segment_ids`): fewer rows, and less
            padding. The trainer refuses it for models that would mix them.

    Raises:
        ValueError: for a slow tokenizer, which does not give the rest of a text that it cuts.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"a {type(tokenizer).__name__} cannot cut a long text into several rows: take a fast tokenizer."
        )
    length = min(max_length, tokenizer.model_max_length)
    tokens = List(Value("int32"))
    columns = {"input_ids": tokens, **({SEGMENT_IDS: tokens} if pack else {})}
    how: dict[str, Any] = {"batched": True, "remove_columns": [_TEXT], "features": Features(columns)}
    if isinstance(texts, Dataset):
        how["desc"] = "Tokenizing"
    rows: Dataset | IterableDataset = texts.map(partial(_windows, tokenizer, length, pack), **how)
    return rows


def _windows(
    tokenizer: PreTrainedTokenizerBase, length: int, pack: bool, rows: Mapping[str, Sequence[str | None]]
) -> dict[str, Any]:
    texts = [text for text in rows[_TEXT] if text and text.strip()]
    if not texts:
        return {"input_ids": [], **({SEGMENT_IDS: []} if pack else {})}
    found = tokenizer(texts, truncation=True, max_length=length, return_overflowing_tokens=True)
    ids = {"input_ids": found["input_ids"]}
    return packed_rows(ids, length) if pack else ids

"""Raw texts, from files, the Hub or a stream, as the rows that a language model is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, IterableDataset, List, Value, load_dataset
from transformers import PreTrainedTokenizerBase

from hfdistill.data.columns import find_texts, texts_of
from hfdistill.data.masking import MaskedTextCollator, packed_rows
from hfdistill.data.tables import open_table
from hfdistill.models.hub import hub_errors
from hfdistill.models.packed_texts import SEGMENT_IDS
from hfdistill.tasks.classification.demo import demo_dataset

#: The most texts that are set aside to measure on, and of a dataset the most of it.
MEASURED_TEXTS, MEASURED_SHARE = 1000, 0.1
DEMO_TEXTS = 4000
#: What `datasets` reads a stream of files with, by their ending.
_BUILDERS = {"txt": "text", "csv": "csv", "json": "json", "jsonl": "json", "parquet": "parquet"}
_TEXT = "text"


@dataclass(frozen=True)
class RawTexts:
    """Texts without labels, each in a column `text`.

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
    """Texts without labels: of a file, of a dataset on the Hub, or the demo's.

    Without a validation file some texts are set aside: of a stream the first ones.

    Args:
        train_file: One text a line (`.txt`), or csv, tsv, json, jsonl or parquet with a column of texts.
        validation_file: Likewise, to measure on.
        dataset_name: A dataset on the Hub, in place of files.
        dataset_config_name: Its configuration.
        text_column: The column of the texts; by default `text` or `sentence`, else the first that holds words.
        streaming: Whether the texts are read as they are needed, none of them kept.
        demo: Whether to take the generated corpus of the classification demo, without its labels.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when a file cannot be read or has no column of text.
        HubUnreachableError: when the Hub is needed and cannot be reached.
    """
    if demo:
        corpus = demo_dataset(num_train=DEMO_TEXTS, num_eval=500).rename_column("sentence", _TEXT).select_columns(_TEXT)
        return RawTexts(corpus["train"], corpus["validation"], "a generated corpus", demo=True)
    name = str(train_file or dataset_name)
    if train_file is not None:
        train = _streamed_file(train_file, text_column) if streaming else _file(train_file, text_column)
    elif dataset_name is not None:
        with hub_errors(dataset_name, "dataset"):
            loaded = load_dataset(dataset_name, dataset_config_name, split="train", streaming=streaming)
        train = _only_text(loaded, text_column, dataset_name)
    else:
        raise ValueError("there are no texts: give --train_file or --dataset_name.")
    if validation_file is not None:
        return RawTexts(train, _file(validation_file, text_column), name)
    if isinstance(train, IterableDataset):
        held_out = Dataset.from_list(list(train.take(MEASURED_TEXTS)), Features({_TEXT: Value("string")}))
        return RawTexts(train.skip(MEASURED_TEXTS), held_out, name)
    count = min(MEASURED_TEXTS, int(len(train) * MEASURED_SHARE))
    if not count:
        raise ValueError(f"{name} has {len(train)} texts, too few to set some aside: give a validation file.")
    splits = train.train_test_split(count, seed=0)
    return RawTexts(splits["train"], splits["test"], name)


def _file(path: str | Path, text_column: str | None) -> Dataset:
    """The texts of one file that is read whole."""
    if str(path).endswith(".txt"):
        return Dataset.from_dict({_TEXT: _lines(Path(path))})
    table = open_table(path, "texts")
    column, *_ = find_texts(table, text_column, None, None)
    return Dataset.from_dict({_TEXT: list(texts_of(table, column))})


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path} (looked in {Path.cwd()}).")
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ValueError(f"Line {line} of {path} is not UTF-8: save the file in that encoding.") from None


def _streamed_file(path: str | Path, text_column: str | None) -> IterableDataset:
    path, ending = Path(path), str(path).rpartition(".")[2]
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path} (looked in {Path.cwd()}).")
    if ending not in _BUILDERS:
        raise ValueError(f"{path} cannot be streamed: its ending must be one of .{', .'.join(_BUILDERS)}.")
    stream = load_dataset(_BUILDERS[ending], data_files=str(path), split="train", streaming=True)
    return _only_text(stream, text_column, str(path))


def _only_text(dataset: Any, column: str | None, name: str) -> Any:
    """The dataset with its column of texts alone, as `text`."""
    columns = list(dataset.column_names or next(iter(dataset)))
    wanted = [column] if column else [_TEXT, "sentence"]
    found = next((one for one in wanted if one in columns), None)
    if found is None:
        raise ValueError(
            f"{name} has no column {' or '.join(wanted)}, only {', '.join(columns)}: name the column of the texts with "
            "--text_column."
        )
    dataset = dataset.select_columns(found)
    return dataset if found == _TEXT else dataset.rename_column(found, _TEXT)


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

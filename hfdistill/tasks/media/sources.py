"""Where pictures and recordings come from: folders, tables of files, the Hub, or a generated set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Audio, Dataset, DatasetDict, Image

from hfdistill.data.hub import load_hub_dataset
from hfdistill.data.tables import read_table
from hfdistill.models.loading import label_names_of
from hfdistill.tasks.media.data import PICTURES, SOUNDS, MediaData, folder_rows, with_class_names
from hfdistill.tasks.media.demo import demo_pictures, demo_sounds

_COLUMNS = {PICTURES: ("image", "picture", "img"), SOUNDS: ("audio", "sound", "speech")}
_FILES = ("file", "file_name", "path")


def media_data(
    train_file: str | None = None,
    validation_file: str | None = None,
    test_file: str | None = None,
    *,
    kind: str = PICTURES,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    media_column: str | None = None,
    label_column: str = "label",
    teacher: str | None = None,
    demo: bool = False,
    **reading: Any,
) -> MediaData:
    """Read the pictures or recordings to distill on, and their classes.

    Args:
        train_file: A folder with a subfolder for each class, or a table (csv, tsv, json, parquet) with a column of
            files, beside which relative paths are looked for. Without one, the dataset on the Hub is read.
        validation_file: Likewise; by default a tenth of the training rows, drawn by a fixed seed.
        test_file: Likewise; what is measured on at the end.
        kind: `pictures` or `sounds`.
        dataset_name: The dataset on the Hub.
        dataset_config_name: Its configuration.
        media_column: The column of pictures, recordings or files; by default the one of type `Image` or `Audio`, or of
            a usual name such as `image`, `audio`, `file`.
        label_column: The column of the classes: numbers with names, or names.
        teacher: Name or path of a fine-tuned teacher, whose order of labels is taken over.
        demo: Generate a set in place of all that.
        **reading: `skip_unreadable`, `resample` and `cut_seconds`, as of `MediaData`.

    Raises:
        FileNotFoundError, HubUnreachableError: when something is not there, or cannot be reached.
        ValueError: when it cannot be read, or the labels are not the teacher's.
    """
    if kind not in _COLUMNS:
        raise ValueError(f"kind {kind!r} is unknown: take pictures or sounds.")
    if demo:
        splits = demo_pictures() if kind == PICTURES else demo_sounds()
        return MediaData(splits, kind, _COLUMNS[kind][0], name=f"generated {kind}", demo=True)
    if train_file is not None:
        given = {"train": train_file, "validation": validation_file, "test": test_file}
        splits = DatasetDict({split: read_files(path) for split, path in given.items() if path is not None})
    elif dataset_name:
        splits = load_hub_dataset(dataset_name, dataset_config_name)
    else:
        raise ValueError("name the rows: train_file (a folder or a table), dataset_name, or demo=True.")
    splits = with_validation(splits)
    column = media_column or media_column_of(splits["train"], kind)
    names = None if teacher is None else label_names_of(teacher)
    train = with_class_names(check_columns(splits["train"], column, label_column), label_column, names)
    own = train.features[label_column].names
    others = {name: with_class_names(rows, label_column, own) for name, rows in splits.items() if name != "train"}
    name = train_file or dataset_name or ""
    return MediaData(DatasetDict({"train": train, **others}), kind, column, label_column, name, **reading)


def read_files(path: str) -> Dataset:
    """The rows of a folder with a subfolder for each class, or of a table with a column of files beside it."""
    place = Path(path)
    if place.is_dir():
        return folder_rows(place)
    rows = read_table(place)
    column = next((name for name in _FILES if name in rows.column_names), None)
    if column is None:
        return rows
    return rows.map(lambda row: {column: str(place.parent / row[column])})


def with_validation(splits: DatasetDict) -> DatasetDict:
    """The splits, with a tenth of the training rows for validation where there are none."""
    if "validation" in splits:
        return splits
    parts = splits["train"].train_test_split(test_size=0.1, seed=42)
    return DatasetDict({**splits, "train": parts["train"], "validation": parts["test"]})


def media_column_of(rows: Dataset, kind: str) -> str:
    """The column of pictures or recordings.

    Raises:
        ValueError: naming the columns that there are.
    """
    typed = [name for name, one in rows.features.items() if isinstance(one, Image if kind == PICTURES else Audio)]
    usual = [name for name in (*_COLUMNS[kind], *_FILES) if name in rows.column_names]
    if not (typed or usual):
        raise ValueError(
            f"which column has the {kind}? The rows have {', '.join(rows.column_names)}: name it (media_column)."
        )
    return (typed or usual)[0]


def check_columns(rows: Dataset, *columns: str) -> Dataset:
    """The rows, where they have these columns.

    Raises:
        ValueError: naming the one that is missing, and those that there are.
    """
    for column in columns:
        if column not in rows.column_names:
            raise ValueError(f"the rows have no column {column}; they have {', '.join(rows.column_names)}.")
    return rows

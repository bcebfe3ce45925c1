"""Where recordings and transcripts come from: tables of files, the Hub, or a generated set."""

from __future__ import annotations

from typing import Any

from datasets import DatasetDict

from hfdistill.data.hub import load_hub_dataset
from hfdistill.tasks.media.data import SOUNDS
from hfdistill.tasks.media.sources import check_columns, media_column_of, read_files, with_validation
from hfdistill.tasks.speech.data import SpeechData
from hfdistill.tasks.speech.demo import COMMANDS, demo_speech


def speech_data(
    train_file: str | None = None,
    validation_file: str | None = None,
    test_file: str | None = None,
    *,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    media_column: str | None = None,
    text_column: str = "text",
    demo: bool = False,
    commands: bool = False,
    **reading: Any,
) -> SpeechData:
    """Read the recordings to distill on, and their transcripts.

    Args:
        train_file: A table (csv, tsv, json, parquet) with a column of files, beside which relative paths are looked
            for, and one of transcripts. Without one, the dataset on the Hub is read.
        validation_file: Likewise; by default a tenth of the training rows, drawn by a fixed seed.
        test_file: Likewise; what is measured on at the end.
        dataset_name: The dataset on the Hub.
        dataset_config_name: Its configuration.
        media_column: The column of recordings; by default the one of type `Audio`, or of a usual name such as `audio`
            or `file`.
        text_column: The column of transcripts.
        demo: Generate a set in place of all that.
        commands: Generate recordings of one word out of ten, the easiest for a Whisper of random weights.
        **reading: `skip_unreadable` and `resample`, as of `SpeechData`.

    Raises:
        FileNotFoundError, HubUnreachableError: when something is not there, or cannot be reached.
        ValueError: when it cannot be read.
    """
    if demo:
        return SpeechData(
            demo_speech(**(COMMANDS if commands else {})), "audio", name="generated recordings", demo=True, **reading
        )
    if train_file is not None:
        given = {"train": train_file, "validation": validation_file, "test": test_file}
        splits = DatasetDict({split: read_files(path) for split, path in given.items() if path is not None})
    elif dataset_name:
        splits = load_hub_dataset(dataset_name, dataset_config_name)
    else:
        raise ValueError("name the rows: train_file, dataset_name, or demo=True.")
    splits = with_validation(splits)
    column = media_column or media_column_of(splits["train"], SOUNDS)
    for rows in splits.values():
        check_columns(rows, column, text_column)
    return SpeechData(splits, column, text_column, train_file or dataset_name or "", **reading)

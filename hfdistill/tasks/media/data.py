"""Rows with a picture or a recording and its class, as a model reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Image

from hfdistill.report.examples import Shown
from hfdistill.report.terminal import print_main
from hfdistill.tasks.media.reading import UnreadableError, name_of, read_picture, read_sound, resampled, thumbnail

PICTURES, SOUNDS = "pictures", "sounds"


@dataclass(frozen=True)
class MediaData:
    """Pictures or recordings with a class each, as they are kept.

    Args:
        dataset: The splits, `train`, `validation` and perhaps `test`, with `label_column` a `ClassLabel`.
        kind: `pictures` or `sounds`.
        column: The column of pictures or recordings.
        label_column: That of the classes.
        name: What the rows are of, for the card.
        demo: Whether they were generated.
        skip_unreadable: Whether what cannot be read is left out and counted, in place of an error.
        resample: Whether recordings of another sampling rate are resampled, in place of an error.
        cut_seconds: Recordings are cut to so many seconds; left out, those that are too long are an error.
    """

    dataset: DatasetDict
    kind: str
    column: str
    label_column: str = "label"
    name: str = ""
    demo: bool = False
    skip_unreadable: bool = False
    resample: bool = False
    cut_seconds: float | None = None

    @property
    def label_names(self) -> list[str]:
        """The classes in their order."""
        return list(self.dataset["train"].features[self.label_column].names)

    @property
    def measured_on(self) -> str:
        """The split that the figures are of."""
        return "test" if "test" in self.dataset else "validation"

    def shown(self, processed: DatasetDict) -> Callable[[int], Shown]:
        """How a person is shown a measured row: its file, or its number, and a small picture of it.

        Args:
            processed: As from `processed`.
        """
        rows, numbers = undecoded(self.dataset[self.measured_on], self.column), processed[self.measured_on]["row"]

        def show(row: int) -> Shown:
            number = int(numbers[row])
            cell = rows[number][self.column]
            return Shown(name_of(cell) or f"row {number}", thumbnail(cell) if self.kind == PICTURES else b"")

        return show

    def processed(self, processor: Any) -> DatasetDict:
        """Rows of what a model reads of each picture or recording, and `labels`; `row` is its number in the split.

        Args:
            processor: The model's image processor or feature extractor.

        Raises:
            ValueError: naming split, row, file and what is wrong with it: it cannot be read, holds nothing, has another
                sampling rate, or is longer than the model hears.
        """
        reader: Callable[[Any], dict[str, Any]] = _PictureReader(processor)
        if self.kind == SOUNDS:
            reader = SoundReader(processor, self.resample, self.cut_seconds)
        read = partial(read_rows, column=self.column, label_column=self.label_column, reader=reader)
        splits = {split: read(rows, split, skip=self.skip_unreadable) for split, rows in self.dataset.items()}
        label = self.dataset["train"].features[self.label_column]
        return DatasetDict({split: rows.cast_column("labels", label) for split, rows in splits.items()})


def read_rows(
    dataset: Dataset,
    split: str,
    *,
    column: str,
    label_column: str,
    reader: Callable[[Any], dict[str, Any]],
    labels_of: Callable[[Any], Any] | None = None,
    skip: bool = False,
) -> Dataset:
    """What a model reads of each row, its `labels`, and its number in `row`.

    Args:
        dataset: The rows.
        split: What to call them.
        column: Where the pictures or recordings are.
        label_column: Where their labels are.
        reader: Makes the model's columns of one picture or recording.
        labels_of: Makes `labels` of what is in `label_column`; by default it is left as it is.
        skip: Whether what cannot be read is left out and counted.

    Raises:
        ValueError: naming split, row, file and what is wrong with it.
    """
    files = undecoded(dataset, column).select_columns([column, label_column])
    read = _RowReader(reader, labels_of, column, label_column, split, skip)
    rows = files.map(read, batched=True, with_indices=True, remove_columns=files.column_names, desc=f"Reading {split}")
    if len(rows) < len(files):
        missing = sorted(set(range(len(files))) - set(rows["row"] if len(rows) else ()))
        print_main(
            f"{len(missing)} of {len(files)} rows of {split} cannot be read and are left out, the first of them row "
            f"{missing[0]} {name_of(files[missing[0]][column])}."
        )
    if not len(rows):
        raise ValueError(f"not one of the {len(files)} rows of {split} can be read.")
    return rows.with_format("numpy")


def undecoded(dataset: Dataset, column: str) -> Dataset:
    """The rows with their pictures or recordings as files, so that a broken one is found where it stands."""
    rows = dataset.with_format(None)
    feature = rows.features[column]
    return rows.cast_column(column, type(feature)(decode=False)) if isinstance(feature, (Image, Audio)) else rows


@dataclass(frozen=True)
class _RowReader:
    """What is made of some rows: those that cannot be read are named, or left out."""

    reader: Callable[[Any], dict[str, Any]]
    labels_of: Callable[[Any], Any] | None
    column: str
    label_column: str
    split: str
    skip: bool

    def __call__(self, rows: Mapping[str, Sequence[Any]], numbers: Sequence[int]) -> dict[str, list[Any]]:
        read: list[dict[str, Any]] = []
        for cell, label, number in zip(rows[self.column], rows[self.label_column], numbers, strict=True):
            try:
                labels = label if self.labels_of is None else self.labels_of(label)
                read.append({**self.reader(cell), "labels": labels, "row": number})
            except UnreadableError as error:
                if not self.skip:
                    way_out = "leave it out, or leave out all such rows (skip_unreadable=True, --skip_unreadable true)"
                    raise ValueError(f"{self._place(number, cell)}: {error}: {way_out}.") from error
            except ValueError as error:
                raise ValueError(f"{self._place(number, cell)}: {error}") from error
        return {name: [one[name] for one in read] for name in (read[0] if read else ())}

    def _place(self, number: int, cell: Any) -> str:
        file = name_of(cell)
        return f"row {number} of {self.split}{f' ({file})' if file else ''}"


@dataclass(frozen=True)
class _PictureReader:
    """What a model reads of a picture."""

    processor: Any

    def __call__(self, cell: Any) -> dict[str, Any]:
        made = self.processor(read_picture(cell), return_tensors="np")
        return {name: value[0] for name, value in made.items()}


@dataclass(frozen=True)
class SoundReader:
    """What a model reads of a recording.

    Args:
        processor: The model's feature extractor, or a processor with one.
        resample: Whether another sampling rate is resampled, in place of an error.
        cut_seconds: Where recordings are cut; left out, those longer than the model hears are an error.
        cuttable: Whether they can be, as where a label is of the whole recording.
    """

    processor: Any
    resample: bool = False
    cut_seconds: float | None = None
    cuttable: bool = True

    def __call__(self, cell: Any) -> dict[str, Any]:
        """The model's columns of one recording.

        Raises:
            ValueError: for another sampling rate, and a recording that is longer than the model hears.
        """
        extractor = feature_extractor_of(self.processor)
        samples = self.samples(cell)
        try:
            made = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="np")
        except ValueError as error:
            raise UnreadableError(
                f"its {len(samples)} samples are too few, or no sound, for the feature extractor ({error})"
            ) from error
        # Without padding a mask says nothing.
        return {name: value[0] for name, value in made.items() if name != "attention_mask"}

    def samples(self, cell: Any) -> np.ndarray:
        """A recording at the model's sampling rate."""
        extractor = feature_extractor_of(self.processor)
        samples, rate = read_sound(cell)
        wanted = extractor.sampling_rate
        if rate != wanted and not self.resample:
            raise ValueError(
                f"it has {rate:,} samples a second and the model hears {wanted:,}: resample it (resample=True, "
                "--resample true), as a model hears another pitch and tempo otherwise."
            )
        if rate != wanted:
            samples = resampled(samples, rate, wanted)
        most, seconds = longest(extractor), len(samples) / wanted
        if self.cut_seconds is not None:
            return samples[: int(self.cut_seconds * wanted)]
        if most is not None and seconds > most and not self.cuttable:
            raise UnreadableError(
                f"it is {seconds:.1f} seconds long and the model hears {most:g}, less than its transcript tells (cut "
                "in a pause, it is two rows)"
            )
        if most is not None and seconds > most:
            raise ValueError(
                f"it is {seconds:.1f} seconds long and the model hears {most:g}: cut it (cut_seconds={most:g}, "
                f"--cut_seconds {most:g}), or leave it out."
            )
        return samples


def feature_extractor_of(processor: Any) -> Any:
    """The feature extractor in a processor, or itself."""
    return getattr(processor, "feature_extractor", processor)


def longest(extractor: Any) -> float | None:
    """How many seconds a feature extractor makes one row of, and then cuts in silence; `None` where there is no end."""
    if getattr(extractor, "n_samples", None):  # Whisper
        return float(extractor.n_samples / extractor.sampling_rate)
    frames = getattr(extractor, "max_length", None)  # of 10 milliseconds (audio spectrogram transformer)
    return frames / 100 if isinstance(frames, int) else None


def folder_rows(folder: Path) -> Dataset:
    """The files of a folder with a subfolder for each class: `file` and `label`.

    Raises:
        ValueError: where there are none.
    """
    files = sorted(path for path in folder.glob("*/*") if path.is_file() and not path.name.startswith("."))
    names = sorted({path.parent.name for path in files})
    if len(names) < 2:
        raise ValueError(f"{folder} has no subfolders of files, one for each class: {names or 'it has no files'}.")
    labels = [names.index(path.parent.name) for path in files]
    rows = Dataset.from_dict({"file": [str(path) for path in files], "label": labels})
    return rows.cast_column("label", ClassLabel(names=names))


def with_class_names(rows: Dataset, label_column: str, names: Sequence[str] | None = None) -> Dataset:
    """The rows with their label column as a `ClassLabel`, of these names or, sorted, its own.

    Raises:
        ValueError: naming a label that is none of these.
    """
    feature = rows.features[label_column]
    if isinstance(feature, ClassLabel) and names in (None, feature.names):
        return rows
    values = rows[label_column][:]
    if isinstance(feature, ClassLabel):
        values = [feature.names[value] for value in values]
    names = sorted(set(map(str, values))) if names is None else list(names)
    for number, value in enumerate(values):
        if str(value) not in names:
            raise ValueError(f"row {number} has the label {value!r}, which is none of {', '.join(names[:10])}.")
    labels = [names.index(str(value)) for value in values]
    rows = rows.remove_columns(label_column).add_column(label_column, labels)
    return rows.cast_column(label_column, ClassLabel(names=names))

"""Recordings and what is said in them, as a model reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datasets import DatasetDict

from hfdistill.models.speech_prompts import text_labels
from hfdistill.report.examples import Shown
from hfdistill.tasks.media.data import SoundReader, read_rows, undecoded
from hfdistill.tasks.media.reading import UnreadableError, name_of


@dataclass(frozen=True)
class SpeechData:
    """Recordings with their transcripts, as they are kept.

    Args:
        dataset: The splits, `train`, `validation` and perhaps `test`.
        column: The column of recordings.
        text_column: That of the transcripts.
        name: What the rows are of, for the card.
        demo: Whether they were generated.
        skip_unreadable: Whether what cannot be read is left out and counted, in place of an error.
        resample: Whether recordings of another sampling rate are resampled, in place of an error.
    """

    dataset: DatasetDict
    column: str
    text_column: str = "text"
    name: str = ""
    demo: bool = False
    skip_unreadable: bool = False
    resample: bool = False

    @property
    def measured_on(self) -> str:
        """The split that the figures are of."""
        return "test" if "test" in self.dataset else "validation"

    def processed(self, processor: Any) -> DatasetDict:
        """Rows of what a model reads of each recording, and the tokens of its transcript as `labels`.

        Args:
            processor: The model's processor: feature extractor and tokenizer.

        Raises:
            ValueError: naming split, row, file and what is wrong with it: it cannot be read, holds nothing, has another
                sampling rate, is longer than the model hears, or has a transcript in other letters than the model's.
        """
        reader, letters = SoundReader(processor, self.resample, cuttable=False), Letters(processor.tokenizer)
        columns: dict[str, Any] = {"column": self.column, "label_column": self.text_column}
        return DatasetDict(
            {
                split: read_rows(rows, split, reader=reader, labels_of=letters, skip=self.skip_unreadable, **columns)
                for split, rows in self.dataset.items()
            }
        )

    def shown(self, processed: DatasetDict) -> Callable[[int], Shown]:
        """How a person is shown a measured row: its file, or its number.

        Args:
            processed: As from `processed`.
        """
        rows, numbers = undecoded(self.dataset[self.measured_on], self.column), processed[self.measured_on]["row"]
        return lambda row: Shown(name_of(rows[int(numbers[row])][self.column]) or f"row {int(numbers[row])}")


@dataclass(frozen=True)
class Letters:
    """The tokens of a transcript, in capitals or small letters as the tokenizer knows them.

    Args:
        tokenizer: The student's.
    """

    tokenizer: Any

    def __call__(self, text: str | None) -> list[int]:
        """The tokens.

        Raises:
            ValueError: for a transcript with letters that the tokenizer does not know.
        """
        if text is None or not text.strip():
            raise UnreadableError("there is no transcript")
        names = self.tokenizer.get_vocab()
        by_letter = all(len(name) == 1 for name in names if name not in self.tokenizer.all_special_tokens)
        if by_letter:
            text = next((one for one in (text, text.upper(), text.lower()) if set(one) - {" "} <= set(names)), text)
            if unknown := sorted(set(text) - {" "} - set(names)):
                raise ValueError(
                    f"its transcript {text!r} has {' '.join(unknown)}, which the tokenizer does not know: write what "
                    "is said in its letters, as in dataset.map(lambda row: ...)."
                )
        return text_labels(self.tokenizer, text)

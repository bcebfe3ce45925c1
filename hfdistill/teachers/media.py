"""A teacher of images or sound, whatever its student reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from hfdistill.models.inputs import taken_inputs
from hfdistill.teachers.model import ModelTeacher


class MediaTeacher(ModelTeacher):
    """A classifier of images or of sound, whatever the student reads of the same row.

    The rows bring pictures or sound as they are; the processor makes the model's inputs of each batch, or
    `soft_targets` runs the teacher once on each of them.

    Args:
        model: The teacher, such as a `ViTForImageClassification` or a `Wav2Vec2ForSequenceClassification`.
        processing_class: Its image processor or feature extractor.
        media_column: The column with the media. Pictures are a column of `datasets.Image` (read in RGB) or arrays as
            the processor takes them; sound is a list or array of samples, at the rate of the feature extractor, padded
            to the longest of its batch: a model without an attention mask, such as wav2vec2-base, hears silence there.
        dtype: As in `ModelTeacher`.
    """

    def __init__(
        self, model: PreTrainedModel, processing_class: Any, media_column: str, dtype: str | None = None
    ) -> None:
        super().__init__(model, dtype=dtype)
        self.processor = processing_class
        self.media_column = media_column
        self.inputs = taken_inputs(model, processing_class.model_input_names)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> MediaTeacher:
        """Not possible: a name determines neither whether pictures or sound are meant, nor where they are."""
        raise TypeError(
            "load both parts of a MediaTeacher yourself: MediaTeacher(AutoModelForImageClassification.from_pretrained("
            "name), AutoImageProcessor.from_pretrained(name), 'picture'), or likewise for sound."
        )

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.media_column, *(self.prefix + name for name in self.inputs))

    @property
    def source_columns(self) -> tuple[str, ...]:
        return (self.media_column,)

    @property
    def shares_tokens(self) -> bool:
        return False

    def pad(self, features: Sequence[Mapping[str, Any]]) -> Mapping[str, Tensor]:
        inputs = self._processed([feature[self.media_column] for feature in features])
        return {self.prefix + name: tensor for name, tensor in inputs.items()}

    def model_inputs(self, media: Sequence[Any]) -> dict[str, Tensor]:
        """What the model is called with for these pictures or sounds.

        Raises:
            ValueError: for sound that nobody has decoded yet.
        """
        return self.in_its_dtype(self._processed(media))

    def _processed(self, media: Sequence[Any]) -> dict[str, Tensor]:
        # Without the model, which a data loader's worker may not have.
        settings: dict[str, Any] = {}
        if isinstance(self.processor, SequenceFeatureExtractor):
            settings = {"sampling_rate": getattr(self.processor, "sampling_rate", None), "padding": True}
        made = self.processor([self._as_array(one) for one in media], return_tensors="pt", **settings)
        return {name: made[name] for name in self.inputs if name in made}

    def _as_array(self, one: Any) -> Any:
        if hasattr(one, "convert"):  # a picture: gray ones and those with an alpha channel have other numbers of them
            return one.convert("RGB")
        if hasattr(one, "get_all_samples"):
            raise ValueError(
                f"the column {self.media_column} holds sound that is not decoded: map it to arrays first, as in "
                f"dataset.map(lambda row: {{'samples': row['{self.media_column}'].get_all_samples().data.mean(0)}})."
            )
        return np.asarray(one)

    def _read(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        taken = {name: batch[self.prefix + name] for name in self.inputs if self.prefix + name in batch}
        if not taken:
            raise ValueError(
                f"the teacher looks at {self.media_column}, of which the batch has nothing; it has {', '.join(batch)}."
            )
        return self.in_its_dtype(taken)

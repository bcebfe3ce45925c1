"""A linear probe: how well a few labels are told from an encoder's frozen features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import PreTrainedTokenizerBase

from hfdistill.models.inputs import taken_inputs
from hfdistill.models.labels import NO_LABEL
from hfdistill.models.pooling import Pooling
from hfdistill.models.wrappers import device_of, without_adapters
from hfdistill.report.counted import check_finite
from hfdistill.report.figures import Comparison
from hfdistill.tasks.classification.data import text_classification_dataset

#: Texts that an encoder reads at once.
BATCH = 32
#: Steps in which the regression on standardized features is at its end.
MOST_STEPS = 1000
_POOLING = Pooling("mean", normalize=False)


@dataclass(frozen=True)
class Probe:
    """Labeled texts by which encoders are measured without fine-tuning them.

    A logistic regression learns the labels from the mean of a text's last hidden states, each dimension standardized,
    and is measured on other texts. It is the same each time for the same encoder, draws no random numbers, and leaves
    the encoder as it was.

    Attributes:
        train: Tokenized texts with `labels`, which the regression learns from.
        test: Those that it is measured on.
        tokenizer: What they were tokenized with.
        name: What a report calls them.
    """

    train: Dataset
    test: Dataset
    tokenizer: PreTrainedTokenizerBase
    name: str

    @classmethod
    def read(
        cls,
        probe_file: str | Path | None,
        test_file: str | Path | None,
        tokenizer: PreTrainedTokenizerBase,
        *,
        text_column: str | None = None,
        label_column: str | None = None,
        max_length: int = 128,
    ) -> Probe | None:
        """The probe of a file, as `text_classification_dataset` reads it; texts without a label are left out.

        Args:
            probe_file: Texts with one label each; without any there is no probe.
            test_file: Texts to measure on; `None` sets a tenth of those of `probe_file` aside.
            tokenizer: That of the encoders.
            text_column: The column with the text.
            label_column: The column with the label; by default `label` or `labels`.
            max_length: The most tokens of a text.

        Raises:
            FileNotFoundError: when there is no such file.
            ValueError: when a file cannot be read, a column is missing, there are not two classes to tell apart, or a
                probe is described and there is none.
        """
        if probe_file is None:
            if test_file or label_column:
                raise ValueError("--probe_test_file and --label_column are of a probe: give its --probe_file, too.")
            return None
        data = text_classification_dataset(
            probe_file,
            test_file,
            text_column=text_column,
            label_column=label_column,
            problem_type="single_label_classification",
        )
        rows = data.tokenized(tokenizer, max_length).filter(lambda label: label != NO_LABEL, input_columns="labels")
        if len(set(rows["train"]["labels"])) < 2:
            raise ValueError(
                f"the column {data.label_column!r} of {probe_file} has one label alone to learn, and a probe tells "
                "labels apart: give texts of two or more."
            )
        return cls(rows["train"], rows["validation"], tokenizer, Path(test_file or probe_file).name)

    @property
    def description(self) -> str:
        """What a report says of it."""
        return (
            "Probe accuracy: a logistic regression on the mean of an encoder's frozen last hidden states, learned "
            f"from {len(self.train):,} labeled texts and measured on {len(self.test):,} others, of {self.name}."
        )

    def accuracy(self, model: Any) -> float:
        """The share of the test texts whose label the regression finds by this encoder's features."""
        encoder = without_adapters(model).base_model
        features, others = (self._features(encoder, rows) for rows in (self.train, self.test))
        regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_STEPS))
        regression.fit(features, self.train["labels"][:])
        return float(regression.score(others, self.test["labels"][:]))

    def measured(self, comparison: Comparison, models: Mapping[str, Any]) -> Comparison:
        """A comparison with the accuracy of each of its models."""
        figures = {
            role: replace(one, probe_accuracy=self.accuracy(models[role])) for role, one in comparison.models.items()
        }
        return replace(comparison, models=figures)

    @torch.no_grad()  # not in inference mode: what an encoder keeps of a pass would then be of no use in training
    def _features(self, encoder: Any, rows: Dataset) -> np.ndarray:
        """The mean of each text's last hidden states, shape `(texts, width)`."""
        names = [name for name in self.tokenizer.model_input_names if name in rows.column_names]
        reads, training, found = taken_inputs(encoder, names), encoder.training, []
        encoder.eval()
        for batch in rows.select_columns(names).iter(BATCH):
            inputs = self.tokenizer.pad(batch, return_tensors="pt").to(device_of(encoder))
            states = encoder(**{name: inputs[name] for name in reads}).last_hidden_state
            found.append(_POOLING(states, inputs["attention_mask"]).float().cpu().numpy())
        encoder.train(training)
        features = np.concatenate(found).astype(np.float64)
        check_finite(features, f"this {type(encoder).__name__}")
        return features

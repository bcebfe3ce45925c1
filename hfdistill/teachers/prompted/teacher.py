"""A language model with a prompt as teacher of a classifier."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from hfdistill.models.adapters import load_config, load_model
from hfdistill.models.causal_lm import predicts_next_token
from hfdistill.models.inference import predict_logits, token_rows
from hfdistill.models.labels import LABEL_COLUMNS, NO_CLASS, LabelSpace, some_names
from hfdistill.models.loading import load_tokenizer
from hfdistill.models.wrappers import without_adapters
from hfdistill.teachers.model import ModelTeacher
from hfdistill.teachers.prompted.calibration import CONTENT_FREE, contextual_bias, fitted_calibration
from hfdistill.teachers.prompted.causal import CausalVerbalizedModel
from hfdistill.teachers.prompted.masked import MaskedVerbalizedModel
from hfdistill.teachers.prompted.prompt import TEXTS, Prompt, Template
from hfdistill.teachers.prompted.seq2seq import Seq2SeqVerbalizedModel
from hfdistill.teachers.prompted.verbalized import VerbalizedModel
from hfdistill.teachers.prompted.verbalizer import Verbalizer, VerbalizerLike


class PromptTeacher(ModelTeacher):
    """A language model that is shown each text within a prompt, for the probabilities of the label words.

    Causal (GPT, Llama, Qwen), masked (BERT, RoBERTa) and encoder-decoder models (T5, FLAN) are asked in their own way.
    It is a teacher like any other: run in every step, by `soft_targets` once, in an ensemble, in `compare`.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        template: The prompt, with the places `{text}`, for pairs `{text_pair}`, and `{label}`, which is at the end
            where it is left out. Or the messages of a chat, each a dict of `role` and `content`, which the tokenizer's
            chat template writes; the label is what the assistant says. What stands before the last empty line is an
            instruction, which is not repeated for each example. A text that does not fit is cut at its end.
        verbalizer: The word or words of each label by its name; or a list of names that are their own words, or of
            texts such as `positive=good,great`. The label of several words has the sum of their probabilities.
        text_columns: The column of each text, in the order `{text}`, `{text_pair}`.
        examples: Labeled rows of which some are shown in the prompt; rows without a label are passed over.
        num_examples: How many are shown, of each label as many as of the others.
        seed: Draws and shuffles them.
        dtype: As in `ModelTeacher`.

    Raises:
        ValueError: for a template without a place for the text, label words that are no tokens of their own, labels of
            examples that the verbalizer lacks, or a model that is no language model.

    Example:
        >>> teacher = PromptTeacher(
        ...     model, tokenizer, "Review: {text}\\nSentiment:", {"negative": ["bad", "awful"], "positive": "good"}
        ... )  # doctest: +SKIP
        >>> train = soft_targets(teacher.calibrate(), train)  # doctest: +SKIP

    References: Brown et al. 2020, https://huggingface.co/papers/2005.14165; Schick and Schütze 2021 (verbalizers),
        https://huggingface.co/papers/2001.07676.
    """

    model: VerbalizedModel

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        verbalizer: VerbalizerLike,
        text_columns: str | Sequence[str] = TEXTS[:1],
        *,
        examples: Dataset | None = None,
        num_examples: int = 8,
        seed: int = 0,
        dtype: str | None = None,
    ) -> None:
        columns = (text_columns,) if isinstance(text_columns, str) else tuple(text_columns)
        words = Verbalizer.of(verbalizer)
        shown = [] if examples is None else _drawn(examples, columns, words, num_examples, seed)
        prompt = Prompt.of(template, tokenizer, shown)
        if len(columns) != len(prompt.places):
            raise ValueError(
                f"the template has places for {', '.join(prompt.places)}, and text_columns names "
                f"{', '.join(columns) or 'none'}: name one column for each place."
            )
        verbalized = _kind_of(model)(model, tokenizer, prompt, words)
        super().__init__(verbalized, verbalized.processor, columns, dtype)  # type: ignore[arg-type]
        verbalized.processor(*[[""]] * len(columns), max_length=self.max_length)  # or there is no room for a text

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        name_or_path: str | os.PathLike[str],
        template: Template,
        verbalizer: VerbalizerLike,
        text_columns: str | Sequence[str] = TEXTS[:1],
        *,
        dtype: str | None = None,
        trust_remote_code: bool = False,
        **settings: Any,
    ) -> PromptTeacher:
        """Loads a language model and its tokenizer from the Hub or a folder.

        Args:
            name_or_path: The folder, or the name on the Hub; what it was saved as says which kind of model it is.
            template: As in `PromptTeacher`, as are the others.
            verbalizer: The words.
            text_columns: The columns.
            dtype: The dtype to run in; left out, the one it was saved in.
            trust_remote_code: Whether code that is kept there is run.
            **settings: `examples`, `num_examples` and `seed`.

        Raises:
            HubUnreachableError: when the Hub is needed and cannot be reached.
            OSError: when there is no such model.
            ValueError: as for the class.
        """
        name = os.fspath(name_or_path)
        tokenizer = load_tokenizer(name, trust_remote_code)
        config: Any = load_config(name, trust_remote_code)
        masked = any(one in MODEL_FOR_MASKED_LM_MAPPING_NAMES.values() for one in config.architectures or ())
        text = AutoModelForMaskedLM if masked else AutoModelForCausalLM
        auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else text
        model = load_model(auto, name, trust_remote_code, dtype=dtype or "auto")
        return cls(model, tokenizer, template, verbalizer, text_columns, **settings)

    def calibrate(self, rows: Dataset | None = None) -> PromptTeacher:
        """Takes the model's liking for some label words out of its logits; returns itself.

        Args:
            rows: Labeled rows, twenty of which do: a scale and a bias are fitted to their labels. Without any, texts
                that say nothing ("N/A", an empty one, "[MASK]") are made equally likely to have each label.

        Raises:
            ValueError: when no row has a label, or one that the verbalizer lacks, or the predictions are not finite.

        References: Zhao et al. 2021 (contextual calibration), https://huggingface.co/papers/2102.09690.
        """
        model = self.model
        model.scale, model.bias = 1.0, [0.0] * len(model.bias)
        if rows is None:
            texts = {column: list(CONTENT_FREE) for column in self.text_columns}
            model.bias = contextual_bias(self._logits_of(Dataset.from_dict(texts))).tolist()
            return self
        labels = _labels(rows, list(LabelSpace.of_config(model.config).names or ()))
        labeled = [row for row, label in enumerate(labels) if label is not None]
        if not labeled:
            raise ValueError("no row has a label to calibrate on: pass labeled rows, or none to calibrate without.")
        known = torch.tensor([labels[row] for row in labeled])
        model.scale, bias = fitted_calibration(self._logits_of(rows.select(labeled)), known)
        model.bias = bias.tolist()
        return self

    def _logits_of(self, rows: Dataset) -> torch.Tensor:
        processor: Any = self.processing_class
        read = token_rows(self.model, processor, rows, self.text_columns)
        logits = torch.from_numpy(predict_logits(self.model, processor, read, description="Calibrating"))
        if not logits.isfinite().all():
            raise ValueError(
                "the model's predictions are not finite, so that nothing can be calibrated by them: load it in float32 "
                "or bfloat16 (dtype=...)."
            )
        return logits


def _kind_of(model: Any) -> type[VerbalizedModel]:
    """How a language model is asked."""
    inner = without_adapters(model)
    config = getattr(inner, "config", None)
    if getattr(config, "is_encoder_decoder", False) and inner.can_generate():
        return Seq2SeqVerbalizedModel
    if predicts_next_token(model):
        return CausalVerbalizedModel
    if type(inner).__name__ in MODEL_FOR_MASKED_LM_MAPPING_NAMES.values():
        return MaskedVerbalizedModel
    raise ValueError(
        f"a {type(inner).__name__} is no language model: load the teacher with AutoModelForCausalLM, "
        "AutoModelForMaskedLM or AutoModelForSeq2SeqLM (a classifier is a teacher by itself, without a template)."
    )


def _labels(rows: Dataset, names: list[str]) -> list[int | None]:
    """The place of each row's label among the names, `None` where it has none."""
    column = next((name for name in LABEL_COLUMNS if name in rows.column_names), None)
    if column is None:
        raise ValueError(f"labeled rows have a column label or labels; these have {', '.join(rows.column_names)}.")
    found = LabelSpace.of_features(rows.features)
    classes = list((found[1].names if found else None) or names)
    folded = [name.casefold() for name in names]
    places: list[int | None] = []
    for row, label in enumerate(rows[column][:]):
        if label is None or label in NO_CLASS:
            places.append(None)
            continue
        label = int(label) if isinstance(label, float) and label.is_integer() else label  # as pandas leaves them
        name = label if isinstance(label, str) else classes[label] if label in range(len(classes)) else str(label)
        if name.casefold() not in folded:
            raise ValueError(
                f"row {row} has the label {name!r}, and the verbalizer has words for {some_names(names)}: name the "
                "labels alike."
            )
        places.append(folded.index(name.casefold()))
    return places


def _drawn(
    rows: Dataset, text_columns: Sequence[str], verbalizer: Verbalizer, count: int, seed: int
) -> list[tuple[list[str], str]]:
    """Texts and the first word of their label, of each label in turn, shuffled."""
    rng = random.Random(seed)
    of_label: dict[int, list[int]] = defaultdict(list)
    for row, label in enumerate(_labels(rows, verbalizer.names)):
        if label is not None:
            of_label[label].append(row)
    for some in of_label.values():
        rng.shuffle(some)
    labels = sorted(of_label)
    most = max(map(len, of_label.values()), default=0)
    turns = [(of_label[label][turn], label) for turn in range(most) for label in labels if turn < len(of_label[label])]
    chosen = turns[:count]
    if not chosen:
        raise ValueError("none of the examples has a label: pass labeled rows, or leave examples out.")
    rng.shuffle(chosen)
    words = list(verbalizer.words.values())
    return [([rows[row][column] for column in text_columns], words[label][0]) for row, label in chosen]

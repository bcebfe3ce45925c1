"""More text for the teacher to label, made of the text there is.

A student learns a teacher's answers, not the truth, so texts need not be good or even grammatical: whatever the teacher
says about them is a lesson. That is why augmentation helps distillation far more than plain training.

An `Augmenter` makes another text of each text. What it makes depends on the seed, the row's number and the copy's, and
on nothing else: neither on batches nor on other rows.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, Value, concatenate_datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.teachers import ENSEMBLE_LOGITS, TEACHER_LOGITS
from hfdistill.token_reader import max_positions
from hfdistill.transfer_sets import NO_LABEL

#: The column that names the row a made text comes from; -1 in the rows that were there.
SOURCE = "augmented_from"


class Augmenter(ABC):
    """Makes another text of each text. Words are what stands between spaces."""

    @abstractmethod
    def __call__(self, texts: Sequence[str], rngs: Sequence[random.Random]) -> list[str]:
        """Another text for each; all that is random is drawn from the text's own `rng`."""


@dataclass(frozen=True)
class Masking(Augmenter):
    """Each word becomes the mask token with a probability: what the teacher thinks without it.

    Args:
        mask_token: The teacher's, such as `[MASK]`.
        probability: Of each word, in (0, 1).

    References: Tang et al. 2019, section 3.3 (0.1), https://huggingface.co/papers/1903.12136.
    """

    mask_token: str
    probability: float = 0.1

    def __call__(self, texts: Sequence[str], rngs: Sequence[random.Random]) -> list[str]:
        return [self._masked(text.split(), rng) for text, rng in zip(texts, rngs, strict=True)]

    def _masked(self, words: list[str], rng: random.Random) -> str:
        return " ".join(self.mask_token if rng.random() < self.probability else word for word in words)


@dataclass(frozen=True)
class NGrams(Augmenter):
    """A stretch of one to `longest` words, drawn from the text: a more drastic masking.

    Args:
        longest: The most words.

    References: Tang et al. 2019, section 3.3 (1 to 5 words), https://huggingface.co/papers/1903.12136.
    """

    longest: int = 5

    def __call__(self, texts: Sequence[str], rngs: Sequence[random.Random]) -> list[str]:
        return [self._stretch(text.split(), rng) for text, rng in zip(texts, rngs, strict=True)]

    def _stretch(self, words: list[str], rng: random.Random) -> str:
        length = min(rng.randint(1, self.longest), len(words))
        start = rng.randint(0, len(words) - length)
        return " ".join(words[start : start + length])


class WordReplacement(Augmenter):
    """Words replaced by what a masked language model would put in their place.

    Each word is chosen with a probability and replaced by one of the model's likeliest tokens there, drawn evenly. The
    words of a text are masked one at a time, each in the text as it was.

    Args:
        model: A masked language model, such as `AutoModelForMaskedLM.from_pretrained("bert-base-uncased")`.
        processing_class: Its tokenizer.
        probability: Of each word (0.4 in the paper).
        candidates: From how many of the likeliest tokens to draw (15 in the paper).
        batch_size: Masked texts that are given to the model at once.

    Raises:
        ValueError: for a tokenizer without a mask token.

    References: TinyBERT, Jiao et al. 2020, algorithm 1, https://huggingface.co/papers/1909.10351; there words of
        several pieces take neighbours among GloVe vectors, here they are masked whole like the others.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processing_class: PreTrainedTokenizerBase,
        probability: float = 0.4,
        candidates: int = 15,
        batch_size: int = 64,
    ) -> None:
        if processing_class.mask_token is None:
            raise ValueError("words are replaced by a masked language model, and this tokenizer has no mask token.")
        self.model = model.eval()
        self.processing_class = processing_class
        self.probability = probability
        self.candidates = candidates
        self.batch_size = batch_size
        self._max_length = max_positions(model, processing_class)
        self._words = _whole_words(processing_class)

    def __call__(self, texts: Sequence[str], rngs: Sequence[random.Random]) -> list[str]:
        words = [text.split() for text in texts]
        # Drawn row by row before anything is computed, so that no row's draws depend on another's.
        chosen = [
            (row, place)
            for row, rng in enumerate(rngs)
            for place in range(len(words[row]))
            if rng.random() < self.probability
        ]
        replaced = [list(one) for one in words]
        for start in range(0, len(chosen), self.batch_size):
            some = chosen[start : start + self.batch_size]
            proposals = self._proposals([self._masked(words[row], place) for row, place in some])
            for (row, place), proposed in zip(some, proposals, strict=True):
                if proposed:
                    replaced[row][place] = rngs[row].choice(proposed)
        return [" ".join(one) for one in replaced]

    def _masked(self, words: Sequence[str], place: int) -> str:
        return " ".join([*words[:place], str(self.processing_class.mask_token), *words[place + 1 :]])

    @torch.inference_mode()
    def _proposals(self, texts: Sequence[str]) -> list[list[str]]:
        """The likeliest words for the mask of each text; none where the text is cut before it."""
        tokenizer = self.processing_class
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=self._max_length, return_tensors="pt")
        masks = batch["input_ids"] == tokenizer.mask_token_id
        logits = self.model(**batch.to(self.model.device)).logits[torch.arange(len(texts)), masks.int().argmax(1)]
        tokens = list(self._words)
        likeliest = logits[:, tokens].topk(min(self.candidates, len(tokens))).indices.tolist()
        return [
            [self._words[tokens[place]] for place in places] if has_mask else []
            for places, has_mask in zip(likeliest, masks.any(1).tolist(), strict=True)
        ]


def _whole_words(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The tokens that are a word of their own; the middle of one (`##ing`) is no replacement."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    special = set(tokenizer.all_special_ids)
    return {
        token: text.strip()
        for token, text in enumerate(texts)
        if text.strip() and not text.startswith("##") and token not in special
    }


class BackTranslation(Augmenter):
    """Each text translated into another language and back, by sampling: the same said otherwise.

    Args:
        there: A sequence-to-sequence model and its tokenizer.
        back: The same for the way back.
        temperature: Of the sampling on the way back; the way there is the likeliest translation.
        max_new_tokens: The most tokens of a translation.

    References: Sennrich et al. 2016, https://huggingface.co/papers/1511.06709.
    """

    def __init__(
        self,
        there: tuple[PreTrainedModel, PreTrainedTokenizerBase],
        back: tuple[PreTrainedModel, PreTrainedTokenizerBase],
        temperature: float = 0.9,
        max_new_tokens: int = 128,
    ) -> None:
        self.there, self.back = there, back
        self.temperature = temperature
        self.max_new_tokens = max_new_tokens

    def __call__(self, texts: Sequence[str], rngs: Sequence[random.Random]) -> list[str]:
        foreign = self._translate(self.there, texts, do_sample=False)
        # One by one, for the draws of a batch depend on what else is in it.
        return [self._sampled(text, rng) for text, rng in zip(foreign, rngs, strict=True)]

    def _sampled(self, text: str, rng: random.Random) -> str:
        with torch.random.fork_rng():
            torch.manual_seed(rng.getrandbits(63))
            return self._translate(self.back, [text], do_sample=True, temperature=self.temperature, top_k=0)[0]

    @torch.inference_mode()
    def _translate(
        self, translator: tuple[PreTrainedModel, PreTrainedTokenizerBase], texts: Sequence[str], **settings: Any
    ) -> list[str]:
        model, tokenizer = translator
        limit = max_positions(model, tokenizer)
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt")
        model.eval()
        generated = model.generate(  # type: ignore[operator]  # any model that generates
            **batch.to(model.device), num_beams=1, max_new_tokens=self.max_new_tokens, **settings
        )
        return list(tokenizer.batch_decode(generated, skip_special_tokens=True))


def augment(
    dataset: Dataset,
    augmenters: Sequence[Augmenter],
    text_columns: Sequence[str],
    label_column: str | None = "labels",
    copies: int = 1,
    seed: int = 0,
) -> Dataset:
    """The rows, and after them texts made of theirs, without labels: the teacher is to say what they are.

    Made texts that are empty, or equal to a text that is there already, are left out.

    Args:
        dataset: Rows with text. What else they hold (tokens, soft targets) is of the old text: add it afterwards.
        augmenters: Applied in turns: copy k of a row is made by augmenter `k % len(augmenters)`.
        text_columns: The column of text, or a pair; of a pair one text, drawn, is changed.
        label_column: The column that becomes -100 in made rows; `None` when there is none.
        copies: How many texts are made of each row.
        seed: Fixes them all.

    Returns:
        The dataset, with a column `augmented_from`: the number of the row a text was made of, -1 in the old ones.

    Raises:
        ValueError: for no augmenter, or columns that belong to the old text.
    """
    _check_augmentable(dataset, augmenters, text_columns, label_column)
    parts = []
    for copy in range(copies):
        made = dataset.map(
            _Made(augmenters[copy % len(augmenters)], tuple(text_columns), label_column, f"{seed} {copy}"),
            batched=True,
            with_indices=True,
            features=Features({**dataset.features, SOURCE: Value("int64")}),
            desc=f"Augmenting, copy {copy + 1} of {copies}",
        )
        parts.append(made)
    originals = dataset.add_column(SOURCE, [-1] * len(dataset), feature=Value("int64"))
    made = concatenate_datasets(parts)
    return concatenate_datasets([originals, made.select(_new_rows(dataset, made, text_columns))])


@dataclass(frozen=True)
class _Made:
    """Rows with their text changed, for `Dataset.map`."""

    augmenter: Augmenter
    text_columns: tuple[str, ...]
    label_column: str | None
    seed: str

    def __call__(self, rows: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, Any]:
        rngs = [random.Random(f"{self.seed} {index}") for index in indices]
        columns = [rng.choice(self.text_columns) for rng in rngs]
        made = self.augmenter([rows[column][row] for row, column in enumerate(columns)], rngs)
        changed: dict[str, Any] = {
            name: [made[row] if column == name else rows[name][row] for row, column in enumerate(columns)]
            for name in self.text_columns
        }
        if self.label_column is not None:
            changed[self.label_column] = [NO_LABEL] * len(indices)
        return {**changed, SOURCE: list(indices)}


def _check_augmentable(
    dataset: Dataset, augmenters: Sequence[Augmenter], text_columns: Sequence[str], label_column: str | None
) -> None:
    if not augmenters:
        raise ValueError("augment needs an augmenter, such as Masking or NGrams.")
    missing = [column for column in text_columns if column not in dataset.column_names]
    if missing:
        raise ValueError(f"no column {', '.join(missing)} to augment; the rows have {', '.join(dataset.column_names)}.")
    stale = {TEACHER_LOGITS, ENSEMBLE_LOGITS, "input_ids"} & set(dataset.column_names)
    if stale:
        raise ValueError(
            f"{', '.join(sorted(stale))} would be of the old text in new rows: augment first, then make it."
        )


def _new_rows(dataset: Dataset, made: Dataset, text_columns: Sequence[str]) -> list[int]:
    """The made rows whose text is not there already, each text once."""
    seen = set(zip(*(dataset[column][:] for column in text_columns), strict=True))
    new = []
    for row, texts in enumerate(zip(*(made[column][:] for column in text_columns), strict=True)):
        if texts not in seen and all(text.strip() for text in texts):
            seen.add(texts)
            new.append(row)
    return new


@dataclass(frozen=True)
class AugmentationReport:
    """What augmentation made.

    Args:
        rows: How many rows there were.
        made: How many were added.
        changed: How many of these the teacher decides otherwise than the row they were made of.
    """

    rows: int
    made: int
    changed: int

    def __str__(self) -> str:
        share = 100 * self.changed / max(1, self.made)
        return (
            f"{self.made:,} texts were made of {self.rows:,}; the teacher decides {self.changed:,} of them "
            f"({share:.1f} %) otherwise than the text they were made of."
        )


def augmentation_report(dataset: Dataset) -> AugmentationReport:
    """What was made, and how often the teacher changed its mind, once `soft_targets` has labelled the rows.

    Several teachers decide by the mean of their logits.

    Raises:
        ValueError: when the dataset lacks `augmented_from` or soft targets.
    """
    column = next((name for name in (TEACHER_LOGITS, ENSEMBLE_LOGITS) if name in dataset.column_names), None)
    if column is None or SOURCE not in dataset.column_names:
        raise ValueError(f"the report needs the columns {SOURCE} of augment() and {TEACHER_LOGITS} of soft_targets().")
    logits, sources = np.asarray(dataset[column][:]), np.asarray(dataset[SOURCE][:])
    decisions = (logits if column == TEACHER_LOGITS else logits.mean(1)).argmax(-1)
    made = sources >= 0
    changed = int((decisions[made] != decisions[~made][sources[made]]).sum())
    return AugmentationReport(rows=int((~made).sum()), made=int(made.sum()), changed=changed)

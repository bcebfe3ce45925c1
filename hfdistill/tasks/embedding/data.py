"""Texts, or parallel sentences, as what a sentence encoder learns from."""

from __future__ import annotations

from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedTokenizerBase

#: The text that the student reads, and the one whose embedding is its target.
TEXT, TEACHER_TEXT = "text", "teacher_text"
#: The columns of a pair, and of its similarity.
PAIR, SIMILARITY = (TEXT, "other"), "similarity"


def parallel_texts(dataset: Dataset, source: str, target: str) -> Dataset:
    """Rows by which a student learns another language: both sentences of a pair have the embedding of the first.

    Args:
        dataset: Sentences and their translations.
        source: The column in the teacher's language.
        target: The column in the language to learn.

    Returns:
        Rows of `text`, which the student reads, and `teacher_text`.

    Raises:
        ValueError: when a column is missing.

    References: Reimers and Gurevych 2020, section 3, https://huggingface.co/papers/2004.09813.
    """
    if missing := [name for name in (source, target) if name not in dataset.column_names]:
        raise ValueError(f"the rows have no column {', '.join(missing)}, only {', '.join(dataset.column_names)}.")
    sides = [Dataset.from_dict({TEXT: dataset[name][:], TEACHER_TEXT: dataset[source][:]}) for name in (source, target)]
    return concatenate_datasets(sides)


def tokenized_texts(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int = 128) -> Dataset:
    """The rows with the student's token ids of `text`, cut to `max_length`."""
    length = min(max_length, tokenizer.model_max_length)
    return dataset.map(
        lambda rows: tokenizer(rows[TEXT], truncation=True, max_length=length), batched=True, desc="Tokenizing"
    )

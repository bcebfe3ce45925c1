"""Word and character error rates, counted row by row, and summed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from transformers import EvalPrediction

from hfdistill.models.labels import NO_LABEL


def edits(heard: Sequence[Hashable], said: Sequence[Hashable]) -> int:
    """How many words (or letters) must be inserted, deleted or replaced to make one sequence of the other.

    References: Levenshtein 1966; row by row, Wagner and Fischer 1974, https://doi.org/10.1145/321796.321811.
    """
    before = list(range(len(said) + 1))
    for place, one in enumerate(heard, 1):
        now = [place]
        for other, diagonal, above in zip(said, before, before[1:], strict=False):
            now.append(min(diagonal + (one != other), above + 1, now[-1] + 1))
        before = now
    return before[-1]


def error_counts(heard: Sequence[str], said: Sequence[str]) -> np.ndarray:
    """Of each row the wrong words, words, wrong characters and characters, whose sums give `error_rates`.

    Args:
        heard: What a model made of each recording.
        said: The transcripts.

    Returns: Shape `(rows, 4)`.
    """
    pairs = [(" ".join(one.split()), " ".join(other.split())) for one, other in zip(heard, said, strict=True)]
    return np.array(
        [
            [edits(one.split(), other.split()), len(other.split()), edits(one, other), len(other)]
            for one, other in pairs
        ],
        dtype=float,
    ).reshape(-1, 4)


def error_rates(sums: np.ndarray) -> dict[str, float]:
    """Word accuracy (`1 − wer`), `wer` and `cer`: wrong words and characters as shares of those in the transcripts."""
    wrong_words, words, wrong_characters, characters = sums
    wer, cer = float(wrong_words / max(words, 1)), float(wrong_characters / max(characters, 1))
    return {"word_accuracy": 1 - wer, "wer": wer, "cer": cer}


def transcripts(logits: np.ndarray, tokenizer: Any) -> list[str]:
    """What a student says of each recording: the likeliest letter of each frame, repetitions and blanks left out.

    Args:
        logits: Shape `(rows, frames, letters)`; frames of padding are -100 throughout.
        tokenizer: Its tokenizer, whose padding token is the blank.
    """
    letters = logits.argmax(-1)
    letters[(logits == NO_LABEL).all(-1)] = tokenizer.pad_token_id
    return list(tokenizer.batch_decode(letters))


def references(labels: Sequence[Sequence[int]], tokenizer: Any) -> list[str]:
    """The transcripts that labels of letters spell, where -100 is none."""
    rows = [[label for label in row if label != NO_LABEL] for row in labels]
    return [tokenizer.decode(row, group_tokens=False) for row in rows]


def written_texts(tokens: Sequence[Sequence[int]], tokenizer: Any) -> list[str]:
    """The texts of tokens that were written one after the other, where -100 is none."""
    rows = [[token for token in row if token != NO_LABEL] for row in tokens]
    return [text.strip() for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]


def speech_metrics(processor: Any) -> Callable[[EvalPrediction], dict[str, float]]:
    """A `compute_metrics` for `Trainer`: `word_accuracy`, `wer` and `cer`, of a CTC model or of generated tokens.

    Args:
        processor: The student's processor, or its tokenizer.
    """
    tokenizer = getattr(processor, "tokenizer", processor)

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        made, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        if made.ndim == 3:
            heard, said = transcripts(made, tokenizer), references(labels.tolist(), tokenizer)
        else:
            heard, said = (written_texts(ids.tolist(), tokenizer) for ids in (made, labels))
        return error_rates(error_counts(heard, said).sum(0))

    return compute_metrics

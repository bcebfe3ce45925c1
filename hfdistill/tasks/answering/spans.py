"""Questions and contexts as a model's features, several of a long context, and the answers that its logits point to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import BatchEncoding, PreTrainedTokenizerBase

#: Of so many starts and ends all pairs are looked at, and an answer has at most so many tokens, as in the scripts of
#: BERT and of `transformers`.
N_BEST, LONGEST = 20, 30
#: What a feature has beside tokens: the number of its question, and which characters of the context a token is; -1 of
#: what is none.
EXAMPLE, FIRST, LAST = "example", "context_start", "context_end"


@dataclass(frozen=True)
class FeatureReader:
    """Rows of questions as features.

    Args:
        tokenizer: A fast one, which knows the places of tokens.
        max_length: Tokens of a feature.
        stride: Tokens that two features of one context share.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    stride: int

    def __call__(self, rows: Mapping[str, Sequence[Any]], numbers: Sequence[int]) -> dict[str, list[Any]]:
        """The features of some rows, `start_positions` and `end_positions` among them.

        An answer that does not lie in a feature as a whole, and the lack of one, is at its first token (`[CLS]`);
        a question that nobody has answered has -1.
        """
        encoding = self._encoded(rows, numbers)
        features: dict[str, list[Any]] = {
            name: encoding[name] for name in encoding if name not in ("offset_mapping", "overflow_to_sample_mapping")
        }
        added = [EXAMPLE, FIRST, LAST, "start_positions", "end_positions"]
        features |= {name: [] for name in added}
        for feature, row in enumerate(encoding["overflow_to_sample_mapping"]):
            is_context = np.array([one == 1 for one in encoding.sequence_ids(feature)])
            offsets = np.where(is_context[:, None], np.array(encoding["offset_mapping"][feature]), -1)
            none = none_of(self.tokenizer, encoding["input_ids"][feature])
            start, end = _positions(offsets, rows["answers"][row], none)
            values = (numbers[row], offsets[:, 0].tolist(), offsets[:, 1].tolist(), start, end)
            for name, value in zip(added, values, strict=True):
                features[name].append(value)
        return features

    def _encoded(self, rows: Mapping[str, Sequence[Any]], numbers: Sequence[int]) -> BatchEncoding:
        questions = [question.strip() for question in rows["question"]]
        how: dict[str, Any] = {"truncation": "only_second", "max_length": self.max_length, "stride": self.stride}
        how |= {"return_overflowing_tokens": True, "return_offsets_mapping": True}
        try:
            return self.tokenizer(questions, list(rows["context"]), **how)
        except Exception as error:  # of no other class
            lengths = [len(ids) for ids in self.tokenizer(questions)["input_ids"]]
            longest = int(np.argmax(lengths))
            if "Truncation error" not in str(error):
                raise
            raise ValueError(
                f"row {numbers[longest]}: the question takes {lengths[longest]} of the {self.max_length} tokens of a "
                f"feature, and leaves its context less than the {self.stride} that two share: shorten it, or "
                "raise max_length."
            ) from error


def none_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> int:
    """The token that stands for no answer: `[CLS]`, or the first one."""
    return list(ids).index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else 0


def _positions(offsets: np.ndarray, answers: Mapping[str, Sequence[Any]] | None, none: int) -> tuple[int, int]:
    """The first and last token of a question's first answer."""
    if answers is None or answers["text"] is None:
        return -1, -1
    if not answers["text"]:
        return none, none
    first = answers["answer_start"][0]
    last = first + len(answers["text"][0])
    is_context = offsets[:, 0] >= 0
    inside = np.flatnonzero(is_context & (offsets[:, 0] < last) & (offsets[:, 1] > first))
    whole = len(inside) and offsets[is_context][0, 0] <= first and last <= offsets[is_context][-1, 1]
    return (int(inside[0]), int(inside[-1])) if whole else (none, none)


@dataclass(frozen=True)
class Answer:
    """What a model answers.

    Args:
        text: The answer; empty where it finds none.
        start: Its first character in the context, -1 of none.
    """

    text: str = ""
    start: int = -1


def answers_of(
    features: Sequence[Mapping[str, Any]],
    logits: Sequence[np.ndarray],
    contexts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    may_have_none: bool,
) -> list[Answer]:
    """The likeliest answer to each question, over all features of its context.

    Args:
        features: As from `FeatureReader`.
        logits: Of each where an answer begins and ends, shape `(2, tokens)`, padding on the right.
        contexts: Of each question.
        tokenizer: Which made the features.
        may_have_none: Whether questions may have no answer: then that is the answer where the token which stands for
            it is likelier, in the feature where it is least so.
    """
    best: list[tuple[float, Answer]] = [(-np.inf, Answer())] * len(contexts)
    lacking = np.full(len(contexts), np.inf)
    for feature, (start, end) in zip(features, logits, strict=True):
        row, none = feature[EXAMPLE], none_of(tokenizer, feature["input_ids"])
        lacking[row] = min(lacking[row], start[none] + end[none])
        score, first, last = _best(start, end, np.array(feature[FIRST]) >= 0)
        if score > best[row][0]:
            best[row] = score, _answer(contexts[row], feature[FIRST][first], feature[LAST][last])
    return [Answer() if may_have_none and lacking[row] > score else answer for row, (score, answer) in enumerate(best)]


def _answer(context: str, first: int, last: int) -> Answer:
    """These characters, without the space that some tokenizers count to a word."""
    text = context[first:last]
    return Answer(text.strip(), first + len(text) - len(text.lstrip()))


def _best(start: np.ndarray, end: np.ndarray, is_context: np.ndarray) -> tuple[float, int, int]:
    """The score, first and last token of the likeliest span within the context."""
    allowed = np.flatnonzero(is_context)
    firsts = allowed[np.argsort(-start[allowed], kind="stable")[:N_BEST]]
    lasts = allowed[np.argsort(-end[allowed], kind="stable")[:N_BEST]]
    scores = start[firsts][:, None] + end[lasts][None]
    lengths = lasts[None] - firsts[:, None]
    scores = np.where((lengths >= 0) & (lengths < LONGEST), scores, -np.inf)
    if not scores.size or not np.isfinite(scores).any():
        return -np.inf, 0, 0
    row, column = divmod(int(scores.argmax()), len(lasts))
    return float(scores[row, column]), int(firsts[row]), int(lasts[column])

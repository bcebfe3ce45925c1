"""A language model behind an API as the teacher: its translations, each asked for once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from datasets import Dataset

from hfdistill.data.streamed import row_tuples
from hfdistill.soft_targets.api import API_ANSWER, Endpoint, Limits, Messages, ask_api
from hfdistill.tasks.translation.pseudo_translations import check_texts, with_translations
from hfdistill.tasks.translation.translation_makers import Candidate

#: What a translation needs of an answer.
WHOLE_TEXT = {"max_tokens": 512, "temperature": 0, "logprobs": True}


def api_translations(
    dataset: Dataset,
    endpoint: Endpoint,
    template: str | Messages,
    *,
    source_column: str,
    store: str | os.PathLike[str] | None = None,
    limits: Limits | None = None,
    prices: tuple[float, float] | None = None,
) -> Dataset:
    """Let a server translate a dataset, each distinct text once: the rows, with a column `teacher_translations`.

    The column is that of `pseudo_translations`, for `transfer_set` to make training rows of. Answers are kept on disk
    as they come, as those of `ask_api` are. By default a request is for one translation of at most 512 tokens at
    temperature 0; for several name them all, `Endpoint(..., parameters={"n": 4, "temperature": 0.8, "max_tokens": 512,
    "logprobs": True})`.

    Args:
        dataset: Rows with the texts to translate: the split to train on.
        endpoint: Whom to ask.
        template: The user's message with a place for the text, as in `"Translate into German. Answer with the
            translation alone.\\n\\n{en}"`, or the messages of a chat with such places.
        source_column: The column of the texts.
        store: The folder to keep answers in; by default one in the Hugging Face cache.
        limits: What this call may spend. Texts that were not asked about are left out, and counted in a warning.
        prices: Of a million tokens read, and of a million written, for the cost to be logged.

    Returns:
        The rows with a list of `{"text", "finished", "score", "tokens"}`; `finished` is false where `max_tokens` cut
        one. `score` is the sum of the `logprobs`, the likeliest comes first; without them it and `tokens` are missing.

    Raises:
        ApiError: as `ask_api`.
        ValueError: likewise; when the column holds no text or a text is empty, or the template does not show it.
    """
    check_texts(dataset, source_column)
    messages: Messages = [{"content": template}] if isinstance(template, str) else template
    if not any(f"{{{source_column}}}" in one["content"] for one in messages):
        raise ValueError(f"the template does not show the text: put {{{source_column}}} where it belongs.")
    how: dict[str, Any] = {"store": store, "limits": limits, "prices": prices}
    rows = ask_api(dataset, endpoint.or_else(WHOLE_TEXT), template, **how)
    answers = rows.select_columns(API_ANSWER)
    return with_translations(
        rows.remove_columns(API_ANSWER),
        lambda: (_in_order(_candidates(json.loads(answer))) for (answer,) in row_tuples(answers, [API_ANSWER])),
        {"answers": answers._fingerprint},
    )


def _in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The likeliest first, where it is known how likely they are."""
    found = list(candidates)
    known = all(one.score is not None for one in found)
    return sorted(found, key=lambda one: one.score or 0.0, reverse=True) if known else found


def _candidates(answer: Mapping[str, Any]) -> Iterator[Candidate]:
    for choice in answer["choices"]:
        message, found = choice.get("message") or {}, (choice.get("logprobs") or {}).get("content")
        score = sum(token["logprob"] for token in found) if found else None
        text = (message.get("content") or "").strip()
        yield Candidate(text, choice.get("finish_reason") != "length", score, len(found) if found else None)

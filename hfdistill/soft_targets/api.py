"""A teacher behind an API: each text is asked about once, and what comes back is kept as it comes."""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from string import Formatter
from typing import Any

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from datasets import Dataset, Features, Value
from huggingface_hub.utils import httpx
from transformers.utils import logging

from hfdistill.data.streamed import streamed_dataset, with_columns
from hfdistill.models.fingerprints import hash_of
from hfdistill.models.progress import progress_bar
from hfdistill.soft_targets.answer_store import AnswerStore

logger = logging.get_logger(__name__)

#: The column with an API's answers, each the JSON text that came.
API_ANSWER = "api_answer"
#: What a label needs of an answer.
ONE_TOKEN = {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20}
#: Statuses of requests that may be answered later: too many at once, or a server that is busy or broken.
_LATER = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
#: The longest pause before a request is repeated, in seconds, unless the server names a longer one.
LONGEST_PAUSE = 60.0

Messages = Sequence[Mapping[str, str]]


class ApiError(ValueError):
    """A server refuses a request, or its answer is of no use."""


@dataclass(frozen=True)
class Endpoint:
    """A server with the chat completions of the OpenAI API: that company's, or any other (vLLM, llama.cpp, ...).

    Args:
        url: What comes before `/chat/completions`, such as `https://api.openai.com/v1`.
        model: The name of the model there.
        key_variable: The environment variable with the key, which is kept nowhere; a server without keys needs none.
        workers: How many requests are under way at once.
        retries: How often a request is repeated that may be answered later.
        timeout: Seconds until an answer is given up.
        parameters: More entries of each request. By default those that the caller needs: of `ask_api` for one token,
            and the log-probabilities of the likeliest; of `api_translations` for whole texts.
    """

    url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    workers: int = 8
    retries: int = 6
    timeout: float = 60.0
    parameters: Mapping[str, Any] | None = None

    def or_else(self, parameters: Mapping[str, Any]) -> Endpoint:
        """The same with these parameters, where it has none of its own."""
        return self if self.parameters is not None else replace(self, parameters=parameters)

    def describe(self) -> dict[str, Any]:
        """What an answer depends on beside the messages."""
        return {"url": self.url.rstrip("/"), "model": self.model, "parameters": dict(self.parameters or {})}


@dataclass(frozen=True)
class Limits:
    """What a call may spend; where it is spent no more is asked.

    Args:
        requests: The most answers.
        tokens: The most tokens, read and written together, as the server counts them; requests that are under way when
            they are spent are still answered.
    """

    requests: int | None = None
    tokens: int | None = None


@dataclass
class Spending:
    """What a call has spent: answers, and tokens read and written."""

    requests: int = 0
    read: int = 0
    written: int = 0

    def add(self, answer: Mapping[str, Any]) -> None:
        """Counts one answer."""
        usage = answer.get("usage") or {}
        self.requests += 1
        self.read += int(usage.get("prompt_tokens") or 0)
        self.written += int(usage.get("completion_tokens") or 0)

    def cost(self, prices: tuple[float, float]) -> float:
        """What it cost, at prices of a million tokens read, and of a million written."""
        return (self.read * prices[0] + self.written * prices[1]) / 1e6

    def __str__(self) -> str:
        return f"{self.requests:,} requests, {self.read:,} tokens read and {self.written:,} written"


def ask_api(
    dataset: Dataset,
    endpoint: Endpoint,
    template: str | Messages,
    *,
    store: str | os.PathLike[str] | None = None,
    limits: Limits | None = None,
    prices: tuple[float, float] | None = None,
) -> Dataset:
    """Asks an API about each distinct text once, and returns the rows with its answers in a column `api_answer`.

    `from_probabilities` makes soft targets of them. Answers are kept on disk, each as soon as it is there: a killed
    call goes on where it was, and nothing is asked twice but what was under way at that moment. Of several processes
    the main one asks.

    Args:
        dataset: The rows.
        endpoint: Whom to ask.
        template: The user's message with a place for each column that it shows, as in `"Review: {text}\\nPositive or
            negative?"`, or the messages of a chat with such places.
        store: The folder to keep answers in; by default one in the Hugging Face cache, named by what they depend on.
        limits: What this call may spend. Rows that were not asked about are left out, and counted in a warning.
        prices: Of a million tokens read, and of a million written, for the cost to be logged.

    Raises:
        ApiError: when the server refuses a request (a wrong key, model or parameter), or some rows got no answer that
            is of use however often it was asked for: the others are kept, and a second call asks for these alone.
        ValueError: for a stream or a dict of splits; a template with a place that is no column, or with none; a row
            with nothing in such a column; or a store of other questions.
    """
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"ask_api takes a Dataset, not a {type(dataset).__name__}: give it one split, and not a stream."
        )
    endpoint = endpoint.or_else(ONE_TOKEN)
    messages = [{"role": "user", "content": template}] if isinstance(template, str) else [dict(one) for one in template]
    columns = _columns_of(messages, dataset.column_names)
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    with state.main_process_first():
        answers = AnswerStore(store, {**endpoint.describe(), "messages": messages})
    rows = dataset.with_format(None).select_columns(columns)
    keys, missing = [], {}
    for number, row in enumerate(rows):
        question = _filled(messages, row, number)
        keys.append(hash_of(question))
        if keys[-1] not in answers:
            missing[keys[-1]] = question
    if state.is_main_process:
        _ask_all(endpoint, missing, answers, limits or Limits(), prices)
    state.wait_for_everyone()
    answers.load()
    kept = [row for row, key in enumerate(keys) if key in answers]
    if len(kept) < len(keys):
        logger.warning(
            "%d of %d rows are left out: the limit was reached before them.", len(keys) - len(kept), len(keys)
        )
    dataset = dataset.remove_columns([name for name in (API_ANSWER,) if name in dataset.column_names])
    column = streamed_dataset(
        lambda: ((json.dumps(answers[keys[row]]),) for row in kept),
        Features({API_ANSWER: Value("string")}),
        {"api answers": answers.digest(keys[row] for row in kept)},
    )
    return with_columns(dataset.select(kept), column)


def _columns_of(messages: Messages, names: Sequence[str]) -> list[str]:
    """The columns that messages have places for."""
    found = [name for one in messages for _, name, _, _ in Formatter().parse(one["content"]) if name is not None]
    unknown = [name for name in found if name not in names]
    if unknown or not found:
        what = f"a place {{{unknown[0]}}}" if unknown else "no place for a text"
        raise ValueError(f"the template has {what}, and the rows have the columns {', '.join(names)}.")
    return list(dict.fromkeys(found))


def _filled(messages: Messages, row: Mapping[str, Any], number: int) -> list[dict[str, str]]:
    empty = next((name for name, value in row.items() if value is None), None)
    if empty is not None:
        raise ValueError(f"row {number} has nothing in column {empty!r} to be asked about: leave such rows out.")
    return [{**one, "content": one["content"].format_map(row)} for one in messages]


def _ask_all(
    endpoint: Endpoint,
    questions: Mapping[str, Messages],
    answers: AnswerStore,
    limits: Limits,
    prices: tuple[float, float] | None,
) -> None:
    """Asks all of them, some at once, and keeps each answer as it comes.

    Raises:
        ApiError: at once for what the server refuses, and at the end for what got no answer.
    """
    spent, failed = Spending(), []
    with (
        _client(endpoint) as client,
        progress_bar(len(questions), "Asking the API", "texts") as bar,
    ):
        with ThreadPoolExecutor(endpoint.workers) as threads:
            for key, future in _answers(threads, client, endpoint, questions, spent, limits):
                bar.update()
                try:
                    answer = future.result()
                except _NoAnswer as error:
                    failed.append(error)
                    continue
                spent.add(answer)
                answers.add(key, answer)
    cost = f", {spent.cost(prices):.2f} at the given prices" if prices else ""
    logger.info("The API was asked: %s%s.", spent, cost)
    if failed:
        raise ApiError(
            f"{len(failed)} of {len(questions)} texts got no answer ({failed[0]}); the others are kept in "
            f"{answers.folder}: call again, and these alone are asked about."
        )


def _answers(
    threads: ThreadPoolExecutor,
    client: Any,
    endpoint: Endpoint,
    questions: Mapping[str, Messages],
    spent: Spending,
    limits: Limits,
) -> Iterator[tuple[str, Future[Any]]]:
    """Each question's key and answer as they come, until all are asked or what may be spent is."""
    waiting: dict[Future[Any], str] = {}
    rest = iter(questions.items())
    try:
        while True:
            room = endpoint.workers - len(waiting)
            if limits.requests is not None:
                room = min(room, limits.requests - spent.requests - len(waiting))
            if limits.tokens is not None and spent.read + spent.written >= limits.tokens:
                room = 0
            for key, messages in islice(rest, max(0, room)):
                waiting[threads.submit(_ask, client, endpoint, messages)] = key
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future
    finally:
        for future in waiting:
            future.cancel()


class _NoAnswer(Exception):
    """What is said of a question that got no answer."""


def _client(endpoint: Endpoint) -> Any:
    key = os.environ.get(endpoint.key_variable)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=endpoint.url.rstrip("/"), headers=headers, timeout=endpoint.timeout)


def _ask(client: Any, endpoint: Endpoint, messages: Messages) -> dict[str, Any]:
    """The answer to one question, repeated where it may come later.

    Raises:
        ApiError: when the server refuses it.
        _NoAnswer: when no answer of use came.
    """
    body = {"model": endpoint.model, "messages": messages, **(endpoint.parameters or {})}
    fault, pause = "", 0.0
    for attempt in range(endpoint.retries + 1):
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, 2.0**attempt) * random.uniform(0.5, 1.0)
        try:
            response = client.post("/chat/completions", json=body)
        except httpx.HTTPError as error:
            fault = f"{type(error).__name__} at {endpoint.url}"
            continue
        if response.status_code in _LATER:
            fault = f"status {response.status_code}"
            pause = _named_pause(response.headers.get("retry-after"), pause)
            continue
        if response.is_error:
            raise ApiError(_refusal(endpoint, response))
        answer = _parsed(response)
        if answer is not None:
            return answer
        fault = "an answer without choices"
    raise _NoAnswer(f"{fault}, {endpoint.retries + 1} times")


def _named_pause(header: str | None, pause: float) -> float:
    try:
        named = float(header) if header else pause
    except ValueError:  # a date
        return LONGEST_PAUSE
    return max(named, 0.0) if math.isfinite(named) else LONGEST_PAUSE


def _parsed(response: Any) -> dict[str, Any] | None:
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and answer.get("choices") else None


def _refusal(endpoint: Endpoint, response: Any) -> str:
    # Servers repeat a wrong key in what they say.
    key = os.environ.get(endpoint.key_variable)
    said = " ".join(response.text.split())[:200]
    said = said.replace(key, "***") if key else said
    hint = f"; the key is read from {endpoint.key_variable}" if response.status_code in (401, 403) else ""
    return f"{endpoint.url} refuses the request with status {response.status_code}{hint}: {said}"

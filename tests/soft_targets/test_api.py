"""Asking an API: once for each text, whatever fails, within a limit, and without a trace of the key."""

import json
import logging
import random
import signal
import subprocess
import sys
import time

import pytest
from chat_server import KEY, serve_chat
from datasets import Dataset
from processes import SCRIPTS

from hfdistill import ApiError, Endpoint, Limits, ask_api, from_probabilities

TEMPLATE = "Review: {text}\nPositive or negative?"
ROWS = Dataset.from_dict(
    {"text": [f"{'good' if n % 3 else 'poor'} film {n % 20}" for n in range(24)], "label": [0] * 24}
)


@pytest.fixture
def chat(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(sys.modules["hfdistill.soft_targets.api"], "LONGEST_PAUSE", 0.01)
    with serve_chat() as chat:
        yield chat


def endpoint(chat, **changes):
    return Endpoint(chat.url, "small", **changes)


def test_each_distinct_text_is_asked_about_once(chat, tmp_path):
    rows = ask_api(ROWS, endpoint(chat), TEMPLATE, store=tmp_path)
    assert len(rows) == 24 and rows["text"][:] == ROWS["text"][:]
    assert sorted(chat.asked) == sorted({TEMPLATE.format(text=text) for text in ROWS["text"]})
    for row in rows:
        assert json.loads(row["api_answer"]) == chat.answer(row["text"])
    again = ask_api(rows, endpoint(chat), TEMPLATE, store=tmp_path)
    assert again["api_answer"][:] == rows["api_answer"][:] and len(chat.asked) == len({*ROWS["text"]})
    assert chat.bodies[0]["top_logprobs"] == 20 and chat.bodies[0]["model"] == "small"


@pytest.mark.parametrize("fault", [429, 503, "no json", '{"choices": []}'])
def test_what_may_come_later_is_asked_for_again(chat, tmp_path, fault):
    chat.faults = [fault] * 5
    assert len(ask_api(ROWS, endpoint(chat), TEMPLATE, store=tmp_path)) == 24


def test_what_never_comes_is_counted_and_the_rest_is_kept(chat, tmp_path):
    chat.faults = [500, 500]
    with pytest.raises(ApiError, match=r"1 of \d+ texts got no answer \(status 500, 2 times\).*call again"):
        ask_api(ROWS, endpoint(chat, retries=1, workers=1), TEMPLATE, store=tmp_path)
    asked = len(chat.asked)
    assert len(ask_api(ROWS, endpoint(chat), TEMPLATE, store=tmp_path)) == 24
    assert len(chat.asked) == asked + 1


def test_a_refused_request_ends_it_at_once_and_the_key_is_nowhere(chat, tmp_path, monkeypatch, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    ask_api(ROWS.select(range(3)), endpoint(chat), TEMPLATE, store=tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    with pytest.raises(
        ApiError, match=r"status 401; the key is read from OPENAI_API_KEY: wrong key Bearer \*\*\*"
    ) as told:
        ask_api(ROWS, endpoint(chat), TEMPLATE, store=tmp_path)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()).decode()
    for text in (written, caplog.text, str(told.value), "".join(capsys.readouterr())):
        assert KEY not in text and "planted" not in text


@pytest.mark.parametrize(("limits", "answered"), [(Limits(requests=5), 5), (Limits(tokens=77), 7)])
def test_a_limit_ends_it_cleanly(chat, tmp_path, caplog, limits, answered):
    caplog.set_level(logging.INFO)
    given = {"store": tmp_path, "limits": limits, "prices": (1e6, 2e6)}
    rows = ask_api(ROWS.select(range(18)), endpoint(chat, workers=1), TEMPLATE, **given)
    assert len(chat.asked) == len(rows) == answered
    assert f"{18 - answered} of 18 rows are left out: the limit was reached" in caplog.text
    assert (
        f"{answered} requests, {10 * answered} tokens read and {answered} written, {12 * answered}.00 at" in caplog.text
    )
    assert len(ask_api(ROWS.select(range(18)), endpoint(chat), TEMPLATE, store=tmp_path)) == 18
    assert len(chat.asked) == 18


@pytest.mark.parametrize(
    ("template", "said"), [("{review}?", "a place {review}"), ("Positive?", "no place for a text")]
)
def test_a_template_without_the_text_is_refused(chat, template, said):
    with pytest.raises(ValueError, match=f"the template has {said}, and the rows have the columns text, label"):
        ask_api(ROWS, endpoint(chat), template)


def test_a_stream_is_refused(chat):
    with pytest.raises(ValueError, match="takes a Dataset, not a IterableDataset"):
        ask_api(ROWS.to_iterable_dataset(), endpoint(chat), TEMPLATE)


def test_answers_to_other_questions_are_not_taken(chat, tmp_path):
    ask_api(ROWS, endpoint(chat), TEMPLATE, store=tmp_path)
    with pytest.raises(ValueError, match="are to other questions: they differ in messages"):
        ask_api(ROWS, endpoint(chat), "Is this good? {text}", store=tmp_path)


@pytest.mark.slow
def test_killed_ten_times_nothing_is_asked_twice(chat, tmp_path):
    """But for the one text that was under way, with one worker, when it was killed."""
    random.seed(4)
    script = [sys.executable, SCRIPTS / "ask_api.py", chat.url, tmp_path]
    kills = 0
    while (process := subprocess.Popen(script, stderr=subprocess.DEVNULL)).poll() is None and kills < 10:
        before = len(chat.asked)
        while len(chat.asked) < before + random.randint(2, 6) and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert process.wait() in (0, -signal.SIGKILL)
    subprocess.run(script, check=True)
    asked = sorted(chat.asked)
    assert len(set(asked)) == 200 and len(asked) <= 200 + kills


def test_its_answers_are_soft_targets(chat, tmp_path):
    rows = ask_api(ROWS.remove_columns("label"), endpoint(chat), TEMPLATE, store=tmp_path)
    taught = from_probabilities(rows, "api_answer", ["negative", "positive"], kind="top_logprobs")
    for row in taught:
        surer = row["teacher_logits"][1] - row["teacher_logits"][0]
        assert surer == pytest.approx(2.3 if "good" in row["text"] else -2.3, abs=1e-5)


def test_a_pause_that_is_none_ends_nothing(chat, tmp_path):
    """A server that named a moment that was over, -1 seconds, ended the call by an error of `sleep`."""
    chat.faults, chat.pause = [429, 429], "-1"
    assert len(ask_api(ROWS, endpoint(chat), TEMPLATE, store=tmp_path)) == 24


def test_rows_without_a_text_are_refused_and_no_rows_are_none(chat, tmp_path):
    """It was asked about the text "None", and paid for."""
    with pytest.raises(ValueError, match="row 1 has nothing in column 'text' to be asked about"):
        ask_api(Dataset.from_dict({"text": ["good", None]}), endpoint(chat), TEMPLATE, store=tmp_path)
    assert chat.asked == [] and len(ask_api(ROWS.select([]), endpoint(chat), TEMPLATE, store=tmp_path)) == 0

"""A server as the translator: each text once, whatever fails, and what comes of it."""

import signal
import subprocess
import sys
import time

import pytest
from chat_server import KEY, serve_chat
from datasets import Dataset
from processes import SCRIPTS
from texts import TEXTS

from hfdistill import ApiError, Endpoint, Limits, api_translations, transfer_set

TEMPLATE = "Translate into German, and answer with the translation alone:\n{en}"
ROWS = Dataset.from_dict({"en": [*TEXTS, TEXTS[3]], "id": range(31)})
SETTINGS = {"source_column": "en"}


@pytest.fixture
def chat(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(sys.modules["hfdistill.soft_targets.api"], "LONGEST_PAUSE", 0.01)
    with serve_chat() as chat:
        yield chat


def backwards(text):
    return " ".join(text.split()[::-1])


def test_each_distinct_text_is_asked_for_once(chat, tmp_path):
    chat.faults = [429, 503, "no json"]
    rows = api_translations(ROWS, Endpoint(chat.url, "large"), TEMPLATE, store=tmp_path, **SETTINGS)
    assert rows["id"] == ROWS["id"] and rows.column_names == ["en", "id", "teacher_translations"]
    for row in rows:
        count = len(row["en"].split())
        [one] = row["teacher_translations"]
        assert one == {"text": backwards(row["en"]), "finished": True, "score": -0.5 * count, "tokens": count}
    assert sorted(chat.asked) == sorted(TEMPLATE.format(en=text) for text in TEXTS)
    assert chat.bodies[0]["max_tokens"] == 512 and chat.bodies[0]["temperature"] == 0
    again = api_translations(ROWS, Endpoint(chat.url, "large"), TEMPLATE, store=tmp_path, **SETTINGS)
    assert again["teacher_translations"][:] == rows["teacher_translations"][:] and len(chat.asked) == 30
    learned, report = transfer_set(rows, "en", "de")
    assert learned["de"][:] == [backwards(text) for text in learned["en"]] and report.rows == 31


def test_several_candidates_come_in_order_of_their_scores(chat, tmp_path):
    """A server counts its choices in any order; one that `max_tokens` cut is not finished, nor learned from."""
    parameters = {"n": 2, "temperature": 1, "max_tokens": 4, "logprobs": True}
    server = Endpoint(chat.url, "large", parameters=parameters)
    rows = api_translations(ROWS, server, TEMPLATE, store=tmp_path, **SETTINGS)
    for row in rows:
        words = backwards(row["en"]).split()
        first, second = row["teacher_translations"]
        assert [first["text"], second["text"]] == [" ".join(words[:4]).upper(), " ".join(words[:4])]
        assert first["score"] > second["score"] and first["finished"] == (len(words) <= 4)
    _, report = transfer_set(rows, "en", "de", "mbr")
    assert report.dropped["not finished"] == 2 * sum(len(text.split()) > 4 for text in ROWS["en"]) > 0


def test_a_server_without_log_probabilities_gives_no_scores(chat, tmp_path):
    server = Endpoint(chat.url, "large", parameters={"max_tokens": 99, "n": 2})
    rows = api_translations(ROWS, server, TEMPLATE, store=tmp_path, **SETTINGS)
    [one, other] = rows[0]["teacher_translations"]
    assert one["score"] is one["tokens"] is None and one["text"] == backwards(TEXTS[0]) == other["text"].lower()


def test_a_limit_leaves_rows_out(chat, tmp_path):
    given = {"store": tmp_path, "limits": Limits(requests=5), **SETTINGS}
    rows = api_translations(ROWS.select(range(20)), Endpoint(chat.url, "large", workers=1), TEMPLATE, **given)
    assert len(rows) == len(chat.asked) == 5


def test_bad_input_is_refused(chat, tmp_path, monkeypatch):
    server = Endpoint(chat.url, "large")
    with pytest.raises(ValueError, match="the template does not show the text: put {en} where it belongs"):
        api_translations(ROWS, server, "Translate {id}.", **SETTINGS)
    with pytest.raises(ValueError, match="row 1 of column 'en' is empty"):
        api_translations(Dataset.from_dict({"en": ["a", ""]}), server, TEMPLATE, **SETTINGS)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    with pytest.raises(ApiError, match="status 401; the key is read from OPENAI_API_KEY"):
        api_translations(ROWS, server, TEMPLATE, store=tmp_path, **SETTINGS)
    assert not chat.asked


@pytest.mark.slow
def test_killed_it_goes_on(chat, tmp_path):
    """In a process of its own; but for what was under way nothing is asked for twice."""
    script = [sys.executable, SCRIPTS / "ask_api.py", chat.url, tmp_path, "translations"]
    process = subprocess.Popen(script, stderr=subprocess.DEVNULL)
    while len(chat.asked) < 40:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(script, check=True)
    assert len({*chat.asked}) == 200 and len(chat.asked) <= 201

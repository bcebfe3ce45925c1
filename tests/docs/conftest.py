"""What the pages name: small models and files in place of a reader's own."""

from __future__ import annotations

import json
import shutil

import pytest
from chat_server import KEY, serve_chat
from classification_runs import save_model, write_table
from texts import TEXTS, make_tokenizer
from tiny_prompts import make_bpe, make_causal, make_entailment, make_wordpiece
from tiny_seq2seq import make_translator


@pytest.fixture(scope="module")
def readers_folder(tmp_path_factory):
    """The models and files that the pages name."""
    folder = tmp_path_factory.mktemp("reader")
    many = make_tokenizer([*TEXTS, *(f"word{number}" for number in range(9000))], vocab_size=9000)
    for name, tokenizer in (("my/bert", many), ("my/roberta", make_tokenizer()), ("student", make_tokenizer())):
        save_model(folder / name, tokenizer, num_hidden_layers=4, hidden_size=256, vocab_size=len(tokenizer))
    rows = [(text, ["bad", "good"][len(text) % 2]) for text in TEXTS]
    write_table(folder / "train.csv", rows)
    write_table(folder / "validation.csv", [(f"well {text}", label) for text, label in rows])
    write_table(folder / "test.csv", [(f"really {text}", label) for text, label in rows[:11]])
    write_table(folder / "more.csv", [(f"once more {text}",) for text in TEXTS], columns=("sentence",))
    for part in (make_causal(), make_bpe()):
        part.save_pretrained(folder / "my" / "lm")
    for part in (make_entailment(), make_wordpiece()):
        part.save_pretrained(folder / "my" / "nli")
    annotators = ("annotator_1", "annotator_2", "annotator_3")
    write_table(folder / "votes.csv", [("bad", "good", "bad")] * 9, columns=annotators)
    answers = [{"answer": {"top_logprobs": [{" good": -0.1, " awful": -2.5}]}}] * 9
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, answers)), encoding="utf-8")
    for part in make_translator():
        part.save_pretrained(folder / "my" / "translator")
    for name, start in (("pairs", ""), ("validation", "well "), ("test", "really ")):
        pairs = [{"translation": {"en": start + text, "de": " ".join(reversed(text.split()))}} for text in TEXTS]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    (folder / "settings.yaml").write_text("train_file: train.csv\nteacher_name_or_path: my/bert\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def chat_url():
    """Where a server with the API of OpenAI answers."""
    with serve_chat(("good", "bad")) as chat:
        yield chat.url


@pytest.fixture
def api(chat_url, monkeypatch):
    """The same, and the key to it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return chat_url


@pytest.fixture
def reader(readers_folder, tmp_path, monkeypatch, quick_report):
    """A copy of them, in which the reader stands."""
    shutil.copytree(readers_folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path

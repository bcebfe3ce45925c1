"""What the pages name: small models and files in place of a reader's own."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from chat_server import KEY, serve_chat
from classification_runs import save_model, write_table
from PIL import Image as Pictures
from scipy.io import wavfile
from texts import TEXTS, make_tokenizer
from tiny_media import make_vit
from tiny_prompts import make_bpe, make_causal, make_entailment, make_wordpiece
from tiny_seq2seq import make_translator
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForQuestionAnswering,
    BertForTokenClassification,
)
from translators import SHORT_PAIRS

from hfdistill.tasks.speech.demo import RATE, demo_speech_model, demo_speech_processor
from hfdistill.tasks.speech.whisper_demo import demo_whisper, demo_whisper_processor

SCRIPTS = Path(__file__).parents[1] / "scripts"


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
    right = [(text, label, "good" if label == "bad" else "") for text, label in rows[:9]]
    write_table(folder / "reviewed.csv", right, columns=("text", "label", "corrected"))
    write_table(folder / "more.csv", [(f"once more {text}",) for text in TEXTS], columns=("sentence",))
    for name, start in (("nli", ""), ("test_nli", "well ")):
        judged = [(start + text, text[::-1], ["no", "yes"][len(text) % 2]) for text in TEXTS]
        write_table(folder / f"{name}.csv", judged, columns=("premise", "hypothesis", "label"))
    topics = [{"text": text, "topics": ["films", "food"][: len(text) % 3]} for text in TEXTS]
    (folder / "topics.jsonl").write_text("\n".join(map(json.dumps, topics)), encoding="utf-8")
    rated = [(text, f"so {text}", str(len(text) % 5 / 4)) for text in TEXTS]
    write_table(folder / "rated.csv", rated, columns=("sentence1", "sentence2", "similarity"))
    write_table(folder / "translated.csv", [(text, f"so {text}") for text in TEXTS], columns=("en", "de"))
    for part in (make_causal(), make_bpe()):
        part.save_pretrained(folder / "my" / "lm")
    save_adapter(folder / "my" / "adapter", folder / "my" / "roberta")
    for part in (make_entailment(), make_wordpiece()):
        part.save_pretrained(folder / "my" / "nli")
    annotators = ("annotator_1", "annotator_2", "annotator_3")
    write_table(folder / "votes.csv", [("bad", "good", "bad")] * 9, columns=annotators)
    answers = [{"answer": {"top_logprobs": [{" good": -0.1, " awful": -2.5}]}}] * 9
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, answers)), encoding="utf-8")
    sentences = [[(word, ["O", "B-x", "I-x"][len(word) % 3]) for word in text.split()] for text in TEXTS]
    for name in ("train", "test"):
        lines = ["\n".join(f"{word} {tag}" for word, tag in one) for one in sentences]
        (folder / f"{name}.conll").write_text("\n\n".join(lines), encoding="utf-8")
    save_tagger(folder / "my" / "tagger")
    save_finder(folder / "my" / "finder")
    asked = [{"question": f"{text} ?", "context": text, "answers": _answer(text.split()[0])} for text in TEXTS]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    paragraphs = [
        {
            "context": f"well {text}",
            "qas": [{"question": f"{text} ?", "answers": [{"text": "well", "answer_start": 0}]}],
        }
        for text in TEXTS
    ]
    (folder / "squad.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    for name, seed in (("translator", 3), ("translator2", 4), ("reverse_translator", 5)):
        for part in make_translator(seed):
            part.save_pretrained(folder / "my" / name)
    for name, start in (("pairs", ""), ("translated", ""), ("validation", "well "), ("test", "really ")):
        pairs = [{"translation": {"en": start + text, "de": " ".join(reversed(text.split()))}} for text in TEXTS]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    for language, side in zip(("en", "de"), zip(*SHORT_PAIRS, strict=True), strict=True):
        (folder / f"corpus.{language}").write_text("".join(f"{text}\n" for text in side), encoding="utf-8")
    write_program(folder / "comet" / "bin" / "comet-score", SCRIPTS / "estimate_quality.py")
    write_media(folder)
    (folder / "settings.yaml").write_text("train_file: train.csv\nteacher_name_or_path: my/bert\n", encoding="utf-8")
    return folder


def save_adapter(folder, base):
    """A classifier by adapters, on one that is there."""
    peft = pytest.importorskip("peft")
    model = AutoModelForSequenceClassification.from_pretrained(base)
    peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])).save_pretrained(
        folder
    )


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


def _answer(text):
    return {"text": [text], "answer_start": [0]}


def save_tagger(folder):
    names = {0: "O", 1: "B-x", 2: "I-x"}
    labels = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    _save(folder, BertForTokenClassification, **labels)


def save_finder(folder):
    _save(folder, BertForQuestionAnswering)


def _save(folder, kind, **labels):
    tokenizer = make_tokenizer()
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24}
    for part in (tokenizer, kind(BertConfig(vocab_size=len(tokenizer), **sizes, **labels))):
        part.save_pretrained(folder)


def write_program(path, script):
    """A program in an environment of its own, as far as whoever starts it can tell."""
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n', encoding="utf-8")
    path.chmod(0o755)


def write_media(folder):
    """Pictures and recordings, and models that read them."""
    for part in make_vit():
        part.save_pretrained(folder / "my" / "vit")
    rng = np.random.default_rng(1)
    for split, row in itertools.product(("train", "test"), range(24)):
        path = folder / "pictures" / split / f"LABEL_{row % 3}" / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pictures.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(path)
    processor = demo_speech_processor()
    for part in (demo_speech_model(16, 2, processor), processor):
        part.save_pretrained(folder / "my" / "wav2vec2")
    processor = demo_whisper_processor()
    for part in (demo_whisper(16, 1, 2, processor), processor):
        part.save_pretrained(folder / "my" / "whisper")
    for row in range(24):
        wavfile.write(folder / f"{row}.wav", RATE, rng.uniform(-1, 1, 2400).astype("float32"))
    rows = [f"{row}.wav,{word}" for row, word in enumerate(["tea", "sea", "tin nose"] * 8)]
    (folder / "recordings.csv").write_text("\n".join(["file,text", *rows]), encoding="utf-8")


@pytest.fixture
def reader(readers_folder, tmp_path, monkeypatch, quick_report):
    """A copy of them, in which the reader stands."""
    shutil.copytree(readers_folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path

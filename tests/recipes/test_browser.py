"""The browser page, in a headless Chromium: what it says of two exported models, and of models that are not there."""

import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
import torch
from browser import headless_chromium, started
from datasets import Dataset
from texts import TEXTS, make_tokenizer
from transformers import BertConfig, BertForSequenceClassification

from hfdistill.export.base import formats as known_formats
from hfdistill.export.onnx import export_onnx

ROOT = Path(__file__).parents[2]
PAGE_TO_DEPLOY = (ROOT / "docs" / "how-to" / "deploy.md").read_text(encoding="utf-8")
NODE_MODULES = Path(os.environ.get("HFDISTILL_NODE_MODULES", "node_modules"))
SERVE = ["python", "-m", "http.server"]
PAGE = "/recipes/browser/"
ROLES = ("teacher", "student")
LABELS = ("bad", "fair", "good")
#: Typed markup is a text like any other.
TYPED = "that song <b>is</b> a joy & never ends"

CHROMIUM = all(map(shutil.which, ("chromium", "chromedriver")))
TRANSFORMERS_JS = (NODE_MODULES / "@huggingface" / "transformers").is_dir()


def in_chromium(test):
    """A test that needs a browser, and the library that runs in it."""
    apt = "Chromium or its driver is not installed: apt-get install chromium chromium-driver"
    npm = "transformers.js is not installed: npm install --ignore-scripts @huggingface/transformers, and name its "
    for mark in (
        pytest.mark.slow,
        pytest.mark.skipif(not CHROMIUM, reason=apt),
        pytest.mark.skipif(not TRANSFORMERS_JS, reason=f"{npm}node_modules in HFDISTILL_NODE_MODULES"),
    ):
        test = mark(test)
    return test


def test_the_how_to_leads_to_the_page():
    """What it tells to type is what the tests below serve the page with."""
    assert " ".join(SERVE) in PAGE_TO_DEPLOY and f"http://localhost:8000{PAGE}" in PAGE_TO_DEPLOY
    assert (ROOT / PAGE.strip("/") / "index.html").is_file()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A served folder as a user's: the recipes, npm's packages, and two exported models; the browser beside it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    (folder / "node_modules").symlink_to(NODE_MODULES.resolve())
    teacher = exported(folder / "teacher", 1, num_hidden_layers=4, formats=["onnx"])
    student = exported(folder / "student", 0, num_hidden_layers=2, formats=["onnx", "int8"])
    models = {"teacher": teacher, "student": student}
    shutil.copytree(folder / "student", folder / "others")
    config = folder / "others" / "config.json"
    config.write_text(config.read_text().replace("fair", "dull"))
    shutil.copytree(folder / "student", folder / "plain", ignore=shutil.ignore_patterns("onnx"))
    command = [sys.executable, "-u", *SERVE[1:], "0", "--bind", "127.0.0.1"]
    with started(command, r"port (\d+)", cwd=folder) as port, headless_chromium() as browser:
        yield SimpleNamespace(folder=folder, url=f"http://127.0.0.1:{port}", models=models, browser=browser)


def exported(folder, seed, num_hidden_layers, formats):
    """A random classifier, as `hfdistill export` leaves it."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 256, "max_position_embeddings": 64}
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {label: id_ for id_, label in enumerate(LABELS)}}
    config = BertConfig(vocab_size=120, num_hidden_layers=num_hidden_layers, initializer_range=0.3, **sizes, **names)
    model, tokenizer = BertForSequenceClassification(config).eval(), make_tokenizer()
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    texts = Dataset.from_dict({"sentence": TEXTS})
    export_onnx(model, tokenizer, texts, folder, formats=formats, text_columns=["sentence"])
    return model


@torch.no_grad()
def prediction(model, text):
    """The label that PyTorch gives, and how sure it is in per cent."""
    chances = model(**make_tokenizer()(text, return_tensors="pt")).logits.softmax(-1)[0]
    return model.config.id2label[int(chances.argmax())], 100 * float(chances.max())


def visit(site, **parameters):
    """Opens the page, and waits until it has measured or complains; the complaint."""
    given = {"library": "/node_modules", "examples": "\n".join(TEXTS), **parameters}
    site.browser.open(f"{site.url}{PAGE}?{urlencode(given)}")
    site.browser.wait("document.querySelector('#error').innerText || !document.querySelector('#text').disabled")
    return "".join(site.browser.texts("#error"))


def number(text):
    return float(re.match(r"[\d.]+", text)[0])


@in_chromium
@pytest.mark.parametrize("student_dtype", ["fp32", "int8"])
def test_the_page_shows_what_the_student_buys(site, student_dtype):
    """Every figure on it is one that can be had in another way, or follows from two others that are shown."""
    browser = site.browser
    assert visit(site, student_dtype=student_dtype) == ""
    pairs = [[prediction(site.models[role], text)[0] for role in ROLES] for text in TEXTS]
    if student_dtype == "fp32":  # int8 may decide a close one otherwise
        assert browser.texts("#examples b") == [one if one == other else f"{one} → {other}" for one, other in pairs]
    same = len(browser.texts("#examples .same"))
    assert browser.texts("#agreement") == [f"{same} of {len(TEXTS)}"] and 0 < same < len(TEXTS)
    assert abs(same - sum(one == other for one, other in pairs)) <= 2
    formats = {"teacher": "onnx", "student": {"fp32": "onnx", "int8": "int8"}[student_dtype]}
    for role in ROLES:
        files = [known_formats()[formats[role]].path, "config.json", "tokenizer.json", "tokenizer_config.json"]
        size = sum((site.folder / role / name).stat().st_size for name in files) / 1e6
        assert number(*browser.texts(f"#{role}-size dd")) == pytest.approx(size, rel=0.01)
    times, sizes = ([number(*browser.texts(f"#{role}-{what} dd")) for role in ROLES] for what in ("time", "size"))
    assert number(*browser.texts("#faster")) == pytest.approx(times[0] / times[1], rel=0.02)
    assert number(*browser.texts("#smaller")) == pytest.approx(100 * sizes[1] / sizes[0], rel=0.02)
    assert browser.texts("#status")[0].endswith(f"over {len(TEXTS)} texts.")
    assert browser.complaints() == []


@in_chromium
def test_both_models_predict_what_is_typed(site):
    """At once, by the name of the label; nothing typed has no answer."""
    assert visit(site, student_dtype="fp32") == ""
    for text in ("the film is a joy", TYPED):
        site.browser.type("#text", text)
        for role in ROLES:
            label, sure = prediction(site.models[role], text)
            site.browser.wait(f"document.querySelector('#{role}-answer .label').innerText === '{label}'")
            shown = f"parseFloat(document.querySelector('#{role}-answer .score').innerText)"
            site.browser.wait(f"Math.abs({shown} - {sure}) < 0.1")
    site.browser.type("#text", " ")
    site.browser.wait("document.querySelector('#student-answer .label').innerText === '–'")


@in_chromium
def test_it_fits_a_phone(site):
    """Nothing of it has to be scrolled to sideways, long labels and texts included."""
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    site.browser.devtools("Emulation.setDeviceMetricsOverride", **phone)
    try:
        assert visit(site, examples="word" * 40) == ""
        assert site.browser.run("return document.documentElement.scrollWidth") == 360
    finally:
        site.browser.devtools("Emulation.clearDeviceMetricsOverride")


COMPLAINTS = {
    "no folder": (
        {"student": "/nowhere"},
        r"The student /nowhere could not be loaded: /nowhere/\S+ is not there; “hfdistill export” writes it\.",
    ),
    "not exported": ({"student": "/plain"}, r"The student /plain .*/onnx/model_quantized\.onnx is not there; .*"),
    "other labels": ({"student": "/others"}, r"The teacher’s labels are bad, fair, good, but the student’s are .*\."),
    "unknown format": ({"teacher_dtype": "q4"}, r"The teacher’s format is fp32 or int8\."),
    "no texts": ({"examples": " \n "}, r"There are no example texts: .*\."),
    "no library": ({"library": "/recipes"}, r"The library could not be loaded from http\S+\."),
    "another's library": ({"library": "//example.org/x"}, r"The library //example\.org/x is not on this server\."),
}


@in_chromium
@pytest.mark.parametrize("name", COMPLAINTS)
def test_what_is_missing_is_named_in_a_sentence(site, name):
    """On the page: nobody looks into a phone's console."""
    given, sentence = COMPLAINTS[name]
    assert re.fullmatch(sentence, visit(site, **given))
    shown = "return [...document.querySelectorAll(arguments[0])].filter(one => one.checkVisibility()).length"
    assert site.browser.run(shown, "#status, #progress, section") == 0  # no figure stands beside it
    assert site.browser.run(shown, "form input") == 3  # where it can be mended

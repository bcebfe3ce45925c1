"""The page that translates, in a headless Chromium: what PyTorch says, and one sentence where something is missing."""

import sys
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from browser import headless_chromium, started
from test_browser import NODE_MODULES, PAGE_TO_DEPLOY, ROOT, SERVE, in_chromium
from texts import TEXTS
from tiny_translators import LENGTH

from hfdistill.models.generation import translate

PAGE = "/recipes/browser/translate.html"


def test_the_how_to_leads_to_the_page():
    assert f"http://localhost:8000{PAGE}" in PAGE_TO_DEPLOY and (ROOT / PAGE.strip("/")).is_file()


@pytest.fixture(scope="module")
def site(tmp_path_factory, deployed):
    """A served folder as a user's: the recipes, npm's packages, and an exported translator; the browser beside it."""
    folder = tmp_path_factory.mktemp("site")
    for name, place in (("recipes", ROOT / "recipes"), ("node_modules", NODE_MODULES.resolve())):
        (folder / name).symlink_to(place)
    (folder / "student").symlink_to(deployed.folder)
    command = [sys.executable, "-u", *SERVE[1:], "0", "--bind", "127.0.0.1"]
    with started(command, r"port (\d+)", cwd=folder) as port, headless_chromium() as browser:
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}", browser=browser, translator=deployed)


def visit(site, **parameters):
    """Opens the page, and waits until it can translate or complains; the complaint."""
    site.browser.open(f"{site.url}{PAGE}?{urlencode({'library': '/node_modules', **parameters})}")
    site.browser.wait("document.querySelector('#error').innerText || !document.querySelector('#text').disabled")
    return "".join(site.browser.texts("#error"))


@in_chromium
@pytest.mark.parametrize(("dtype", "name"), [("fp32", "onnx"), ("int8", "int8")])
def test_what_is_typed_is_translated_as_generate_does(site, dtype, name):
    """At once, the last of several; markup is a text like any other, and nothing typed has no translation."""
    assert visit(site, dtype=dtype) == ""
    assert f"/student · {dtype}:" in site.browser.texts("#status")[0]
    one = site.translator
    model = one.model if name == "onnx" else one.exported[name]
    for text in (*TEXTS[:3], "that <b>song</b> is a joy"):
        [expected] = translate(model, one.tokenizer, [text], max_length=LENGTH)
        site.browser.type("#text", text)
        site.browser.wait(f"document.querySelector('#translation').innerText === {expected!r}")
    site.browser.type("#text", " ")
    site.browser.wait("document.querySelector('#translation').innerText === ''")
    assert site.browser.complaints() == []


@in_chromium
def test_what_is_missing_is_named_in_a_sentence(site):
    told = visit(site, model="/nowhere")
    assert told.startswith("The translator /nowhere could not be loaded: /nowhere/") and "hfdistill export" in told
    assert visit(site, dtype="q4") == "The translator’s format is fp32 or int8."


@in_chromium
def test_it_fits_a_phone(site):
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    site.browser.devtools("Emulation.setDeviceMetricsOverride", **phone)
    try:
        assert visit(site) == ""
        assert site.browser.run("return document.documentElement.scrollWidth") == 360
    finally:
        site.browser.devtools("Emulation.clearDeviceMetricsOverride")

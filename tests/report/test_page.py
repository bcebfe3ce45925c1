"""`report/report.html`: one file that needs nothing beside it, whose texts cannot break it."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from browser import headless_chromium
from test_report_tables import CALIBRATION, figures

from hfdistill.report import Comparison
from hfdistill.report.examples import Disagreement
from hfdistill.report.markdown import escaped, inline_html
from hfdistill.report.quality import Slice
from hfdistill.report.results import write_report
from hfdistill.tasks.translation.report import TranslationComparison, TranslatorFigures

PLANTED = "<script>document.title = 'broken in'</script><img src=x onerror=\"document.title='broken in'\"> {{verdict}}"
TEXTS = ["a short one", "a much longer text of as many as nine words", PLANTED]


def page_of(folder, comparison, **more):
    write_report(folder, comparison, {"student": [{"loss": 1.0, "step": 1}]}, **more)
    return folder / "report" / "report.html"


@pytest.fixture
def classified():
    examples = [
        Disagreement(text, {"label": label, "teacher": label, "student": "bad" if label == "good" else "good"})
        for text, label in zip(TEXTS, ["good", "bad", "<b>good</b>"], strict=True)
    ]
    parts = {"teacher": 1.0, "student": 0.755}
    models = {"teacher": figures(8.0), "student": figures(2.0, 0.875, calibration=CALIBRATION)}
    return Comparison(models, 1200, disagreements=examples, classes=[Slice("<i>good</i>", 7, parts)])


@pytest.fixture
def translated():
    metrics = {"bleu": 20.0, "chrf": 40.0, "greedy_bleu": 19.0, "greedy_chrf": 39.0}
    models = {role: TranslatorFigures(**vars(figures(metrics=metrics))) for role in ("teacher", "student")}
    texts = {
        "source": ["ein Hund", "eine Katze", PLANTED],
        "reference": ["a dog runs", "a cat", PLANTED],
        "teacher": ["a dog walks", "a cat", PLANTED],
        "student": ["a log walks", "a cat", "nothing"],
    }
    return TranslationComparison(models, rows=3, texts=texts)


class Tags(HTMLParser):
    """Every tag must be closed, and every address be within the file."""

    VOID = {"meta", "img", "input"}

    def __init__(self):
        super().__init__()
        self.open, self.addresses = [], []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("kind", ["classified", "translated"])
def test_the_page_is_whole_and_needs_no_network(tmp_path, request, kind):
    """A page that fetches a font tells somebody who reads what."""
    page = page_of(tmp_path, request.getfixturevalue(kind), advice="To try first: <less>.", notes=["**A** note."])
    text = page.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert not tags.open and all(address.startswith("data:image/png;base64,") for address in tags.addresses)
    assert "default-src 'none'" in text and "To try first: &lt;less&gt;." in text and "<b>A</b> note." in text
    assert text.count("<script") == 1 and text.count("{{") == text.count("{{verdict}}")


def test_own_markdown_becomes_html_and_no_more():
    """A note quotes names and texts that are anybody's."""
    assert inline_html("**Not made: a\\_b.** See [it](report.md), `x<y`") == (
        '<b>Not made: a_b.</b> See <a href="report.md">it</a>, <code>x&lt;y</code>'
    )
    assert "<script" not in inline_html(escaped(PLANTED)) and "<a" not in inline_html("[x](javascript:alert(1))")


def test_the_template_is_in_the_package():
    """A wheel without it would fail at the end of a run."""
    assert "{{verdict}}" in (files("hfdistill.report") / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser():
    if shutil.which("chromedriver") is None:
        pytest.skip("chromium and chromedriver are not installed")
    with headless_chromium() as opened:
        yield opened


SHOWN = (
    "[...document.querySelectorAll('#examples tbody tr')].filter(one => !one.hidden).map(one => one.cells[0].innerText)"
)


def test_texts_are_sorted_and_filtered(tmp_path, browser, classified):
    """In a browser, with texts that try to be more than text."""
    browser.open(page_of(tmp_path, classified).as_uri())
    shown = lambda: browser.run(f"return {SHOWN}")  # noqa: E731
    assert shown() == TEXTS and browser.run("return document.title").startswith("What the student keeps")
    browser.run("document.querySelector('#examples th:last-child button').click()")
    assert shown()[0] == TEXTS[0] and browser.texts("#count") == ["3 of 3 shown"]
    browser.run("document.querySelector('#examples th:last-child button').click()")
    assert shown()[-1] == TEXTS[0]
    browser.type("#most", "3")
    assert shown() == [TEXTS[0]]
    browser.type("#most", "")
    browser.type("#class", "<b>good</b>")
    assert shown() == [PLANTED] and browser.texts("#count") == ["1 of 3 shown"]
    browser.type("#class", "")
    browser.type("#search", "longer")
    assert browser.texts("#examples tr:not([hidden]) mark") == ["longer"]
    browser.type("#search", "<script")
    assert browser.texts("#examples tr:not([hidden]) mark") == ["<script"]
    assert browser.run("return document.scripts.length") == 1 and not browser.run(
        "return !!document.querySelector('td img')"
    )
    assert browser.run("return document.title").startswith("What the student keeps") and not browser.complaints()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_can_be_read(tmp_path, browser, translated, scheme):
    """Text and ground are far apart in each, and words that a reference does not have are marked."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.devtools("Emulation.setEmulatedMedia", features=features)
    browser.open(page_of(tmp_path, translated).as_uri())
    style = "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
    ink, ground = ([int(part) for part in re.findall(r"\d+", color)[:3]] for color in browser.run(style))
    assert (sum(ground) < sum(ink)) == (scheme == "dark") and abs(sum(ground) - sum(ink)) > 500
    assert browser.texts("#examples tbody tr:last-child td:nth-child(4) mark") == ["log walks"]
    assert not browser.complaints()

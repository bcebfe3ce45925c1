"""Names and texts are anybody's: wherever they stand in report and card, they are read as they were written."""

import re
from dataclasses import replace

import numpy as np
import pytest
from huggingface_hub import ModelCard

from hfdistill.report import Comparison, ModelFigures
from hfdistill.report.card import model_card
from hfdistill.report.card_facts import CardFacts
from hfdistill.report.examples import Disagreement
from hfdistill.report.failures import Attempts
from hfdistill.report.markdown import code, code_block, escaped, link, markdown_table, one_line
from hfdistill.report.quality import Calibration, PairedTest, Slice
from hfdistill.report.results import write_report

markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")

HOSTILE = [
    "$5-$10",
    "$$x$$",
    "a | b | c",
    "two\nlines\n\n# and a heading",
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "`code` and ``more``",
    "```\nfence",
    "[here](https://evil.example) ![x](y)",
    "see https://evil.example and www.evil.example",
    "*bold* __bold__ ~~gone~~ snake_case_name",
    "&lt;b&gt; &amp; \\| \\",
    "---\nlicense: evil\n---",
    "nul\x00 and \x1b[31m",
    "half \ud83d of one",
    "turned \u202e around",
    "a: b #c 'd' \"e\"",
    "{{ 7 * 7 }} ${HOME}",
]
#: Those that the pictures are drawn with, which takes its time.
DRAWN = [HOSTILE[0], HOSTILE[3], HOSTILE[13], HOSTILE[14]]


def parsed(text):
    """The tokens of GitHub's Markdown, those within a line included."""
    found = markdown_it.MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(text)
    return found + [child for token in found for child in token.children or []]


def shown(text):
    """What a reader sees of a paragraph."""
    kinds = ("text", "code_inline", "softbreak", "text_special")
    return "".join(token.content or " " for token in parsed(text) if token.type in kinds)


def assert_tame(text):
    """No HTML, no picture or link but our own, no formula, no raw control character."""
    for token in parsed(text):
        assert not token.type.startswith("html"), token
        if token.type == "image":
            assert re.fullmatch(r"\w+\.png", token.attrs["src"])
        if token.type == "link_open":
            assert re.match(r"translations\.md$|https://(huggingface\.co|doi\.org)/", token.attrs["href"])
    outside = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", text, flags=re.S)  # within code nothing is markup
    assert not re.search(r"(?<!\\)\$", outside) and "evil.example" not in re.findall(r"(?<!\\)https?://\S+", outside)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", text)
    text.encode("utf-8")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_read_as_it_was_written(text):
    assert shown(escaped(text)) == one_line(text)
    assert_tame(escaped(text))
    [inline] = [token for token in parsed(code(text)) if token.type == "code_inline"]
    assert inline.content.strip() == one_line(text)
    [block] = [token for token in parsed(code_block(text, "bash")) if token.type == "fence"]
    assert block.content == f"{text}\n" or re.search("[\x00\ud83d\u202e]", text)
    tokens = parsed(markdown_table([text, "b"], [[text, text], ["1", "2"]]))
    assert len([token for token in tokens if token.type in ("td_open", "th_open")]) == 6
    assert "\n" not in one_line(text)


def test_a_name_of_words_is_left_as_it_is():
    """Backslashes in front of every underscore help nobody who reads the source."""
    for text in ("soft_target_loss", "teacher, 95 %", "1,200 to 1,300/s", "BERT-base (uncased)", "T² · D"):
        assert escaped(text) == text
    assert escaped(link("https://huggingface.co/papers/1503.02531")).startswith("<https://")
    assert escaped(link("https://x.y/<script>")) != link("https://x.y/<script>")


def comparison_of(name):
    """A comparison that has a name wherever there is one."""
    calibration = Calibration(0.1, 0.05, 1.5, (0.3, 0.9), (0.5, 0.7), (0.25, 0.75))
    figures = ModelFigures({f"{name}": 0.5, "accuracy": 0.9}, 200, 10, 1.0, 8.0, 10.0, calibration=calibration)
    models = {"teacher": figures, "student": replace(figures, agreement=0.5), name: figures}
    return Comparison(
        models,
        rows=10,
        split=name,
        device=name,
        paired=PairedTest(3, 1, 0.2),
        classes=[Slice(name, 5, {"teacher": 0.5, name: 0.5})],
        lengths=[Slice(name, 5, {"teacher": 0.5, name: 0.5})],
        disagreements=[Disagreement(name, {"label": name, "teacher": name, "student": "b"})],
        confusion=np.array([[1, 2], [1, 0]]),
        label_names=[name, "b"],
        one_network=[["student", name]],
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_everywhere_in_report_and_card(tmp_path, monkeypatch, name):
    """It ended the report after all training, or became markup of a page that others read."""
    if name not in DRAWN:
        monkeypatch.setattr("hfdistill.report.plots.save", lambda figure, path: path.touch())
    comparison = comparison_of(name)
    history = [{"loss": 1.0, f"{name}_loss": 1.0, "step": 1}]
    assert write_report(tmp_path, comparison, {"student": history, name: history}, notes=[escaped(name)]) == []
    report = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert_tame(report)
    pictures = [token.attrs["src"] for token in parsed(report) if token.type == "image"]
    assert pictures == ["tradeoff.png", "losses.png", "reliability.png", "confusion.png"]
    term = {"name": name, "weight": 1.0, "term": "T", "own": name, "citation": name}
    facts = CardFacts(
        teacher=name,
        dataset=[name, "somebody/data"],
        comparison=comparison,
        command=["run", name],
        license=name,
        task=name,
        dataset_args=name,
        language=name,
        tags=name,
    )
    model_card(name, [term], {name: name}, facts).save(tmp_path / "README.md")
    card = ModelCard.load(tmp_path / "README.md")
    data = card.data
    assert data.license == data.model_name == one_line(name) and data.language == [one_line(name)]
    assert {"library_name", "pipeline_tag", "tags"} <= data.to_dict().keys() and len(data.eval_results) == 2
    body = re.sub(r"```+bash\n.*?\n```+\n", "", card.text, flags=re.S)  # the command is kept letter for letter
    body = re.sub(r"</?details>|<summary>[A-Z][a-z ]+</summary>", "", body)  # ours
    assert_tame(body)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert page.count("<script") == 1 and page.count("<img") == len(pictures) and "alert(1)</script>" not in page
    titles = [token.tag for token in parsed(card.text) if token.type == "heading_open"]
    assert titles == ["h1", "h2", "h2"]
    tables = [token for token in parsed(card.text) if token.type == "table_open"]
    assert len(tables) == 4


def test_a_picture_that_fails_is_a_line_in_the_report(tmp_path, monkeypatch, caplog):
    """A report was lost, and with it the figures, for a picture."""

    def fail(*_):
        raise RuntimeError("no |font|\nat all")

    for place in ("hfdistill.report.results.plot_confusion", "hfdistill.report.findings._examples"):
        monkeypatch.setattr(place, fail)
    notes = write_report(tmp_path, comparison_of("x"), {})
    report = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert len(notes) == 2 and all(line in report for line in notes)
    assert "**Not made: the picture confusion.png.** RuntimeError: no \\|font\\| at all" in report
    assert "](confusion.png)" not in report and "](tradeoff.png)" in report and "## By class" in report
    assert "the picture confusion.png could not be made" in caplog.text and (tmp_path / "all_results.json").exists()


def test_only_what_fails_is_noted():
    attempt = Attempts()
    assert attempt("a sum", lambda: 1 + 1) == 2 and attempt.notes == []
    assert attempt("a quotient", lambda: 1 // 0) is None and len(attempt.notes) == 1

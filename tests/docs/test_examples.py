"""The examples: options of commands, links and pictures exist, and the figures are those on file."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import statistics
from pathlib import Path

import pytest

from hfdistill.commands import distill_options, translate_options
from hfdistill.commands.tool_options import PARSERS

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
PAGES = sorted(FOLDER.glob("*.md"))


def commands():
    """The words of each command of the examples."""
    blocks = [block for page in PAGES for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("hfdistill ")]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_options_of_its_commands_are_known(words):
    _, name, *rest = words
    read = {"distill": distill_options.read_options, "translate": translate_options.read_options}
    assert read[name](rest) if name in read else PARSERS[name]().parse_args(rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_links_lead_somewhere(page):
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert targets and not [target for target in targets if not (page.parent / target).exists()]


def test_each_page_has_its_picture_and_the_script_draws_it(monkeypatch):
    spec = importlib.util.spec_from_file_location("pictures", FOLDER / "pictures.py")
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    drawn = []
    monkeypatch.setattr(pictures, "save", lambda figure, name: drawn.append(name))
    pictures.main()
    stored = {path.stem: path.stat().st_size for path in FOLDER.glob("*.png")}
    assert set(drawn) == stored.keys() == {page.stem for page in PAGES} - {"index"}
    assert max(stored.values()) < 60_000


def test_the_finance_page_shows_the_figures_on_file():
    rows = [json.loads(line) for line in (FOLDER / "finance_200_labels.jsonl").read_text().splitlines()]
    page = (FOLDER / "finance_200_labels.md").read_text(encoding="utf-8")
    table = {cells[0]: cells[1] for line in page.splitlines() if len(cells := line.strip("| ").split(" | ")) > 1}
    for name in {row["model"] for row in rows}:
        scores = [100 * row["accuracy"] for row in rows if row["model"] == name]
        assert table[name].startswith(f"{statistics.mean(scores):.1f}"), name

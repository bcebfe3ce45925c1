"""The Python of the pages and of the docstrings runs as it is printed."""

from __future__ import annotations

import doctest
import importlib
import shutil

import pytest
import torch
from pages import ROOT, SITE, blocks
from texts import TEXTS
from tiny import make_args, make_model, make_rows, make_tokenizer

#: Blocks of the pages. (Whole recipes stand there too, and have tests of their own.)
EXAMPLES = {
    f"{page.stem}-{number}": block
    for page in SITE
    for number, block in enumerate(blocks("python", page.read_text(encoding="utf-8")))
}
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "hfdistill").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_a_page_runs(name, reader, api):
    """What it takes as given are a student, a teacher, rows and arguments, and a server; training is cut short."""
    shutil.copytree("student", "small")
    rows = make_rows().add_column("sentence", TEXTS[:16])
    given = {"student": make_model(1), "teacher": make_model(2), "train": rows, "args": make_args(reader, max_steps=1)}
    given["tokenizer"] = make_tokenizer()
    exec(EXAMPLES[name].replace("num_train_epochs=3", "max_steps=1").replace("http://localhost:8000/v1", api), given)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_show(name):
    failed, _ = doctest.testmod(importlib.import_module(name), extraglobs={"torch": torch})
    assert not failed

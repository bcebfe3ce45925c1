"""The notebooks: what they import, how they begin, what they store, and that they run as they stand."""

from __future__ import annotations

import ast
import json
import re
import runpy
from pathlib import Path

import nbformat
import pytest

import hfdistill

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "notebooks"
COLAB = "https://colab.research.google.com/github/hfdistill/hfdistill/blob/main/"
#: What a run of each prints, among other things.
PRINTED = {
    "distill_a_classifier": ("agrees with the teacher", "baseline", "'label': '"),
    "few_labels": ("3 % of the training rows have a label", "What the teacher's soft targets added"),
    "read_a_report": ("speedup over the teacher", "student better on", "image/png", "student_accuracy", "# student"),
    "translation": ("BLEU, greedy", "from 16 translated texts"),
}
#: What the test makes shorter: training, and the rows that translators are measured on. After 60 steps a translator may
#: do nothing but repeat itself, and leave no transfer set.
SHORTER = {
    'ClassificationTrainingArguments("teacher"': 'ClassificationTrainingArguments("teacher", max_steps=60',
    'ClassificationTrainingArguments("student"': 'ClassificationTrainingArguments("student", max_steps=30',
    "max_steps=600": "max_steps=150",
    '"max_steps": 400': '"max_steps": 30',
    "range(200)": "range(40)",
}
each = pytest.mark.parametrize("name", PRINTED)


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def test_there_is_no_other_and_the_index_lists_each():
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == PRINTED.keys()
    assert set(re.findall(r"\((\w+)\.ipynb\)", index)) == PRINTED.keys()


@each
def test_it_opens_in_colab_and_installs_what_it_needs_there(name):
    notebook = read(name)
    assert f"({COLAB}docs/notebooks/{name}.ipynb)" in notebook.cells[0].source
    assert re.search(r'if "google.colab" in sys.modules:\n    %pip install -q "?hfdistill', code_cells(notebook)[0])


@each
def test_its_cells_are_short_and_use_public_names_alone(name):
    cells = code_cells(read(name))
    assert max(len(cell.splitlines()) for cell in cells) <= 20
    code = "\n".join(re.sub(r"^( *)%.*", r"\1pass", cell, flags=re.MULTILINE) for cell in cells)
    modules = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    own = [node for node in modules if node.module.partition(".")[0] == "hfdistill"]
    assert own and {node.module for node in own} == {"hfdistill"}
    assert {alias.name for node in own for alias in node.names} <= set(hfdistill.__all__)


@each
def test_its_links_lead_somewhere(name):
    text = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert not [target for target in targets if not (FOLDER / target).exists()]


@each
def test_what_it_stores_is_a_page_at_most_and_nobody_s_machine(name):
    stored = outputs(read(name))
    assert stored and {output.output_type for output in stored} <= {"stream", "execute_result", "display_data"}
    assert not [output for output in stored if output.get("name") == "stderr"]
    texts = [json.dumps(output) for output in stored]
    assert max(map(len, texts)) < 80_000 and not re.search(r"/(tmp|home|root|opt|work)/", "".join(texts))


@pytest.mark.slow
@pytest.mark.timeout(2400)
@each
def test_it_runs(name, tmp_path):
    """Whole, but that less is trained and measured: `docs/notebooks/refresh.py` runs it as it stands."""
    path, notebook = tmp_path / f"{name}.ipynb", read(name)
    for cell in notebook.cells:
        for whole, part in SHORTER.items():
            cell.source = cell.source.replace(whole, part)
    nbformat.write(notebook, path)
    runpy.run_path(str(FOLDER / "refresh.py"))["refresh"](path)
    printed = json.dumps(outputs(nbformat.read(path, as_version=4)), ensure_ascii=False)
    assert not [words for words in PRINTED[name] if words not in printed]

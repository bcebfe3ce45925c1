"""The walks of CONTRIBUTING.md, taken step by step in a copy of the tree."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from test_architecture import LAYERS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
#: `### Add a loss` and what stands below it.
WALKS = dict(re.findall(r"^### (Add an? .+)\n((?:(?!^##).*\n?)*)", TEXT, re.M))
#: A file's name, or a block, which belongs to the file named last before it.
FILE_OR_BLOCK = re.compile(r"`([\w/.]+\.pyi?)`|```(python|diff)\n([\s\S]*?)\n *```")
COMMAND = re.compile(r"`python -m pytest (.+)`")
#: Runs the last step of each walk in one process, for importing transformers takes seconds.
RUN = """
import shlex, sys, pytest
for name, command in zip(sys.argv[1::2], sys.argv[2::2]):
    print(f"== {name}", flush=True)
    code = pytest.main([*shlex.split(command), "-q", "-p", "no:cacheprovider"])
    print(f"== {name}: {int(code)}", flush=True)
"""


def take(walk: str, root: Path) -> str:
    """Takes the steps in the tree at `root`; the arguments of the command that shows it works."""
    path = root
    for name, kind, block in FILE_OR_BLOCK.findall(walk):
        path, body = root / name if name else path, textwrap.dedent(block) + "\n"
        if kind == "python":
            assert not path.exists(), f"{path} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body, encoding="utf-8")
        elif kind == "diff":
            change(path, body.splitlines())
    [command] = COMMAND.findall(walk)
    return command


def change(path: Path, diff: list[str]) -> None:
    old, new = ("".join(f"{line[1:]}\n" for line in diff if line[:1] in kinds) for kinds in (" -", " +"))
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path} has {text.count(old)} times:\n{old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, tuple[int, str]]:
    """For each walk the exit code of its last step and what it printed."""
    root = tmp_path_factory.mktemp("tree")
    for name in ("hfdistill", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    commands = {name: take(walk, root) for name, walk in WALKS.items()}
    arguments = [word for pair in commands.items() for word in pair]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTEST_ADDOPTS": ""}
    run = [sys.executable, "-c", RUN, *arguments]
    printed = subprocess.run(run, cwd=root, env=environment, capture_output=True, text=True)
    found = re.findall(r"^== (.+)\n([\s\S]*?)^== \1: (\d+)$", printed.stdout, re.M)
    assert len(found) == len(WALKS), printed.stdout + printed.stderr
    return {name: (int(code), text) for name, text, code in found}


def test_there_are_five_walks():
    assert [name.rpartition(" ")[2] for name in WALKS] == ["loss", "divergence", "task", "family", "format"]


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKS)
def test_a_walk_arrives(name, outcomes):
    code, printed = outcomes[name]
    assert code == 0, printed
    assert " passed" in printed


def test_its_order_of_packages_is_the_one_that_is_enforced():
    assert " < ".join(f"`{name}`" for name in LAYERS) in " ".join(TEXT.split())


def test_every_module_has_its_line():
    """A table that leaves a file out, or names one that is gone, sends its reader to the wrong place."""
    cells = re.findall(r"^\| ([^|]*\.py`[^|]*) \|", TEXT, re.M)
    named = {Path(name).name for cell in cells for name in re.findall(r"`([^`]+\.py)`", cell)} - {"__init__.py"}
    there = {path.name for path in (ROOT / "hfdistill").rglob("*.py")} - {"__init__.py", "__main__.py"}
    assert named == there

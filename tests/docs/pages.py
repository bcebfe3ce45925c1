"""The pages of the documentation, and the commands that they tell a reader to type."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
#: What is on the site; notebooks and worked examples have tests of their own.
SITE = sorted(path for path in DOCS.rglob("*.md") if path.relative_to(DOCS).parts[0] not in ("notebooks", "examples"))
PAGES = [ROOT / "README.md", ROOT / "recipes" / "README.md", *SITE]


def blocks(language: str, text: str) -> list[str]:
    """The code of each block of that language."""
    return re.findall(rf"^ *```{language}\n([\s\S]*?)^ *```", text, re.M)


def commands() -> list[str]:
    """Each command of a `bash` block, once, in the order of the pages."""
    told = [block for page in PAGES for block in blocks("bash", page.read_text(encoding="utf-8"))]
    lines = [line for block in told for line in block.replace("\\\n", " ").splitlines()]
    parts = [" ".join(part.split()) for line in lines for part in line.split(" && ")]
    return list(dict.fromkeys(part for part in parts if part and not part.startswith("#")))


def words_of(command: str) -> list[str]:
    """The words after the launcher, which starts processes and reads no more of them."""
    words = shlex.split(command)
    for launcher in (["accelerate", "launch"], ["torchrun"]):
        if words[: len(launcher)] == launcher:
            words = words[len(launcher) :]
            while words[0].startswith("--"):
                words = words[1:] if "=" in words[0] else words[2:]
            return words[1:] if words[0] == "-m" else words
    return words[1:] if words[0] == "python" and words[1].endswith(".py") else words

"""What to type where a package is missing that an extra of `hfdistill` brings."""

from __future__ import annotations

from pathlib import Path

#: The folder of the clone, or of the installed packages.
ROOT = Path(__file__).parents[2]


def install_hint(extra: str) -> str:
    """The command that installs an extra: of the clone, where the package is imported from one, else of the index."""
    cloned = (ROOT / "pyproject.toml").is_file()
    return f"pip install -e '{ROOT}[{extra}]'" if cloned else f"pip install 'hfdistill[{extra}]'"

"""Runs the notebooks and stores what they show without progress bars: `python docs/notebooks/refresh.py [name ..]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def main() -> None:
    for name in sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.ipynb")):
        print(f"Running {name}.", flush=True)
        refresh(HERE / f"{name}.ipynb")


def refresh(path: Path) -> None:
    """Runs a notebook in a folder that is removed again; one that fails is left as it was."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = shown(cell.outputs)
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)


def shown(outputs: list) -> list:
    """The outputs without standard error; what is printed in several goes is one of them."""
    kept: list = []
    for output in outputs:
        printed = output.output_type == "stream"
        if printed and output.name == "stderr":
            continue
        if printed and kept and kept[-1].output_type == "stream":
            kept[-1].text += output.text
        elif not printed or output.text.strip():
            kept.append(output)
    return kept


if __name__ == "__main__":
    main()

"""What is printed of a long pass where its output goes to a file."""

import pytest

from hfdistill.models import progress
from hfdistill.models.progress import progress_bar, tell_by_lines


@pytest.fixture(autouse=True)
def by_lines(monkeypatch):
    monkeypatch.setattr(progress, "_BY_LINES", [])
    monkeypatch.setattr(progress, "EVERY", 0.0)
    tell_by_lines()  # pytest captures what is printed


def test_a_line_now_and_then(capsys):
    """Half an hour without a word looks like a program that hangs."""
    with progress_bar(4_000, "Soft targets", "examples") as bar:
        bar.update(1_000)
        bar.update(1_000)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and bar.n == 2_000
    assert lines[1].startswith("  Soft targets: 2,000 of 4,000 examples, ") and lines[1].endswith("left")


@pytest.mark.parametrize("why", ["hidden", "another process", "soon"])
def test_no_line(capsys, monkeypatch, why):
    monkeypatch.setattr(progress, "EVERY", 60.0 if why == "soon" else 0.0)
    if why == "another process":
        monkeypatch.setenv("RANK", "1")
    with progress_bar(4_000, "Soft targets", "examples", hidden=why == "hidden") as bar:
        bar.update(1_000)
    assert capsys.readouterr().out == ""

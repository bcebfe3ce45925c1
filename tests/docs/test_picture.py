"""The README's picture shows the figures on file."""

import runpy

from matplotlib.image import imread
from pages import DOCS


def test_the_picture_is_drawn_from_the_figures(tmp_path):
    script = runpy.run_path(str(DOCS / "picture.py"))
    narrow, half = script["points"]("minilm")
    results = (DOCS / "results.md").read_text(encoding="utf-8")
    for name, (_, accuracy, deviation) in {"2x128 | 4.39M": narrow, "3x384 | 17.39M": half}.items():
        assert f"| {name} | minilm | {accuracy:.2f} ± {deviation:.2f} |" in results
    script["draw"](tmp_path / "students.png")
    assert imread(tmp_path / "students.png").shape == imread(DOCS / "assets" / "students.png").shape

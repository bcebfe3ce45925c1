"""What a run leaves in its folder beside the student."""

import json

import pytest

from hfdistill.report import Comparison, ModelFigures
from hfdistill.report.results import write_report


@pytest.fixture
def comparison():
    teacher = ModelFigures({"accuracy": 0.9}, 200, 10, 1.0, 8.0, 10.0)
    return Comparison(
        {"teacher": teacher, "student": ModelFigures({"accuracy": 0.8}, 100, 5, 0.5, 2.0, 40.0, 0.95)}, rows=7
    )


def everything_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_the_report_is_left_in_the_folder(tmp_path, comparison):
    """These names are promised, and the report's pictures must be where it points."""
    histories = {"student": [{"loss": 1.0, "step": 1}]}
    write_report(tmp_path, comparison, histories, notes=["A note.", "Another."])
    files = ["all_results.json", "report", "report/losses.png", "report/report.html", "report/report.md"]
    files.append("report/tradeoff.png")
    assert everything_in(tmp_path) == files
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert comparison.markdown() in text and "\n\nA note.\n\nAnother.\n\n" in text
    assert "](tradeoff.png)" in text and "](losses.png)" in text
    write_report(tmp_path, comparison, histories)  # a resumed run writes it again
    assert everything_in(tmp_path) == files


def test_plots_of_a_search_are_among_the_pictures(tmp_path, comparison):
    """They are saved before the report, and nobody looks for files that no page names."""
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "search_front.png").touch()
    write_report(tmp_path, comparison, {})
    assert "![search front](search_front.png)" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")


def test_the_results_are_json_with_sorted_keys(tmp_path, comparison):
    """Two runs' files can be compared line by line."""
    write_report(tmp_path, comparison, {})
    text = (tmp_path / "all_results.json").read_text(encoding="utf-8")
    results = json.loads(text)
    assert results == comparison.results() and results["speedup"] == 4
    assert list(results) == sorted(results) and text.endswith("}\n")


def test_a_figure_that_is_not_a_number_is_valid_json(tmp_path, comparison):
    """A correlation with a constant is NaN, which JSON does not know: other readers refuse the whole file."""
    comparison.models["student"].metrics["accuracy"] = float("nan")
    write_report(tmp_path, comparison, {})
    text = (tmp_path / "all_results.json").read_text(encoding="utf-8")
    results = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert results["student_accuracy"] is None and results["teacher_accuracy"] == 0.9

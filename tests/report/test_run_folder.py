"""The folder of a run: refused before anything is begun, and what is in it at the end."""

from __future__ import annotations

import json

import pytest

from hfdistill.commands.command_line import plain_errors
from hfdistill.report import Comparison, ModelFigures
from hfdistill.report.results import write_report
from hfdistill.training.run import claim_folder


@pytest.fixture
def comparison():
    teacher = ModelFigures({"accuracy": 0.9}, 200, 10, 1.0, 8.0, 10.0)
    return Comparison(
        {"teacher": teacher, "student": ModelFigures({"accuracy": 0.8}, 100, 5, 0.5, 2.0, 40.0, 0.95)}, rows=7
    )


def everything_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_new_folder_is_made_and_left_empty(tmp_path):
    """What the probe writes must not be pushed to the Hub."""
    assert claim_folder(tmp_path / "a" / "b", resume=False) == tmp_path / "a" / "b"
    assert everything_in(tmp_path) == ["a", "a/b"]
    assert claim_folder(str(tmp_path / "a" / "b"), resume=False).is_dir()  # an empty folder is as good as none


@pytest.mark.parametrize(("name", "word"), [("all_results.json", "a finished run"), ("notes.txt", "something")])
def test_a_folder_in_use_is_refused(tmp_path, name, word):
    """A second run would mix its checkpoints with those of the first."""
    (tmp_path / name).write_text("{}")
    with pytest.raises(
        ValueError, match=f"already holds {word}: choose another --output_dir, or .*resume_from_checkpoint"
    ):
        claim_folder(tmp_path, resume=False)
    assert everything_in(tmp_path) == [name]
    assert claim_folder(tmp_path, resume=True) == tmp_path
    assert everything_in(tmp_path) == [name]


def test_empty_folders_are_no_run(tmp_path):
    """They are what a run leaves that is killed as it begins."""
    (tmp_path / "_teacher" / "deep").mkdir(parents=True)
    assert claim_folder(tmp_path, resume=False) == tmp_path
    (tmp_path / "_teacher" / "deep" / "checkpoint").symlink_to("elsewhere")
    with pytest.raises(ValueError, match="already holds something"):
        claim_folder(tmp_path, resume=False)


@pytest.mark.parametrize("mine", ["", "a", "a/b/c"])
def test_a_refused_run_leaves_no_empty_folder(tmp_path, mine):
    """Of what it has made: a folder that was there, and any with a file in it, stay."""
    (tmp_path / mine).mkdir(parents=True, exist_ok=True)
    before = everything_in(tmp_path)
    for refusal in (ValueError("no such column"), KeyboardInterrupt()):
        with pytest.raises(SystemExit), plain_errors():
            (claim_folder(tmp_path / "a" / "b" / "c", resume=False) / "_teacher").mkdir(exist_ok=True)
            raise_from("hfdistill.data", refusal)
        assert everything_in(tmp_path) in (before, [*before, "a/b/c/_teacher"])
    with pytest.raises(SystemExit), plain_errors():
        (claim_folder(tmp_path / "d", resume=False) / "checkpoint").touch()
        raise_from("hfdistill.data", ValueError("no such column"))
    assert "d/checkpoint" in everything_in(tmp_path)


def raise_from(module, error):
    """Raises it in code that belongs to a module of that name."""
    exec("def fail(error): raise error", space := {"__name__": module})
    space["fail"](error)


@pytest.mark.parametrize("below", ["", "student", "deep/down/student"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, below, resume):
    """Found out now, and not when the trained student is to be saved."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"file.* cannot be written to \(.+\): choose another --output_dir\."):
        claim_folder(tmp_path / "file" / below, resume)
    assert everything_in(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "mine"


def test_the_report_is_left_in_the_folder(tmp_path, comparison):
    """These names are promised, and the report's pictures must be where it points."""
    histories = {"student": [{"loss": 1.0, "step": 1}]}
    write_report(tmp_path, comparison, histories, notes=["A note.", "Another."])
    files = ["all_results.json", "report", "report/losses.png", "report/report.md", "report/tradeoff.png"]
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

"""Candidates chosen by quality estimation: a program in a process of its own, with the interface of COMET's."""

import shlex
import sys
from pathlib import Path

import pytest
from datasets import Dataset

from hfdistill import quality_scores, transfer_set
from hfdistill.tasks.translation import quality_estimation as quality
from hfdistill.tasks.translation.pseudo_translations import TRANSLATIONS

PROGRAM = Path(__file__).parents[2] / "scripts" / "estimate_quality.py"
FILES = "-s {sources} -t {translations} --to_json {scores} --model Unbabel/wmt22-cometkiwi-da --quiet --only_system"
COMMAND = f"{shlex.quote(sys.executable)} {shlex.quote(str(PROGRAM))} {FILES}"


def candidates(*texts):
    return [{"text": text, "finished": True} for text in texts]


ROWS = Dataset.from_dict(
    {
        "en": ["a b c", "d\ne f", "g", "h i"],
        TRANSLATIONS: [
            candidates("a b c", "c b\ra", "c b"),
            candidates("f e d"),
            candidates(),
            candidates("h i", "i h"),
        ],
    }
)


@pytest.fixture
def log(tmp_path):
    """The file in which the program counts what it scores, a line a run."""
    return tmp_path / "log.txt"


def test_the_best_by_quality_is_learned_from(tmp_path, log):
    scored = quality_scores(ROWS, f"{COMMAND} --log {log}", source_column="en", store=tmp_path / "scores")
    assert [list(map(len, scored[name][:])) for name in (TRANSLATIONS, quality.QUALITY)] == [[3, 1, 0, 2]] * 2
    assert scored[quality.QUALITY][0] == [pytest.approx(1 / 3), 1.0, 0.8] and scored[quality.QUALITY][2] == []
    kept, report = transfer_set(scored, "en", "de", "quality")
    assert kept["de"] == ["c b\ra", "f e d", "i h"] and kept.column_names == ["en", "de"] and report.lost == 1
    assert log.read_text() == "6\n"


def test_a_second_call_scores_what_is_new(tmp_path, log, monkeypatch):
    """Runs are of whole rows, so that memory is bounded, and each is kept as soon as it is there."""
    monkeypatch.setattr(quality, "CANDIDATES_A_RUN", 3)
    how = {"source_column": "en", "store": tmp_path / "scores"}
    one = quality_scores(ROWS.select([0]), f"{COMMAND} --log {log}", **how)
    every = quality_scores(ROWS, f"{COMMAND} --log {log}", **how)
    assert log.read_text() == "3\n3\n" and every[quality.QUALITY][0] == one[quality.QUALITY][0]
    again = quality_scores(every, f"{COMMAND} --log {log}", **how)
    assert log.read_text() == "3\n3\n" and again.to_dict() == every.to_dict()


def test_a_launcher_is_not_the_programs(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert quality.QUALITY in quality_scores(ROWS, COMMAND, source_column="en", store=tmp_path).column_names


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("crash", "ended with exit code 1: CUDA out of memory"),
        ("fewer", "has written 5 scores for 6 candidates"),
        ("nan", "gives nan to 'c b a', a translation of 'a b c': a score must be finite"),
        ("nothing", "has not written .*as --to_json of comet-score does"),
    ],
)
def test_a_program_that_fails_is_named_and_nothing_kept(tmp_path, fault, sentence):
    with pytest.raises(ValueError, match=sentence):
        quality_scores(ROWS, f"{COMMAND} --fault {fault}", source_column="en", store=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"lock"}


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (f"comet-score-of-nobody {FILES}", "no program 'comet-score-of-nobody' .*pip install unbabel-comet"),
        ("comet-score -s {sources}", "does not say where {translations} and {scores} go"),
        ("", "does not say where"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused(command, sentence):
    with pytest.raises(ValueError, match=sentence):
        quality_scores(ROWS, command, source_column="en")


def test_choosing_needs_scores():
    with pytest.raises(ValueError, match=f"needs the columns {quality.QUALITY}; .*quality_scores"):
        transfer_set(ROWS, "en", "de", "quality")
    with pytest.raises(ValueError, match="needs the columns de"):
        quality_scores(ROWS, COMMAND, source_column="de")

"""The folder of a run: refused before anything is begun."""

import pytest

from hfdistill.commands.command_line import plain_errors
from hfdistill.training.run import claim_folder


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


@pytest.mark.parametrize("there", ["", "a", "a/b/c"])
def test_a_refused_run_leaves_no_empty_folder(tmp_path, there):
    """Of what it has made: a folder that was there, and any with a file in it, stay."""
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
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
    (tmp_path / "file").write_text("text")
    with pytest.raises(ValueError, match=r"file.* cannot be written to \(.+\): choose another --output_dir\."):
        claim_folder(tmp_path / "file" / below, resume)
    assert everything_in(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "text"

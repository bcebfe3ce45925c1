"""The folder of a run: refused before anything is begun."""

import pytest
import torch
from tiny import make_model, make_rows, make_trainer
from transformers import TrainingArguments
from transformers.utils.logging import enable_progress_bar

from hfdistill.commands.command_line import plain_errors
from hfdistill.models.progress import duration
from hfdistill.report.terminal import quiet_libraries
from hfdistill.training.progress import fitting, told_figures
from hfdistill.training.run import begin_run, claim_folder, remove_checkpoints, train_and_save


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


# ---- Finished runs that others need, as a teacher's ----


def helper(folder, **changes):
    """A trainer of two steps, with a checkpoint of each."""
    settings = {"terms": ["labels"], "max_steps": 2, "save_strategy": "steps", "save_steps": 1, **changes}
    return make_trainer(folder, make_model(1), make_rows(), **settings)


def test_a_finished_teacher_leaves_its_model_alone_and_is_not_trained_again(tmp_path):
    """Its optimizer's states were twice its size, in a folder for a student of a fraction of it."""
    first = helper(tmp_path)
    train_and_save(first, resume=False, keep_checkpoints=False)
    assert not list(tmp_path.glob("checkpoint-*")) and not list(tmp_path.glob("optimizer*"))
    assert str(tmp_path) not in (tmp_path / "trainer_state.json").read_text(encoding="utf-8")
    again = helper(tmp_path)
    saved = (tmp_path / "model.safetensors").stat().st_mtime_ns
    train_and_save(again, resume=True, keep_checkpoints=False)
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == saved and again.state.global_step == 2
    for name, weight in first.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name
    assert [log for log in again.state.log_history if "loss" in log] == [
        log for log in first.state.log_history if "loss" in log
    ]


@pytest.mark.parametrize("keep", [True, False])
def test_a_run_that_ended_within_an_epoch_gets_no_step_more(tmp_path, keep):
    """`Trainer` makes one before it looks how many there should be: another teacher, and other soft targets."""
    first = helper(tmp_path, max_steps=1)
    train_and_save(first, resume=False, keep_checkpoints=keep)
    again = helper(tmp_path, max_steps=1)
    train_and_save(again, resume=True, keep_checkpoints=keep)
    assert again.state.global_step == 1 and first.state.epoch < 1
    for name, weight in first.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name
    longer = helper(tmp_path, max_steps=2, lr_scheduler_type="constant")
    train_and_save(longer, resume=True)
    assert longer.state.global_step == 2


def test_a_finished_teacher_of_other_settings_is_refused(tmp_path):
    """A run goes on as it was begun, also where a part of it is done."""
    train_and_save(helper(tmp_path), resume=False, keep_checkpoints=False)
    with pytest.raises(ValueError, match="was made with other settings: learning_rate"):
        train_and_save(helper(tmp_path, learning_rate=0.5), resume=True, keep_checkpoints=False)


@pytest.mark.parametrize("killed_at", ["os.replace", "shutil.rmtree"])
def test_killed_while_it_tidies_up_a_teacher_is_the_same(tmp_path, monkeypatch, killed_at):
    """Whichever file was written last: a whole checkpoint is there, or the folder is one."""

    def die(*paths, **_):
        raise KeyboardInterrupt

    first = helper(tmp_path)
    train_and_save(first, resume=False)
    with monkeypatch.context() as patch:
        patch.setattr(f"hfdistill.training.run.{killed_at}", die)
        with pytest.raises(KeyboardInterrupt):
            remove_checkpoints(first, tmp_path)
    again = helper(tmp_path)
    train_and_save(again, resume=True, keep_checkpoints=False)
    assert again.state.global_step == 2 and not list(tmp_path.glob("checkpoint-*"))
    for name, weight in first.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name


# ---- What is printed ----


@pytest.fixture
def quiet():
    """As a command begins."""
    quiet_libraries()
    yield
    enable_progress_bar()


def test_a_log_is_one_short_line(tmp_path, quiet, capsys):
    """Dictionaries of nine numbers, three screens long, are read by nobody."""
    trainer = helper(tmp_path, logging_steps=1, disable_tqdm=False)
    train_and_save(trainer, resume=False)
    told = capsys.readouterr()
    first, second, last = told.out.splitlines()
    assert first.startswith("  step 1 of 2, ") and " steps/s, " in first and " left, loss " in first
    assert second.startswith("  step 2 of 2, ") and last.startswith("  2 steps in ")
    assert "{" not in told.out and not told.err


def test_on_a_terminal_a_line_is_written_over(tmp_path, quiet, monkeypatch, capsys):
    """What it leaves is one line, whatever was logged meanwhile."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("hfdistill.training.progress.REFRESH", 0.0)
    train_and_save(helper(tmp_path, logging_steps=1, disable_tqdm=False), resume=False)
    told = capsys.readouterr()
    assert told.out.count("\n") == 1 and told.out.startswith("  2 steps in ")
    lines = told.err.split("\r\x1b[2K")
    assert "  step 1 of 2, " in lines[1] and lines[-1] == "" and "\n" not in told.err


def test_figures_are_told_without_what_is_no_figure():
    """A learning rate in every line hides the loss."""
    logs = {"loss": 0.5, "grad_norm": 1.0, "learning_rate": 1e-3, "epoch": 1.0, "eval_f1": 0.25, "eval_runtime": 2.0}
    assert told_figures(logs) == {"loss": 0.5, "eval_f1": 0.25}
    assert [duration(seconds) for seconds in (4.2, 65, 7207)] == ["4 s", "1:05", "2:00:07"]


def test_a_line_of_a_log_fits_a_terminal():
    """A line that is broken in two is read as two; what it leaves out is in the logs and the report."""
    figures = [
        "eval_loss 0.5",
        "eval_label_loss 0.6",
        "eval_soft_target_loss 0.4",
        "eval_accuracy 0.88",
        "eval_f1 0.87",
    ]
    line = fitting(["  step 12,000 of 120,000"], figures)
    assert line == "  step 12,000 of 120,000, eval_loss 0.5, eval_accuracy 0.88, eval_f1 0.87"


def test_each_line_of_an_evaluation_tells_of_the_same_figures():
    """Now the accuracy was told and now the agreement, as the digits of the other left room."""
    lines = [
        fitting(["  step 9,000 of 12,000"], ["eval_loss 0.5", f"eval_agreement 0.{digits}", "eval_accuracy 0.88"])
        for digits in ("9", "8765432109")
    ]
    assert lines[0] == "  step 9,000 of 12,000, eval_loss 0.5, eval_accuracy 0.88, eval_agreement 0.9"
    assert lines[1] == "  step 9,000 of 12,000, eval_loss 0.5, eval_accuracy 0.88"
    figures = ["eval_loss 0.5", "eval_a_metric_of_quite_a_long_name 0.123456", "eval_f1 0.8"]
    assert fitting(["  step 12,000 of 120,000"], figures) == "  step 12,000 of 120,000, eval_loss 0.5"


def test_a_line_of_an_evaluation_leaves_the_rate_to_those_of_the_losses(tmp_path, quiet, capsys):
    """With the rate before it the accuracy found no room where steps and hours had many digits."""
    settings = {"terms": ["labels"], "max_steps": 1, "logging_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    trainer = make_trainer(tmp_path, make_model(1), make_rows(), given={"eval_dataset": make_rows()}, **settings)
    train_and_save(trainer, resume=False)
    evaluated = [line for line in capsys.readouterr().out.splitlines() if "eval_loss" in line]
    assert evaluated and not any("steps/s" in line for line in evaluated)


def test_a_run_that_is_not_there_is_begun_and_that_is_said(tmp_path, capsys):
    """With the folder's name mistyped, a student was trained anew without a word."""
    args = TrainingArguments(str(tmp_path / "mistyped"), resume_from_checkpoint="true", use_cpu=True)
    assert begin_run(args) == (tmp_path / "mistyped", True)
    assert "mistyped holds no run to go on with: this one begins." in capsys.readouterr().out
    (tmp_path / "mistyped" / "config.json").touch()
    begin_run(args)
    assert not capsys.readouterr().out

"""`report_to`: the trackers get the curves of a run, and its report once that is written."""

from __future__ import annotations

import contextlib
import glob
import json
import sqlite3

import pytest
from tiny import make_model, make_rows, make_trainer

from hfdistill.report import Comparison, ModelFigures
from hfdistill.report.results import write_report
from hfdistill.training.trackers import log_report

TERMS = {"train/label_loss", "train/soft_target_loss", "eval/soft_target_loss", "eval/agreement"}
PICTURES = {"report/losses", "report/tradeoff"}


@pytest.fixture
def comparison():
    teacher = ModelFigures({"accuracy": 0.9}, 200, 10, 1.0, 8.0, 10.0)
    return Comparison(
        {"teacher": teacher, "student": ModelFigures({"accuracy": 0.8}, 100, 5, 0.5, 2.0, 40.0, 0.95)}, rows=7
    )


def tracked_run(folder, comparison, tracker, **changes):
    """Trains two steps with an evaluation, and hands over the report as a command does; the trainer."""
    rows = make_rows(teacher_logits=True)
    settings = {"report_to": tracker, "max_steps": 2, "alpha": 0.5, "eval_strategy": "steps", "eval_steps": 1}
    trainer = make_trainer(folder, make_model(1), rows, given={"eval_dataset": rows}, **{**settings, **changes})
    trainer.train()
    write_report(folder, comparison, {"student": trainer.state.log_history})
    log_report(trainer, comparison)
    return trainer


def test_tensorboard_has_curves_table_and_pictures(tmp_path, comparison):
    """Read back from the event files, as its page does."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = tracked_run(tmp_path, comparison, "tensorboard")
    [folder] = glob.glob(f"{tmp_path}/runs/*")
    events = EventAccumulator(folder)
    events.Reload()
    tags = events.Tags()
    assert set(tags["scalars"]) >= TERMS
    logged = [log["soft_target_loss"] for log in trainer.state.log_history if "loss" in log]
    assert [event.value for event in events.Scalars("train/soft_target_loss")] == pytest.approx(logged)
    [text] = events.Tensors("report/table/text_summary")
    assert text.tensor_proto.string_val[0].decode() == comparison.markdown() and text.step == 2
    assert set(tags["images"]) == PICTURES
    [picture] = events.Images("report/losses")
    assert picture.width > 100 and len(set(picture.encoded_image_string)) > 100


def test_without_a_tracker_nothing_is_sent(tmp_path, comparison):
    tracked_run(tmp_path, comparison, "none")
    assert not list(tmp_path.glob("runs"))


def test_wandb_offline_has_table_and_pictures(tmp_path, comparison, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    tracked_run(tmp_path, comparison, "wandb")
    summary = dict(wandb.run.summary)
    wandb.finish()
    assert set(summary) >= TERMS | PICTURES | {"report/table"}
    [table] = glob.glob(f"{tmp_path}/wandb/offline-run-*/files/media/table/report/*.json")
    with open(table, encoding="utf-8") as file:
        assert json.load(file)["columns"] == comparison.header


def test_trackio_has_table_and_pictures(tmp_path, comparison, monkeypatch):
    """In a folder of its own, without a Space."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    tracked_run(tmp_path, comparison, "trackio", run_name="small", project="tests", trackio_static_space_id=False)
    # Its Python interface shows no figures of a run; its file does.
    with contextlib.closing(sqlite3.connect(tmp_path / "trackio" / "tests.db")) as kept:
        found = {name for (row,) in kept.execute("SELECT metrics FROM metrics") for name in json.loads(row)}
    assert found >= TERMS | PICTURES | {"report/table"}

"""What a kill leaves behind is passed over by `resume_from_checkpoint=True`, as by the recipes."""

import json
import shutil

import pytest
from processes import results_of_two_ranks
from tiny import distance, make_trainer, run_layers, stored, weights

from hfdistill.training.checkpoints import is_whole, last_checkpoint, settings_of

#: What is cut short, or not there yet, and for which runs.
DAMAGE = {"trainer_state.json": [b"", b'{"global_step": 4, "log_', None]}
DAMAGE |= {"model.safetensors": [b"", b"\x08\0\0\0\0\0\0\0{}", None, "half"]}
DAMAGE |= {"optimizer.pt": [b"", None, "half", "flipped"], "scheduler.pt": [None, "half"]}
DAMAGE |= {"rng_state.pth": [None, "half", "flipped"], "objective.safetensors": ["half"]}
CASES = [(name, how) for name, ways in DAMAGE.items() for how in ways]
SAVED = {"save_strategy": "steps", "save_steps": 2, "optim": "adamw_torch", "learning_rate": 1e-2}


def damage(path, how):
    if how is None:
        path.unlink()
    elif how == "flipped":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if how == "half" else how)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of four steps with checkpoints at 2 and 4, whose objective learns a projection."""
    out = tmp_path_factory.mktemp("run")
    return out, run_layers(out, "hidden_states", **SAVED)[0]


@pytest.fixture
def run(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    return folder


def resumed(folder, resume=True):
    return run_layers(folder, "hidden_states", resume=resume, **SAVED)[0]


def test_a_whole_checkpoint_is_taken_for_one(run):
    assert last_checkpoint(run) == str(run / "checkpoint-4")
    (run / "checkpoint-best").mkdir()
    (run / "checkpoint-9").touch()
    assert last_checkpoint(run) == str(run / "checkpoint-4")
    assert not is_whole(run / "checkpoint-best")


@pytest.mark.parametrize(("name", "how"), CASES)
def test_a_checkpoint_that_is_not_whole_is_passed_over(run, name, how):
    """It would end in an error about a file, or, without the optimizer's or the random state, in another student."""
    damage(run / "checkpoint-4" / name, how)
    assert last_checkpoint(run) == str(run / "checkpoint-2")
    with pytest.raises(ValueError, match="checkpoint-4 was not written to its end, or is damaged: resume_from_check"):
        resumed(run, str(run / "checkpoint-4"))


@pytest.mark.parametrize("name", ["trainer_state.json", "model.safetensors"])
def test_the_trainer_takes_the_last_whole_one(whole, run, name):
    damage(run / "checkpoint-4" / name, None)
    trainer = resumed(run)
    assert trainer._initial_global_step == 2
    assert distance(weights(trainer.model), weights(whole[1].model)) == 0
    assert last_checkpoint(run) == str(run / "checkpoint-4")


def test_where_none_is_whole_training_begins_anew(whole, run, caplog):
    """Killed while it wrote its first checkpoint, a run has nothing to go on from; without any the folder is wrong."""
    for step in (2, 4):
        damage(run / f"checkpoint-{step}" / "trainer_state.json", None)
    trainer = resumed(run)
    assert trainer._initial_global_step == 0 and "is whole: training begins anew" in caplog.text
    assert distance(weights(trainer.model), weights(whole[1].model)) == 0
    for folder in (run / "nowhere", run / "checkpoint-2"):
        with pytest.raises(ValueError, match="No valid checkpoint found in output directory"):
            resumed(folder)


def test_a_checkpoint_that_is_written_again_is_unfinished_meanwhile(run, monkeypatch):
    """New weights beside an old optimizer, and an old state that says that all is there."""
    trainer, _ = run_layers(run, "hidden_states", resume=str(run / "checkpoint-2"), **{**SAVED, "save_strategy": "no"})

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "_save_optimizer_and_scheduler", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer._save_checkpoint(trainer.model, None)
    assert last_checkpoint(run) == str(run / "checkpoint-2")


def test_a_process_without_its_random_state_is_seen(run):
    """The first process writes the state of the run, and another may not be done: its dropout would be drawn anew."""
    checkpoint = run / "checkpoint-4"
    (checkpoint / "rng_state.pth").rename(checkpoint / "rng_state_0.pth")
    shutil.copy(checkpoint / "rng_state_0.pth", checkpoint / "rng_state_1.pth")
    content = json.loads((checkpoint / "run_settings.json").read_text())
    (checkpoint / "run_settings.json").write_text(json.dumps({**content, "random states": 2}))
    assert is_whole(checkpoint, 0, 2) and is_whole(checkpoint, 1, 2)
    damage(checkpoint / "rng_state_1.pth", None)
    assert is_whole(checkpoint, 0, 2) and not is_whole(checkpoint, 1, 2)
    assert is_whole(checkpoint, 0, 1), "another number of processes has states of its own"


def test_weights_alone_and_those_of_earlier_versions_are_whole(tmp_path):
    student, rows, _, settings = stored()
    make_trainer(tmp_path, student, rows, **settings, **SAVED, save_only_model=True).train()
    assert is_whole(tmp_path / "checkpoint-4") and not (tmp_path / "checkpoint-4" / "optimizer.pt").exists()
    (tmp_path / "checkpoint-4" / "run_settings.json").unlink()
    assert is_whole(tmp_path / "checkpoint-4") and settings_of(tmp_path / "checkpoint-4") is None


def test_a_missing_shard_is_seen(run):
    checkpoint = run / "checkpoint-4"
    (checkpoint / "model.safetensors").rename(checkpoint / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    assert not is_whole(checkpoint)
    shutil.copy(checkpoint / "model-00001-of-00002.safetensors", checkpoint / "model-00002-of-00002.safetensors")
    assert is_whole(checkpoint)


@pytest.mark.slow
def test_two_processes_agree_on_what_is_whole(tmp_path):
    """One that sees the other's random state missing, and goes on alone, waits for it for ever."""
    for result in results_of_two_ranks("resume_in_ranks.py", tmp_path):
        assert result["begun at"] == 2, "the second process has no random state of step 4"
        assert result["distance"] == 0
        assert "alpha (0.7 there, 0.9 now)" in result["refused"]

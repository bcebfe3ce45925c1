"""A run goes on with the settings that it was begun with, or is refused; its card says what was trained."""

import json

import pytest
from tiny import live, make_model, make_rows, make_trainer, run_layers, stored, unlabel

from hfdistill import DistillationTrainer
from hfdistill.training.checkpoints import SETTINGS_FILE

SAVED = {"save_strategy": "steps", "save_steps": 2}


def build(out, student=None, rows=None, teacher=None, cls=DistillationTrainer, given=None, **changes):
    own, own_rows, _, settings = stored()
    settings = {**settings, **SAVED, **changes}
    return make_trainer(out, student or own, rows or own_rows, teacher=teacher, cls=cls, given=given, **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two epochs of 16 rows, on stored soft targets at alpha 0.7."""
    out = tmp_path_factory.mktemp("finished")
    build(out).train()
    return out


def other_logits():
    rows = make_rows(16, teacher_logits=True)
    logits = [[value + 1.0 * (number == 0) for number, value in enumerate(row)] for row in rows["teacher_logits"]]
    return rows.remove_columns("teacher_logits").add_column("teacher_logits", logits)


OTHERS = {
    "alpha": ({"alpha": 0.9, "learning_rate": 1e-2}, ["alpha (0.7 there, 0.9 now)", "learning_rate (0.05 there"]),
    "temperature": ({"temperature": 1.0}, ["temperature (3.0 there, 1.0 now)"]),
    "terms": ({"terms": ["labels:1"]}, ["terms (None there, ['labels:1'] now)"]),
    "seed": ({"seed": 4}, ["seed (3 there, 4 now)"]),
    "batch": ({"per_device_train_batch_size": 4}, ["examples a step (8 there, 4 now)"]),
    "precision": ({"bf16": True}, ["bf16 (False there, True now)"]),
    "length": ({"num_train_epochs": 1}, ["num_train_epochs (2 there, 1 now)"]),
    "depth": (
        {"student": make_model(1, num_hidden_layers=1)},
        ["student num_hidden_layers (2 there, 1 now)", "student parameters"],
    ),
    "heads": ({"student": make_model(1, num_attention_heads=4)}, ["student num_attention_heads (2 there, 4 now)"]),
    "dropout": ({"student": make_model(1, dropout=0.5)}, ["student hidden_dropout_prob (0.0 there, 0.5 now)"]),
    "rows": ({"rows": make_rows(17, teacher_logits=True)}, ["training rows (16 there, 17 now)"]),
    "texts": ({"rows": make_rows(16, teacher_logits=True, seed=1)}, ["the texts or labels of the training rows"]),
    "labels": ({"rows": unlabel(make_rows(16, teacher_logits=True), {5})}, ["the texts or labels of the training"]),
    "teacher logits": ({"rows": other_logits()}, ["the teacher's logits"]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_settings_are_refused_by_name(finished, name):
    """Nothing would be trained, and the card would speak of the new values; or torch would list every tensor."""
    changes, differences = OTHERS[name]
    with pytest.raises(
        ValueError, match=r"checkpoint-4 was made with other settings: .* choose another output_dir"
    ) as e:
        build(finished, **changes).train(resume_from_checkpoint=True)
    assert all(words in str(e.value) for words in differences), str(e.value)
    with pytest.raises(ValueError, match="was made with other settings"):
        build(finished, **changes).train(resume_from_checkpoint=str(finished / "checkpoint-2"))


def test_another_layer_of_the_teacher_is_refused(tmp_path):
    run_layers(tmp_path, "minilm", num_train_epochs=1, **SAVED)
    with pytest.raises(ValueError, match=r"other settings: teacher_layer \(1 there, 2 now\)"):
        run_layers(tmp_path, "minilm", num_train_epochs=1, **SAVED, teacher_layer=2, resume=True)


UNIMPORTANT = {
    "nothing": {},
    "logs": {"logging_steps": 3, "report_to": "none", "run_name": "again", "disable_tqdm": False},
    "evaluation": {"per_device_eval_batch_size": 2, "teacher_at_eval": False, "eval_on_start": False},
    "saving": {"save_steps": 1, "save_total_limit": 1},
    "parts": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
    "loading": {"dataloader_pin_memory": False, "dataloader_num_workers": 1},
    "another place": {"hub_model_id": "somebody/student"},
    "a teacher where none was": {"teacher": make_model(2)},
}


@pytest.mark.parametrize("name", UNIMPORTANT)
def test_what_changes_nothing_is_taken(tmp_path, finished, name):
    trainer = build(tmp_path, **UNIMPORTANT[name])
    trainer.train(resume_from_checkpoint=str(finished / "checkpoint-2"))
    assert trainer.state.global_step == 4 and trainer._initial_global_step == 2


def test_an_argument_that_the_objective_does_not_have_is_no_setting_of_it(tmp_path):
    """A teacher that learns from labels alone is what it is, whatever alpha its student will have."""
    build(tmp_path, terms=["labels:1"]).train()
    build(tmp_path, terms=["labels:1.0"], alpha=0.1, teacher_dtype="float32").train(resume_from_checkpoint=True)


@pytest.mark.parametrize("epochs", [{"num_train_epochs": 3}, {"max_steps": 6}])
def test_a_longer_run_goes_on_where_the_shorter_is_its_beginning(tmp_path, epochs):
    """With a rate that falls towards the end, two epochs and one more are no run of three."""
    shorter = {"num_train_epochs": 2} if "num_train_epochs" in epochs else {"max_steps": 4}
    build(tmp_path / "constant", **shorter).train()
    trainer = build(tmp_path / "constant", **epochs)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 6 and trainer._initial_global_step == 4
    falling = {
        "linear": {"lr_scheduler_type": "linear"},
        "cooling": {"temperature_end": 1.0, "temperature_schedule": "linear"},
        "warm": {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 0.3},
    }
    for name, changes in falling.items():
        build(tmp_path / name, **shorter, **changes).train()
        with pytest.raises(ValueError, match=r"(num_train_epochs|max_steps) \(\d+ there, \d+ now\)"):
            build(tmp_path / name, **epochs, **changes).train(resume_from_checkpoint=True)


def test_another_teacher_is_seen_and_the_same_is_not(tmp_path):
    student, rows, _, settings = live()
    layers = {"num_hidden_layers": 3}
    make_trainer(tmp_path, student, rows, teacher=make_model(2, **layers), **settings, **SAVED).train()
    make_trainer(tmp_path, make_model(1), rows, teacher=make_model(2, **layers), **settings, **SAVED).train(
        resume_from_checkpoint=True
    )
    other = make_trainer(tmp_path, make_model(1), rows, teacher=make_model(5, **layers), **settings, **SAVED)
    with pytest.raises(ValueError, match="the teacher's weights"):
        other.train(resume_from_checkpoint=True)


def test_no_path_is_among_the_settings(finished):
    """The file is in checkpoints, which are pushed."""
    text = (finished / "checkpoint-4" / SETTINGS_FILE).read_text()
    assert str(finished) not in text and finished.name not in text
    assert json.loads(text)["settings"]["alpha"] == 0.7


def test_the_card_describes_what_was_trained(tmp_path):
    """The arguments may be changed once all is done; the student is not."""
    trainer = build(tmp_path, per_device_train_batch_size=4)
    trainer.train()
    trainer.args.learning_rate, trainer.args.alpha, trainer.args.per_device_train_batch_size = 0.123, 0.111, 64
    trainer.create_model_card()
    card = (tmp_path / "README.md").read_text()
    assert "| learning_rate | 0.05 |" in card and "| soft_targets | 0.7 |" in card and "| examples a step | 4 |" in card
    assert "0.123" not in card and "0.111" not in card

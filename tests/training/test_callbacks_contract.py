"""Callbacks are called by both trainers at the same moments, with the same arguments, and are obeyed alike."""

import pytest
from both_trainers import assert_same_run, both, files_of, train_both
from transformers import TrainerCallback

EVENTS = [name for name in vars(TrainerCallback) if name.startswith("on_")]
SEEN = ("should_training_stop", "should_epoch_stop", "should_save", "should_evaluate", "should_log")


class Recorder(TrainerCallback):
    """Writes down every call: the event, where training stands, what is asked for, and what came with it."""

    def __init__(self):
        self.calls = []


def _recorder(event):
    def record(self, args, state, control, **given):
        flags = tuple(name for name in SEEN if getattr(control, name))
        # Ours tells more in its logs and metrics, by names of their own.
        names = {name: sorted(set(given.pop(name)) - OURS) for name in ("logs", "metrics") if name in given}
        there = sorted(name for name, value in given.items() if value is not None)
        self.calls.append((event, state.global_step, state.epoch, flags, there, names))

    return record


OURS = {"label_loss", "eval_label_loss", "eval_soft_target_loss", "test_label_loss"}
for _event in EVENTS:
    setattr(Recorder, _event, _recorder(_event))


def test_every_event_comes_in_the_same_order_with_the_same_arguments(tmp_path):
    recorders = [Recorder(), Recorder()]
    arguments = {"eval_strategy": "steps", "eval_steps": 3, "save_strategy": "epoch", "logging_steps": 2}
    trainers = both(tmp_path, **arguments, eval_on_start=True, gradient_accumulation_steps=2)
    for trainer, recorder in zip(trainers, recorders, strict=True):
        trainer.add_callback(recorder)
        trainer.train()
        trainer.predict(trainer.eval_dataset)
    stock, ours = (recorder.calls for recorder in recorders)
    assert stock == ours
    assert {event for event, *_ in ours} == set(EVENTS) - {"on_init_end", "on_push_begin"}


class SetFlag(TrainerCallback):
    """Sets a flag of the control after a step."""

    def __init__(self, flag, step):
        self.flag, self.step = flag, step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            setattr(control, self.flag, True)
        return control


@pytest.mark.parametrize("flag", SEEN)
def test_flags_set_by_a_callback_are_followed(tmp_path, flag):
    stock, ours = train_both(tmp_path, callbacks=lambda: [SetFlag(flag, 3)])
    assert_same_run(stock, ours)
    if flag == "should_training_stop":
        assert ours.state.global_step == 3
    if flag == "should_epoch_stop":
        assert ours.state.global_step == 7
    if flag == "should_save":
        assert "checkpoint-3/model.safetensors" in files_of(ours.args.output_dir)

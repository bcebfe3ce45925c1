"""Callbacks are called by both trainers at the same moments, with the same arguments, and are obeyed alike."""

import pytest
from both_trainers import assert_same_run, both, files_of, train_both
from transformers import TrainerCallback

EVENTS = [name for name in vars(TrainerCallback) if name.startswith("on_")]
SEEN = ("should_training_stop", "should_epoch_stop", "should_save", "should_evaluate", "should_log")


class Listen(TrainerCallback):
    """Writes down every call: the event, where training stands, what is asked for, and what came with it."""

    def __init__(self):
        self.heard = []


def _listener(event):
    def hear(self, args, state, control, **given):
        flags = tuple(name for name in SEEN if getattr(control, name))
        # Ours tells more in its logs and metrics, by names of their own.
        told = {name: sorted(set(given.pop(name)) - OURS) for name in ("logs", "metrics") if name in given}
        there = sorted(name for name, value in given.items() if value is not None)
        self.heard.append((event, state.global_step, state.epoch, flags, there, told))

    return hear


OURS = {"label_loss", "eval_label_loss", "eval_soft_target_loss", "test_label_loss"}
for _event in EVENTS:
    setattr(Listen, _event, _listener(_event))


def test_every_event_comes_in_the_same_order_with_the_same_arguments(tmp_path):
    listeners = [Listen(), Listen()]
    arguments = {"eval_strategy": "steps", "eval_steps": 3, "save_strategy": "epoch", "logging_steps": 2}
    trainers = both(tmp_path, **arguments, eval_on_start=True, gradient_accumulation_steps=2)
    for trainer, listener in zip(trainers, listeners, strict=True):
        trainer.add_callback(listener)
        trainer.train()
        trainer.predict(trainer.eval_dataset)
    stock, ours = (listener.heard for listener in listeners)
    assert stock == ours
    assert {event for event, *_ in ours} == set(EVENTS) - {"on_init_end", "on_push_begin"}


class Ask(TrainerCallback):
    """Sets a flag of the control after a step."""

    def __init__(self, flag, step):
        self.flag, self.step = flag, step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            setattr(control, self.flag, True)
        return control


@pytest.mark.parametrize("flag", SEEN)
def test_what_a_callback_asks_for_is_done(tmp_path, flag):
    stock, ours = train_both(tmp_path, callbacks=lambda: [Ask(flag, 3)])
    assert_same_run(stock, ours)
    if flag == "should_training_stop":
        assert ours.state.global_step == 3
    if flag == "should_epoch_stop":
        assert ours.state.global_step == 7
    if flag == "should_save":
        assert "checkpoint-3/model.safetensors" in files_of(ours.args.output_dir)


class Scale(TrainerCallback):
    """Changes gradients before the step, and weights after it."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        for parameter in model.parameters():
            parameter.grad.mul_(0.5)

    def on_optimizer_step(self, args, state, control, model=None, optimizer=None, lr_scheduler=None, **kwargs):
        assert optimizer.param_groups[0]["lr"] == lr_scheduler.get_last_lr()[0]
        model.classifier.weight.data.mul_(0.99)


def test_a_callback_can_change_gradients_and_weights(tmp_path):
    stock, ours = train_both(tmp_path, callbacks=lambda: [Scale()])
    assert_same_run(stock, ours)
    assert stock.model.classifier.weight.norm() < both(tmp_path)[0].model.classifier.weight.norm()


def test_early_stopping_stops_at_the_same_step_and_keeps_the_best(tmp_path):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "loss", "save_total_limit": 1}
    steps = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    early = {"callbacks": lambda: [EarlyStoppingCallback(early_stopping_patience=2, early_stopping_threshold=0.01)]}
    stock, ours = train_both(tmp_path, **best, **steps, **early, num_train_epochs=20, learning_rate=1.0)
    assert_same_run(stock, ours)
    assert ours.state.global_step < 80
    assert ours.state.best_model_checkpoint.endswith(f"checkpoint-{ours.state.best_global_step}")


class Count(TrainerCallback, ExportableState):
    """Counts steps, over interruptions."""

    def __init__(self, steps=0):
        self.steps = steps

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1

    def state(self):
        return {"args": {"steps": self.steps}, "attributes": {}}


#: A longer run goes on with the same rates.
CONSTANT = {"lr_scheduler_type": "constant", "warmup_steps": 0}


@pytest.mark.parametrize("restored", [True, False])
def test_a_callbacks_own_state_is_restored_where_asked_for(tmp_path, restored):
    train_both(tmp_path, callbacks=lambda: [Count()], save_strategy="steps", save_steps=3, max_steps=3, **CONSTANT)
    again = {"restore_callback_states_from_checkpoint": restored, "max_steps": 5, **CONSTANT}
    for trainer in train_both(tmp_path, callbacks=lambda: [Count()], resume=True, **again):
        counted = next(one for one in trainer.callback_handler.callbacks if isinstance(one, Count))
        assert counted.steps == (5 if restored else 2)

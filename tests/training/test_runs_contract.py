"""Runs as a whole: interrupted, repeated, with parts of one's own, searched; as with the stock trainer."""

import json
from pathlib import Path

import pytest
import torch
from both_trainers import assert_same_run, both, figures, train_both, trainer_of
from tiny import accuracy, distance, make_model, make_rows, weights
from transformers import Trainer, TrainerCallback, get_cosine_schedule_with_warmup, set_seed

from hfdistill import DistillationTrainer

# ---- Interrupted ----


@pytest.mark.parametrize("skip", [False, True], ids=["skips data", "ignore_data_skip"])
@pytest.mark.parametrize("step", [3, 4], ids=["within an epoch", "between epochs"])
def test_a_resumed_run_is_that_of_the_stock_trainer(tmp_path, step, skip):
    settings = {"save_strategy": "steps", "save_steps": 1, "lr_scheduler_type": "cosine", "ignore_data_skip": skip}
    whole = train_both(tmp_path, **settings)
    again = train_both_from(tmp_path, step, **settings)
    assert_same_run(*again)
    if not skip:
        for one, other in zip(whole, again, strict=True):
            assert distance(weights(one.model), weights(other.model)) == 0
            assert logged(one) == logged(other)


def train_both_from(out, step, **settings):
    trainers = both(out, **settings)
    for trainer in trainers:
        trainer.train(resume_from_checkpoint=str(Path(trainer.args.output_dir, f"checkpoint-{step}")))
    return trainers


def logged(trainer):
    return [figures(log) for log in trainer.state.log_history if "train_loss" not in log]


def test_what_is_saved_is_loaded_alike(tmp_path):
    stock, ours = train_both(tmp_path, save_strategy="steps", save_steps=4)
    paths = [Path(one.args.output_dir, "checkpoint-4/trainer_state.json") for one in (stock, ours)]
    states = [json.loads(path.read_text()) for path in paths]
    assert states[0].keys() == states[1].keys()
    for trainer in (stock, ours):
        trainer.save_model()
        trainer.save_state()
        trainer.log_metrics("train", {"loss": 1.0})
        trainer.save_metrics("train", {"loss": 1.0})
        loaded = type(trainer.model).from_pretrained(trainer.args.output_dir)
        assert distance(weights(loaded), weights(trainer.model)) == 0
    names = [sorted(path.name for path in Path(one.args.output_dir).iterdir()) for one in (stock, ours)]
    assert names[0] == names[1]


# ---- Repeated ----


@pytest.mark.parametrize("arguments", [{}, {"neftune_noise_alpha": 5.0}], ids=str)
def test_training_goes_on_where_it_is_called_again(tmp_path, arguments):
    trainers = train_both(tmp_path, **arguments)
    for trainer in trainers:
        trainer.evaluate()
        set_seed(1)
        trainer.train()
    assert_same_run(*trainers)


def test_a_student_trained_in_half_precision_is_called_as_before(tmp_path):
    """Accelerate, taking its autocast off, takes what `transformers` has put around `forward` as well."""
    ours = train_both(tmp_path, bf16=True, max_steps=1)[1]
    batch = ours.data_collator(make_rows(2).to_list())
    fresh = make_model(1)
    fresh.load_state_dict(ours.model.state_dict())
    for call in ({}, {"return_dict": False}, {"output_hidden_states": True}):
        assert torch.equal(ours.model.eval()(**batch, **call)[1], fresh.eval()(**batch, **call)[1])
    assert ours.model.forward == type(ours.model).forward.__get__(ours.model)


def fresh(trial=None):
    return make_model(1, dropout=0.1)


def test_training_begins_afresh_with_model_init(tmp_path):
    trainers = train_both(tmp_path, model=None, model_init=fresh)
    first = [weights(trainer.model) for trainer in trainers]
    for trainer, before in zip(trainers, first, strict=True):
        trainer.train()
        assert distance(weights(trainer.model), before) == 0
    assert_same_run(*trainers)


class OutOfMemory(TrainerCallback):
    """No memory for a batch of 8, in the third step."""

    def on_step_begin(self, args, state, control, train_dataloader=None, **kwargs):
        if state.global_step == 2 and train_dataloader.total_batch_size == 8:
            raise RuntimeError("CUDA out of memory.")


def test_a_batch_that_does_not_fit_is_made_smaller(tmp_path):
    settings = {"per_device_train_batch_size": 8, "auto_find_batch_size": True, "logging_steps": 5}
    stock, ours = train_both(tmp_path, callbacks=lambda: [OutOfMemory()], num_train_epochs=4, **settings)
    assert_same_run(stock, ours)
    assert ours._train_batch_size < 8
    for log in ours.state.log_history[:-1]:
        assert log["label_loss"] == pytest.approx(log["loss"], rel=1e-5)


# ---- Parts of one's own ----


def train_with_optimizer(ours, out, scheduled):
    set_seed(0)
    model = make_model(1, dropout=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5, nesterov=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, 2, 8) if scheduled else None
    trainer = trainer_of(ours, out, model=lambda: model, optimizers=(optimizer, schedule))
    trainer.train()
    return trainer


@pytest.mark.parametrize("scheduled", [True, False])
def test_an_optimizer_and_a_schedule_may_be_given(tmp_path, scheduled):
    assert_same_run(*(train_with_optimizer(ours, tmp_path, scheduled) for ours in (False, True)))


def subclass(base):
    class Overriding(base):
        """Overrides what users override."""

        def log(self, logs, start_time=None):
            super().log({**logs, "extra": 1.0}, start_time)

        def get_train_dataloader(self):
            self.loaded = True
            return super().get_train_dataloader()

        def create_optimizer(self, model=None):
            self.optimizer = torch.optim.SGD(self.model.classifier.parameters(), lr=0.1)
            return self.optimizer

        def create_scheduler(self, num_training_steps, optimizer=None):
            self.lr_scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.9)
            return self.lr_scheduler

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
            loss = loss + outputs.logits.square().mean()
            return (loss, outputs) if return_outputs else loss

        def training_step(self, model, inputs, num_items_in_batch=None):
            return super().training_step(model, inputs, num_items_in_batch)

        def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
            return {**super().evaluate(eval_dataset, ignore_keys, metric_key_prefix), "seen": True}

    return Overriding


def test_a_subclass_may_override_what_it_overrides_of_trainer(tmp_path):
    classes = {True: subclass(DistillationTrainer), False: subclass(Trainer)}
    stock, ours = train_both(tmp_path, classes=classes)
    assert_same_run(stock, ours)
    assert ours.loaded and ours.evaluate()["seen"]
    assert all(log["extra"] == 1.0 for log in ours.state.log_history)


# ---- Searched ----


def test_a_search_finds_what_the_stock_trainer_finds(tmp_path):
    optuna = pytest.importorskip("optuna")
    trainers = both(tmp_path, model=None, model_init=fresh, compute_metrics=accuracy)
    best = [
        trainer.hyperparameter_search(
            hp_space=lambda trial: {
                "learning_rate": trial.suggest_categorical("learning_rate", [0.01, 0.3]),
                "per_device_train_batch_size": trial.suggest_categorical("per_device_train_batch_size", [4, 8]),
            },
            backend="optuna",
            direction="maximize",
            n_trials=4,
            hp_name=lambda trial: f"trial {trial.number}",
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
        for trainer in trainers
    ]
    assert best[0].run_id == best[1].run_id
    assert best[0].hyperparameters == best[1].hyperparameters
    assert best[0].objective == pytest.approx(best[1].objective)

"""Born-again networks: who teaches whom, and that an interrupted series goes on."""

import pytest
from tiny import distance, logits_of, make_model, make_rows, make_trainer, naive_soft_target_loss, weights

from hfdistill.training.self_distillation import born_again

ROWS = 16


def generations_in(out, trainers, **changes):
    def new_trainer(generation, teacher):
        settings = {"alpha": 0.5 if teacher else 0.0, "save_strategy": "epoch", **changes}
        trainer = make_trainer(
            out / str(generation), make_model(generation), make_rows(ROWS), teacher=teacher, **settings
        )
        trainers.append(trainer)
        return trainer

    return new_trainer


def test_each_generation_learns_from_the_one_before(tmp_path):
    """Taught by generation 0 for ever, or by itself, nothing is born again."""
    trainers = []
    models = born_again(generations_in(tmp_path, trainers, per_device_train_batch_size=ROWS), 2)
    assert len(models) == 3 and trainers[0].teacher is None
    for generation in (1, 2):
        trainer = trainers[generation]
        assert trainer.teacher.model is models[generation - 1]
        first = next(log for log in trainer.state.log_history if "soft_target_loss" in log)
        expected = naive_soft_target_loss(
            logits_of(make_model(generation), make_rows(ROWS)), logits_of(models[generation - 1], make_rows(ROWS)), 2.0
        )
        assert first["soft_target_loss"] == pytest.approx(expected, rel=1e-5)


def test_an_interrupted_series_goes_on(tmp_path):
    """Generations that are done must not be trained again, and the one that stopped goes on where it was."""
    whole = born_again(generations_in(tmp_path / "whole", []), 1)
    new_trainer = generations_in(tmp_path / "cut", [])

    def killed(generation, teacher):
        trainer = new_trainer(generation, teacher)
        if generation == 1:
            trainer.train()
            (tmp_path / "cut" / "1" / "checkpoint-4" / "trainer_state.json").unlink()  # as a kill leaves it
            raise KeyboardInterrupt
        return trainer

    with pytest.raises(KeyboardInterrupt):
        born_again(killed, 1)
    trainers = []
    resumed = born_again(generations_in(tmp_path / "cut", trainers), 1)
    assert trainers[0]._initial_global_step == 4 and trainers[1]._initial_global_step == 2
    for one, other in zip(whole, resumed, strict=True):
        assert distance(weights(one), weights(other)) < 1e-7


def test_what_cannot_be_born_again_is_refused(tmp_path):
    """In one folder, a generation would resume from the one before and learn nothing."""
    with pytest.raises(ValueError, match="one generation or more, got 0"):
        born_again(generations_in(tmp_path, []), 0)

    def same_folder(generation, teacher):
        return make_trainer(tmp_path, make_model(generation), make_rows(ROWS), alpha=0.0)

    with pytest.raises(ValueError, match="generation 1 would overwrite"):
        born_again(same_folder, 1)

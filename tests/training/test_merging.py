"""Students with PEFT adapters: checkpoints of adapters that resume, and a plain model at the end."""

import json

import pytest
import torch
from processes import results_of_two_ranks
from tiny import assert_logs_alike, distance, live, logits_of, make_model, make_rows, make_trainer, weights
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification, TrainerCallback

from hfdistill.training.run import train_and_save

peft = pytest.importorskip("peft", reason="the extra `peft` is not installed")

STEPS = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "optim": "adamw_torch", "learning_rate": 1e-2}


def lora_student(seed=1, **changes):
    torch.manual_seed(3)
    settings = {"task_type": "SEQ_CLS", "r": 2, "target_modules": ["query", "value"], "lora_dropout": 0.1, **changes}
    return peft.get_peft_model(make_model(seed), peft.LoraConfig(**settings))


def lora_trainer(folder, student=None, **changes):
    _, rows, teacher, settings = live()
    return make_trainer(folder, student or lora_student(), rows, teacher=teacher, **{**STEPS, **settings, **changes})


class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 2


def loaded(folder):
    """The folder's model, as somebody has it who has not heard of PEFT."""
    assert not (folder / "adapter_config.json").exists() and (folder / "config.json").exists()
    return BertForSequenceClassification.from_pretrained(folder)


def test_the_folder_holds_a_plain_model_and_checkpoints_the_adapters(tmp_path):
    """It held an adapter, which neither a pipeline without PEFT nor an export could read."""
    trainer, rows = lora_trainer(tmp_path / "out"), make_rows(8)
    before, frozen = logits_of(trainer.model, rows), weights(trainer.model.base_model.model)
    trainer.train()
    trainer.save_model()
    assert distance(weights(trainer.model.base_model.model), frozen) > 0
    trained = logits_of(trainer.model, rows)
    assert (trained - before).abs().max() > 0.01
    torch.testing.assert_close(logits_of(loaded(tmp_path / "out"), rows), trained, atol=1e-5, rtol=0)
    checkpoint = tmp_path / "out" / "checkpoint-2"
    assert json.loads((checkpoint / "adapter_config.json").read_text())["peft_type"] == "LORA"
    assert not (checkpoint / "model.safetensors").exists()
    trainer.create_model_card()
    assert "plain transformers model" in (tmp_path / "out" / "README.md").read_text()


def test_saving_on_the_way_changes_nothing(tmp_path):
    """Merged and unmerged again the frozen weights would be rounded otherwise."""

    class Save(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            saving.save_model()

    whole = lora_trainer(tmp_path / "one")
    whole.train()
    saving = lora_trainer(tmp_path / "other")
    saving.add_callback(Save())
    saving.train()
    assert distance(weights(whole.model), weights(saving.model)) == 0


def test_a_stopped_run_resumes_to_the_same_model(tmp_path):
    whole = lora_trainer(tmp_path / "whole")
    whole.train()
    stopped = lora_trainer(tmp_path / "stopped")
    stopped.add_callback(Stop())
    stopped.train()
    resumed = lora_trainer(tmp_path / "stopped")
    train_and_save(resumed, resume=True)
    assert resumed.state.global_step == 4
    assert_logs_alike(resumed, whole, "loss", "soft_target_loss", "grad_norm", rel=1e-6)
    whole.save_model()
    assert distance(weights(loaded(tmp_path / "whole")), weights(loaded(tmp_path / "stopped"))) < 1e-6


@pytest.mark.parametrize("keep_checkpoints", [True, False])
def test_a_finished_run_is_taken_over(tmp_path, keep_checkpoints):
    """Without its checkpoints the folder is the only one, and holds no adapters."""
    first, again = lora_trainer(tmp_path), lora_trainer(tmp_path, lora_student())
    for trainer in (first, again):
        train_and_save(trainer, resume=trainer is again, keep_checkpoints=keep_checkpoints)
        assert isinstance(trainer.model, BertForSequenceClassification), "what is measured is what is saved"
    assert distance(weights(first.model), weights(again.model)) < 1e-6
    assert distance(weights(loaded(tmp_path)), weights(first.model)) == 0


def test_the_best_checkpoint_is_what_is_saved(tmp_path):
    best = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 2}
    _, rows, teacher, settings = live()
    settings = {**STEPS, **settings, **best, "learning_rate": 0.5}
    trainer = make_trainer(tmp_path, lora_student(), rows, teacher=teacher, given={"eval_dataset": rows}, **settings)
    trainer.train()
    trainer.save_model()
    base = AutoModelForSequenceClassification.from_config(make_model(1).config)
    base.load_state_dict(make_model(1).state_dict())
    expected = peft.PeftModel.from_pretrained(base, trainer.state.best_model_checkpoint)
    torch.testing.assert_close(logits_of(loaded(tmp_path), rows), logits_of(expected, rows), atol=1e-5, rtol=0)


def test_a_tuned_prompt_is_kept_as_an_adapter(tmp_path, caplog):
    """It has no place among the weights: what the folder is must be told, and the run not be lost."""
    torch.manual_seed(3)
    student = peft.get_peft_model(make_model(1), peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4))
    trainer = lora_trainer(tmp_path, student)
    trainer.train()
    trainer.save_model()
    trainer.create_model_card()
    assert "are not merged into it" in caplog.text and "takes PEFT and the model that it was made for" in caplog.text
    assert (tmp_path / "adapter_config.json").exists() and not (tmp_path / "model.safetensors").exists()
    assert "It is an adapter (PROMPT_TUNING)" in (tmp_path / "README.md").read_text()
    again = peft.PeftModel.from_pretrained(make_model(1), tmp_path)
    torch.testing.assert_close(logits_of(again, make_rows(4)), logits_of(trainer.model, make_rows(4)))


@pytest.mark.slow
def test_two_processes_train_the_adapters_of_one(tmp_path):
    first, second = results_of_two_ranks("train_adapters_in_ranks.py", tmp_path)
    assert distance(first["weights"], second["weights"]) == 0, "the ranks went apart"
    reference = lora_trainer(tmp_path / "one", lora_student(lora_dropout=0.0))
    reference.train()
    assert distance(first["weights"], weights(reference.model)) < 1e-5
    resumed = lora_trainer(tmp_path / "two", lora_student(lora_dropout=0.0))
    resumed.train(resume_from_checkpoint=str(tmp_path / "two" / "checkpoint-2"))
    assert distance(weights(resumed.model), weights(reference.model)) < 1e-5
    torch.testing.assert_close(
        logits_of(loaded(tmp_path / "two"), make_rows(8)), logits_of(reference.model, make_rows(8)), atol=1e-4, rtol=0
    )

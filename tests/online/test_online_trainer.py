"""Training with no teacher: the losses of the papers, what is saved, resumed and reported."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState
from processes import results_of_two_ranks
from safetensors.torch import load_file
from tiny import accuracy, distance, logits_of, make_args, make_model, make_rows, make_tokenizer, unlabel, weights
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding

from hfdistill import Objective
from hfdistill.losses import Labels
from hfdistill.online import Branches, OnlineTrainer, Peers

BOTH = {"label_weight": 1.0, "soft_target_weight": 1.0, "temperature": 3.0}


def peers(dropout=0.0):
    return Peers([make_model(1, dropout), make_model(2, dropout, hidden_size=8), make_model(3, dropout)])


def branches(dropout=0.0):
    torch.manual_seed(0)
    return Branches([make_model(seed, dropout) for seed in (1, 2, 3)], shared_layers=1)


KINDS = {"mutual": peers, "one": branches}


def online_trainer(out, kind, rows=None, dropout=0.0, given=None, **changes):
    tokenizer = make_tokenizer()
    return OnlineTrainer(
        KINDS[kind](dropout),
        make_args(out, **{**BOTH, **changes}),
        train_dataset=make_rows() if rows is None else rows,
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        **(given or {}),
    )


def all_weights(trainer):
    return weights(trainer._together)


# ---- The losses ----


def naive_kl(teacher, student, temperature):
    p, q = (teacher / temperature).softmax(-1), (student / temperature).softmax(-1)
    return temperature**2 * (p * (p / q).log()).sum(-1).mean()


def gradients(loss, model):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def trainer_gradients(out, kind, rows, **changes):
    """The gradient of one whole batch in the trainer."""
    trainer = online_trainer(out, kind, rows, **changes)
    batch = trainer.data_collator(list(rows))
    batch = {name: tensor for name, tensor in batch.items()}
    model = trainer.model
    model.train()
    return gradients(trainer.compute_loss(model, batch), model), model, batch


def test_mutual_learning_has_the_gradient_of_the_paper(tmp_path):
    """Zhang et al. 2018, equation 8: `CE_k + 1 / (K − 1) Σ_l KL(p_l ‖ p_k)` for each k, the others held fixed."""
    rows = make_rows()
    found, model, batch = trainer_gradients(tmp_path, "mutual", rows)
    labels = batch.pop("labels")
    predictions = model(**batch).peers
    loss = 0.0
    for k, prediction in enumerate(predictions):
        others = [other.detach() for number, other in enumerate(predictions) if number != k]
        loss = (
            loss + F.cross_entropy(prediction, labels) + sum(naive_kl(other, prediction, 3.0) for other in others) / 2
        )
    for name, gradient in gradients(loss, model).items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)
    assert max(gradient.abs().max() for gradient in found.values()) > 0.1


def test_one_has_the_gradient_of_the_paper(tmp_path):
    """Lan et al. 2018, equation 8: `Σ CE_i + CE_e + T² Σ KL(p_e ‖ p_i)`, the ensemble held fixed in the last."""
    rows = make_rows()
    found, model, batch = trainer_gradients(tmp_path, "one", rows)
    labels = batch.pop("labels")
    output = model(**batch)
    loss = F.cross_entropy(output.ensemble, labels)
    for prediction in output.peers:
        loss = loss + F.cross_entropy(prediction, labels) + naive_kl(output.ensemble.detach(), prediction, 3.0)
    expected_gradients = gradients(loss, model)
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)
    assert found["gate.weight"].abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_does_not_depend_on_how_a_batch_is_cut(tmp_path, kind):
    """Each student's loss is a mean over the whole step, also where rows have no label."""
    rows = unlabel(make_rows(), {0, 1, 2, 5, 9})
    order = {"train_sampling_strategy": "sequential"}
    whole = online_trainer(tmp_path, kind, rows, **order)
    whole.train()
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    pieces = online_trainer(tmp_path, kind, rows, **order, **cut)
    pieces.train()
    assert distance(all_weights(whole), weights(KINDS[kind]())) > 0.01
    assert distance(all_weights(whole), all_weights(pieces)) < 1e-6


# ---- What is saved ----


@pytest.mark.parametrize("kind", KINDS)
def test_every_student_is_saved_as_a_plain_model(tmp_path, kind):
    """A wrapper, a gate or a shared layer that is missing, and a student would load with random weights."""
    rows = make_rows()
    trainer = online_trainer(tmp_path, kind, rows)
    trainer.train()
    trainer.save_model()
    trainer.create_model_card()
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "no teacher: students that taught one another" in card and "It is a plain transformers model" in card
    for student, folder in zip(trainer.students, ["", "peer_2", "peer_3"], strict=True):
        loaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / folder, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
        torch.testing.assert_close(logits_of(loaded, rows), logits_of(student, rows))
        assert loaded.config.problem_type == "single_label_classification"
        assert (tmp_path / folder / "tokenizer.json").exists()
    assert not (tmp_path / "online.safetensors").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_as_if_never_interrupted(tmp_path, kind):
    """Every student, and the gate, must come back; and Adam's state in the order it was saved in."""
    settings = {"optim": "adamw_torch", "learning_rate": 1e-2, "dropout": 0.3, "num_train_epochs": 3}
    rows = make_rows(22)
    whole = online_trainer(tmp_path / "whole", kind, rows, save_strategy="steps", save_steps=2, **settings)
    whole.train()
    resumed = online_trainer(tmp_path / "resumed", kind, rows, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert distance(all_weights(resumed), all_weights(whole)) < 1e-7
    assert distance(all_weights(resumed), weights(KINDS[kind]())) > 0.01
    gate = tmp_path / "whole" / "checkpoint-4" / "online.safetensors"
    assert gate.exists() == (kind == "one")
    if kind == "one":
        assert set(load_file(gate)) == {"gate.weight", "gate.bias"}


def test_the_best_students_are_loaded_at_the_end(tmp_path):
    """The first student's file has no names of the others: theirs would stay those of the last step."""
    rows = make_rows()
    given = {"eval_dataset": make_rows(8, seed=1), "compute_metrics": accuracy}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "loss", "eval_strategy": "steps", "eval_steps": 1}
    trainer = online_trainer(
        tmp_path, "mutual", rows, given=given, save_strategy="steps", save_steps=1, learning_rate=2.0, **best
    )
    trainer.train()
    folder = Path(trainer.state.best_model_checkpoint)
    assert folder.name != "checkpoint-4", "the last step is the best one: nothing is shown"
    for student, name in zip(trainer.students, ["", "peer_2", "peer_3"], strict=True):
        saved = AutoModelForSequenceClassification.from_pretrained(folder / name)
        assert distance(weights(saved), weights(student)) == 0


# ---- What is reported ----


@pytest.mark.parametrize(("kind", "names"), [("mutual", []), ("one", ["ensemble"])])
def test_each_student_is_evaluated(tmp_path, kind, names):
    """The table of a paper has every student in it; the plain names are those of the first."""
    rows = make_rows(11, seed=5)
    given = {"eval_dataset": rows, "compute_metrics": accuracy}
    trainer = online_trainer(tmp_path, kind, given=given, per_device_eval_batch_size=4)
    metrics = trainer.evaluate()
    expected = [accuracy_of(logits_of(student, rows), rows) for student in trainer.students]
    assert [metrics[f"eval_peer_{number}_accuracy"] for number in (1, 2, 3)] == pytest.approx(expected)
    assert metrics["eval_accuracy"] == pytest.approx(expected[0])
    predictions = trainer.predict(rows).predictions
    assert len(predictions) == 3 + len(names)
    assert ("eval_ensemble_accuracy" in metrics) == bool(names)
    np.testing.assert_allclose(predictions[1], logits_of(trainer.students[1], rows), atol=1e-6)
    first = logits_of(trainer.students[0], rows)
    assert metrics["eval_label_loss"] == pytest.approx(F.cross_entropy(first, torch.tensor(rows["labels"])).item())


def accuracy_of(logits, rows):
    return float((logits.argmax(-1) == torch.tensor(rows["labels"])).float().mean())


def test_what_it_cannot_train_is_refused(tmp_path):
    """Each of these would otherwise train something else than was asked for."""
    args = make_args(tmp_path)
    with pytest.raises(ValueError, match=r"trains Peers\(\[...\]\) or Branches\(\[...\]\), not BertFor"):
        OnlineTrainer(make_model(), args)
    with pytest.raises(ValueError, match="take no teacher"):
        OnlineTrainer(peers(), args, teacher=make_model(7))

    class Deep(Labels):
        outputs = frozenset({"hidden_states"})

    with pytest.raises(ValueError, match="compare their predictions, not their hidden_states"):
        OnlineTrainer(peers(), args, objective=Objective({"deep": (1.0, Deep())}))


def test_sharded_students_are_refused(tmp_path, monkeypatch):
    """Each student is saved alone, and no process would have one whole. (Accelerate shards on accelerators only.)"""
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2)
    monkeypatch.setattr(AcceleratorState, "fsdp_plugin", plugin, raising=False)
    with pytest.raises(ValueError, match="FSDP and DeepSpeed keep none of them whole"):
        OnlineTrainer(peers(), make_args(tmp_path))


@pytest.mark.slow
def test_two_ranks_train_the_students_of_one(tmp_path):
    """Shared layers are used by several branches, and a gradient that is not reduced once would set the ranks apart."""
    ranks = results_of_two_ranks("train_online_in_ranks.py", tmp_path)
    for kind in KINDS:
        rows = unlabel(make_rows(22), {0, 1, 2, 5, 9})
        one = online_trainer(tmp_path / "one", kind, rows, train_sampling_strategy="sequential")
        one.train()
        assert distance(ranks[0][kind], ranks[1][kind]) == 0
        assert distance(ranks[0][kind], all_weights(one)) < 1e-6

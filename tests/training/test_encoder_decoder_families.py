"""Every family of encoder-decoders learns what a naive reference says: each sentence alone, token by token."""

import copy

import pytest
import torch
from tiny import IN_ORDER, logs_of
from tiny_seq2seq import (
    OTHER_FAMILIES,
    compute_few_at_once,
    make_other_family,
    make_pairs,
    make_seq2seq_trainer,
    start_of,
)

ALPHA, TEMPERATURE = 0.4, 2.0


def logits_of(family, model, row):
    """The logits of one row alone, shape `(tokens, classes)`."""
    shifted = [start_of(family, model, row["labels"]), *row["labels"][:-1]]
    inputs = {"input_ids": torch.tensor([row["input_ids"]]), "decoder_input_ids": torch.tensor([shifted])}
    return model(**inputs, use_cache=False).logits[0].double()


def naive_gradient(family, student, teacher, rows):
    """The objective over all target tokens of these rows, and its gradient by name."""
    label_loss = soft_target_loss = tokens = 0
    for row in rows:
        own, labels = logits_of(family, student, row), torch.tensor(row["labels"])
        with torch.no_grad():
            p = (logits_of(family, teacher, row) / TEMPERATURE).softmax(-1)
        label_loss = label_loss - own.log_softmax(-1)[torch.arange(len(labels)), labels].sum()
        q = (own / TEMPERATURE).log_softmax(-1)
        soft_target_loss = soft_target_loss + TEMPERATURE**2 * (p * (p.log() - q)).sum()
        tokens += len(labels)
    loss = (ALPHA * soft_target_loss + (1 - ALPHA) * label_loss) / tokens
    loss.backward()
    gradient = {name: weight.grad.clone() for name, weight in student.named_parameters() if weight.grad is not None}
    student.zero_grad()
    return loss.item(), gradient


@pytest.mark.parametrize("family", OTHER_FAMILIES)
def test_a_step_is_that_of_a_naive_reference(tmp_path, monkeypatch, family):
    """A cap on the logits, a bias, a head that is none, a shift that rewrites the labels: loss and gradient tell."""
    compute_few_at_once(monkeypatch)
    student, teacher, rows = make_other_family(family, 1, layers=1), make_other_family(family, 2), make_pairs(8)
    if family == "prophetnet":  # what it predicts changes with the padding of the target texts
        rows = rows.map(lambda row: {"labels": [5, 6, 7, *row["labels"]][-4:]})
    expected, gradient = naive_gradient(family, student.train(), teacher, rows)
    trained = copy.deepcopy(student)
    trainer = make_seq2seq_trainer(
        tmp_path,
        trained,
        rows,
        teacher=teacher,
        **{"alpha": ALPHA, "temperature": TEMPERATURE, "max_steps": 1, "learning_rate": 1.0, "max_grad_norm": 0.0},
        **{"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, **IN_ORDER},
    )
    trainer.train()
    assert logs_of(trainer, "loss")[0][0] == pytest.approx(expected, rel=1e-4)
    before, after = dict(student.named_parameters()), dict(trained.named_parameters())
    steps = {name: before[name].detach() - after[name].detach() for name in gradient}
    size = torch.stack([one.norm() for one in gradient.values()]).norm()
    error = torch.stack([(steps[name] - gradient[name]).norm() for name in gradient]).norm()
    assert size > 0.1 and error / size < 1e-4


@pytest.mark.parametrize("family", ["t5gemma", "led", "encoder-decoder", "fsmt", "mt5"])
def test_terms_on_layers_know_both_sides_of_a_family(tmp_path, family):
    """T5Gemma has a config for each side, LED pads within and, as FSMT, makes queries of `(tokens, batch, width)`."""
    runs = []
    for layout in ({}, {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}):
        student, teacher = make_other_family(family, 1, layers=1), make_other_family(family, 2)
        terms = [
            f"{side}_{term}" for side in ("encoder", "decoder") for term in ("hidden_states", "embeddings", "minilm")
        ]
        settings = {"terms": ["labels", *terms], "max_steps": 1, **IN_ORDER, **layout}
        trainer = make_seq2seq_trainer(tmp_path, student, make_pairs(8), teacher=teacher, **settings)
        trainer.train()
        runs.append(trainer)
    names = ("loss", "grad_norm", *(f"{term}_loss" for term in terms))
    assert logs_of(runs[1], *names)[0] == pytest.approx(logs_of(runs[0], *names)[0], rel=1e-4)
    assert min(logs_of(runs[0], *names)[0]) > 1e-4

"""An item that counts is one that teaches: every term on one, two and three rows, and on texts of one token."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from tiny import make_model, make_rows, make_trainer
from tiny_seq2seq import make_seq2seq

from hfdistill import TeacherSignal
from hfdistill.losses import IGNORED, TERMS, EncoderDecoderTerm
from hfdistill.losses.exemplars import Contrastive, Exemplars

CLASSES, TOKENS = 3, 4
#: Layers and width of student and teacher.
SIZES = ((2, 16), (4, 24))


def models(sided):
    if not sided:
        return [make_model(0, num_hidden_layers=layers, hidden_size=width) for layers, width in SIZES]
    names = ("encoder_layers", "decoder_layers")
    return [make_seq2seq(d_model=width, **dict.fromkeys(names, layers)) for layers, width in SIZES]


def random_answer(term, rows, size):
    """Logits, and what the term asks for, of no model in particular: nothing is alike by construction."""
    layers, width = size

    def vectors(count):
        return tuple(torch.randn(rows, TOKENS, width, requires_grad=True) for _ in range(count))

    asked = {name: vectors(layers + name.endswith("hidden_states")) for name in term.outputs}
    return {"logits": torch.randn(rows, CLASSES, requires_grad=True), **asked}


def batch_of(rows, tokens, sided):
    mask = (torch.arange(TOKENS) < tokens).expand(rows, TOKENS)
    labels = torch.ones(rows, TOKENS, dtype=torch.long).masked_fill(~mask, IGNORED) if sided else torch.arange(rows) % 3
    return {"input_ids": torch.ones(rows, TOKENS, dtype=torch.long), "attention_mask": mask.long(), "labels": labels}


def bound(name, filled=True):
    """The term and whether it is one of an encoder-decoder's; where it keeps exemplars, there are some."""
    term, sided = TERMS[name](), issubclass(TERMS[name], EncoderDecoderTerm)
    if term.outputs:
        term.bind(*models(sided))
    if filled and hasattr(term, "queue"):
        term.queue.add(torch.nn.functional.normalize(torch.randn(5, SIZES[1][1]), dim=-1))
    return term, sided


def taught(term, rows, tokens, sided):
    """Which items count, and for which of all the student's output matters."""
    student, batch = random_answer(term, rows, SIZES[0]), batch_of(rows, tokens, sided)
    losses = term(SimpleNamespace(**student), TeacherSignal(**random_answer(term, rows, SIZES[1])), batch)
    leaves = [leaf for value in student.values() for leaf in (value if isinstance(value, tuple) else [value])]

    def matters(loss):
        slopes = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
        return any(gradient is not None and gradient.abs().max() > 1e-6 for gradient in slopes)

    found = [matters(loss) for loss in losses.flatten()]
    return term.valid(batch), torch.tensor(found).view(losses.shape)


@pytest.mark.parametrize("name", TERMS)
def test_what_counts_is_taught(name):
    """Of two examples the only distance is its own mean, of one token the attention is 1: a loss of 0 seems learned."""
    term, sided = bound(name)
    for rows, tokens in itertools.product((1, 2, 3), (1, 2, TOKENS)):
        valid, matters = taught(term, rows, tokens, sided)
        assert not (valid & ~matters).any(), f"{rows} rows of {tokens} tokens"
    assert valid.all()


@pytest.mark.parametrize("term", [Exemplars, Contrastive])
def test_nothing_counts_before_there_are_exemplars(term):
    made, sided = bound(term.name, filled=False)
    valid, matters = taught(made, 3, TOKENS, sided)
    assert not valid.any() and not matters.any()
    made.finish_step(lambda tensor: tensor)
    valid, matters = taught(made, 3, TOKENS, sided)
    assert valid.all() and matters.all()


def test_a_graph_of_which_nothing_is_left_is_refused():
    """One layer has no transformation: weighed alone, the term would be 0 throughout."""
    student, teacher = models(sided=False)
    student.config.num_hidden_layers = 1
    with pytest.raises(ValueError, match="'instance_graph' has nothing to teach a student of 1 layer with"):
        TERMS["instance_graph"](vertex_weight=0.0, edge_weight=0.0).bind(student, teacher)


def test_a_run_whose_batches_are_too_small_is_warned_of(tmp_path, caplog):
    """The loss of such a term is 0 from beginning to end; exemplars need a step, and are no reason to warn."""
    settings = {"terms": ["labels:1", "rkd_distance:1", "exemplars:1"], "per_device_train_batch_size": 2}
    make_trainer(tmp_path, make_model(1), make_rows(6), teacher=make_model(2), max_steps=3, **settings).train()
    [warning] = [record.getMessage() for record in caplog.records if "found nothing to count" in record.getMessage()]
    assert "'rkd_distance'" in warning and "such as 3 in a micro-batch (per_device_train_batch_size)" in warning

"""Terms on one side of an encoder-decoder: the naive formulas, with the tokens of that side and no others."""

import json

import numpy as np
import pytest
import torch
from tiny import make_model
from tiny_seq2seq import FAMILIES, make_pairs, make_seq2seq_trainer, shifted, unlike_pair

from hfdistill import Objective
from hfdistill.losses import TERMS, EncoderDecoderTerm

SIDED = [name for name, term in TERMS.items() if issubclass(term, EncoderDecoderTerm)]


@torch.no_grad()
def states_of(model, family, row, side):
    """The hidden states of one row alone, without padding: the embeddings, and what each layer gave."""
    start = model.config.decoder_start_token_id
    output = model.eval()(
        input_ids=torch.tensor([row["input_ids"]]),
        decoder_input_ids=torch.tensor([shifted(row["labels"], family, start)]),
        output_hidden_states=True,
    )
    return [states[0].double() for states in output[f"{side}_hidden_states"]]


def naive(family, student, teacher, rows, side, projection, layers):
    """Written out: over the tokens of a side, the mean over pairs of layers of the mean of squares."""
    losses = []
    for row in rows:
        of_student, of_teacher = (states_of(model, family, row, side) for model in (student, teacher))
        for token in range(len(row["input_ids" if side == "encoder" else "labels"])):
            each = [
                (projection @ of_student[s][token] - of_teacher[t][token]).square().mean().item() for s, t in layers
            ]
            losses.append(sum(each) / len(each))
    return sum(losses) / len(losses), len(losses)


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_and_embeddings_are_those_of_every_token_alone(tmp_path, family):
    """Masked by the source's padding, the decoder would learn from the padding of targets; and the other way round."""
    student, teacher = unlike_pair(family)
    rows = make_pairs(6, family)
    names = ("encoder_hidden_states", "encoder_embeddings", "decoder_hidden_states", "decoder_embeddings")
    terms = ["labels:1", *(f"{name}:1" for name in names)]
    trainer = make_seq2seq_trainer(tmp_path, student, rows, teacher=teacher, terms=terms)
    objective = trainer.current_objective
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    prediction, signal, batch = trainer._forward_both(trainer.model, batch)
    found = objective(prediction, signal, batch)
    counts = objective.counts([batch]).tolist()
    for side in ("encoder", "decoder"):
        map_ = objective.terms[f"{side}_hidden_states"].map.layers
        assert len(map_) == 2 and map_ != [0, 0], "two student layers, and the teacher has more"
        layers = [(student_layer + 1, teacher_layer + 1) for student_layer, teacher_layer in enumerate(map_)]
        for name, pairs in ((f"{side}_hidden_states", layers), (f"{side}_embeddings", [(0, 0)])):
            weight = objective.terms[name].projection.weight.detach().double()
            expected, count = naive(family, student, teacher, rows, side, weight, pairs)
            assert found.terms[f"{name}_loss"].item() == pytest.approx(expected, rel=1e-4)
            assert counts[list(objective.terms).index(name)] == count


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_a_projection_starts_from_least_squares_over_the_tokens_of_its_side(tmp_path, side):
    """What `numpy.linalg.lstsq` finds for the rows one by one, from a step of two micro-batches."""
    student, teacher = unlike_pair()
    rows = make_pairs(8)
    settings = {"terms": [f"{side}_hidden_states:1"], "projection_init": "least_squares"}
    trainer = make_seq2seq_trainer(tmp_path, student, rows, teacher=teacher, per_device_train_batch_size=4, **settings)
    term = trainer.current_objective.terms[f"{side}_hidden_states"]
    assert term.starts_from_data and term.config()["projection_init"] == "least_squares"
    trainer._start_objective(list(trainer.get_train_dataloader()))
    states = [[], []]
    for row in rows:
        of_student, of_teacher = (states_of(model, "marian", row, side) for model in (student, teacher))
        for layer, taught_by in enumerate(term.map.layers):
            states[0].append(of_student[layer + 1])
            states[1].append(of_teacher[taught_by + 1])
    expected = np.linalg.lstsq(*(torch.cat(each).numpy() for each in states), rcond=1e-5)[0].T
    np.testing.assert_allclose(term.projection.weight.detach(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_minilm_relates_the_tokens_of_one_side(tmp_path, family, side):
    """Queries, keys and values of self-attention; those of the decoder's look at the encoder are others."""
    student, teacher = unlike_pair(family)
    rows = make_pairs(5, family)
    trainer = make_seq2seq_trainer(tmp_path, student, rows, teacher=teacher, terms=[f"{side}_minilm:1"])
    trainer.model.eval()
    prediction, signal, batch = trainer._forward_both(trainer.model, next(iter(trainer.get_train_dataloader())))
    found = trainer.current_objective(prediction, signal, batch).total.item()
    heads, losses = trainer.current_objective.terms[f"{side}_minilm"].heads, []
    for row in rows:
        of_student, of_teacher = (vectors_of(model, family, row, side) for model in (student, teacher))
        for token in range(len(of_student["q"])):
            total = 0.0
            for kind in "qkv":
                p, q = (relation(vectors[kind], token, heads) for vectors in (of_teacher, of_student))
                total += (p * (p / q).log()).sum(-1).mean().item()
            losses.append(total)
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-3)


@torch.no_grad()
def vectors_of(model, family, row, side):
    """Queries, keys and values of the last layer's self-attention, from the module itself."""
    stack = model.get_encoder() if side == "encoder" else model.get_decoder()
    attention = stack.block[-1].layer[0].SelfAttention if family == "t5" else stack.layers[-1].self_attn
    found, hooks = {}, []
    for kind in "qkv":
        module = getattr(attention, kind if family == "t5" else f"{kind}_proj")
        hooks.append(
            module.register_forward_hook(lambda _, args, output, kind=kind: found.update({kind: output[0].double()}))
        )
    states_of(model, family, row, side)
    for hook in hooks:
        hook.remove()
    return found


def relation(vectors, token, heads):
    """`softmax(x_token · x / √d)` within each head."""
    parts = vectors.view(len(vectors), heads, -1)
    return torch.stack([(parts[:, h] @ parts[token, h] / parts.shape[-1] ** 0.5).softmax(0) for h in range(heads)])


def test_each_side_has_a_map_of_its_own(tmp_path):
    """The sides have not as many layers, so that one list could not serve both."""
    student, teacher = unlike_pair("marian")
    maps = {"layer_map": ["0", "3"], "decoder_layer_map": ["2", "2"]}
    terms = ["encoder_hidden_states:1", "decoder_hidden_states:1"]
    trainer = make_seq2seq_trainer(tmp_path, student, make_pairs(4), teacher=teacher, terms=terms, **maps)
    found = [term.map.layers for _, term in trainer.current_objective.named_terms()]
    assert found == [[0, 3], [2, 2]]
    trainer.args.decoder_layer_map = ["0", "1"]
    assert trainer.current_objective.terms["decoder_hidden_states"].map.layers == [0, 1]
    with pytest.raises(ValueError, match="layer_map 'sideways' is unknown"):
        make_seq2seq_trainer(tmp_path, student, make_pairs(4), teacher=teacher, decoder_layer_map=["sideways"])


@pytest.mark.parametrize("name", SIDED)
def test_is_described_and_refused_for_one_stack(name):
    """On a model of one stack it would find nothing."""
    term = TERMS[name]()
    assert term.citation and type(term).__doc__ and name.startswith(f"{term.side}_")
    json.dumps(term.config())
    with pytest.raises(ValueError, match=rf"{name}' is for an encoder-decoder.*take {name.partition('_')[2]}\."):
        Objective({name: (1.0, term)}).bind(make_model(1), make_model(2))

"""Students that train together: who predicts what, who learns from whom, and what is shared."""

import pytest
import torch
from tiny import CountCalls, make_model, make_rows, padded
from transformers import DistilBertConfig, DistilBertForSequenceClassification, ModernBertConfig
from transformers import ModernBertForSequenceClassification as ModernBert

from hfdistill.online import Branches, Peers, new_head


@pytest.fixture
def batch():
    """Sixteen rows of unequal length."""
    return dict(padded(make_rows()))


def distilbert(seed=0):
    torch.manual_seed(seed)
    sizes = {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 32}
    config = DistilBertConfig(vocab_size=40, num_labels=3, dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0)
    config.update(sizes)
    return DistilBertForSequenceClassification(config)


def modernbert(seed=0):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
    tokens = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    return ModernBert(ModernBertConfig(vocab_size=40, num_labels=3, max_position_embeddings=32, **sizes, **tokens))


def bert(seed=0):
    return make_model(seed, num_hidden_layers=3)


# ---- Peers ----


def test_each_peer_predicts_what_it_predicts_alone(batch):
    """Peers of other sizes and families get the inputs that they take, and no others."""
    students = [make_model(1), make_model(2, hidden_size=8, num_hidden_layers=1), distilbert(3)]
    together = Peers(students).eval()
    batch["token_type_ids"] = (batch["input_ids"] % 2) * batch["attention_mask"]
    output = together(**batch)
    for student, prediction in zip(students, output.peers, strict=True):
        own = {key: value for key, value in batch.items() if key != "token_type_ids" or student is not students[2]}
        torch.testing.assert_close(prediction, student(**own).logits)
    assert output.logits is output.peers[0]


def test_each_peer_learns_from_the_others(batch):
    """Its own prediction as a target is met already; with a gradient in the target, the teacher would give in."""
    students = [make_model(seed) for seed in (1, 2, 3)]
    together = Peers(students)
    output = together(**batch)
    lessons = together.lessons(output)
    p = [prediction.double().softmax(-1) for prediction in output.peers]
    for number, (prediction, signal) in enumerate(lessons):
        assert prediction is output.peers[number] and prediction.requires_grad
        others = [p[other] for other in range(3) if other != number]
        torch.testing.assert_close(signal.logits.double().softmax(-1), sum(others) / 2, atol=1e-6, rtol=1e-5)
        assert not signal.logits_at(3.0).requires_grad
    pair = Peers(students[:2])
    output = pair(**batch)
    torch.testing.assert_close(pair.lessons(output)[0][1].logits_at(3.0), output.peers[1].detach())


def test_what_cannot_learn_together_is_refused():
    """Equal students have nothing to teach; other labels in the same places would be taught as if they were these."""
    named = make_model(2)
    named.config.id2label, other = {0: "a", 1: "b", 2: "c"}, make_model(3)
    other.config.id2label = {0: "b", 1: "a", 2: "c"}
    with pytest.raises(ValueError, match="two models or more, got 1"):
        Peers([named, named])
    with pytest.raises(ValueError, match="students 1 and 2 have their labels in different orders"):
        Peers([named, other])
    with pytest.raises(ValueError, match="students 1 and 3 start from equal weights and have nothing to teach"):
        Peers([make_model(1), make_model(2), make_model(1)])
    Peers([make_model(1), new_head(make_model(1))])


# ---- Branches ----


@pytest.mark.parametrize("make", [bert, distilbert, modernbert])
@pytest.mark.parametrize("shared", [1, 2, 3])
def test_each_branch_is_a_plain_model_on_shared_layers(batch, make, shared):
    """Together or alone, a branch must predict the same: alone is how it is used afterwards."""
    students = [make(seed) for seed in (1, 2, 3)]
    together = Branches(students, shared_layers=shared).eval()
    output = together(**batch)
    for student, prediction in zip(together.each, output.peers, strict=True):
        torch.testing.assert_close(prediction, student(**batch).logits)
    assert (output.peers[0] - output.peers[1]).abs().max() > 1e-3
    counts = {id(parameter) for student in students for parameter in student.parameters()}
    assert len(counts) < sum(len(list(student.parameters())) for student in students)


def test_shared_layers_run_once(batch):
    """What is shared is the saving; and with dropout every branch must get the same shared layers."""
    students = [make_model(seed, num_hidden_layers=3, dropout=0.5) for seed in (1, 2, 3)]
    together = Branches(students, shared_layers=2).train()
    layers = students[0].bert.encoder.layer
    calls = [CountCalls(module) for module in (students[0].bert.embeddings, *layers)]
    own = CountCalls(students[2].bert.encoder.layer[2])
    inputs = []
    for student in students:
        student.bert.encoder.layer[2].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    together(**batch)
    # Hooks are called also where the prediction is only repeated: what is computed shows in the inputs of the next
    # layer.
    assert own.calls == 1 and calls[-1].calls == 1
    assert inputs[0] is inputs[1] is inputs[2]
    assert "forward" not in vars(layers[0])  # afterwards a branch computes for itself again


def test_the_ensemble_is_gated_row_by_row(batch):
    """`z_e = Σ g_i z_i` with `g = softmax(W h + b)` on the mean of the shared output, padding left out."""
    students = [bert(seed) for seed in (1, 2)]
    together = Branches(students, shared_layers=1).eval()
    torch.nn.init.normal_(together.gate.weight)
    output = together(**batch)
    hidden = students[0](**batch, output_hidden_states=True).hidden_states[1]
    for row, mask in enumerate(batch["attention_mask"]):
        mean = hidden[row][mask.bool()].mean(0)
        gate = (together.gate.weight @ mean + together.gate.bias).softmax(0)
        expected = gate[0] * output.peers[0][row] + gate[1] * output.peers[1][row]
        torch.testing.assert_close(output.ensemble[row], expected)
    assert not torch.allclose(output.ensemble, (output.peers[0] + output.peers[1]) / 2, atol=1e-3)
    lessons = together.lessons(output)
    assert [
        prediction is own for (prediction, _), own in zip(lessons, [*output.peers, output.ensemble], strict=True)
    ] == [True] * 3
    assert all(torch.equal(signal.logits, output.ensemble) and not signal.logits.requires_grad for _, signal in lessons)


def test_branches_that_cannot_be_are_refused():
    """Branches that start equal stay equal without dropout, an ensemble of one."""
    with pytest.raises(ValueError, match="give a number from 1 to 3"):
        Branches([bert(1), bert(2)], shared_layers=4)
    with pytest.raises(ValueError, match="one architecture and size"):
        Branches([bert(1), make_model(2)], shared_layers=1)
    one, other = bert(1), bert(2)
    other.bert.encoder.layer[2].load_state_dict(one.bert.encoder.layer[2].state_dict())
    other.bert.pooler.load_state_dict(one.bert.pooler.state_dict())
    other.classifier.load_state_dict(one.classifier.state_dict())
    with pytest.raises(ValueError, match=r"start from equal weights.*new_head"):
        Branches([one, other], shared_layers=2)

"""Terms on hidden states against their formulas, written out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from layers import ROWS, Case, teacher_model
from tiny import make_model

from hfdistill import Objective, TeacherSignal
from hfdistill.losses import Embeddings, HiddenStates, Patient
from hfdistill.losses.attention import MiniLM

#: Each makes a term, and the shape of the teacher it is tried on.
CASES = {
    "hidden_states": (HiddenStates, {}),
    "hidden_states, cosine": (lambda: HiddenStates(distance="cosine"), {}),
    "hidden_states, listed map": (lambda: HiddenStates([0, -1]), {}),
    "hidden_states, same width": (HiddenStates, {"hidden_size": 16}),
    "embeddings": (Embeddings, {}),
    "patient": (Patient, {}),
    "minilm": (MiniLM, {}),
}


def case(name, **changes):
    make, teacher = CASES[name]
    return Case(make(), **{**teacher, **changes})


def test_tokens_that_differ_are_refused():
    """Tokens compared with other tokens teach noise."""
    wrong = case("hidden_states")
    shorter = tuple(states[:, :-1] for states in wrong.teacher.hidden_states)
    with pytest.raises(ValueError, match="'hidden_states' compares token by token .* of 6 rows the student read"):
        wrong.objective(wrong.student, TeacherSignal(hidden_states=shorter), wrong.batch)
    with pytest.raises(ValueError, match="'minilm' compares token by token, and the teacher reads the text with a"):
        Objective({"minilm": (1.0, MiniLM())}).bind(make_model(1), teacher_model(), same_tokens=False)
    Objective({"patient": (1.0, Patient())}).bind(make_model(1), teacher_model(), same_tokens=False)


# ---- Hidden states ----


def naive_hidden(checked, layers, distance):
    """Written out: over attended tokens, the mean over pairs of layers of a distance of two vectors."""
    weight = getattr(checked.term.projection, "weight", None)
    weight = torch.eye(16).double() if weight is None else weight.detach().double()
    losses = []
    for row, count in enumerate(checked.tokens()):
        for token in range(count):
            each = []
            for student_layer, teacher_layer in enumerate(layers):
                s = weight @ checked.states(student_layer, row)[token]
                t = checked.states(teacher_layer, row, "teacher")[token]
                each.append(distance(s, t).item())
            losses.append(sum(each) / len(each))
    return sum(losses) / len(losses)


def mean_square(s, t):
    return sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / len(s)


def one_minus_cosine(s, t):
    return 1 - (s * t).sum() / (s * s).sum().sqrt() / (t * t).sum().sqrt()


@pytest.mark.parametrize(
    ("name", "layers", "distance"),
    [
        ("hidden_states", [1, 3], mean_square),
        ("hidden_states, cosine", [1, 3], one_minus_cosine),
        ("hidden_states, listed map", [0, 3], mean_square),
        ("hidden_states, same width", [1, 3], mean_square),
    ],
)
def test_hidden_states_are_the_naive_distance(name, layers, distance):
    checked = case(name)
    assert checked.loss().item() == pytest.approx(naive_hidden(checked, layers, distance), rel=1e-4)


def test_embeddings_are_those_before_any_layer():
    checked = case("embeddings")
    weight = checked.term.projection.weight.detach().double()
    losses = [
        mean_square(weight @ s, t).item()
        for row in range(ROWS)
        for s, t in zip(checked.states(-1, row), checked.states(-1, row, "teacher"), strict=True)
    ]
    assert checked.loss().item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_patient_is_the_papers_distance_of_first_tokens():
    """Of two layers the first is matched, with the second of four."""
    checked = case("patient")
    weight = checked.term.projection.weight.detach().double()
    losses = []
    for row in range(ROWS):
        s, t = weight @ checked.states(0, row)[0], checked.states(1, row, "teacher")[0]
        losses.append(((s / s.norm() - t / t.norm()) ** 2).sum().item())
    assert checked.loss().item() == pytest.approx(sum(losses) / ROWS, rel=1e-4)


def test_a_projection_is_there_only_where_widths_differ():
    assert {name for name, _ in case("hidden_states").objective.named_parameters()} == {"terms.term.projection.weight"}
    assert not list(case("hidden_states, same width").objective.parameters())
    assert not list(case("minilm").objective.parameters())


@pytest.mark.parametrize("name", ["hidden_states", "hidden_states, cosine", "embeddings", "patient"])
def test_a_projection_may_start_from_least_squares(name):
    """What `numpy.linalg.lstsq` finds for all that is compared, added up from single rows."""
    checked = case(name)
    totals = 0
    for row in range(ROWS):
        part = case(name, rows=[row])
        totals += checked.term.statistics(part.student, part.teacher, part.term.valid(part.batch))
    checked.term.start(totals)
    pairs = {"embeddings": [(-1, -1)], "patient": [(0, 1)]}.get(name, [(0, 1), (1, 3)])
    tokens = [slice(0, 1) if name == "patient" else slice(None)] * ROWS
    sides = [
        np.concatenate([checked.states(pair[side], row, who)[tokens[row]] for pair in pairs for row in range(ROWS)])
        for side, who in enumerate(("student", "teacher"))
    ]
    expected = np.linalg.lstsq(*sides, rcond=1e-5)[0].T
    np.testing.assert_allclose(checked.term.projection.weight.detach(), expected, rtol=1e-4, atol=1e-5)


def test_least_squares_find_the_teacher_that_is_a_projection():
    """A norm of unit scale leaves one direction of its outputs empty, up to rounding: there W must be small."""
    term = HiddenStates(projection_init="least_squares")
    term.bind(make_model(1), teacher_model())
    assert term.starts_from_data
    torch.manual_seed(0)
    true = torch.randn(16, 24)
    states = torch.nn.functional.layer_norm(torch.randn(5, 7, 16), (16,))
    student, teacher = (SimpleNamespace(hidden_states=[x] * 5) for x in (states, states @ true))
    student.hidden_states = student.hidden_states[:3]
    valid = torch.ones(5, 7, dtype=torch.bool)
    term.start(term.statistics(student, teacher, valid))
    assert term.compare(*term.matched(student, teacher)).max() < 1e-9
    assert term.projection.weight.abs().max() < 10


def test_there_is_nothing_to_start_at_the_same_width():
    term = HiddenStates(projection_init="least_squares")
    term.bind(make_model(1), make_model(2))
    assert not term.starts_from_data


def test_unknown_start():
    with pytest.raises(ValueError, match="projection_init 'pca' is unknown: use random, least_squares"):
        HiddenStates(projection_init="pca")


def test_unknown_distance():
    with pytest.raises(ValueError, match="hidden_state_loss 'l1' is unknown: use mse, cosine"):
        HiddenStates(distance="l1")

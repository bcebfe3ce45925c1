"""Terms on how examples relate: their formulas written out pair by pair."""

import math

import pytest
import torch
from layers import ROWS, Case

from hfdistill.losses import (
    COUNTED_ROWS,
    Contrastive,
    Exemplars,
    InstanceGraph,
    ProbabilisticTransfer,
    RelationalAngle,
    RelationalDistance,
    SimilarityPreserving,
)
from hfdistill.losses.exemplars import Queue

PAIRS = {
    "rkd_distance": RelationalDistance,
    "rkd_angle": RelationalAngle,
    "similarity": SimilarityPreserving,
    "pkt": ProbabilisticTransfer,
    "instance_graph": InstanceGraph,
}
PLACED = {"exemplars": lambda: Exemplars(queue_size=8), "contrastive": lambda: Contrastive(queue_size=8)}
CASES = {**PAIRS, **PLACED}


def case(name, **changes):
    """A case; where there is a queue, it holds five vectors and has room for three."""
    made = Case(CASES[name](), **changes)
    if name in PLACED:
        generator = torch.Generator().manual_seed(5)
        vectors = torch.randn(5, 24, generator=generator).to(made.term.queue.entries.dtype)
        made.term.queue.add(torch.nn.functional.normalize(vectors, dim=-1))
    return made


def states(made, who, layer):
    return [made.states(layer, row, who)[0] for row in range(ROWS)]


# ---- The formulas ----


def huber(difference):
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


def relative(vectors):
    distances = {(i, j): (a - b).norm().item() for i, a in enumerate(vectors) for j, b in enumerate(vectors) if i != j}
    mean = sum(distances.values()) / len(distances)
    return {pair: distance / mean for pair, distance in distances.items()}


def test_rkd_distance():
    made = case("rkd_distance")
    student, teacher = relative(states(made, "student", 1)), relative(states(made, "teacher", 3))
    expected = sum(huber(student[pair] - teacher[pair]) for pair in student) / len(student)
    assert made.loss().item() == pytest.approx(expected, rel=1e-4)


def test_rkd_angle():
    made = case("rkd_angle")

    def angle(vectors, i, j, k):
        a, b = vectors[i] - vectors[j], vectors[k] - vectors[j]
        return ((a @ b) / a.norm() / b.norm()).item()

    triples = [(i, j, k) for i in range(ROWS) for j in range(ROWS) for k in range(ROWS) if len({i, j, k}) == 3]
    student, teacher = states(made, "student", 1), states(made, "teacher", 3)
    expected = sum(huber(angle(student, *t) - angle(teacher, *t)) for t in triples) / len(triples)
    assert made.loss().item() == pytest.approx(expected, rel=1e-4)


def test_similarity_preserving():
    made = case("similarity")

    def normalized(vectors):
        rows = [[(a @ b).item() for b in vectors] for a in vectors]
        return [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in rows]

    student, teacher = normalized(states(made, "student", 1)), normalized(states(made, "teacher", 3))
    expected = sum((student[i][j] - teacher[i][j]) ** 2 for i in range(ROWS) for j in range(ROWS)) / ROWS**2
    assert made.loss().item() == pytest.approx(expected, rel=1e-4)


def test_pkt():
    made = case("pkt")

    def neighbors(vectors):
        kernel = [[((a @ b) / a.norm() / b.norm() + 1).item() / 2 for b in vectors] for a in vectors]
        return [[kernel[i][j] / (sum(kernel[i]) - kernel[i][i]) for j in range(ROWS)] for i in range(ROWS)]

    q, p = neighbors(states(made, "student", 1)), neighbors(states(made, "teacher", 3))
    each = [p[i][j] * math.log(p[i][j] / q[i][j]) for i in range(ROWS) for j in range(ROWS) if i != j]
    assert made.loss().item() == pytest.approx(sum(each) / ROWS, rel=1e-3)


def test_instance_graph():
    made = Case(InstanceGraph(vertex_weight=0.3, edge_weight=2.0, transformation_weight=5.0))

    def moves(before, after):
        lengths = [(b - a).norm().item() for a, b in zip(before, after, strict=True)]
        return [length / (sum(lengths) / ROWS) for length in lengths]

    student = [states(made, "student", layer) for layer in (0, 1)]
    teacher = [states(made, "teacher", layer) for layer in (1, 3)]
    s, t = [relative(layer) for layer in student], [relative(layer) for layer in teacher]
    pairs = list(s[0])
    edges = sum((s[layer][p] - t[layer][p]) ** 2 for layer in (0, 1) for p in pairs) / 2 / len(pairs)
    changes = sum((s[1][p] - s[0][p] - t[1][p] + t[0][p]) ** 2 for p in pairs) / len(pairs)
    moved = sum((a - b) ** 2 for a, b in zip(moves(*student), moves(*teacher), strict=True)) / ROWS
    vertices = (made.student.logits - made.teacher.logits).square().mean().item()
    expected = 0.3 * vertices + 2.0 * edges + 5.0 * (changes + moved)
    assert made.loss().item() == pytest.approx(expected, rel=1e-4)


def test_a_graph_of_one_layer_has_no_transformation():
    one = Case(InstanceGraph([3, 3], 0.0, 0.0, 1.0))
    one.student.hidden_states, one.term.map.layers = one.student.hidden_states[:2], [3]
    assert one.loss().item() == 0
    with pytest.raises(ValueError, match="'instance_graph' takes no learned layer map"):
        InstanceGraph("learned")


# ---- Exemplars ----


def softmax(values, temperature):
    powers = [math.exp(value / temperature) for value in values]
    return [power / sum(powers) for power in powers]


def cosine(a, b):
    return ((a @ b) / a.norm() / b.norm()).item()


def test_exemplars():
    made = case("exemplars")
    weight, queue = made.term.projection.weight.detach().double(), made.term.queue.entries[:5].double()
    total = 0.0
    for row in range(ROWS):
        z_t = made.states(3, row, "teacher")[0]
        z_s = weight @ made.states(1, row)[0]
        p = softmax([cosine(z_t, exemplar) for exemplar in (z_t, *queue)], 0.01)
        q = softmax([cosine(z_s, exemplar) for exemplar in (z_t, *queue)], 0.2)
        total -= sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    assert made.loss().item() == pytest.approx(total / ROWS, rel=1e-4)


def test_contrastive():
    made = case("contrastive")
    embed_s, embed_t = made.term.student_embedding.double(), made.term.teacher_embedding.double()
    queue = made.term.queue.entries[:5].double()
    total = 0.0
    for row in range(ROWS):
        z_t = made.states(3, row, "teacher")[0]
        g_s, others = embed_s(made.states(1, row)[0]), [embed_t(z_t / z_t.norm()), *map(embed_t, queue)]
        total -= math.log(softmax([cosine(g_s, g_t) for g_t in others], 0.07)[0])
    made.term.float()
    assert made.loss().item() == pytest.approx(total / ROWS, rel=1e-4)


def test_a_step_leaves_its_rows_in_the_queue_and_an_evaluation_none():
    made = case("exemplars")
    made.batch[COUNTED_ROWS] = torch.tensor([True, True, False, True, True, True])
    with torch.no_grad():
        made.loss()
    made.loss()
    before = made.term.queue.entries.clone()
    assert torch.equal(made.term.queue.entries, before)
    made.objective.finish_step(lambda tensor: tensor)
    expected = torch.nn.functional.normalize(made.teacher.hidden_states[-1][[0, 1, 3, 4, 5], 0], dim=-1)
    torch.testing.assert_close(made.term.queue.entries[:5], expected)
    torch.testing.assert_close(made.term.queue.entries[5:], before[:3])
    assert made.term.queue.filled.all()
    assert not made.term._seen


def test_a_queue_forgets_the_oldest():
    queue = Queue(3, 1)
    for value in (1.0, 2.0):
        queue.add(torch.full((2, 1), value))
    assert queue.entries.flatten().tolist() == [2, 2, 1]
    queue.add(torch.tensor([[5.0], [6.0], [7.0], [8.0]]))
    assert queue.entries.flatten().tolist() == [5, 6, 7]
    with pytest.raises(ValueError, match="queue_size must be at least 1, got 0"):
        Exemplars(queue_size=0)

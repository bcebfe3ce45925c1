"""`hfdistill.losses.attention` against formulas written out head by head and token by token."""

import math

import pytest
from layers import ROWS, SAME_HEADS, Case, teacher_model
from tiny import make_model

from hfdistill import DistillationTrainingArguments
from hfdistill.losses import Attentions, AttentionScores, MiniLM, MiniLMv1
from hfdistill.models.intermediate_outputs import forward

KINDS = ("queries", "keys", "values")


def naive_scores(rows, columns, heads):
    """`scores[head][i][j]` of two lists of vectors."""
    size = rows.shape[1] // heads
    parts = [slice(head * size, (head + 1) * size) for head in range(heads)]
    return [rows[:, part] @ columns[:, part].T / math.sqrt(size) for part in parts]


def naive_kl(student, teacher):
    """The sum over rows and the mean over heads of Σ p log(p / q)."""
    each = []
    for s, t in zip(student, teacher, strict=True):
        p, q = t.exp() / t.exp().sum(1, keepdim=True), s.exp() / s.exp().sum(1, keepdim=True)
        each.append((p * (p / q).log()).sum().item())
    return sum(each) / len(each)


def naive_relation(checked, pair, heads, teacher_layer=3):
    total = 0.0
    for row in range(ROWS):
        student = [checked.vectors(kind, 1, row) for kind in pair]
        teacher = [checked.vectors(kind, teacher_layer, row, "teacher") for kind in pair]
        total += naive_kl(naive_scores(*student, heads), naive_scores(*teacher, heads))
    return total / sum(checked.tokens())


@pytest.mark.parametrize(("heads", "expected"), [(None, 4), (1, 1), (8, 8)])
def test_minilm_is_three_relations_of_the_last_layers(heads, expected):
    checked = Case(MiniLM(heads))
    assert checked.term.heads == expected
    pairs = [(kind, kind) for kind in KINDS]
    naive = sum(naive_relation(checked, pair, expected) for pair in pairs)
    assert checked.loss().item() == pytest.approx(naive, rel=1e-4)


def test_minilm_takes_the_given_teacher_layer():
    checked = Case(MiniLM(2, teacher_layer=1))
    naive = sum(naive_relation(checked, (kind, kind), 2, 1) for kind in KINDS)
    assert checked.loss().item() == pytest.approx(naive, rel=1e-4)


def test_a_training_argument_chooses_the_teacher_layer():
    """By number or from the end, of both MiniLMs."""
    args = {"terms": ["minilm:1", "minilm_v1:1"], "relation_heads": 2, "report_to": "none"}
    for layer in (1, -3):
        terms = dict(
            DistillationTrainingArguments(teacher_layer=layer, **args).make_stages().objectives[0].named_terms()
        )
        for name, pairs in (("minilm", [(kind, kind) for kind in KINDS]), ("minilm_v1", MiniLMv1.relations)):
            naive = sum(naive_relation(checked := Case(terms[name], **SAME_HEADS), pair, 2, 1) for pair in pairs)
            assert checked.loss().item() == pytest.approx(naive, rel=1e-4)


def test_minilm_v1_is_attention_and_value_relation():
    checked = Case(MiniLMv1(), **SAME_HEADS)
    naive = naive_relation(checked, ("queries", "keys"), 2) + naive_relation(checked, ("values", "values"), 2)
    assert checked.loss().item() == pytest.approx(naive, rel=1e-4)


def test_attention_scores_are_mean_squares_before_the_softmax():
    checked = Case(AttentionScores(), **SAME_HEADS)
    each = []
    for layer, teacher_layer in enumerate([1, 3]):
        for row in range(ROWS):
            student = naive_scores(checked.vectors("queries", layer, row), checked.vectors("keys", layer, row), 2)
            other = [checked.vectors(kind, teacher_layer, row, "teacher") for kind in ("queries", "keys")]
            squares = [(s - t) ** 2 for s, t in zip(student, naive_scores(*other, 2), strict=True)]
            each.append(sum(square.mean(1).sum().item() for square in squares) / 2)
    assert checked.loss().item() == pytest.approx(sum(each) / 2 / sum(checked.tokens()), rel=1e-4)


def test_attentions_are_the_models_own_weights():
    """Queries and keys that were split or scaled otherwise than the model does would be another attention."""
    checked = Case(Attentions(), **SAME_HEADS)
    student, teacher = (
        forward(model, checked.batch, frozenset({"attentions"})).attentions
        for model in (checked.student_model, checked.teacher_model)
    )
    total = 0.0
    for layer, other in enumerate([1, 3]):
        for row, count in enumerate(checked.tokens()):
            q, p = (maps[row, :, :count, :count].double() for maps in (student[layer], teacher[other]))
            total += (p * (p / q).log()).sum().item() / 2
    assert checked.loss().item() == pytest.approx(total / 2 / sum(checked.tokens()), rel=1e-3)


def test_relation_heads_must_divide_both_widths():
    with pytest.raises(ValueError, match="relation_heads 3 must divide the student's width 16 and the teacher's 24: "):
        MiniLM(3).bind(make_model(1), teacher_model())
    with pytest.raises(ValueError, match="teacher_layer 4: the teacher's layers are 0 to 3"):
        MiniLM(teacher_layer=4).bind(make_model(1), teacher_model())


@pytest.mark.parametrize("term", [AttentionScores, Attentions, MiniLMv1])
def test_head_by_head_needs_as_many_heads(term):
    """Heads beyond the fewer would be left out of a zip, and teach nothing."""
    with pytest.raises(ValueError, match=f"'{term.name}' compares head by head, and the student has 2 attention heads"):
        term().bind(make_model(1), teacher_model())


def test_a_row_of_padding_alone_has_a_finite_gradient():
    checked = Case(AttentionScores(), **SAME_HEADS)
    checked.batch["attention_mask"][0] = 0
    loss = checked.loss()
    loss.backward()
    gradients = [p.grad for p in checked.student_model.parameters() if p.grad is not None]
    assert loss.isfinite() and gradients and all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("setting", [{"teacher_layer": 0}, {"relation_heads": 2}])
def test_a_setting_that_no_term_reads_is_refused(tmp_path, setting):
    """A baseline on labels alone has no use for it, and is not refused."""
    args = DistillationTrainingArguments(tmp_path, terms=["labels:1", "hidden_states:1"], report_to="none", **setting)
    with pytest.raises(ValueError, match=f"{next(iter(setting))} is a setting of minilm, and no such term"):
        args.make_stages()
    args.for_labels_only(str(tmp_path)).make_stages()

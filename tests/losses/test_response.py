"""`hfdistill.losses.response`: each term is the formula of its paper."""

import math
from types import SimpleNamespace

import pytest
import torch

from hfdistill import Objective
from hfdistill.losses import DIVERGENCES, DecoupledSoftTargets, Labels, SoftTargets
from hfdistill.teachers import TeacherSignal

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
MANY_LABELS = torch.tensor(
    [[1, 0, 0, 1], [0, 0, 0, 0], [-100] * 4, [1, -100, 1, 0], [0, 1, 1, 1], [-100] * 4], dtype=torch.float32
)
TARGETS = torch.tensor([0.5, -2.0, math.nan, 3.0, 0.0, -100.0])


def logits(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def one(student_logits, teacher_logits=None, **batch):
    """What a term is called with."""
    batch = {name: torch.as_tensor(value) for name, value in batch.items()}
    batch = batch or {"input_ids": torch.ones(len(student_logits), 1)}
    return SimpleNamespace(logits=student_logits), TeacherSignal(logits=teacher_logits), batch


def mean_of(term, student_logits, labels):
    return Objective({"term": (1.0, term)})(*one(student_logits, labels=labels)).total.item()


def test_configs_tell_terms_apart():
    assert Labels(label_smoothing=0.2).config() == {"label_smoothing": 0.2}
    assert SoftTargets(3.0).config() == {"divergence": "forward_kl", "temperature": 3.0}
    assert SoftTargets(3.0, "js", beta=0.1).config() == {"divergence": "js", "temperature": 3.0, "beta": 0.1}
    assert SoftTargets(3.0, "mse").config() == {"divergence": "mse"}
    assert SoftTargets(3.0, standardize_logits=True).config()["standardize_logits"] is True
    assert DecoupledSoftTargets(3.0, 1.0, 4.0).config() == {
        "temperature": 3.0,
        "target_weight": 1.0,
        "non_target_weight": 4.0,
    }


# ---- Labels ----


def naive_cross_entropy(row, label, smoothing=0.0):
    powers = [math.exp(logit) for logit in row]
    targets = [smoothing / len(row) + (1 - smoothing) * (index == label) for index in range(len(row))]
    return -sum(target * math.log(power / sum(powers)) for target, power in zip(targets, powers, strict=True))


def naive_binary_cross_entropy(logit, label):
    yes = 1 / (1 + math.exp(-logit))
    return -(label * math.log(yes) + (1 - label) * math.log(1 - yes))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_single_label_is_its_definition(smoothing):
    rows, labels = logits(4, 5), [3, 0, 4, 1]
    expected = [naive_cross_entropy(row, label, smoothing) for row, label in zip(rows.tolist(), labels, strict=True)]
    losses = Labels(label_smoothing=smoothing)(*one(rows, labels=labels))
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)


def test_many_labels_are_the_mean_over_the_labels_that_are_given():
    """A row with half of its labels must not weigh as much as a whole one."""
    student = logits(6, 4)
    cells = zip(student.flatten().tolist(), MANY_LABELS.flatten().tolist(), strict=True)
    expected = [naive_binary_cross_entropy(logit, label) for logit, label in cells if label != -100]
    assert mean_of(Labels(MULTI), student, MANY_LABELS) == pytest.approx(sum(expected) / 15, rel=1e-5)


def test_regression_is_the_mean_square_over_the_targets_that_are_given():
    student = logits(6, 1)
    pairs = zip(student.flatten().tolist(), TARGETS.tolist(), strict=True)
    expected = [(logit - target) ** 2 for logit, target in pairs if target in (0.5, -2.0, 3.0, 0.0)]
    assert mean_of(Labels(REGRESSION), student, TARGETS) == pytest.approx(sum(expected) / 4, rel=1e-5)


def test_regression_does_not_broadcast():
    """(rows, 1) − (rows,) is a square of rows × rows differences, whose mean trains towards the mean target."""
    rows, targets = logits(4, 1), torch.tensor([1.0, 2.0, 3.0, 4.0])
    losses = Labels()(*one(rows, labels=targets))
    assert losses.shape == (4,)
    torch.testing.assert_close(losses, (rows[:, 0] - targets).square())


@pytest.mark.parametrize(
    ("term", "labels"),
    [
        (Labels(REGRESSION), [1.0, math.nan, -100.0]),
        (Labels(MULTI), [[1.0, 0.0, 1.0], [math.nan, 1.0, 0.0], [-100.0, -100.0, -100.0]]),
        (Labels(SINGLE), [2.0, math.nan, -100.0]),
        (DecoupledSoftTargets(), [2.0, math.nan, -100.0]),
    ],
)
def test_nan_is_no_label(term, labels):
    """A table with holes has NaN there: one of them would turn every weight into NaN."""
    student = logits(3, 1 if getattr(term, "problem_type", None) == REGRESSION else 3).requires_grad_()
    teacher = TeacherSignal(logits=logits(*student.shape, seed=2))
    batch = {"labels": torch.tensor(labels)}
    loss = Objective({"term": (1.0, term)})(SimpleNamespace(logits=student), teacher, batch).total
    assert loss.isfinite()
    assert loss > 0
    loss.backward()
    assert student.grad.isfinite().all()
    assert student.grad[0].any()
    assert not student.grad[2].any()


@pytest.mark.parametrize("problem_type", [MULTI, REGRESSION])
def test_label_smoothing_is_refused_where_it_would_be_ignored(problem_type):
    with pytest.raises(ValueError, match=f"label_smoothing_factor is for single-label .*, not for {problem_type}"):
        Labels(problem_type, label_smoothing=0.1)(*one(logits(2, 3), labels=torch.ones(2, 3)))


OF_A_KIND = {
    SINGLE: (3, torch.tensor([2, 0, 1, 1])),
    MULTI: (3, torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]])),
    REGRESSION: (1, torch.tensor([0.5, -1.0, 2.0, 0.0])),
}


@pytest.mark.parametrize("inferred", [False, True], ids=["named", "inferred"])
@pytest.mark.parametrize("problem_type", OF_A_KIND)
def test_is_the_loss_of_transformers(problem_type, inferred, tiny_bert):
    """Where everything is labeled, alpha = 0 must be plain fine-tuning, whether config.problem_type is set or not."""
    num_labels, labels = OF_A_KIND[problem_type]
    model = tiny_bert(num_labels, problem_type=None if inferred else problem_type)
    prediction = model(input_ids=torch.randint(5, 120, (4, 7)), labels=labels)
    assert model.config.problem_type == problem_type
    objective = Objective({"labels": (1.0, Labels(None if inferred else problem_type))})
    ours = objective(prediction, None, {"labels": labels}).total
    torch.testing.assert_close(ours, prediction.loss)
    gradients = [
        torch.autograd.grad(loss, model.classifier.weight, retain_graph=True) for loss in (ours, prediction.loss)
    ]
    torch.testing.assert_close(*gradients)


def test_one_output_with_integer_targets_is_a_regression():
    """As in transformers: star ratings 1 to 5 for one output are numbers, not classes."""
    losses = Labels()(*one(torch.zeros(2, 1), labels=[1, 3]))
    assert losses.tolist() == [1.0, 9.0]


# ---- SoftTargets ----


def naive_kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def softmax(row, temperature):
    powers = [math.exp(logit / temperature) for logit in row]
    return [power / sum(powers) for power in powers]


def test_many_labels_are_each_a_distribution_over_yes_and_no():
    """A softmax over labels that do not exclude each other would teach them to."""
    student, teacher, temperature = logits(3, 4, seed=1), logits(3, 4, seed=2), 2.5

    def both(logit):
        yes = 1 / (1 + math.exp(-logit / temperature))
        return yes, 1 - yes

    expected = [
        temperature**2 * sum(naive_kl(both(t), both(s)) for s, t in zip(*rows, strict=True)) / 4
        for rows in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    losses = SoftTargets(temperature, problem_type=MULTI)(*one(student, teacher))
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)


def test_many_labels_that_are_one_are_still_yes_and_no():
    """One output is a regression only where nothing else is said: a spam filter may have one label."""
    student, teacher = logits(3, 1, seed=1), logits(3, 1, seed=2)
    as_two_classes = [torch.cat([z, torch.zeros(3, 1)], dim=1) for z in (student, teacher)]
    losses = SoftTargets(2.0, problem_type=MULTI)(*one(student, teacher))
    torch.testing.assert_close(losses, DIVERGENCES["forward_kl"](*as_two_classes, 2.0))


@pytest.mark.parametrize("problem_type", [MULTI, SINGLE, None])
def test_mse_of_many_labels_is_on_the_logits_as_they_are(problem_type):
    student, teacher = logits(3, 4, seed=1), logits(3, 4, seed=2)
    losses = SoftTargets(divergence="mse", problem_type=problem_type)(*one(student, teacher))
    torch.testing.assert_close(losses, (student - teacher).square().mean(-1))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize(("problem_type", "outputs"), [(None, 1), (SINGLE, 1), (REGRESSION, 1), (REGRESSION, 3)])
def test_regression_is_the_squared_error_whatever_the_divergence(problem_type, outputs, divergence):
    """The softmax of one output is always 1: its divergence is 0 and teaches nothing."""
    student, teacher = logits(3, outputs, seed=1), logits(3, outputs, seed=2)
    losses = SoftTargets(4.0, divergence, problem_type=problem_type)(*one(student, teacher))
    torch.testing.assert_close(losses, (student - teacher).square().mean(-1))


def test_js_uses_beta():
    student, teacher = logits(3, 4, seed=1), logits(3, 4, seed=2)
    losses = SoftTargets(2.0, "js", beta=0.1)(*one(student, teacher))
    torch.testing.assert_close(losses, DIVERGENCES["js"](student, teacher, 2.0, beta=0.1))
    assert not torch.allclose(losses, DIVERGENCES["js"](student, teacher, 2.0, beta=0.5))


def test_standardized_logits_are_z_scores():
    """Sun et al. 2024: neither the scale nor the mean of the teacher's logits is to be copied."""
    student, teacher, temperature = logits(3, 4, seed=1), logits(3, 4, seed=2), 2.0

    def z_scores(row):
        mean = sum(row) / len(row)
        deviation = math.sqrt(sum((logit - mean) ** 2 for logit in row) / len(row))
        return [(logit - mean) / deviation for logit in row]

    expected = [
        temperature**2 * naive_kl(softmax(z_scores(t), temperature), softmax(z_scores(s), temperature))
        for s, t in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    term = SoftTargets(temperature, standardize_logits=True)
    assert term(*one(student, teacher)).tolist() == pytest.approx(expected, rel=1e-4)
    assert term(*one(5 * teacher + 2, teacher)).abs().max() < 1e-5


def test_standardized_constant_logits_have_a_finite_gradient():
    """A new head whose weights are 0 predicts so, and 0 / 0 would end the run in its first step."""
    student = torch.full((2, 3), 0.25, requires_grad=True)
    losses = SoftTargets(2.0, standardize_logits=True)(*one(student, logits(2, 3)))
    losses.sum().backward()
    assert losses.isfinite().all()
    assert student.grad.isfinite().all()


def test_standardized_logits_of_two_classes_are_refused():
    """They are −1 and 1 for every student: a loss that moves nothing."""
    with pytest.raises(ValueError, match="standardize_logits needs at least 3 classes"):
        SoftTargets(standardize_logits=True)(*one(logits(2, 2), logits(2, 2)))


def test_unknown_divergence_lists_the_choices():
    with pytest.raises(ValueError, match=f"divergence 'kl' is unknown; choose from {', '.join(DIVERGENCES)}"):
        SoftTargets(divergence="kl")


@pytest.mark.parametrize("term", [SoftTargets(), DecoupledSoftTargets()])
def test_refuses_another_shape(term):
    """One row too few would broadcast, and teach every row the first one's prediction."""
    shapes = r"the student's logits have shape \(4, 3\), the teacher's \(1, 3\): they must solve the same task"
    with pytest.raises(ValueError, match=shapes):
        term(*one(logits(4, 3), logits(1, 3), labels=[0, 1, 2, 0]))


@pytest.mark.parametrize("term", [SoftTargets(), DecoupledSoftTargets()])
@pytest.mark.parametrize("teacher", [None, TeacherSignal()])
def test_refuses_to_do_without_a_teacher(term, teacher):
    student, _, batch = one(logits(2, 3), labels=[0, 1])
    with pytest.raises(ValueError, match="a term on soft targets needs the teacher's logits"):
        term(student, teacher, batch)


# ---- DecoupledSoftTargets ----


@pytest.mark.parametrize(("target_weight", "non_target_weight"), [(1.0, 8.0), (0.3, 2.0)])
def test_decoupled_is_equation_7(target_weight, non_target_weight):
    student, teacher, labels, temperature = logits(3, 4, seed=1), logits(3, 4, seed=2), [3, 0, 2], 2.0
    expected = []
    for s, t, label in zip(student.tolist(), teacher.tolist(), labels, strict=True):
        p, q = softmax(t, temperature), softmax(s, temperature)
        target_kd = naive_kl((p[label], 1 - p[label]), (q[label], 1 - q[label]))
        others = [index for index in range(4) if index != label]
        p_hat, q_hat = ([row[index] / (1 - row[label]) for index in others] for row in (p, q))
        kd = target_weight * target_kd + non_target_weight * naive_kl(p_hat, q_hat)
        expected.append(temperature**2 * kd)
    losses = DecoupledSoftTargets(temperature, target_weight, non_target_weight)(*one(student, teacher, labels=labels))
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)


def test_decoupled_parts_make_up_the_forward_kl():
    """KL = TCKD + (1 − p_y) NCKD, also where one of the two is so sure that 1 − p_y is lost in rounding."""
    student, teacher = logits(4, 5, seed=1), logits(4, 5, seed=2)
    teacher[0, 2], student[1, 0] = 40.0, 100.0
    labels = torch.tensor([2, 0, 4, 1])
    call = one(student, teacher, labels=labels)
    target, rest = DecoupledSoftTargets(3.0, 1.0, 0.0)(*call), DecoupledSoftTargets(3.0, 0.0, 1.0)(*call)
    p_y = (teacher / 3.0).softmax(-1).gather(-1, labels[:, None])[:, 0]
    torch.testing.assert_close(target + (1 - p_y) * rest, DIVERGENCES["forward_kl"](student, teacher, 3.0))


def test_decoupled_refuses_two_classes():
    with pytest.raises(ValueError, match="'decoupled' needs at least 3 classes"):
        DecoupledSoftTargets()(*one(logits(2, 2), logits(2, 2), labels=[0, 1]))

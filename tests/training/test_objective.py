"""`hfdistill.training.objective`: named, weighted terms, each divided by the number of the items that count for it."""

import math
from types import SimpleNamespace

import pytest
import torch

from hfdistill import DistillationTrainingArguments, Objective, Schedule
from hfdistill.losses import TERMS, DecoupledSoftTargets, Labels, SoftTargets, Term
from hfdistill.teachers import TeacherSignal
from hfdistill.training.objective import COUNTED_ROWS, parse_terms, row_sums

MULTI = "multi_label_classification"
LABELS = torch.tensor([2, -100, 0, 1, -100])


def case(labels=LABELS, classes=3):
    """A student's output, a teacher's signal and a batch; some rows have no label."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (2 * torch.randn(len(labels), classes, generator=generator) for _ in range(2))
    batch = {"input_ids": torch.ones(len(labels), 4), "labels": labels}
    return SimpleNamespace(logits=student.requires_grad_()), TeacherSignal(logits=teacher), batch


def naive_label_losses(student, labels):
    return [
        -row.double().softmax(0)[label].log().item() for row, label in zip(student.logits, labels.tolist(), strict=True)
    ]


def naive_soft_target_losses(student, teacher, temperature):
    p, q = ((logits.double() / temperature).softmax(-1) for logits in (teacher.logits, student.logits))
    return (temperature**2 * (p * (p / q).log()).sum(-1)).tolist()


class Refusing(Term):
    """Must not be called."""

    name, uses_teacher = "refusing", False

    def forward(self, student, teacher, batch):
        raise AssertionError("a term of weight 0 was computed")


class Hints(Term):
    """Has one loss for each row, and reads the hidden states."""

    name, outputs = "hints", frozenset({"hidden_states"})

    def forward(self, student, teacher, batch):
        return student.hidden_states[-1].sum((1, 2))


# ---- The loss ----


def test_is_the_weighted_sum_of_means_over_what_counts():
    """Dividing the labels' loss by all 5 rows instead of the 3 labeled ones halves it, unnoticed."""
    student, teacher, batch = case()
    objective = Objective({"labels": (0.3, Labels()), "soft_targets": (0.7, SoftTargets(temperature=4.0))})
    label_losses = naive_label_losses(student, LABELS.clamp_min(0))
    hard = sum(label_losses[row] for row in (0, 2, 3)) / 3
    soft = sum(naive_soft_target_losses(student, teacher, 4.0)) / 5
    loss = objective(student, teacher, batch)
    assert loss.total.item() == pytest.approx(0.3 * hard + 0.7 * soft, rel=1e-5)
    assert list(loss.terms) == ["label_loss", "soft_target_loss"]
    assert loss.terms["label_loss"].item() == pytest.approx(hard, rel=1e-5)
    assert loss.terms["soft_target_loss"].item() == pytest.approx(soft, rel=1e-5)
    assert loss.total.requires_grad
    assert not any(term.requires_grad for term in loss.terms.values())


def test_terms_of_one_class_are_logged_apart():
    """Two losses under one name in the logs: one of them would be lost, and missing from `eval_loss`."""
    student, teacher, batch = case()
    objective = Objective({"soft_targets": (0.2, SoftTargets(1.0)), "softer": (0.8, SoftTargets(8.0))})
    loss = objective(student, teacher, batch)
    expected = {
        "soft_target_loss": sum(naive_soft_target_losses(student, teacher, 1.0)) / 5,
        "softer_loss": sum(naive_soft_target_losses(student, teacher, 8.0)) / 5,
    }
    assert objective.log_names == list(expected)
    assert {name: term.item() for name, term in loss.terms.items()} == pytest.approx(expected, rel=1e-4)
    total = 0.2 * expected["soft_target_loss"] + 0.8 * expected["softer_loss"]
    assert loss.total.item() == pytest.approx(total, rel=1e-5)


def test_counts_are_of_all_batches_of_a_step():
    """The trainer divides by what counts in the whole step; a count of batches or rows is another gradient."""
    objective = Objective({"labels": (1.0, Labels()), "off": (0.0, Refusing()), "soft_targets": (1.0, SoftTargets())})
    batches = [case()[2], case(torch.tensor([-100, -100]))[2], {"input_ids": torch.ones(7, 2)}]
    assert objective.counts(batches).tolist() == [3, 5 + 2 + 7]
    many = Objective({"labels": (1.0, Labels(MULTI))})
    assert many.counts([{"labels": torch.tensor([[1.0, -100.0], [0.0, 1.0]])}]).tolist() == [3]


def test_divides_by_the_counts_it_is_given():
    student, teacher, batch = case()
    objective = Objective({"labels": (0.3, Labels()), "soft_targets": (0.7, SoftTargets())})
    alone = objective(student, teacher, batch).terms
    each = objective(student, teacher, batch, torch.tensor([6, 20])).terms
    assert each["label_loss"].item() == pytest.approx(alone["label_loss"].item() * 3 / 6)
    assert each["soft_target_loss"].item() == pytest.approx(alone["soft_target_loss"].item() * 5 / 20)
    for number in (torch.tensor(10), torch.tensor([10])):
        both = objective(student, teacher, batch, number).terms
        assert both["label_loss"].item() == pytest.approx(alone["label_loss"].item() * 3 / 10)
        assert both["soft_target_loss"].item() == pytest.approx(alone["soft_target_loss"].item() * 5 / 10)


def test_rows_that_do_not_count_are_as_if_sliced_away():
    """Rows repeated to fill the last batch of a rank would weigh twice."""
    student, teacher, batch = case()
    objective = Objective({"labels": (0.3, Labels()), "soft_targets": (0.7, SoftTargets())})
    kept = [0, 1, 3]
    some = SimpleNamespace(logits=student.logits[kept]), TeacherSignal(logits=teacher.logits[kept])
    sliced = objective(*some, {name: column[kept] for name, column in batch.items()})
    marked = {**batch, COUNTED_ROWS: torch.tensor([True, True, False, True, False])}
    assert objective.counts([marked]).tolist() == [2, 3]
    torch.testing.assert_close(objective(student, teacher, marked).total, sliced.total)
    sums, counts = row_sums(objective, student, teacher, marked)
    assert counts.sum(0).tolist() == [2, 3]
    torch.testing.assert_close((sums.sum(0) / counts.sum(0)).detach(), torch.stack([*sliced.terms.values()]))


def test_a_term_without_items_is_zero_with_a_graph():
    student, teacher, batch = case(torch.full((3,), -100))
    loss = Objective({"labels": (1.0, Labels())})(student, None, batch).total
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(student.logits.grad, torch.zeros(3, 3))


def test_a_mean_in_place_of_item_losses_is_refused():
    """It would be divided by the number of items a second time."""

    class Averaging(Labels):
        def forward(self, student, teacher, batch):
            return super().forward(student, teacher, batch).mean()

    student, _, batch = case()
    shapes = r"the term 'averaged' gives losses of shape \(\) for items of shape \(5,\): `forward` must return one loss"
    with pytest.raises(ValueError, match=shapes):
        Objective({"averaged": (1.0, Averaging())})(student, None, batch)


# ---- Weights, schedules ----


def test_a_term_of_weight_zero_costs_nothing_in_training():
    student, _, batch = case()
    objective = Objective({"labels": (1.0, Labels()), "off": (0.0, Refusing()), "soft_targets": (0.0, SoftTargets())})
    assert list(objective(student, None, batch).terms) == ["label_loss"]
    assert not objective.needs_teacher
    assert objective.log_names == ["label_loss", "off_loss", "soft_target_loss"]


def test_outputs_are_those_that_its_terms_read():
    assert Objective({"labels": (1.0, Labels()), "hints": (1.0, Hints())}).outputs == {"hidden_states"}
    assert Objective({"labels": (1.0, Labels()), "hints": (0.0, Hints())}).outputs == frozenset()
    assert Objective({"hints": (1.0, Hints())}).needs_teacher


def test_schedules_of_weight_and_temperature_follow_training():
    """A schedule that is read once would stay where it begins."""
    student, teacher, batch = case()
    weight, temperature = Schedule(1.0, 0.0), Schedule(8.0, 2.0, "cosine")
    objective = Objective({"labels": (0.5, Labels()), "soft_targets": (weight, SoftTargets(temperature))})
    for progress, now in ((0.0, (1.0, 8.0)), (0.5, (0.5, 5.0)), (1.0, (0.0, 2.0))):
        objective.set_progress(progress)
        expected = {"soft_targets_weight": now[0], "temperature": now[1]}
        assert objective.scheduled_values() == pytest.approx(expected)
        loss = objective(student, teacher, batch)
        soft = sum(naive_soft_target_losses(student, teacher, now[1])) / 5
        assert loss.terms["soft_target_loss"].item() == pytest.approx(soft, rel=1e-4)
        assert loss.total.item() == pytest.approx(0.5 * loss.terms["label_loss"].item() + now[0] * soft, rel=1e-4)


def test_a_weight_that_starts_at_zero_is_not_off():
    """Its teacher is needed later on, and a count that comes and goes would shift the others."""
    objective = Objective({"labels": (1.0, Labels()), "soft_targets": (Schedule(0.0, 1.0), SoftTargets())})
    assert objective.needs_teacher
    assert objective.counts([case()[2]]).tolist() == [3, 5]


def test_without_schedules_there_is_nothing_to_log():
    assert Objective({"soft_targets": (1.0, SoftTargets())}).scheduled_values() == {}


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf, Schedule(1.0, -1.0), Schedule(math.nan, 1.0)])
def test_refuses_weights_that_train_away_from_the_target(weight):
    with pytest.raises(ValueError, match="the weight of 'labels' must be a number in .*; got"):
        Objective({"labels": (weight, Labels())})


@pytest.mark.parametrize("terms", [{}, {"labels": (0.0, Labels())}])
def test_refuses_to_learn_from_nothing(terms):
    with pytest.raises(ValueError, match="an objective needs at least one term"):
        Objective(terms)


@pytest.mark.parametrize(
    "terms", [{"labels": 0.3}, {"labels": Labels()}, {"labels": (Labels(), 0.3)}, ["labels:0.3"], "labels:0.3"], ids=str
)
def test_arguments_of_another_form_are_refused(terms):
    """The weights by name, or the words of the training arguments, are the first things that one tries."""
    with pytest.raises(TypeError, match="takes a weight and a Term under each name, as in {'labels': "):
        Objective(terms)


# ---- Each row, for evaluation ----


def test_row_sums_are_the_naive_losses_of_each_row():
    """An evaluation adds these up: a row that is counted where it has no label would pull the mean to 0."""
    student, teacher, batch = case()
    objective = Objective({"labels": (0.0, Labels()), "soft_targets": (1.0, SoftTargets(3.0))})
    sums, counts = row_sums(objective, student, teacher, batch)
    valid = (LABELS != -100).tolist()
    label_losses = naive_label_losses(student, LABELS.clamp_min(0))
    expected = [loss if counted else 0.0 for loss, counted in zip(label_losses, valid, strict=True)]
    assert sums[:, 0].tolist() == pytest.approx(expected, rel=1e-5)
    assert sums[:, 1].tolist() == pytest.approx(naive_soft_target_losses(student, teacher, 3.0), rel=1e-4)
    assert counts.tolist() == [[float(counted), 1.0] for counted in valid]
    loss = objective(student, teacher, batch).terms["soft_target_loss"]
    torch.testing.assert_close(sums[:, 1].sum() / counts[:, 1].sum(), loss)


def test_row_sums_of_many_labels_count_each_label():
    labels = torch.tensor([[1.0, 0.0, -100.0], [0.0, 1.0, 1.0], [-100.0] * 3])
    student, _, batch = case(labels)
    sums, counts = row_sums(Objective({"labels": (1.0, Labels(MULTI))}), student, None, batch)
    yes = student.logits.double().sigmoid()
    losses = torch.where(labels == 1, -yes.log(), -(1 - yes).log()) * (labels != -100)
    torch.testing.assert_close(sums.double(), losses.sum(1, keepdim=True), rtol=1e-5, atol=1e-6)
    assert counts.tolist() == [[2.0], [3.0], [0.0]]


@pytest.mark.parametrize("teacher", [None, case()[1]])
def test_row_sums_count_nothing_where_the_teacher_is_silent(teacher):
    """A 0 with a count would be reported as a perfect fit."""
    student, _, batch = case()
    needs = Hints() if teacher else SoftTargets()
    sums, counts = row_sums(Objective({"labels": (1.0, Labels()), "other": (1.0, needs)}), student, teacher, batch)
    assert counts.sum(0).tolist() == [3.0, 0.0]
    assert sums[:, 1].tolist() == [0.0] * 5


def test_row_sums_without_labels():
    student, teacher, batch = case()
    del batch["labels"]
    objective = Objective({"labels": (1.0, Labels()), "soft_targets": (1.0, SoftTargets())})
    _, counts = row_sums(objective, student, teacher, batch)
    assert counts.sum(0).tolist() == [0.0, 5.0]


# ---- A term of one's own, descriptions, arguments ----


def test_a_term_of_ones_own():
    """The example of `Term`'s docstring, which is the first that a reader copies."""
    lines = [line.strip() for line in Term.__doc__.splitlines()]
    code = [line.removeprefix(">>> ").removeprefix("... ") for line in lines if line.startswith((">>> ", "... "))]
    exec("\n".join(code), scope := {"Term": Term})
    student, _, batch = case()
    objective = Objective({"labels": (1.0, Labels()), "confidence": (0.1, scope["Confidence"]())})
    loss = objective(student, None, batch)
    entropy = torch.distributions.Categorical(logits=student.logits).entropy().mean()
    torch.testing.assert_close(loss.terms["confidence_loss"], -entropy.detach())
    torch.testing.assert_close(loss.total, loss.terms["label_loss"] - 0.1 * entropy)
    assert objective.counts([batch]).tolist() == [3, 5]
    assert not objective.needs_teacher


def test_describe_has_all_that_a_card_needs():
    objective = Objective({"labels": (0.3, Labels()), "soft": (Schedule(1.0, 0.0), SoftTargets(4.0, "js", beta=0.1))})
    citation = "https://huggingface.co/papers/1503.02531"
    assert objective.describe() == [
        {"name": "labels", "weight": 0.3, "term": "Labels", "citation": citation},
        {
            "name": "soft",
            "weight": Schedule(1.0, 0.0),
            "term": "SoftTargets",
            "divergence": "js",
            "temperature": 4.0,
            "beta": 0.1,
            "citation": citation,
        },
    ]


def test_arguments_reach_their_terms(tmp_path):
    """An argument that no term reads is a setting that does nothing."""
    settings = {"temperature": 3.0, "divergence": "js", "js_beta": 0.1, "standardize_logits": True, "alpha": 0.7}
    args = DistillationTrainingArguments(str(tmp_path), label_smoothing_factor=0.2, **settings)
    objective = next(iter(args.make_stages(MULTI)))
    labels, soft_targets = (term for _, term in objective.named_terms())
    assert objective.weights == pytest.approx({"labels": 0.3, "soft_targets": 0.7})
    assert (labels.problem_type, labels.label_smoothing) == (MULTI, 0.2)
    shown = {"divergence": "js", "temperature": 3.0, "beta": 0.1, "standardize_logits": True}
    assert soft_targets.config() == shown
    assert soft_targets.problem_type == MULTI
    args.terms = ["decoupled:2", "labels"]
    objective = next(iter(args.make_stages()))
    assert objective.weights == {"decoupled": 2.0, "labels": 1.0}
    assert isinstance(objective.terms["decoupled"], DecoupledSoftTargets)
    assert objective.terms["decoupled"].temperature == 3.0


def test_parse_terms():
    assert parse_terms(["labels:0.3", "soft_targets"]) == {"labels": 0.3, "soft_targets": 1.0}
    assert list(parse_terms(["decoupled:1e-2", "labels:0"])) == ["decoupled", "labels"]


@pytest.mark.parametrize("terms", [{"labels": 0.3, "soft_targets": 1}, "labels:0.3 soft_targets"], ids=str)
def test_terms_are_weights_by_name_or_one_text_as_well(terms):
    """A mapping that is read as its names alone weighs each of them 1."""
    assert parse_terms(terms) == {"labels": 0.3, "soft_targets": 1.0}


def test_unknown_term_lists_those_there_are():
    with pytest.raises(ValueError, match="--terms: 'soft_target' is unknown; the terms are") as error:
        parse_terms(["labels:1", "soft_target:0.5"])
    for name in TERMS:
        assert f"\n  {name}: " in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["labels", "labels:0.5"], "--terms: 'labels' is named twice"),
        (["labels:much"], "--terms: 'labels:much' should read labels:WEIGHT with a number, as in labels:0.5"),
        (["labels:0.5:1"], "--terms: 'labels:0.5:1' should read labels:WEIGHT"),
        (["labels=0.5"], "--terms: 'labels=0.5' is unknown"),
    ],
)
def test_refuses_words_that_it_cannot_read(words, message):
    with pytest.raises(ValueError, match=message):
        parse_terms(words)

"""The contract that every term of `TERMS` is held to, whichever file it is in: a new term is tried as it is made here.

The outputs are those of no model in particular, so that nothing is alike by construction; what is padded is filled with
large numbers, which a term that reads it cannot hide.
"""

import doctest
import inspect
import itertools
import json
import re
import sys
from types import SimpleNamespace

import pytest
import torch
from tiny import MULTI, REGRESSION, SINGLE, make_model, make_rows, make_trainer
from tiny_seq2seq import make_seq2seq

from hfdistill import Objective, TeacherSignal
from hfdistill.losses import (
    COUNTED_ROWS,
    DIVERGENCES,
    IGNORED,
    TERMS,
    Contrastive,
    EncoderDecoderTerm,
    Exemplars,
    HiddenStates,
    Labels,
    MiniLM,
    SoftTargets,
)
from hfdistill.losses.relation import Relation

ROWS, TOKENS, CLASSES = 6, 6, 4
LENGTHS = torch.tensor([6, 3, 5, 2, 4, 6])
#: Layers and width of student and teacher.
SIZES = ((2, 16), (4, 24))

CLASS_LABELS = torch.tensor([2, 0, IGNORED, 3, 1, IGNORED])
MANY_LABELS = torch.tensor(
    [[1, 0, 0, 1], [0, 0, 0, 0], [IGNORED] * 4, [1, IGNORED, 1, 0], [0, 1, 1, 1], [IGNORED] * 4], dtype=torch.float32
)
TARGETS = torch.tensor([0.5, -2.0, torch.nan, 3.0, 0.0, IGNORED])
TOKEN_LABELS = (torch.arange(ROWS * TOKENS).view(ROWS, TOKENS) % CLASSES).masked_fill(
    torch.arange(TOKENS) >= LENGTHS[:, None], IGNORED
)

#: Settings of a term beside its default ones, and the labels of the batch.
VARIANTS = {
    "labels, smoothed": (lambda: Labels(SINGLE, label_smoothing=0.2), CLASS_LABELS),
    "labels, many": (lambda: Labels(MULTI), MANY_LABELS),
    "labels, regression": (lambda: Labels(REGRESSION), TARGETS),
    "labels, regression of many": (lambda: Labels(REGRESSION), MANY_LABELS),
    "labels, tokens": (Labels, TOKEN_LABELS),
    **{f"soft_targets, {name}": (lambda name=name: SoftTargets(3.0, name), CLASS_LABELS) for name in DIVERGENCES},
    "soft_targets, z-scores": (lambda: SoftTargets(3.0, standardize_logits=True), CLASS_LABELS),
    "soft_targets, many": (lambda: SoftTargets(3.0, problem_type=MULTI), MANY_LABELS),
    "soft_targets, regression": (lambda: SoftTargets(problem_type=REGRESSION), TARGETS),
    "soft_targets, tokens": (SoftTargets, TOKEN_LABELS),
    "hidden_states, cosine": (lambda: HiddenStates(distance="cosine"), CLASS_LABELS),
    "hidden_states, learned map": (lambda: HiddenStates("learned"), CLASS_LABELS),
    "hidden_states, listed map": (lambda: HiddenStates([0, -1]), CLASS_LABELS),
    "minilm, 8 relation heads": (lambda: MiniLM(8, teacher_layer=2), CLASS_LABELS),
}
CASES = {**{name: (term, CLASS_LABELS) for name, term in TERMS.items()}, **VARIANTS}
#: What is not 0 for a student like its teacher.
NOT_DISTANCES = {"soft_targets, ce", "exemplars", "contrastive", "hidden_states, learned map"}
DISTANCES = [name for name in CASES if not name.startswith("labels") and name not in NOT_DISTANCES]
#: These read the labels of rows.
LABELED = [name for name in CASES if name.startswith(("labels", "decoupled")) and name != "labels, tokens"]
#: Each example is compared with the others of its micro-batch.
RELATIONS = [name for name, term in TERMS.items() if issubclass(term, Relation) or name == "instance_graph"]


def models(sided, sizes):
    if not sided:
        return [make_model(0, num_hidden_layers=layers, hidden_size=width) for layers, width in sizes]
    names = ("encoder_layers", "decoder_layers")
    return [make_seq2seq(d_model=width, **dict.fromkeys(names, layers)) for layers, width in sizes]


class Case:
    """A term bound to a student and a teacher, their outputs for a batch, and the batch."""

    def __init__(self, name, rows=range(ROWS), dtype=torch.float32, lengths=LENGTHS, pad=0, twins=False, filled=True):
        make, labels = CASES[name]
        self.term, self.rows, self.dtype, self.pad = make(), list(rows), dtype, pad
        self.sided = isinstance(self.term, EncoderDecoderTerm)
        sizes = (SIZES[0], SIZES[0]) if twins else SIZES
        self.objective = Objective({"term": (1.0, self.term)})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.objective.bind(*models(self.sided, sizes))
        if dtype == torch.float64:
            self.objective.to(dtype)
        self.batch = self._batch(labels, lengths)
        self.student = SimpleNamespace(**self._outputs(1, sizes[0], labels))
        for leaf in self.leaves():
            leaf.requires_grad_()
        self.teacher = TeacherSignal(**self._outputs(1 if twins else 2, sizes[1], labels))
        if filled and hasattr(self.term, "queue"):
            generator = torch.Generator().manual_seed(5)
            vectors = torch.randn(5, sizes[1][1], generator=generator).to(self.term.queue.entries)
            self.term.queue.add(torch.nn.functional.normalize(vectors, dim=-1))

    def _batch(self, labels, lengths):
        mask = (torch.arange(TOKENS + self.pad) < lengths[:, None])[self.rows]
        labels = (torch.ones(mask.shape, dtype=torch.long).masked_fill(~mask, IGNORED)) if self.sided else labels
        if labels is TOKEN_LABELS:
            labels = torch.nn.functional.pad(labels, (0, self.pad), value=IGNORED)
        labels = labels if self.sided else labels[self.rows]
        return {"input_ids": torch.ones(mask.shape, dtype=torch.long), "attention_mask": mask.long(), "labels": labels}

    def _outputs(self, seed, size, labels):
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape, width=None):
            drawn = 2 * torch.randn(ROWS, *shape, generator=generator, dtype=torch.float64)[self.rows]
            if width is not None and self.pad:  # the numbers of the tokens that count stay the same
                drawn = torch.cat([drawn, torch.full((len(drawn), self.pad, width), 1e3, dtype=torch.float64)], 1)
            return drawn.to(self.dtype)

        layers, width = size
        of_tokens = labels is TOKEN_LABELS
        classes = 1 if labels is TARGETS else CLASSES
        logits = draw(TOKENS, classes, width=classes) if of_tokens else draw(classes)
        outputs = {"logits": logits}
        for name in sorted(self.term.outputs):
            count = layers + name.endswith("hidden_states")
            outputs[name] = tuple(draw(TOKENS, width, width=width) for _ in range(count))
        return outputs

    def leaves(self):
        """The student's outputs, one tensor after the other."""
        return [
            leaf for value in vars(self.student).values() for leaf in (value if isinstance(value, tuple) else [value])
        ]

    def losses(self):
        return self.term(self.student, self.teacher, self.batch)

    def valid(self):
        return self.term.valid(self.batch)

    def loss(self, counts=None):
        return self.objective(self.student, self.teacher, self.batch, counts).total

    def count(self):
        return self.objective.counts([self.batch])

    def gradients(self, counts=None):
        """Of the student's outputs by row, and of what the objective learns."""
        learned = list(self.objective.parameters())
        leaves = self.leaves()
        found = torch.autograd.grad(self.loss(counts), [*leaves, *learned], allow_unused=True)
        zeros = [torch.zeros_like(x) if g is None else g for x, g in zip([*leaves, *learned], found, strict=True)]
        return zeros[: len(leaves)], zeros[len(leaves) :]

    def sensitive(self):
        """For each item, whether its loss depends on the student."""

        def depends(loss):
            found = torch.autograd.grad(loss, self.leaves(), retain_graph=True, allow_unused=True)
            return any(gradient is not None and gradient.abs().max() > 1e-6 for gradient in found)

        losses = self.losses()
        return torch.tensor([depends(loss) for loss in losses.flatten()]).view(losses.shape)


def assert_close(ours, expected):
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


# ---- Items ----


@pytest.mark.parametrize("name", CASES)
def test_one_loss_for_each_item(name):
    case = Case(name)
    assert case.losses().shape == case.valid().shape
    assert case.losses().requires_grad and case.valid().any()


@pytest.mark.parametrize("name", [name for name in CASES if name not in RELATIONS])
def test_single_rows_with_the_count_of_all_add_up_to_the_batch(name):
    """A mean over each micro-batch would weigh the tokens of short texts, or the rows with few labels, more."""
    whole, singles = Case(name), [Case(name, rows=[row]) for row in range(ROWS)]
    torch.testing.assert_close(sum(one.loss(whole.count()) for one in singles), whole.loss())
    of_rows, learned = zip(*(one.gradients(whole.count()) for one in singles), strict=True)
    expected, expected_learned = whole.gradients()
    assert any(gradient.any() for gradient in expected)
    assert_close([torch.cat(each) for each in zip(*of_rows, strict=True)], expected)
    assert_close([sum(each) for each in zip(*learned, strict=True)], expected_learned)


@pytest.mark.parametrize("name", CASES)
def test_rows_that_do_not_count_are_as_if_they_were_not_there(name):
    """Rows that only fill the last batch must be nobody's partners, and in no mean."""
    kept = [0, 1, 3, 5]
    marked, sliced = Case(name), Case(name, rows=kept)
    marked.batch[COUNTED_ROWS] = torch.tensor([row in kept for row in range(ROWS)])
    assert torch.equal(marked.count(), sliced.count())
    torch.testing.assert_close(marked.loss(), sliced.loss())
    (of_rows, learned), (expected, expected_learned) = marked.gradients(), sliced.gradients()
    assert_close([gradient[kept] for gradient in of_rows], expected)
    assert_close(learned, expected_learned)
    assert not any(gradient[[2, 4]].any() for gradient in of_rows)


@pytest.mark.parametrize("name", LABELED)
def test_rows_without_a_label_are_as_if_sliced_away(name):
    """A masked row that still counts makes every other row weigh less."""
    whole, labeled = Case(name), Case(name, rows=[0, 1, 3, 4])
    assert labeled.loss() > 0
    torch.testing.assert_close(whole.loss(), labeled.loss())
    [gradient], _ = whole.gradients()
    assert_close([gradient[[0, 1, 3, 4]]], labeled.gradients()[0])
    assert not gradient[[2, 5]].any()


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("soft_targets") and "tokens" not in name])
def test_rows_without_a_label_still_learn_from_the_teacher(name):
    case = Case(name)
    assert case.count() == ROWS
    assert case.gradients()[0][0].any(dim=1).all()


@pytest.mark.parametrize("column", ["masked", "missing"])
@pytest.mark.parametrize("name", LABELED)
def test_a_batch_without_labels_is_zero_and_can_be_stepped_on(name, column):
    """0 / 0 is NaN, and a loss without a graph stops DDP, which waits for a gradient of every parameter."""
    case = Case(name)
    labels = case.batch.pop("labels")
    case.batch |= {"labels": torch.full_like(labels, IGNORED)} if column == "masked" else {}
    assert case.loss() == 0
    assert not case.gradients()[0][0].any()


@pytest.mark.parametrize("name", CASES)
def test_the_order_of_rows_does_not_matter(name):
    order = [3, 0, 5, 1, 4, 2]
    permuted, plain = Case(name, rows=order), Case(name)
    torch.testing.assert_close(permuted.losses(), plain.losses()[order], equal_nan=True)
    assert torch.equal(permuted.valid(), plain.valid()[order])


@pytest.mark.parametrize("name", CASES)
def test_padding_changes_nothing(name):
    """A mean that counts padding is smaller, and pulls the student's padding towards the teacher's."""
    padded, plain = Case(name, pad=5), Case(name)
    assert torch.equal(padded.count(), plain.count())
    torch.testing.assert_close(padded.loss(), plain.loss())
    (of_rows, learned), (expected, expected_learned) = padded.gradients(), plain.gradients()
    tokens = [gradient[:, :TOKENS] if gradient.shape[1:2] == (TOKENS + 5,) else gradient for gradient in of_rows]
    assert_close(tokens, expected)
    assert_close(learned, expected_learned)
    assert not any(gradient[:, TOKENS:].any() for gradient in of_rows if gradient.shape[1:2] == (TOKENS + 5,))


@pytest.mark.parametrize("name", CASES)
def test_a_batch_of_which_nothing_counts_is_zero_and_can_be_stepped_on(name):
    """0 / 0 is NaN, and a loss without a graph stops DDP, which waits for a gradient of every parameter."""
    case = Case(name)
    case.batch[COUNTED_ROWS] = torch.zeros(ROWS, dtype=torch.bool)
    assert case.loss() == 0 and case.loss().requires_grad
    assert not any(gradient.any() for gradients in case.gradients() for gradient in gradients)


@pytest.mark.parametrize("name", TERMS)
def test_what_counts_is_taught(name):
    """Of two examples the only distance is its own mean, of one token the attention is 1: a loss of 0 seems learned."""
    for rows, tokens in itertools.product((1, 2, 3), (1, 2, 4)):
        numbers = [0, 1, 3][:rows]  # those with a label
        case = Case(name, numbers, lengths=torch.full((ROWS,), tokens))
        valid = case.valid()
        assert not (valid & ~case.sensitive()).any(), f"{rows} rows of {tokens} tokens"
    assert valid.any(-1).all()


@pytest.mark.parametrize("name", RELATIONS)
def test_an_example_without_partners_counts_for_nothing(name):
    """A mean over nobody is NaN; counted as 0 it would water down the others."""
    for rows in ([0], [0, 1][: TERMS[name].examples_needed - 1]):
        alone = Case(name, rows=rows)
        assert alone.count().tolist() == [0]
        assert alone.loss().item() == 0
        assert all(gradient.isfinite().all() for gradient in alone.gradients()[0])


@pytest.mark.parametrize("name", RELATIONS)
def test_equal_examples_have_a_finite_gradient(name):
    """The distance of two equal vectors has no gradient, and a mean distance of 0 divides nothing."""
    assert all(gradient.isfinite().all() for gradient in Case(name, rows=[2, 2, 2]).gradients()[0])


@pytest.mark.parametrize("name", [term.name for term in (Exemplars, Contrastive)])
def test_nothing_counts_before_there_are_exemplars(name):
    case = Case(name, filled=False)
    assert not case.valid().any() and not case.sensitive().any()
    case.term.finish_step(lambda tensor: tensor)
    assert case.valid().all() and case.sensitive().all()


# ---- Numbers ----


@pytest.mark.parametrize("name", DISTANCES)
def test_is_zero_for_a_student_like_its_teacher_and_only_then(name):
    assert Case(name).loss() > 1e-3
    if name not in ("hidden_states, listed map", "minilm, 8 relation heads"):  # these look at other layers
        assert Case(name, twins=True).loss().item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_gradcheck(name):
    case = Case(name, dtype=torch.float64)
    shapes = {key: len(value) if isinstance(value, tuple) else None for key, value in vars(case.student).items()}

    def loss(*leaves):
        leaves = iter(leaves)
        for key, count in shapes.items():
            value = next(leaves) if count is None else tuple(next(leaves) for _ in range(count))
            setattr(case.student, key, value)
        return case.loss()

    assert torch.autograd.gradcheck(loss, case.leaves(), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_half_precision_in_float32_out(name, dtype):
    """A product of half-precision matrices is off by a hundredth; a sum of losses stops growing at a few hundred."""
    half, full = Case(name, dtype=dtype), Case(name)
    assert half.losses().dtype == half.loss().dtype == torch.float32
    for key, value in vars(half.student).items():
        in_float32 = tuple(x.detach().float() for x in value) if isinstance(value, tuple) else value.detach().float()
        setattr(full.student, key, in_float32)
    values = {key: getattr(half.teacher, key) for key in half.teacher.available}
    wide = {key: tuple(x.float() for x in v) if isinstance(v, tuple) else v.float() for key, v in values.items()}
    full.teacher = TeacherSignal(**wide)
    torch.testing.assert_close(half.loss(), full.loss())
    expected = full.loss()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(full.loss(), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_extreme_logits_have_finite_gradients(name):
    case = Case(name)
    case.student.logits = (1e4 * case.student.logits.detach().sign()).requires_grad_()
    case.teacher.logits = -case.student.logits.detach()
    assert case.loss().isfinite()
    assert all(gradient.isfinite().all() for gradient in case.gradients()[0])


# ---- Documentation ----

#: The parts of a term's docstring, in their order; those in use depend on the term.
SECTIONS = ["Args:", "Returns:", "Raises:", "References:", "Relations:", "Example:"]


@pytest.mark.parametrize("name", CASES)
def test_describes_itself(name):
    """The card is written from this: what a term leaves out, no reader learns."""
    term = CASES[name][0]()
    assert term.citation.startswith("https://")
    json.dumps(term.config())
    made = type(term).from_settings({})
    assert type(made) is type(term)
    parameters = inspect.signature(type(term)).parameters
    assert set(type(term).settings) <= set(parameters), "a setting is a parameter of the constructor"


@pytest.mark.parametrize("documented", [*TERMS.values(), *DIVERGENCES.values()], ids=lambda one: one.__name__)
def test_documents_itself(documented):
    """Sentence, formula, arguments, items, paper, relations to others, and an example that runs."""
    text = inspect.getdoc(documented)
    first, _, rest = text.partition("\n")
    assert first.endswith((".", "`.")) and "`" in text, "a sentence, and a formula"
    found = re.findall(rf"^(?:{'|'.join(SECTIONS)})", text, re.MULTILINE)
    needed = {"References:", "Relations:", "Example:"} | ({"Returns:"} if inspect.isclass(documented) else set())
    assert found == [section for section in SECTIONS if section in found] and needed <= set(found)
    module = sys.modules[documented.__module__]
    [test] = doctest.DocTestFinder(recurse=False).find(
        documented, documented.__name__, globs={**vars(module), "torch": torch}
    )
    result = doctest.DocTestRunner().run(test)
    assert result.attempted and not result.failed


# ---- A term that could teach nothing without a word ----


def test_a_graph_of_which_nothing_is_left_is_refused():
    """One layer has no transformation: weighed alone, the term would be 0 throughout."""
    student, teacher = models(False, ((1, 16), (4, 24)))
    with pytest.raises(ValueError, match="'instance_graph' has nothing to teach a student of 1 layer with"):
        TERMS["instance_graph"](vertex_weight=0.0, edge_weight=0.0).bind(student, teacher)


def test_a_run_whose_batches_are_too_small_is_warned_of(tmp_path, caplog):
    """The loss of such a term is 0 from beginning to end; exemplars need a step, and are no reason to warn."""
    settings = {"terms": ["labels:1", "rkd_distance:1", "exemplars:1"], "per_device_train_batch_size": 2}
    make_trainer(tmp_path, make_model(1), make_rows(6), teacher=make_model(2), max_steps=3, **settings).train()
    [warning] = [record.getMessage() for record in caplog.records if "found nothing to count" in record.getMessage()]
    assert "'rkd_distance'" in warning and "such as 3 in a micro-batch (per_device_train_batch_size)" in warning

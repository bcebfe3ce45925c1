"""Students with a low-rank embedding: the same function where no direction is lost, and plain models."""

import copy

import pytest
import torch
import transformers
from test_students import bert, deberta_v2, electra, inputs, logits, make_teacher, modernbert
from torch import nn

from hfdistill import make_student


def deberta(**changes):
    config = deberta_v2(**changes).to_dict()
    return transformers.DebertaConfig(**{**config, "pos_att_type": ["p2c", "c2p"], "share_att_key": False})


FAMILIES = [bert, electra, deberta, deberta_v2]
HEADS = [
    transformers.AutoModelForSequenceClassification,
    transformers.AutoModelForTokenClassification,
    transformers.AutoModelForQuestionAnswering,
]
SIZE = 9


def in_few_dimensions(teacher, dimensions):
    """The teacher with tables whose rows, each less its mean, lie in so few dimensions."""
    generator = torch.Generator().manual_seed(5)
    tables = [module for module in teacher.base_model.embeddings.children() if isinstance(module, nn.Embedding)]
    basis = torch.randn(dimensions, tables[0].embedding_dim, generator=generator)
    basis -= basis.mean(1, keepdim=True)
    for table in tables:
        shift = torch.randn(len(table.weight), 1, generator=generator)
        table.weight.data = torch.randn(len(table.weight), dimensions, generator=generator) @ basis + shift
    return teacher


def dimensions(family):
    return SIZE if family in (deberta, deberta_v2) else SIZE - 1


def hidden_states(model):
    with torch.no_grad():
        return copy.deepcopy(model).eval()(**inputs(), output_hidden_states=True).hidden_states


@pytest.mark.parametrize("family", FAMILIES)
def test_where_no_direction_is_lost_it_is_the_same_function(family):
    """A norm over fewer dimensions, or a mean that it takes from other numbers, would change every state."""
    teacher = in_few_dimensions(make_teacher(family), dimensions(family))
    teacher.config.layer_norm_eps = 0.05  # large enough to be missed
    for module in teacher.modules():
        if hasattr(module, "variance_epsilon") or isinstance(module, nn.LayerNorm):
            setattr(module, "eps" if isinstance(module, nn.LayerNorm) else "variance_epsilon", 0.05)
    student = make_student(teacher, embedding_size=SIZE)
    assert student.get_input_embeddings().weight.shape == (53, SIZE)
    torch.testing.assert_close(hidden_states(student), hidden_states(teacher), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "head"), [(family, head) for family in FAMILIES for head in HEADS if (family, head) != (bert, HEADS[0])]
)
def test_the_head_is_carried_over(family, head):
    labels = {"id2label": {0: "start", 1: "end"}, "label2id": {"start": 0, "end": 1}}
    teacher = in_few_dimensions(make_teacher(family, head, **labels), dimensions(family))
    student = make_student(teacher, embedding_size=SIZE).eval()
    with torch.no_grad():
        found, expected = (model(**inputs()).to_tuple() for model in (student, teacher))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_better_half_of_a_pooler_becomes_gelus():
    """Of 30 neurons the 15 that the classifier weighs most are there, each off by less than a tenth."""
    teacher = in_few_dimensions(make_teacher(bert), SIZE - 1)
    kept = torch.arange(1, 30, 2)
    dropped = torch.arange(0, 30, 2)
    with torch.no_grad():
        teacher.classifier.weight[:, dropped] *= 1e-6
    student = make_student(teacher, embedding_size=SIZE)
    bound = 0.1 * teacher.classifier.weight[:, kept].abs().sum(1)
    assert ((logits(student) - logits(teacher)).abs() < bound).all()
    assert (logits(student) - logits(teacher)).abs().mean() < 0.3 * logits(teacher).std()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_main_directions_are_kept(family):
    """Some noise beside the directions of the teacher's words changes little; the wrong directions change all."""
    teacher = in_few_dimensions(make_teacher(family), dimensions(family))
    clean = hidden_states(teacher)[0]
    for module in teacher.base_model.embeddings.children():
        if isinstance(module, nn.Embedding):
            noise = torch.randn(module.weight.shape, generator=torch.Generator().manual_seed(2))
            module.weight.data += 0.02 * noise
    found = hidden_states(make_student(teacher, embedding_size=SIZE))[0]
    assert (found - clean).abs().mean() < 0.05 * clean.std()


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_a_plain_model_narrower_and_shorter_too(family, tmp_path):
    teacher = make_teacher(family)
    before = copy.deepcopy(teacher.state_dict())
    widths = {} if family is deberta else {"hidden_size": 20, "num_attention_heads": 2}
    student = make_student(teacher, 2, embedding_size=7, **widths)
    assert student.training
    assert student.config.architectures == [type(student).__name__]
    assert (student.config.num_hidden_layers, student.config.hidden_size) == (2, widths.get("hidden_size", 30))
    assert student.config.id2label == teacher.config.id2label
    assert student.config.problem_type == teacher.config.problem_type
    student.save_pretrained(tmp_path)
    loaded, info = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is type(student)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    torch.testing.assert_close(logits(loaded), logits(student))
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


@pytest.mark.parametrize(
    ("family", "head", "size", "message"),
    [
        (bert, HEADS[0], 30, "embedding_size=30 is not possible: the embeddings have 30 dimensions, so .* 2 to 29"),
        (electra, HEADS[0], 1, "embedding_size=1 is not possible: the embeddings have 22"),
        (modernbert, HEADS[0], 8, "ModernBertForSequenceClassification has no counterpart with a low-rank embedding"),
        (bert, transformers.AutoModelForMaskedLM, 8, "BertForMaskedLM has no counterpart with a low-rank embedding"),
    ],
)
def test_refuses_what_has_no_counterpart(family, head, size, message):
    with pytest.raises(ValueError, match=message):
        make_student(make_teacher(family, head), embedding_size=size)

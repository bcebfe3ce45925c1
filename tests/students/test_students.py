"""Students cut from tiny random teachers of each family, at odd sizes."""

import copy

import pytest
import torch
import transformers
from torch import nn

from hfdistill.students import choose_layers, make_student

SIZES = {"vocab_size": 53, "hidden_size": 30, "num_attention_heads": 3, "num_hidden_layers": 6}
SIZES |= {"max_position_embeddings": 64, "pad_token_id": 1}
LABELS = {
    "id2label": {0: "cold", 1: "mild", 2: "hot"},
    "label2id": {"cold": 0, "mild": 1, "hot": 2},
    "problem_type": "single_label_classification",
}
LONG = 41  # tokens: many times ModernBERT's local window below


def bert(**changes):
    return transformers.BertConfig(**{**SIZES, "intermediate_size": 37, **changes})


def roberta(**changes):
    return transformers.RobertaConfig(**{**SIZES, "intermediate_size": 37, **changes})


def distilbert(**changes):
    return transformers.DistilBertConfig(**{**SIZES, "hidden_dim": 37, **changes})


def electra(**changes):
    return transformers.ElectraConfig(**{**SIZES, "intermediate_size": 37, "embedding_size": 22, **changes})


def deberta_v2(**changes):
    special = {"relative_attention": True, "position_buckets": 5, "norm_rel_ebd": "layer_norm"}
    special |= {"pos_att_type": ["p2c", "c2p"], "share_att_key": True, "conv_kernel_size": 3}
    return transformers.DebertaV2Config(**{**SIZES, **special, "intermediate_size": 37, **changes})


def modernbert(**changes):
    special = {"local_attention": 8, "norm_bias": True, "attention_bias": True, "classifier_pooling": "mean"}
    special |= {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    return transformers.ModernBertConfig(**{**SIZES, **special, "intermediate_size": 37, **changes})


FAMILIES = {bert: "bert.encoder.layer", roberta: "roberta.encoder.layer", distilbert: "distilbert.transformer.layer"}
FAMILIES |= {electra: "electra.encoder.layer", deberta_v2: "deberta.encoder.layer", modernbert: "model.layers"}
# Which layers a six-layer teacher gives; ModernBERT's first layer can only be its first layer.
SELECTIONS = [("uniform", 3, [1, 3, 5]), ("last", 2, [4, 5]), ("first", 4, [0, 1, 2, 3]), ([0, -2], None, [0, 4])]


def spread(model):
    """Random everywhere, norms and biases too: at their initial 1 and 0 a forgotten copy goes unnoticed."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def make_teacher(family, head=transformers.AutoModelForSequenceClassification, **changes):
    torch.manual_seed(3)
    return spread(head.from_config(family(**{**LABELS, **changes})))


def inputs(seed=11, length=LONG):
    ids = torch.randint(4, 53, (3, length), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    ids[1, -5:], mask[1, -5:] = 1, 0
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def logits(model):
    return copy.deepcopy(model).eval()(**inputs()).logits


def cut_in_place(teacher, path, chosen):
    """The teacher with its own layer list cut: what a student of those layers must compute."""
    reference = copy.deepcopy(teacher)
    parent, _, name = path.rpartition(".")
    layers = reference.get_submodule(path)
    setattr(reference.get_submodule(parent), name, nn.ModuleList([layers[index] for index in chosen]))
    return reference


def expected_layers(family, chosen):
    return [0, *chosen[1:]] if family is modernbert else chosen


def all_equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def storages(model):
    return {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}


families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
selections = pytest.mark.parametrize("layers, count, chosen", SELECTIONS, ids=lambda value: str(value))


@pytest.mark.parametrize(
    "teacher_layers, student_layers, how, expected",
    [
        (6, 3, "uniform", [1, 3, 5]),
        (12, 6, "uniform", [1, 3, 5, 7, 9, 11]),
        (12, 4, "uniform", [2, 5, 8, 11]),
        (12, 5, "uniform", [1, 3, 6, 8, 11]),
        (7, 1, "uniform", [6]),
        (7, 7, "uniform", [0, 1, 2, 3, 4, 5, 6]),
        (7, 3, "last", [4, 5, 6]),
        (7, 3, "first", [0, 1, 2]),
        (7, None, [0, -1, 3], [0, 6, 3]),
        (7, 2, (-7, 2), [0, 2]),
    ],
)
def test_choose_layers(teacher_layers, student_layers, how, expected):
    assert choose_layers(teacher_layers, student_layers, how) == expected


def test_uniform_layers_are_distinct_end_with_the_last_and_are_evenly_spaced():
    for teacher_layers in range(1, 26):
        for student_layers in range(1, teacher_layers + 1):
            chosen = choose_layers(teacher_layers, student_layers, "uniform")
            gaps = {after - before for before, after in zip([-1, *chosen], chosen, strict=False)}
            assert len(chosen) == student_layers and chosen[-1] == teacher_layers - 1
            assert min(gaps) >= 1 and max(gaps) - min(gaps) <= 1


@families
@selections
def test_student_computes_what_the_cut_teacher_computes(family, layers, count, chosen):
    """A wrong index, or an embedding, conv, pooler or head left as initialized, shows here."""
    teacher = make_teacher(family)
    reference = cut_in_place(teacher, FAMILIES[family], expected_layers(family, chosen))
    student = make_student(teacher, count, layers)
    assert student.config.num_hidden_layers == len(student.get_submodule(FAMILIES[family])) == len(chosen)
    assert torch.equal(logits(student), logits(reference))
    assert not torch.allclose(logits(student), logits(teacher), atol=1e-3)


@families
def test_saved_student_is_a_plain_model_with_the_same_logits(family, tmp_path):
    student = make_student(make_teacher(family), 4)
    student.save_pretrained(tmp_path)
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(loaded) is type(student)
    assert torch.equal(logits(loaded), logits(student))
    assert loaded.config.id2label == LABELS["id2label"] and loaded.config.label2id == LABELS["label2id"]
    assert loaded.config.problem_type == LABELS["problem_type"] and loaded.config.pad_token_id == 1


@families
def test_training_the_student_leaves_the_teacher_alone(family):
    """Shared storage would let the student drag its teacher along."""
    teacher = make_teacher(family).requires_grad_(False)
    before = copy.deepcopy(teacher.state_dict())
    config = teacher.config.to_dict()
    student = make_student(teacher, 3)
    start = copy.deepcopy(student.state_dict())
    assert student.training and all(parameter.requires_grad for parameter in student.parameters())
    optimizer = torch.optim.SGD(student.parameters(), lr=1.0)
    student(**inputs(), labels=torch.tensor([0, 1, 2])).loss.backward()
    optimizer.step()
    layers = FAMILIES[family]
    moved = [name for name in start if not torch.equal(student.state_dict()[name], start[name])]
    assert any(name.startswith(layers) for name in moved) and any("embed" in name for name in moved)
    assert all_equal(teacher.state_dict(), before) and teacher.config.to_dict() == config
    assert not teacher.training and not any(parameter.requires_grad for parameter in teacher.parameters())
    assert storages(teacher).isdisjoint(storages(student))


@families
def test_half_precision_teacher_gives_a_float32_student(family, tmp_path):
    """Saved and loaded again as well: transformers loads a checkpoint in the dtype that its config names."""
    teacher = make_teacher(family).to(torch.bfloat16)
    teacher.config.dtype = torch.bfloat16
    student = make_student(teacher, 6)
    assert {parameter.dtype for parameter in student.parameters()} == {torch.float32}
    assert student.config.dtype == torch.float32
    assert teacher.dtype == teacher.config.dtype == torch.bfloat16
    assert all_equal(student.state_dict(), {name: t.float() for name, t in teacher.state_dict().items()})
    student.save_pretrained(tmp_path)
    assert type(student).from_pretrained(tmp_path).dtype == torch.float32


@pytest.fixture
def float64_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_student_is_float32_under_another_default_dtype(float64_default):
    assert make_student(make_teacher(bert), 2).dtype == torch.float32


@pytest.mark.parametrize("family", [bert, distilbert, deberta_v2, modernbert], ids=lambda f: f.__name__)
@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_stay_tied_and_untied_ones_apart(family, tied):
    teacher = make_teacher(family, transformers.AutoModelForMaskedLM, tie_word_embeddings=tied)
    student = make_student(teacher, 6)
    embeddings, decoder = student.get_input_embeddings().weight, student.get_output_embeddings().weight
    assert (embeddings is decoder) == tied
    assert torch.equal(decoder, teacher.get_output_embeddings().weight)
    assert torch.equal(logits(student), logits(teacher))


def test_student_config_is_the_teachers_but_not_its_name(tmp_path):
    """A model card takes the name in the config for the base model that was fine-tuned."""
    make_teacher(bert, transformers.AutoModelForMaskedLM).save_pretrained(tmp_path)
    student = make_student(tmp_path, 3)
    assert isinstance(student, transformers.BertForSequenceClassification)
    assert student.config.name_or_path == "" and student.name_or_path == ""
    assert student.config.architectures == ["BertForSequenceClassification"]
    changed = {"num_hidden_layers", "transformers_version", "architectures", "_name_or_path", "dtype"}
    expected = transformers.AutoConfig.from_pretrained(tmp_path).to_dict()
    actual = student.config.to_dict()
    assert {k for k in expected.keys() | actual.keys() if expected.get(k) != actual.get(k)} <= changed


def test_half_precision_checkpoint_by_name_gives_a_float32_student(tmp_path):
    make_teacher(distilbert).to(torch.bfloat16).save_pretrained(tmp_path)
    assert make_student(str(tmp_path), 2).dtype == torch.float32


def test_student_keeps_the_attention_implementation():
    teacher = make_teacher(bert)
    teacher.set_attn_implementation("eager")
    assert make_student(teacher, 2).config._attn_implementation == "eager"


def test_modernbert_layers_keep_local_or_global_attention():
    teacher = make_teacher(modernbert)
    kinds = teacher.config.layer_types
    assert kinds == ["full_attention", "sliding_attention", "sliding_attention"] * 2
    student = make_student(teacher, layers=[0, 2, 3, 4])
    assert student.config.layer_types == [kinds[0], kinds[2], kinds[3], kinds[4]]
    assert [layer.attention_type for layer in student.model.layers] == student.config.layer_types
    assert [layer.attn.layer_idx for layer in student.model.layers] == [0, 1, 2, 3]
    assert teacher.config.layer_types is kinds and len(kinds) == 6


def test_modernbert_window_matters_at_the_tested_length():
    """The canary of the ModernBERT cases above: with another kind of attention the logits would differ."""
    teacher = make_teacher(modernbert)
    wide = make_student(teacher, 6)
    wide.config.local_attention = 2 * LONG
    assert not torch.allclose(logits(wide), logits(teacher), atol=1e-4)


def test_first_layer_that_is_unlike_the_others_stays_first():
    teacher = make_teacher(modernbert)
    layers = make_student(teacher, 2, "last").model.layers
    assert all_equal(layers[0].state_dict(), teacher.model.layers[0].state_dict())
    assert all_equal(layers[1].state_dict(), teacher.model.layers[5].state_dict())


@pytest.mark.parametrize("layers, index, position", [([1, 3], 1, 0), ([0, 2, 0], 0, 2)])
def test_list_that_moves_the_unlike_first_layer_is_refused(layers, index, position):
    message = f"Teacher layer {index} cannot be layer {position} of a ModernBertFor.*attn_norm.weight"
    with pytest.raises(ValueError, match=message):
        make_student(make_teacher(modernbert), layers=layers)


def test_list_per_layer_in_the_config_is_cut_and_others_are_not():
    """Two layers, two kinds of relative attention: the lists are equally long and only one is per layer."""
    teacher = make_teacher(deberta_v2, num_hidden_layers=2)
    assert make_student(teacher, 1).config.pos_att_type == ["p2c", "c2p"]
    sizes = {**SIZES, "max_position_embeddings": 70, "intermediate_size": 37, "attention_window": [2, 4, 6, 8, 10, 12]}
    longformer = transformers.LongformerForSequenceClassification(transformers.LongformerConfig(**sizes))
    student = make_student(longformer, 3)
    assert student.config.attention_window == [4, 8, 12]
    windows = [layer.attention.self.one_sided_attn_window_size for layer in student.longformer.encoder.layer]
    assert windows == [2, 4, 6]


def test_list_inside_a_layer_is_not_taken_for_the_layers():
    """Each MobileBERT layer holds as many feed-forward networks as this teacher has layers."""
    sizes = {**SIZES, "num_hidden_layers": 3, "num_feedforward_networks": 4, "intermediate_size": 30}
    sizes |= {"embedding_size": 22, "intra_bottleneck_size": 12, "true_hidden_size": 12}
    config = transformers.MobileBertConfig(**sizes)
    teacher = spread(transformers.MobileBertForSequenceClassification(config))
    reference = cut_in_place(teacher, "mobilebert.encoder.layer", [0, 2])
    assert torch.equal(logits(make_student(teacher, 2)), logits(reference))


def test_layers_may_come_in_any_order_and_twice():
    teacher = make_teacher(bert)
    reference = cut_in_place(teacher, FAMILIES[bert], [5, 2, 2])
    assert torch.equal(logits(make_student(teacher, layers=[5, 2, 2])), logits(reference))


@pytest.mark.parametrize(
    "count, layers, message",
    [
        (None, "uniform", "Give the student's number of layers"),
        (0, "uniform", "num_hidden_layers=0 .* 6 layers, so give a number from 1 to 6"),
        (-1, "last", "num_hidden_layers=-1 is not possible"),
        (7, "first", "num_hidden_layers=7 is not possible"),
        ("2", "first", "num_hidden_layers='2' is not possible: .* so give a number from 1 to 6"),
        ([0, 5], "uniform", r"num_hidden_layers=\[0, 5\] is not possible"),
        (3, "every_other", "'every_other' is unknown: use uniform, last, first, alternating, or a list"),
        (3, [1, 2], "2 entries, but num_hidden_layers=3"),
        (None, [], "num_hidden_layers=0 is not possible"),
        (None, [0] * 7, "num_hidden_layers=7 is not possible"),
        (None, [0, 6], r"names layer 6, but .* numbered 0 to 5 \(or -6 to -1"),
        (2, [-7, 1], "names layer -7"),
    ],
)
def test_impossible_choices_are_refused(count, layers, message):
    with pytest.raises(ValueError, match=message):
        choose_layers(6, count, layers)
    with pytest.raises(ValueError, match=message):
        make_student(make_teacher(bert), count, layers)


@pytest.mark.parametrize("groups", [1, 6])
def test_albert_is_refused_with_the_way_out(groups):
    sizes = {**SIZES, "embedding_size": 22, "intermediate_size": 37, "num_hidden_groups": groups}
    albert = transformers.AlbertForSequenceClassification(transformers.AlbertConfig(**sizes))
    with pytest.raises(ValueError, match=r"one list.*share their weights \(ALBERT\).*num_hidden_layers="):
        make_student(albert, 3)


def test_an_encoder_decoder_is_cut_on_either_side():
    """A number of layers for the whole would leave open which side loses them."""
    sizes = {"vocab_size": 53, "d_model": 12, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 14}
    sizes |= {"decoder_ffn_dim": 14, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    bart = transformers.BartForSequenceClassification(transformers.BartConfig(**sizes))
    with pytest.raises(ValueError, match="has an encoder and a decoder: give num_encoder_layers"):
        make_student(bart, 1)
    student = make_student(bart, num_decoder_layers=1)
    assert len(student.model.encoder.layers) == 2 and len(student.model.decoder.layers) == 1


def test_other_modules_are_refused():
    with pytest.raises(TypeError, match="teacher is a Linear, not a transformers PreTrainedModel"):
        make_student(nn.Linear(2, 2), 1)


def test_teacher_with_foreign_weights_is_refused():
    """Dropping them in silence would make a student that is not cut from what the teacher computes."""
    teacher = make_teacher(bert)
    teacher.bert.adapter = nn.Linear(3, 3)
    with pytest.raises(ValueError, match="do not fit a plain BertForSequenceClassification.*bert.adapter"):
        make_student(teacher, 3)

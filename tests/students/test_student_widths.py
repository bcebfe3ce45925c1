"""Narrower students of each family: consistent cuts, the important parts kept, plain models."""

import copy

import pytest
import torch
import transformers
from test_students import bert, deberta_v2, distilbert, electra, modernbert, roberta, spread
from torch import nn

from hfdistill import make_student

FAMILIES = [bert, roberta, distilbert, electra, deberta_v2, modernbert]
WIDTHS = {"hidden_size": 20, "intermediate_size": 17, "num_attention_heads": 2}  # of 30, 37 and 3: heads stay 10 wide
BATCH = {"input_ids": torch.randint(4, 53, (4, 12), generator=torch.Generator().manual_seed(0))}
BATCH["attention_mask"] = (torch.arange(12) < torch.tensor([[12], [7], [9], [12]])).long()


def teacher_of(family, **changes):
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(family(num_hidden_layers=4, **changes))
    spread(model)
    return model.eval()


def thirds(name, tensor, kept):
    """A fused projection holds queries, keys and values one after the other, each cut likewise."""
    if "Wqkv" in name:
        return torch.cat([part[: kept // 3] for part in tensor.chunk(3)])
    return torch.cat([part[: kept // 2] for part in tensor.chunk(2)])


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_batch_the_first_of_everything_is_kept(family):
    """A dimension that is cut one way where it is written and another where it is read makes noise of both."""
    teacher = teacher_of(family)
    student = make_student(teacher, layers=[0, 3], **WIDTHS)
    assert student.config.hidden_size == 20
    assert student.config.num_attention_heads == 2
    source = teacher.state_dict()
    for name, tensor in student.state_dict().items():
        wide = source[name.replace(".1.", ".3.") if "layer" in name else name]
        if "Wqkv" in name or "Wi" in name:
            wide = thirds(name, wide, len(tensor))
        assert torch.equal(tensor, wide[tuple(slice(0, size) for size in tensor.shape)]), name
    assert student(**BATCH).logits.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_with_a_batch_it_is_a_plain_model_too(family, tmp_path):
    teacher = teacher_of(family)
    before = copy.deepcopy(teacher.state_dict())
    student = make_student(teacher, 2, importance_batch=BATCH, **WIDTHS)
    student.save_pretrained(tmp_path)
    loaded, info = type(teacher).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    torch.testing.assert_close(loaded.eval()(**BATCH).logits, student.eval()(**BATCH).logits)
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert student.num_parameters() < teacher.num_parameters() / 2


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_widths_are_the_same_model(family):
    teacher = teacher_of(family)
    student = make_student(teacher, hidden_size=30, intermediate_size=37, importance_batch=BATCH)
    torch.testing.assert_close(student.eval()(**BATCH).logits, teacher(**BATCH).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_neurons_that_do_nothing_are_the_first_to_go(family):
    """Measured wrongly, or cut in one of the two maps alone, the predictions would change."""
    teacher = teacher_of(family)
    idle = torch.randperm(37, generator=torch.Generator().manual_seed(3))[:11]
    for module in teacher.modules():
        if isinstance(module, nn.Linear) and module.in_features == 37:
            with torch.no_grad():
                module.weight[:, idle] = 0
    student = make_student(teacher, intermediate_size=26, importance_batch=BATCH).eval()
    torch.testing.assert_close(student(**BATCH).logits, teacher(**BATCH).logits, rtol=1e-4, atol=1e-5)
    blind = make_student(teacher, intermediate_size=26).eval()
    assert (blind(**BATCH).logits - teacher(**BATCH).logits).abs().max() > 1e-3


def test_the_idle_head_and_the_still_dimensions_go():
    """A head whose output nobody reads, and hidden dimensions that are the same for every token."""
    teacher = teacher_of(bert)
    still = torch.arange(0, 30, 3)
    with torch.no_grad():
        for name, module in teacher.named_modules():
            if name.endswith("attention.output.dense"):
                module.weight[:, 10:20] = 0
            if isinstance(module, nn.LayerNorm):
                module.weight[still] = 0
    student = make_student(teacher, importance_batch=BATCH, **WIDTHS)
    hidden = torch.tensor([index for index in range(30) if index % 3])
    heads = torch.tensor([*range(10), *range(20, 30)])
    for layer in range(4):
        student_attention, teacher_attention = (
            model.bert.encoder.layer[layer].attention for model in (student, teacher)
        )
        for name in ("query", "key", "value"):
            wide = getattr(teacher_attention.self, name).weight[heads][:, hidden]
            assert torch.equal(getattr(student_attention.self, name).weight, wide)
        assert torch.equal(
            student_attention.output.dense.weight, teacher_attention.output.dense.weight[hidden][:, heads]
        )
    assert torch.equal(student.classifier.weight, teacher.classifier.weight[:, hidden])


def test_padding_has_no_say():
    teacher = teacher_of(bert)
    longer = {name: nn.functional.pad(tensor, (0, 20)) for name, tensor in BATCH.items()}
    one, other = (make_student(teacher, importance_batch=batch, **WIDTHS) for batch in (BATCH, longer))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ({"hidden_size": 20}, (20, 24, 2)),
        ({"hidden_size": 10}, (10, 12, 1)),
        ({"hidden_size": 15}, (15, 18, 3)),
        ({"hidden_size": 24, "num_attention_heads": 3}, (24, 29, 3)),
        ({"intermediate_size": 5}, (30, 5, 3)),
    ],
)
def test_what_is_not_given_stays_in_proportion(widths, expected):
    config = make_student(teacher_of(bert), 1, **widths).config
    assert (config.hidden_size, config.intermediate_size, config.num_attention_heads) == expected


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"hidden_size": 31}, "hidden_size=31 is not possible: the teacher has 30"),
        ({"hidden_size": 0}, "hidden_size=0 is not possible"),
        ({"intermediate_size": 38}, "intermediate_size=38 is not possible: the teacher has 37"),
        ({"hidden_size": 20, "num_attention_heads": 3}, "must divide it and be no wider than the teacher's 10: choose"),
        ({"num_attention_heads": 2}, "num_attention_heads=2 does not go with hidden_size=30"),
        ({"hidden_size": 29}, "does not go with hidden_size=29: .* choose another hidden_size"),
        ({"importance_batch": BATCH}, "importance_batch is for narrower students"),
    ],
)
def test_refuses_widths_that_are_not_possible(widths, message):
    with pytest.raises(ValueError, match=message):
        make_student(teacher_of(bert), 2, **widths)


def test_refuses_what_it_does_not_understand():
    with pytest.raises(ValueError, match="rotates its heads by position, so they must stay 10 wide"):
        make_student(teacher_of(modernbert), 2, hidden_size=15)
    sizes = {"vocab_size": 53, "hidden_size": 30, "num_attention_heads": 3, "num_hidden_layers": 2}
    config = transformers.DebertaConfig(**sizes, intermediate_size=37, relative_attention=True, pos_att_type=["c2p"])
    with pytest.raises(ValueError, match="DebertaForSequenceClassification cannot be made narrower: .*attention"):
        make_student(transformers.DebertaForSequenceClassification(config), 2, hidden_size=20)

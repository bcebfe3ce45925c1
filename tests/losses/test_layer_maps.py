"""`hfdistill.losses.layer_maps`: which teacher layer teaches which."""

import pytest
import torch

from hfdistill.losses.layer_maps import make_layer_map, parse_layer_map


def layers(count):
    return [torch.full((2, 3), float(number)) for number in range(count)]


@pytest.mark.parametrize(
    ("how", "expected"), [("uniform", [1, 3, 5]), ("last", [3, 4, 5]), ("first", [0, 1, 2]), ([5, 0, -2], [5, 0, 4])]
)
def test_names_a_teacher_layer_for_each_student_layer(how, expected):
    targets = make_layer_map(how, 3, 6)(layers(6))
    assert [target[0, 0].item() for target in targets] == expected


def test_a_learned_map_is_a_mixture_that_starts_at_the_uniform_one():
    learned = make_layer_map("learned", 2, 5)
    targets = learned(layers(5))
    # Half of the weight on layers 1 and 4, an eighth on each of the others.
    assert [target[0, 0].item() for target in targets] == pytest.approx([0.5 * 1 + 9 / 8, 0.5 * 4 + 6 / 8])
    targets[0].sum().backward()
    assert learned.weights.grad[0].any()
    with torch.no_grad():
        learned.weights[0, 3] = 50.0
    assert learned(layers(5))[0][0, 0].item() == pytest.approx(3)


def test_one_layer_each():
    assert make_layer_map("learned", 1, 1)(layers(1))[0][0, 0] == 0


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ([1], "names 1 teacher layers, and the student has 2 layers to teach"),
        ([0, 3], "names layer 3, and the teacher's layers are 0 to 2"),
        ("emd", "layer_map 'emd' is unknown: use uniform, last, first, learned"),
    ],
)
def test_refuses_what_cannot_be_mapped(how, message):
    with pytest.raises(ValueError, match=message):
        make_layer_map(how, 2, 3)


@pytest.mark.parametrize("how", ["uniform", "learned"])
def test_a_deeper_student_must_list_its_teachers(how):
    with pytest.raises(ValueError, match="needs a teacher of at least the student's 4 layers, and it has 2"):
        make_layer_map(how, 4, 2)
    assert make_layer_map([0, 0, 1, 1], 4, 2).layers == [0, 0, 1, 1]


def test_parse():
    assert parse_layer_map(["learned"]) == parse_layer_map("learned") == "learned"
    assert parse_layer_map(["1", "3"]) == parse_layer_map([1, 3]) == [1, 3]
    with pytest.raises(ValueError, match="layer_map 'sparse' is unknown"):
        parse_layer_map(["sparse"])

"""Students of models that see and hear: fewer layers, narrower ones, and what cannot be cut."""

import pytest
import torch
from tiny_media import SIZES, make_speaker, make_vit, quiet_listener
from transformers import ASTConfig, ASTForAudioClassification, ResNetConfig, ResNetForImageClassification

from hfdistill import make_student

SPECTROGRAM = {"max_length": 40, "num_mel_bins": 16, "patch_size": 4, "time_stride": 4, "frequency_stride": 4}


def make_ast():
    return ASTForAudioClassification(ASTConfig(**SIZES, **SPECTROGRAM))


INPUTS = {
    "vit": (lambda: make_vit()[0], {"pixel_values": torch.randn(2, 3, 8, 8)}),
    "ast": (make_ast, {"input_values": torch.randn(2, 40, 16)}),
    "wav2vec2": (quiet_listener, {"input_values": torch.randn(2, 90)}),
    "ctc": (make_speaker, {"input_values": torch.randn(2, 90)}),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_a_student_with_all_layers_is_its_teacher_and_with_one_it_has_its_weights(kind):
    teacher, inputs = INPUTS[kind][0]().eval(), INPUTS[kind][1]
    whole, half = make_student(teacher, 2).eval(), make_student(teacher, 1)
    with torch.no_grad():
        assert torch.allclose(whole(**inputs).logits, teacher(**inputs).logits, atol=1e-6)
    own, others = dict(half.named_parameters()), {p.data_ptr() for p in teacher.parameters()}
    assert half.config.num_hidden_layers == 1 and len(own) < len(dict(teacher.named_parameters()))
    assert not others & {p.data_ptr() for p in own.values()}


@pytest.mark.parametrize("kind", ["vit", "ast"])
def test_narrower_students_measure_what_matters_on_patches(kind):
    teacher, inputs = INPUTS[kind][0](), INPUTS[kind][1]
    student = make_student(teacher, hidden_size=8, importance_batch=inputs)
    assert student.config.hidden_size == 8 and student(**inputs).logits.isfinite().all()


def test_sound_models_keep_their_width_and_may_lose_neurons():
    student = make_student(quiet_listener(), intermediate_size=8)
    assert student(**INPUTS["wav2vec2"][1]).logits.isfinite().all()
    with pytest.raises(ValueError, match="pos_conv_embed.* is built in a way that is not understood"):
        make_student(quiet_listener(), hidden_size=8)


@pytest.mark.parametrize("wanted", [{"num_hidden_layers": 1}, {"hidden_size": 8}])
def test_convolutional_networks_have_no_layers_to_choose_from(wanted):
    network = ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]))
    with pytest.raises(ValueError, match="of a convolutional network take a smaller model of the family"):
        make_student(network, **wanted)

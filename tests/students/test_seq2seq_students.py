"""Students cut from encoder-decoders: which layers, and every other weight as it was."""

import pytest
import torch
from tiny import distance, make_model, weights
from tiny_seq2seq import FAMILIES, make_seq2seq
from transformers import LEDConfig, LEDForConditionalGeneration

from hfdistill import make_student
from hfdistill.students import choose_layers

SIDES = {"t5": ("num_layers", "num_decoder_layers", "block")}
INPUTS = {"input_ids": torch.tensor([[5, 6, 7, 3]]), "decoder_input_ids": torch.tensor([[0, 7, 8]])}


def deep(family, encoder=4, decoder=3, **changes):
    first, second, _ = SIDES.get(family, ("encoder_layers", "decoder_layers", "layers"))
    return make_seq2seq(family, 5, **{first: encoder, second: decoder}, **changes)


def layers(model, family, side):
    stack = model.get_encoder() if side == "encoder" else getattr(model, "model", model).decoder
    return list(getattr(stack, SIDES.get(family, ("", "", "layers"))[2]))


@torch.no_grad()
def predict(model):
    return model.eval()(**INPUTS).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_all_layers_give_the_teachers_logits(family):
    """A weight that is not copied, such as the bias of the final logits, shows in the prediction."""
    teacher = deep(family)
    student = make_student(teacher)
    assert student.training and all(weight.requires_grad for weight in student.lm_head.parameters())
    torch.testing.assert_close(predict(student), predict(teacher))
    student.lm_head.weight.data.zero_()
    assert predict(teacher).abs().max() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_each_side_gets_its_layers(family):
    """Encoder layers in the decoder, or the default's in place of the chosen, would go unseen in the shapes."""
    teacher = deep(family)
    student = make_student(teacher, encoder_layers=[0, 2], decoder_layers=[0, -1])
    for side, chosen in (("encoder", [0, 2]), ("decoder", [0, 2])):
        copies, originals = layers(student, family, side), layers(teacher, family, side)
        assert len(copies) == 2
        for layer, index in zip(copies, chosen, strict=True):
            assert distance(weights(layer), weights(originals[index])) == 0
    assert distance(weights(originals[0]), weights(originals[1])) > 0 if family != "t5" else True


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shallow_decoder_translates_and_reloads(tmp_path, family):
    """The usual student: the encoder whole, one decoder layer; caches must fit its depth, and its folder is plain."""
    student = make_student(deep(family), num_decoder_layers=1)
    assert len(layers(student, family, "encoder")) == 4 and len(layers(student, family, "decoder")) == 1
    assert student.generation_config.max_length == 12
    student.save_pretrained(tmp_path)
    loaded = type(student).from_pretrained(tmp_path)
    torch.testing.assert_close(predict(loaded), predict(student))
    source = INPUTS["input_ids"]
    assert loaded.generate(source, num_beams=2).tolist() == student.generate(source, num_beams=2).tolist()


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_stay_tied_or_untied(tied):
    """A student whose head came loose from its embeddings would train and save other weights than it uses."""
    teacher = deep("bart", tie_word_embeddings=tied)
    student = make_student(teacher, num_decoder_layers=1)
    assert (student.lm_head.weight is student.model.shared.weight) == tied
    assert torch.equal(student.lm_head.weight, teacher.lm_head.weight)


def test_a_teacher_that_came_loose_from_its_config_is_refused():
    """Of two tables that the config ties only one would be kept."""
    teacher = deep("bart")
    teacher.lm_head.weight = torch.nn.Parameter(teacher.lm_head.weight.detach() + 1)
    with pytest.raises(ValueError, match="differs from the weight that its config ties it to"):
        make_student(teacher, num_decoder_layers=1)


def test_t5_keeps_its_first_layer():
    """It alone holds the position biases; 'last' would name another one."""
    teacher = deep("t5")
    student = make_student(teacher, num_decoder_layers=2, decoder_layers="last")
    assert distance(weights(student.decoder.block[0]), weights(teacher.decoder.block[0])) == 0
    assert distance(weights(student.decoder.block[1]), weights(teacher.decoder.block[2])) == 0
    with pytest.raises(ValueError, match="layer 1 cannot be layer 0"):
        make_student(teacher, decoder_layers=[1, 2])


def test_alternating_layers():
    assert choose_layers(6, 3, "alternating") == [0, 2, 5]
    assert choose_layers(12, 6, "alternating") == [0, 2, 4, 6, 8, 11]
    assert choose_layers(12, 3, "alternating") == [0, 5, 11]
    assert choose_layers(6, 1, "alternating") == [0]
    assert choose_layers(4, 4, "alternating") == [0, 1, 2, 3]


def test_what_cannot_be_chosen():
    teacher = deep("marian")
    with pytest.raises(ValueError, match="^num_decoder_layers=5 is not possible"):
        make_student(teacher, num_decoder_layers=5)
    with pytest.raises(ValueError, match="^decoder_layers=.* names layer 3"):
        make_student(teacher, decoder_layers=[3])
    with pytest.raises(ValueError, match="has an encoder and a decoder"):
        make_student(teacher, num_hidden_layers=1)
    with pytest.raises(ValueError, match="has one stack of layers"):
        make_student(make_model(), num_decoder_layers=1)


def test_lists_with_an_entry_for_each_layer_are_cut_with_the_layers():
    """LED has a window for each layer of its encoder, and no model could be made of three for two."""
    tokens = {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
    sizes = {"d_model": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_layers": 2}
    torch.manual_seed(1)
    teacher = LEDForConditionalGeneration(
        LEDConfig(
            **{**tokens, **sizes, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "encoder_layers": 3},
            **{"attention_window": [4, 8, 4], "max_encoder_position_embeddings": 32, "init_std": 0.4},
        )
    )
    student = make_student(teacher, encoder_layers=[1, 2], num_decoder_layers=1)
    assert student.config.attention_window == [8, 4] and teacher.config.attention_window == [4, 8, 4]
    assert predict(student).isfinite().all()
    same = make_student(teacher)
    torch.testing.assert_close(predict(same), predict(teacher))

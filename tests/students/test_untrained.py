"""`untrained_student`: an encoder of a config of any family, with its teacher's vocabulary and head."""

import math

import pytest
import torch
from datasets import Dataset
from tiny import WORDS, distance, make_args, make_model, make_tokenizer, weights
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, BertConfig, GPT2Config, T5Config

from hfdistill import DistillationTrainer, MaskedTextCollator, text_rows, untrained_student

SIZES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 20}
#: What each family calls its sizes, where it does so in its own way.
OWN = {
    "distilbert": {"dim": 24, "n_layers": 3, "n_heads": 3, "hidden_dim": 20},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8, "cls_token_id": 900},
    "electra": {"embedding_size": 10},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
}
FAMILIES = ("bert", "roberta", "distilbert", "modernbert", "electra", "deberta-v2", "albert", "mpnet")


def config_of(family, **changes):
    sizes = {} if family == "distilbert" else SIZES
    named = {} if family == "distilbert" else {"pad_token_id": 1}
    settings = {"vocab_size": 1000, "max_position_embeddings": 40, **named, **sizes, **OWN.get(family, {}), **changes}
    return AutoConfig.for_model(family, **settings)


def tokenizer_of_masks():
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"mask_token": WORDS[-1]})
    tokenizer.model_max_length = 32
    return tokenizer


def teacher_of(auto):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    return auto.from_config(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes))


@pytest.mark.parametrize("auto", [AutoModel, AutoModelForMaskedLM])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_of_any_family_learns_from_a_bert(tmp_path, family, auto):
    """By relations and hidden states; where both fill in masked tokens, by soft targets too."""
    config_of(family).save_pretrained(tmp_path / "config")
    tokenizer, teacher = tokenizer_of_masks(), teacher_of(auto)
    taught = weights(teacher)
    student = untrained_student(teacher, tmp_path / "config" / "config.json", tokenizer, 16)
    assert student.config.model_type == family and student.config.vocab_size == len(WORDS)
    assert student.config.pad_token_id == tokenizer.pad_token_id == 0
    assert student.dtype == torch.float32 and student.training and not student.config.name_or_path
    before = weights(student)
    texts = [" ".join(WORDS[4 + (n + k) % 30] for k in range(5 + n % 9)) for n in range(8)]
    rows = text_rows(Dataset.from_dict({"text": texts}), tokenizer)
    terms = ["hidden_states:1", *(["minilm:1"] if family != "albert" else [])]  # whose layers are one
    terms += ["labels:1", "soft_targets:1"] if auto is AutoModelForMaskedLM else []
    args = make_args(tmp_path / "out", terms=terms, layer_map=["0", "1", "1"], max_steps=2, learning_rate=1e-2)
    collator = MaskedTextCollator(tokenizer, 0.3)
    trainer = DistillationTrainer(
        student, args, teacher=teacher, train_dataset=rows, data_collator=collator, processing_class=tokenizer
    )
    trainer.train()
    assert math.isfinite(trainer.state.log_history[0]["loss"]) and distance(before, weights(student)) > 0
    assert distance(taught, weights(teacher)) == 0
    trainer.save_model()
    again = auto.from_pretrained(tmp_path / "out").eval()
    ids = torch.tensor([[2, 5, 9, 3]])
    assert torch.allclose(again(ids)[0], student.eval()(ids)[0])


REFUSED = {
    "decoder": (GPT2Config(n_embd=8, n_head=2), "this is the config of a gpt2, which is no encoder"),
    "encoder-decoder": (T5Config(), "this is the config of a t5, which is no encoder"),
    "bart": (AutoConfig.for_model("bart"), "the config of a bart, which is no encoder"),
    "short": (config_of("bert", max_position_embeddings=20), r"up to 32 tokens, .* for 20: .*\(--max_length 20\)"),
    "roberta": (config_of("roberta", max_position_embeddings=20), r"has positions for 19: .*\(--max_length 19\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_student_is_refused(name):
    config, said = REFUSED[name]
    before = config.to_dict()
    with pytest.raises(ValueError, match=said):
        untrained_student(teacher_of(AutoModel), config, tokenizer_of_masks())
    assert config.to_dict() == before


def test_a_classifier_and_a_config_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(ValueError, match="a BertForSequenceClassification, decides one label for a row"):
        untrained_student(make_model(), config_of("bert"), tokenizer_of_masks())
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        untrained_student(teacher_of(AutoModel), str(tmp_path / "missing"), tokenizer_of_masks())

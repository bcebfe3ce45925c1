"""Token soft targets of language models: each beside the logits that are about its token, causal and masked."""

import random

import pytest
import torch
from datasets import Dataset
from tiny import WORDS, distance, make_args, make_tokenizer, weights
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    DataCollatorForTokenClassification,
)

from hfdistill import DistillationTrainer, MaskedTextCollator, token_soft_targets

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
QUIET = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop", "hidden_dropout_prob"), 0.0)
QUIET |= {"attention_probs_dropout_prob": 0.0, "attention_dropout": 0.0}
HEADS = {"gpt2": AutoModelForCausalLM, "llama": AutoModelForCausalLM, "bert": AutoModelForMaskedLM}


def tokenizer():
    made = make_tokenizer()
    made.add_special_tokens({"mask_token": WORDS[-1]})
    return made


def language_model(family, seed):
    torch.manual_seed(seed)
    tokens = {"vocab_size": len(WORDS), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    model = HEADS[family].from_config(AutoConfig.for_model(family, **tokens, **SIZES, **QUIET))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model.eval()


def rows(family, count=12):
    rng = random.Random(0)
    ids = [[2, *rng.choices(range(4, len(WORDS) - 1), k=rng.randint(3, 9)), 3] for _ in range(count)]
    data = Dataset.from_dict({"input_ids": ids})
    return data.map(MaskedTextCollator(tokenizer(), 0.4).masked) if family == "bert" else data


def train(out, family, data, teacher=None, side="right", collate=None, **changes):
    reader = tokenizer()
    reader.padding_side = side
    usual = MaskedTextCollator(reader) if family == "bert" else DataCollatorForLanguageModeling(reader, mlm=False)
    args = {"temperature": 2.0, "alpha": 0.5, "num_train_epochs": 1, "train_sampling_strategy": "sequential", **changes}
    trainer = DistillationTrainer(
        language_model(family, 1), make_args(out, **args), teacher=teacher, train_dataset=data, eval_dataset=data,
        processing_class=reader, data_collator=collate or usual,
    )  # fmt: skip
    first = trainer.evaluate()
    trainer.train()
    return trainer, first


@pytest.mark.parametrize("family", HEADS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_stored_tokens_teach_what_the_teacher_teaches_live(tmp_path, family, side):
    """All of a distribution is kept, so that a prediction beside another token than its own would show."""
    if (family, side) == ("bert", "left"):
        pytest.skip("its positions would shift")
    data, teacher = rows(family), language_model(family, 7)
    how = {"k": len(WORDS), "method": "top_k", "temperature": 2.0}
    stored = token_soft_targets(teacher, data, tokenizer(), store=tmp_path / "store", **how)
    live, expected = train(tmp_path / "live", family, data, teacher, side)
    kept, found = train(tmp_path / "stored", family, stored, side=side)
    for name in ("eval_soft_target_loss", "eval_label_loss"):
        assert found[name] == pytest.approx(expected[name], rel=2e-3)
    untaught, _ = train(tmp_path / "none", family, data, side=side, alpha=0.0)
    apart = distance(weights(live.model), weights(untaught.model))
    assert distance(weights(live.model), weights(kept.model)) < 0.01 * apart
    cut, _ = train(
        tmp_path / "cut", family, stored, side=side, per_device_train_batch_size=2, gradient_accumulation_steps=4
    )
    assert distance(weights(kept.model), weights(cut.model)) < 3e-6
    assert kept._projects_plainly is True


def test_samples_teach_the_same_in_expectation(tmp_path):
    data, teacher = rows("gpt2"), language_model("gpt2", 7)
    _, expected = train(tmp_path / "live", "gpt2", data, teacher)
    stored = token_soft_targets(teacher, data, tokenizer(), k=2000, temperature=2.0, store=tmp_path / "store")
    _, found = train(tmp_path / "stored", "gpt2", stored)
    assert found["eval_soft_target_loss"] == pytest.approx(expected["eval_soft_target_loss"], rel=0.05)


def test_a_name_is_loaded_by_what_it_was_saved_as(tmp_path):
    for family in ("gpt2", "bert"):
        language_model(family, 7).save_pretrained(tmp_path / family)
        tokenizer().save_pretrained(tmp_path / family)
        by_object = token_soft_targets(
            language_model(family, 7), rows(family, 3), tokenizer(), store=tmp_path / "a" / family
        )
        by_name = token_soft_targets(str(tmp_path / family), rows(family, 3), store=tmp_path / "b" / family)
        assert by_name["teacher_tokens"][:] == by_object["teacher_tokens"][:]


def test_rows_that_do_not_fit_are_refused(tmp_path):
    bert, gpt2 = language_model("bert", 7), language_model("gpt2", 7)
    cases = (
        (bert, rows("gpt2"), "predicts tokens of input_ids, and the rows have no labels"),
        (gpt2, Dataset.from_dict({"input_ids": [[2, 5]], "labels": [[2]]}), "row 0 has 2 input_ids and 1 labels"),
        (gpt2, Dataset.from_dict({"input_ids": [[2, 0]], "attention_mask": [[1, 0]]}), "row 0 is padded"),
        (bert, Dataset.from_dict({"input_ids": [[5] * 600], "labels": [[5] * 600]}), "row 0 has 600 tokens"),
    )
    for number, (teacher, data, said) in enumerate(cases):
        with pytest.raises(ValueError, match=said):
            token_soft_targets(teacher, data, tokenizer(), store=tmp_path / str(number))
    stored = token_soft_targets(gpt2, rows("gpt2"), tokenizer(), k=3, store=tmp_path / "other")
    changed = stored.add_column("labels", [[7] * len(ids) for ids in stored["input_ids"]])
    with pytest.raises(ValueError, match="not the target tokens that its stored soft targets are about"):
        train(tmp_path, "gpt2", changed, collate=DataCollatorForTokenClassification(tokenizer()))

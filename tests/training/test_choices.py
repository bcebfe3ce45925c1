"""Rows with choices: multiple choice, and cross-encoders that rank a query's candidates."""

import random

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import WORDS, distance, make_args, make_tokenizer, naive_soft_target_loss, weights
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMultipleChoice,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from hfdistill import (
    ChoiceCollator,
    DistillationTrainer,
    as_reranker,
    compare,
    multiple_choice_metrics,
    soft_targets,
    tokenize_choices,
)

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.4}


def chooser(seed):
    torch.manual_seed(seed)
    return BertForMultipleChoice(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **SIZES, **QUIET))


def reranker(seed, kind=BertForSequenceClassification, config=BertConfig):
    torch.manual_seed(seed)
    return as_reranker(
        kind(config(vocab_size=len(WORDS), max_position_embeddings=40, num_labels=1, pad_token_id=0, **SIZES, **QUIET))
    )


def roberta_reranker(seed):
    return reranker(seed, RobertaForSequenceClassification, RobertaConfig)


KINDS = {"choice": chooser, "candidates": reranker, "candidates of RoBERTa": roberta_reranker}
each_kind = pytest.mark.parametrize("kind", KINDS)


def rows(count=12, labeled=True):
    """Two to four choices of unequal lengths, as RACE and SWAG have; some rows have no label."""
    rng = random.Random(1)

    def text():
        return " ".join(rng.choices(WORDS[4:], k=rng.randint(2, 5)))

    choices = [[text() for _ in range(rng.randint(2, 4))] for _ in range(count)]
    columns = {"question": [text() for _ in range(count)], "choices": choices}
    labels = [rng.randrange(len(row)) if number % 4 else -100 for number, row in enumerate(choices)]
    columns |= {"labels": labels} if labeled else {}
    how = {"tokenizer": make_tokenizer(), "context": "question", "choices": "choices"}
    return Dataset.from_dict(columns).map(tokenize_choices, batched=True, fn_kwargs=how)


def train(tmp_path, kind, *, teacher=True, stored=False, pad_to=None, data=None, run=True, resume=None, **changes):
    make, data, tokenizer = KINDS[kind], data or rows(), make_tokenizer()
    asked = make(7) if teacher else None
    if stored:
        data, asked = soft_targets(asked, data, tokenizer, store=tmp_path / "store"), None
    trainer = DistillationTrainer(
        make(1),
        make_args(tmp_path / "out", **{"temperature": 2.0, "alpha": 0.5, "num_train_epochs": 1, **changes}),
        teacher=asked,
        train_dataset=data,
        eval_dataset=data,
        processing_class=tokenizer,
        data_collator=None if pad_to is None else ChoiceCollator(tokenizer, pad_to),
        compute_metrics=multiple_choice_metrics,
    )
    if run:
        trainer.train(resume_from_checkpoint=resume)
    return trainer


@torch.no_grad()
def scores_of(model, row):
    """The score of each choice alone."""
    found = []
    for choice in range(len(row["input_ids"])):
        inputs = {name: torch.tensor([row[name][choice]]) for name in ("input_ids", "attention_mask")}
        if isinstance(model, BertForMultipleChoice):
            inputs = {name: one[None] for name, one in inputs.items()}
        found.append(model.eval()(**inputs).logits.item())
    return torch.tensor(found, dtype=torch.float64)


@each_kind
@pytest.mark.parametrize("stored", [False, True])
def test_the_losses_are_those_of_a_loop_over_rows_and_choices(tmp_path, kind, stored):
    trainer = train(tmp_path, kind, stored=stored, run=False, terms=["labels:1", "soft_targets:1", "margin_mse:1"])
    student, teacher, hard, soft, margins, right = KINDS[kind](1), KINDS[kind](7), [], [], [], []
    for row in rows():
        s, t = scores_of(student, row), scores_of(teacher, row)
        soft.append(naive_soft_target_loss(s[None], t[None], 2.0))
        positive = max(row["labels"], 0)
        margins.append(
            np.mean([((s[positive] - s[n]) - (t[positive] - t[n])).item() ** 2 for n in range(len(s)) if n != positive])
        )
        if row["labels"] >= 0:
            hard.append(-s.log_softmax(0)[row["labels"]].item())
            right.append(float(s.argmax() == row["labels"]))
    found = trainer.evaluate()
    names = ("eval_label_loss", "eval_soft_target_loss", "eval_margin_mse_loss", "eval_accuracy")
    expected = [np.mean(one) for one in (hard, soft, margins, right)]
    assert [found[name] for name in names] == pytest.approx(expected, rel=1e-4)


@each_kind
def test_cut_padding_store_and_resume_change_nothing(tmp_path, kind):
    whole = train(tmp_path / "whole", kind, save_strategy="steps", save_steps=1)
    untaught = train(tmp_path / "none", kind, teacher=False, alpha=0.0)
    assert distance(weights(whole.model), weights(untaught.model)) > 1e-3
    checkpoint = str(tmp_path / "whole" / "out" / "checkpoint-1")
    others = {
        "padded": {"pad_to": 16},
        "accumulated": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        "stored": {"stored": True},
        "whole": {"resume": checkpoint, "save_strategy": "steps", "save_steps": 1},
    }
    for name, changes in others.items():
        other = train(tmp_path / name, kind, **changes)
        assert distance(weights(whole.model), weights(other.model)) < 1e-5, name


@each_kind
def test_what_is_saved_loads_in_transformers_and_is_compared(tmp_path, kind):
    trainer = train(tmp_path, kind)
    trainer.save_model(str(tmp_path / "saved"))
    auto = AutoModelForMultipleChoice if kind == "choice" else AutoModelForSequenceClassification
    again = auto.from_pretrained(tmp_path / "saved")
    row = rows()[1]
    assert torch.allclose(scores_of(again, row), scores_of(trainer.model, row), atol=1e-5)
    comparison = compare(KINDS[kind](7), trainer.model, rows(), make_tokenizer(), baseline=KINDS[kind](3))
    student = comparison.models["student"]
    assert student.metrics["accuracy"] == pytest.approx(trainer.evaluate()["eval_accuracy"])
    assert 0 <= student.agreement <= 1 and comparison.main_metric == "accuracy" and comparison.disagreements


def test_what_is_no_choice_is_refused(tmp_path):
    row = {"input_ids": [[2, 5, 3], [2, 6, 3]], "attention_mask": [[1] * 3] * 2}
    collator = ChoiceCollator(make_tokenizer())
    for wrong, said in (
        ({"labels": 2}, "has 2 choices, 0 to 1, and the label 2"),
        ({"input_ids": [2, 5, 3]}, "no two choices"),
        ({"input_ids": [[2, 5, 3]]}, "no two choices"),
        ({"teacher_logits": [1.0]}, "2 choices and 1 teacher_logits"),
    ):
        with pytest.raises(ValueError, match=said):
            collator([{**row, **wrong}])
    with pytest.raises(ValueError, match="compare the layers of one text"):
        train(tmp_path, "choice", terms=["hidden_states:1"])
    with pytest.raises(ValueError, match="label_smoothing_factor is a mean over all classes, .* these are all ch"):
        train(tmp_path, "choice", label_smoothing_factor=0.1)
    with pytest.raises(ValueError, match="gives one score, and this BertForSequenceClassification gives 2"):
        as_reranker(BertForSequenceClassification(BertConfig(vocab_size=40, **SIZES)))

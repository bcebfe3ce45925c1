"""Word-level distillation of causal language models: each token predicts the next, in training and evaluation."""

import copy
import logging
import math

import pytest
import torch
from datasets import Dataset
from tiny import (
    IN_ORDER,
    WORDS,
    assert_logs_alike,
    distance,
    logs_of,
    make_args,
    make_model,
    make_rows,
    make_tokenizer,
    weights,
)
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    DataCollatorForLanguageModeling,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
    pipeline,
)

from hfdistill import (
    DistillationTrainer,
    LanguageModelTeacher,
    ModelTeacher,
    make_student,
    report_student,
    soft_targets,
)
from hfdistill.models.causal_lm import predicts_next_token

NAMES = ("loss", "label_loss", "soft_target_loss")
PAD = 0
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TOKENS = {"vocab_size": len(WORDS), "pad_token_id": PAD, "bos_token_id": 2, "eos_token_id": 3}
BART = {"d_model": 16, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 24, "hidden_size": None}
#: How `transformers` builds a model of each, and whether its own loss compares a token's logits with the next label.
HEADS = {"gpt2": (AutoModelForCausalLM, True), "llama": (AutoModelForCausalLM, True)}
HEADS |= {"opt": (AutoModelForCausalLM, True), "bloom": (AutoModelForCausalLM, True)}
HEADS |= {"gpt_neo": (AutoModelForCausalLM, True), "mamba": (AutoModelForCausalLM, True)}
HEADS |= {"openai-gpt": (AutoModelForCausalLM, True), "gemma2": (AutoModelForCausalLM, True)}
HEADS |= {"qwen2": (AutoModelForCausalLM, True), "roberta": (AutoModelForCausalLM, True)}
HEADS |= {"bart": (AutoModelForCausalLM, False), "marian": (AutoModelForCausalLM, False)}
HEADS |= {"xlnet": (AutoModelForCausalLM, False), "xlm": (AutoModelForCausalLM, False)}
HEADS |= {"bert": (AutoModelForMaskedLM, False), "distilbert": (AutoModelForTokenClassification, False)}
#: What some families call or want otherwise.
OTHERS = {
    "gpt_neo": {"attention_types": [[["global"], 2]]},
    "roberta": {"is_decoder": True},
    "gemma2": {"num_key_value_heads": 1, "head_dim": 8},
    "qwen2": {"num_key_value_heads": 1},
    "xlnet": {"d_head": 8},
    "bart": BART,
    "marian": BART,
}


def make_lm(family="gpt2", seed=0, head=AutoModelForCausalLM, **changes):
    """A model of random weights, spread wide enough that its predictions differ from token to token."""
    torch.manual_seed(seed)
    names = ("resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout", "dropout")
    none = dict.fromkeys((*names, "hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    settings = {**TOKENS, **SIZES, **none, **OTHERS.get(family, {}), **changes}
    config = AutoConfig.for_model(family, **{name: value for name, value in settings.items() if value is not None})
    model = head.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model.eval()


def pair(family="gpt2"):
    return make_lm(family, 1), make_lm(family, 2, num_hidden_layers=3)


def make_texts(count=16):
    return make_rows(count).remove_columns("labels")


def collator(side="right", multiple=None):
    tokenizer = make_tokenizer()
    tokenizer.padding_side = side
    return DataCollatorForLanguageModeling(tokenizer, mlm=False, pad_to_multiple_of=multiple)


def make_trainer(out, student, rows, teacher=None, collate=None, given=None, **changes):
    return DistillationTrainer(
        student,
        make_args(out, **{"temperature": 2.0, "alpha": 0.4, **IN_ORDER, **changes}),
        teacher=teacher,
        train_dataset=rows,
        processing_class=make_tokenizer(),
        data_collator=collate or collator(),
        **(given or {}),
    )


@torch.no_grad()
def naive_losses(student, teacher, rows, temperature=2.0):
    """Label loss, soft-target loss and agreement: each text alone, the token at t against the logits at t - 1."""
    sums, tokens = torch.zeros(3, dtype=torch.float64), 0
    for ids in rows["input_ids"]:
        of_student, of_teacher = (
            m.eval()(input_ids=torch.tensor([ids])).logits[0].double() for m in (student, teacher)
        )
        for t in range(1, len(ids)):
            p, q = (of_teacher[t - 1] / temperature).softmax(0), (of_student[t - 1] / temperature).softmax(0)
            sums[0] -= of_student[t - 1].softmax(0)[ids[t]].log()
            sums[1] += temperature**2 * (p * (p / q).log()).sum()
            sums[2] += float(of_student[t - 1].argmax() == of_teacher[t - 1].argmax())
            tokens += 1
    return (sums / tokens).tolist()


families = pytest.mark.parametrize("family", ["gpt2", "llama"])


@families
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_loss_is_that_of_every_next_token_alone(tmp_path, family, side):
    """Unshifted, a student learns to repeat the token it has just read, and its loss looks good."""
    student, teacher = pair(family)
    rows = make_texts(8)
    label_loss, soft_target_loss, agreement = naive_losses(student, teacher, rows)
    trainer = make_trainer(tmp_path, student, rows, teacher, collator(side), {"eval_dataset": rows}, max_steps=1)
    found = trainer.evaluate()
    expected = [0.4 * soft_target_loss + 0.6 * label_loss, label_loss, soft_target_loss]
    names = ("eval_loss", "eval_label_loss", "eval_soft_target_loss", "eval_agreement")
    assert [found[name] for name in names] == pytest.approx([*expected, agreement], rel=1e-4)
    trainer.train()
    assert logs_of(trainer, *NAMES)[0] == pytest.approx(expected, rel=1e-4)
    assert student.config.problem_type is None


@families
@pytest.mark.parametrize("rows", [16, 11])
def test_any_cut_gives_one_run(tmp_path, family, rows):
    """Padding on the left counted the first token of all texts but the longest, predicted from padding."""
    layouts = (
        {},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "collate": collator("right", 16)},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "collate": collator("left")},
        {"collate": collator("left", 16)},
    )
    runs = []
    for layout in layouts:
        student, teacher = pair(family)
        before = weights(student)
        trainer = make_trainer(tmp_path, student, make_texts(rows), teacher, **layout)
        trainer.train()
        runs.append(trainer)
    assert distance(before, weights(runs[0].model)) > 0.003
    for run in runs[1:]:
        assert distance(weights(run.model), weights(runs[0].model)) < 3e-6
        assert_logs_alike(run, runs[0], *NAMES, "grad_norm")


def test_labels_alone_train_as_trainer_does(tmp_path):
    """Where a batch is not cut both see one mean over tokens; predictions and labels are as for `Trainer`, too.

    Of a Llama: for GPT-2 `Trainer` divides by the number of all tokens, also the first, which nothing predicts.
    """
    rows, runs = make_texts(8), []
    for cls in (DistillationTrainer, Trainer):
        ours = make_args(tmp_path, alpha=0.0, max_steps=3)
        args = ours if cls is DistillationTrainer else TrainingArguments(**_stock(ours))
        student, seen = make_lm("llama", 1), []
        trainer = cls(
            student,
            args,
            train_dataset=rows,
            eval_dataset=rows,
            data_collator=collator(),
            compute_metrics=lambda prediction, seen=seen: seen.append(prediction) or {},
        )
        loss = trainer.evaluate()["eval_loss"]
        trainer.train()
        runs.append((weights(student), loss, seen[0]))
    assert distance(runs[0][0], runs[1][0]) < 1e-6
    assert runs[0][1] == pytest.approx(runs[1][1], rel=1e-5)
    assert (runs[0][2].label_ids == runs[1][2].label_ids).all()
    assert runs[0][2].predictions == pytest.approx(runs[1][2].predictions, rel=1e-4, abs=1e-5)


def _stock(args):
    names = ("output_dir", "per_device_train_batch_size", "max_steps", "optim", "learning_rate", "lr_scheduler_type")
    names += ("max_grad_norm", "save_strategy", "report_to", "disable_tqdm", "use_cpu", "seed")
    return {name: getattr(args, name) for name in names}


@pytest.mark.parametrize("family", HEADS)
def test_a_head_shifts_as_in_transformers(family):
    """The model's own loss is the judge: one label at one place, and whose logits does its loss read?"""
    head, shifts = HEADS[family]
    model = make_lm(family, 3, head)
    ids = torch.tensor([[5, 6, 7, 8]])
    labels = torch.tensor([[-100, -100, 1, -100]])
    output = model(input_ids=ids, labels=labels)
    logits = output.logits[0].double()
    read = [torch.isclose(-row.log_softmax(-1)[1], output.loss.double(), rtol=1e-4).item() for row in logits]
    assert read == ([False, True, False, False] if shifts else [False, False, True, False])
    assert predicts_next_token(model) is shifts


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_other_heads_on_tokens_stay_unshifted(tmp_path, family):
    head = HEADS[family][0]
    student, rows = make_lm(family, 1, head), make_texts(6)
    labels = [[index % 2 for index, _ in enumerate(ids)] for ids in rows["input_ids"]]
    rows = rows.add_column("labels", labels)
    losses = [
        torch.nn.functional.cross_entropy(
            student(input_ids=torch.tensor([row["input_ids"]])).logits[0], torch.tensor(row["labels"]), reduction="sum"
        )
        for row in rows
    ]
    expected = (sum(losses) / sum(map(len, labels))).item()
    collate = DataCollatorForTokenClassification(make_tokenizer())
    trainer = make_trainer(tmp_path, student, rows, collate=collate, alpha=0.0, max_steps=1)
    trainer.train()
    assert logs_of(trainer, "label_loss")[0][0] == pytest.approx(expected, rel=1e-4)


def test_terms_on_hidden_states_count_every_token(tmp_path):
    """They compare what two models make of a token, whichever comes next."""
    student, teacher = pair()
    rows = make_texts(8)
    trainer = make_trainer(tmp_path, student, rows, teacher, terms=["labels:1", "hidden_states:1"], max_steps=1)
    batch = next(iter(trainer.get_train_dataloader()))
    tokens = sum(map(len, rows["input_ids"]))
    assert trainer._count_items([batch], trainer.args.device).tolist() == [tokens - len(rows), tokens]
    trainer.train()


def test_a_teacher_by_name_is_a_language_model(tmp_path):
    student, teacher = pair()
    teacher.save_pretrained(tmp_path / "teacher")
    make_tokenizer().save_pretrained(tmp_path / "teacher")
    trainer = make_trainer(tmp_path, student, make_texts(4), str(tmp_path / "teacher"), max_steps=1)
    assert isinstance(trainer.teacher, LanguageModelTeacher)
    trainer.train()


def test_several_teachers_and_other_students_than_their_teachers(tmp_path):
    rows = make_texts(4)
    _, one, _ = naive_losses(make_lm("llama", 1), make_lm("gpt2", 2), rows)
    for teacher, expected in ((make_lm("gpt2", 2), one), ([make_lm("gpt2", 2), ModelTeacher(make_lm("gpt2", 2))], one)):
        for side in ("right", "left"):
            student = make_lm("llama", 1)
            trainer = make_trainer(tmp_path, student, rows, copy.deepcopy(teacher), collator(side), max_steps=1)
            trainer.train()
            assert logs_of(trainer, "soft_target_loss")[0][0] == pytest.approx(expected, rel=1e-4)


def test_language_models_are_compared_by_what_each_says_of_the_next_token(tmp_path, quick_report):
    """Perplexity and agreement of a naive reference; the report and the card of a run tell them."""
    rows, (student, teacher) = make_texts(8), pair()
    label_loss, _, agreement = naive_losses(student, teacher, rows)
    trainer = make_trainer(tmp_path, student, rows, teacher, max_steps=1, learning_rate=0.0)
    trainer.train()
    trainer.save_model()
    comparison = report_student(trainer, teacher, rows, dataset="texts")
    assert comparison.models["student"].metrics["perplexity"] == pytest.approx(math.exp(label_loss), rel=1e-4)
    assert comparison.models["student"].agreement == pytest.approx(agreement)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: text-generation" in card and "perplexity" in card and 'pipeline("text-generation"' in card
    assert pipeline("text-generation", str(tmp_path))("w1 w2", max_new_tokens=2)


def test_rows_without_labels_predict_and_do_not_train(tmp_path):
    student, teacher = pair()
    rows = make_texts(4)
    collate = lambda features: make_tokenizer().pad(features, return_tensors="pt")  # noqa: E731
    trainer = make_trainer(tmp_path, student, rows, teacher, collate, max_steps=1)
    assert trainer.predict(rows).predictions.shape[0] == 4
    with pytest.raises(ValueError, match="no labels.*DataCollatorForLanguageModeling"):
        trainer.train()


def test_what_is_refused(tmp_path):
    """A teacher of another kind of head, and predictions that were stored, would silently teach something else."""
    student, teacher = pair()
    with pytest.raises(ValueError, match="BertForMaskedLM does not predict the next token"):
        make_trainer(tmp_path, student, make_texts(4), make_lm("bert", 1, AutoModelForMaskedLM))
    with pytest.raises(ValueError, match="GPT2LMHeadModel, decides the next token of a text, and the student a token"):
        make_trainer(tmp_path, make_lm("bert", 1, AutoModelForMaskedLM), make_texts(4), teacher)
    with pytest.raises(ValueError, match="vocabulary of its own"):
        make_trainer(tmp_path, student, make_texts(4), ModelTeacher(teacher, make_tokenizer(), ["text"]))
    stored = make_texts(4).add_column("teacher_logits", [[0.0, 1.0]] * 4)
    with pytest.raises(ValueError, match="train_dataset carries teacher_logits.*not supported.*teacher=..."):
        make_trainer(tmp_path, student, stored, teacher)
    with pytest.raises(ValueError, match="GPT2LMHeadModel decides the next token.*DistillationTrainer"):
        soft_targets(teacher, Dataset.from_dict({"text": ["w1"]}), make_tokenizer(), text_columns=["text"])
    assert make_model().config.is_encoder_decoder is False and not predicts_next_token(make_model())


def test_a_decoder_whose_labels_come_shifted_is_warned_of(tmp_path, caplog, monkeypatch):
    """`BartForCausalLM` leaves the shift to whoever makes the labels, and would learn to repeat otherwise."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    make_trainer(tmp_path, make_lm("bart"), make_texts(4), alpha=0.0)
    assert "loss of a BartForCausalLM does not shift labels" in caplog.text


def test_a_cut_language_model_writes_as_its_teacher_does():
    teacher = make_lm()
    teacher.generation_config.update(max_new_tokens=5, pad_token_id=PAD)
    student = make_student(teacher, 2)
    ids = torch.tensor([[5, 6]])
    assert student.eval().generate(ids).tolist() == teacher.generate(ids).tolist()

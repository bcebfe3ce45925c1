"""Masked language models and bare encoders: the loss in chunks, packed rows, and terms on layers without logits."""

import math
import random

import pytest
import torch
from datasets import Dataset
from tiny import WORDS, assert_logs_alike, distance, logs_of, make_args, make_tokenizer, weights
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, Trainer, TrainingArguments

from hfdistill import DistillationTrainer, MaskedTextCollator, make_student, text_rows
from hfdistill.data.masking import packed_rows

FAMILIES = ("bert", "roberta", "distilbert", "modernbert", "electra", "albert")
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
NAMES = ("loss", "label_loss", "soft_target_loss")


def mask_tokenizer():
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"mask_token": WORDS[-1]})
    return tokenizer


def make_encoder(family="bert", seed=0, head=AutoModelForMaskedLM, **changes):
    torch.manual_seed(seed)
    dropouts = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")
    settings = {**SIZES, **dict.fromkeys(dropouts, 0.0), "embedding_size": 16, "pad_token_id": 0, **changes}
    if family == "distilbert":
        settings |= {"dim": 16, "n_layers": settings["num_hidden_layers"], "n_heads": 2, "hidden_dim": 24}
        for name in SIZES:
            settings.pop(name)
    model = head.from_config(
        AutoConfig.for_model(family, vocab_size=len(WORDS), max_position_embeddings=48, **settings)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


def texts(count=12, seed=1):
    rng = random.Random(seed)
    ids = [[2, *rng.choices(range(4, len(WORDS) - 1), k=rng.randint(4, 12)), 3] for _ in range(count)]
    return Dataset.from_dict({"input_ids": ids})


def masked(count=12):
    return texts(count).map(MaskedTextCollator(mask_tokenizer(), 0.3).masked)


def make_trainer(out, student, teacher=None, rows=None, pad_to=None, given=None, **changes):
    return DistillationTrainer(
        student,
        make_args(
            out, **{"temperature": 2.0, "num_train_epochs": 1, "train_sampling_strategy": "sequential", **changes}
        ),
        teacher=teacher,
        train_dataset=texts() if rows is None else rows,
        processing_class=mask_tokenizer(),
        data_collator=MaskedTextCollator(mask_tokenizer(), 0.3, pad_to_multiple_of=pad_to),
        **(given or {}),
    )


LINEAR = torch.nn.functional.linear  # in whose place there is another at times


class LogitsMade(TorchFunctionMode):
    """The most tokens of which a head made logits at once."""

    tokens = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if function is LINEAR and output.dim() == 3 and output.shape[-1] == len(WORDS):
            self.tokens = max(self.tokens, math.prod(output.shape[:-1]))
        return output


@pytest.mark.parametrize("family", FAMILIES)
def test_no_logits_of_a_whole_batch_are_held_and_the_step_is_the_same(tmp_path, family):
    runs, made = [], []
    for whole in (False, True):
        student, teacher = make_encoder(family, 1), make_encoder(family, 2, num_hidden_layers=3)
        trainer = make_trainer(tmp_path, student, teacher, terms=["labels:0.4", "soft_targets:0.6", "hidden_states:1"])
        trainer._projects_plainly = False if whole else None
        with LogitsMade() as seen:
            trainer.train()
        runs.append(trainer)
        made.append(seen.tokens)
    chunked, whole = runs
    assert chunked._projects_plainly is True
    assert 0 < made[0] <= 3 * 8 < made[1]  # the probes alone
    assert distance(weights(chunked.model), weights(whole.model)) < 3e-6
    assert_logs_alike(chunked, whole, *NAMES)


@torch.no_grad()
def naive_losses(student, teacher, rows, temperature=2.0):
    """Each text alone, each masked token alone."""
    hard, soft = [], []
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        one, other = (model.eval()(input_ids=ids).logits[0].double() for model in (student, teacher))
        for place, label in enumerate(row["labels"]):
            if label >= 0:
                p, q = (other[place] / temperature).softmax(0), (one[place] / temperature).softmax(0)
                hard.append(-one[place].log_softmax(0)[label].item())
                soft.append(temperature**2 * (p * (p / q).log()).sum().item())
    return sum(hard) / len(hard), sum(soft) / len(soft)


def test_the_loss_is_that_of_masked_tokens_alone_in_training_and_evaluation(tmp_path):
    student, teacher = make_encoder(seed=1), make_encoder(seed=2)
    rows = masked(8)
    hard, soft = naive_losses(student, teacher, rows)
    trainer = make_trainer(tmp_path, student, teacher, rows, given={"eval_dataset": rows}, max_steps=1, alpha=0.4)
    found = trainer.evaluate()
    assert [found["eval_label_loss"], found["eval_soft_target_loss"]] == pytest.approx([hard, soft], rel=1e-4)
    trainer.train()
    assert logs_of(trainer, *NAMES)[0] == pytest.approx([0.6 * hard + 0.4 * soft, hard, soft], rel=1e-4)


def test_labels_alone_train_as_trainer_does(tmp_path):
    rows, runs = masked(8), []
    for cls in (DistillationTrainer, Trainer):
        args = make_args(tmp_path, alpha=0.0, max_steps=2)
        if cls is Trainer:
            names = ("output_dir", "per_device_train_batch_size", "max_steps", "optim", "learning_rate", "use_cpu")
            names += ("lr_scheduler_type", "max_grad_norm", "save_strategy", "report_to", "disable_tqdm", "seed")
            args = TrainingArguments(**{name: getattr(args, name) for name in names})
        student = make_encoder(seed=1)
        cls(student, args, train_dataset=rows, data_collator=MaskedTextCollator(mask_tokenizer())).train()
        runs.append(weights(student))
    assert distance(*runs) < 1e-6


def test_masks_follow_from_text_seed_and_epoch():
    rows, tokenizer = list(texts(40)), mask_tokenizer()
    collator = MaskedTextCollator(tokenizer, 0.3)
    one, again = collator(rows), MaskedTextCollator(tokenizer, 0.3)(rows[::-1])
    assert torch.equal(one["input_ids"], again["input_ids"].flip(0))
    chosen = one["labels"] != -100
    assert not chosen[(one["attention_mask"] == 0)].any() and not chosen[:, 0].any()
    original = torch.nn.utils.rnn.pad_sequence([torch.tensor(row["input_ids"]) for row in rows], batch_first=True)
    assert torch.equal(one["labels"][chosen], original[chosen]) and torch.equal(
        one["input_ids"][~chosen], original[~chosen]
    )
    share = chosen.sum() / (one["attention_mask"].sum() - 2 * len(rows))
    assert 0.2 < share < 0.4
    assert 0.6 < (one["input_ids"][chosen] == tokenizer.mask_token_id).float().mean() < 0.95
    collator.set_epoch(1)
    assert not torch.equal(collator(rows)["labels"], one["labels"])
    labeled = [collator.masked(row) for row in rows]
    collator.set_epoch(2)
    assert torch.equal(collator(labeled)["labels"][0][: len(labeled[0]["labels"])], torch.tensor(labeled[0]["labels"]))


@pytest.mark.parametrize("pack", [False, True])
def test_a_resumed_run_on_a_stream_of_raw_texts_is_the_same(tmp_path, pack):
    """The stream begins anew, and what was read before is passed over; no text is learned from twice."""
    rng = random.Random(3)
    lines = [{"text": " ".join(rng.choices(WORDS[4:-1], k=rng.randint(3, 30)))} for _ in range(60)]

    def run(folder, resume=None, **changes):
        stream = Dataset.from_list(lines).to_iterable_dataset(num_shards=2)
        rows = text_rows(stream, mask_tokenizer(), max_length=24, pack=pack)
        trainer = make_trainer(folder, make_encoder(seed=1), make_encoder(seed=2), rows, max_steps=6, **changes)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run(tmp_path / "one", save_strategy="steps", save_steps=2)
    for step in (2, 4):
        resumed = run(tmp_path / "one", resume=str(tmp_path / "one" / f"checkpoint-{step}"))
        assert distance(weights(whole.model), weights(resumed.model)) < 1e-7
    assert distance(weights(whole.model), weights(make_encoder(seed=1))) > 1e-3


def test_with_no_share_nothing_is_masked_and_no_mask_token_is_needed():
    rows, tokenizer = list(texts(4)), make_tokenizer()
    with pytest.raises(ValueError, match="no mask token.*with --mlm_probability 0"):
        MaskedTextCollator(tokenizer)
    batch = MaskedTextCollator(tokenizer, 0)(rows)
    assert torch.equal(batch["input_ids"], tokenizer.pad(rows, return_tensors="pt")["input_ids"])
    assert (batch["labels"] == -100).all()


def test_a_stream_wants_to_know_how_many_steps_there_are(tmp_path):
    with pytest.raises(ValueError, match="a stream of rows does not say how long an epoch is: set max_steps"):
        make_trainer(tmp_path, make_encoder(seed=1), make_encoder(seed=2), texts().to_iterable_dataset())


def test_each_epoch_masks_anew_and_a_resumed_run_is_the_same(tmp_path):
    def run(folder, resume=None, **changes):
        trainer = make_trainer(
            folder, make_encoder(seed=1), make_encoder(seed=2), num_train_epochs=2, save_strategy="steps", save_steps=1,
            per_device_train_batch_size=4, **changes,
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run(tmp_path / "one")
    losses = logs_of(whole, "label_loss")
    assert losses[0] != losses[3]
    resumed = run(tmp_path / "one", resume=str(tmp_path / "one" / "checkpoint-4"))
    assert distance(weights(whole.model), weights(resumed.model)) < 1e-7


# ---- Rows of several texts ----


def pack(rows, length=40):
    return rows.map(packed_rows, batched=True, fn_kwargs={"max_length": length}, remove_columns=rows.column_names)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert"])
def test_a_text_in_a_packed_row_is_as_it_is_alone(tmp_path, family):
    """Loss and gradient are those of the texts one by one: none sees another, by attention, position or relation."""
    rows, runs = masked(12), []
    packed = pack(rows)
    assert len(packed) < len(rows) / 2
    terms = ["labels:1", "soft_targets:1", "hidden_states:1", "minilm:1", "attention_scores:0.1", "attentions:1"]
    for data in (rows, packed):
        student, teacher = make_encoder(family, 1), make_encoder(family, 2, num_hidden_layers=3)
        trainer = make_trainer(tmp_path, student, teacher, data, terms=terms, per_device_train_batch_size=len(data))
        trainer.train()
        runs.append(trainer)
    assert distance(weights(runs[0].model), weights(runs[1].model)) < 1e-5
    names = ("loss", "label_loss", "soft_target_loss", "minilm_loss", "attention_scores_loss", "grad_norm")
    assert_logs_alike(*runs, *names)


def test_packing_is_refused_where_texts_would_mix(tmp_path):
    rows = pack(masked(6))
    with pytest.raises(ValueError, match="student, a FNetForMaskedLM, does not keep the texts of a packed row apart"):
        make_trainer(tmp_path, make_encoder("fnet", 1), make_encoder("fnet", 2), rows).train()
    with pytest.raises(ValueError, match="patient would take each row for one"):
        make_trainer(tmp_path, make_encoder(seed=1), make_encoder(seed=2), rows, terms=["patient:1"]).train()


@pytest.mark.parametrize("head", [AutoModelForMaskedLM, AutoModel])
@pytest.mark.parametrize("packed", [False, True])
def test_a_step_is_the_same_however_it_is_cut_and_padded(tmp_path, head, packed):
    layers, runs = ["hidden_states:1", "minilm:1"], []
    rows = pack(texts(40), 24) if packed else texts(16)
    for size, width in ((8, None), (4, 32), (2, 48), (1, None)):
        trainer = make_trainer(
            tmp_path, make_encoder(seed=1, head=head), make_encoder(seed=2, head=head), rows, pad_to=width, max_steps=2,
            terms=layers if head is AutoModel else ["labels:1", "soft_targets:1", *layers],
            per_device_train_batch_size=size, gradient_accumulation_steps=8 // size,
        )  # fmt: skip
        trainer.train()
        runs.append(trainer)
    for run in runs[1:]:
        assert distance(weights(run.model), weights(runs[0].model)) < 1e-5
        assert_logs_alike(run, runs[0], "loss", "hidden_states_loss", "minilm_loss", "grad_norm")


# ---- Bare encoders ----


@pytest.mark.parametrize(
    "heads", [(AutoModel, AutoModel), (AutoModelForMaskedLM, AutoModel), (AutoModel, AutoModelForMaskedLM)]
)
def test_a_bare_encoder_learns_and_teaches_layers(tmp_path, heads):
    student, teacher = (make_encoder(seed=n, head=head) for n, head in enumerate(heads))
    before = weights(student)
    rows = texts(8)
    trainer = make_trainer(
        tmp_path, student, teacher, rows, terms=["minilm:1", "hidden_states:1", "embeddings:1"],
        given={"eval_dataset": rows}, num_train_epochs=2,
    )  # fmt: skip
    first = trainer.evaluate()
    trainer.train()
    last = trainer.evaluate()
    assert last["eval_minilm_loss"] < first["eval_minilm_loss"] and "eval_agreement" not in last
    after = weights(student)
    if heads[0] is AutoModel:
        untouched = {name for name in before if torch.equal(before[name], after[name]) and "key.bias" not in name}
        assert untouched == {"pooler.dense.weight", "pooler.dense.bias"}
    trainer.save_model(str(tmp_path / "saved"))
    again, _ = type(student).from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert distance(weights(again), after) == 0


def test_terms_on_logits_are_refused_beside_a_bare_encoder(tmp_path):
    bare, whole = make_encoder(head=AutoModel), make_encoder()
    for student, teacher, said in (
        (
            bare,
            make_encoder(seed=3),
            "the student, a BertModel, gives representations and no logits, which labels, sof",
        ),
        (whole, make_encoder(seed=3, head=AutoModel), "the teacher, a BertModel, gives .* which soft_targets would"),
    ):
        with pytest.raises(ValueError, match=said):
            make_trainer(tmp_path, student, teacher).train()


def test_a_text_without_masks_is_refused_in_words(tmp_path):
    collate = lambda rows: mask_tokenizer().pad(rows, return_tensors="pt")  # noqa: E731
    trainer = DistillationTrainer(
        make_encoder(seed=1),
        make_args(tmp_path),
        teacher=make_encoder(seed=2),
        train_dataset=texts(4),
        data_collator=collate,
    )
    with pytest.raises(ValueError, match="no labels, which a language model's texts are given by .*MaskedTextColl"):
        trainer.train()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_made_of_its_teacher_keeps_head_and_tie(family):
    teacher = make_encoder(family, 1)
    if family == "albert":
        with pytest.raises(ValueError, match="share"):
            make_student(teacher, 1)
        return
    ids = {"input_ids": torch.tensor([[2, 5, 6, 7, 3]])}
    same, small = make_student(teacher, 2), make_student(teacher, 1, hidden_size=8 if family == "bert" else None)
    assert torch.allclose(same.eval()(**ids).logits, teacher.eval()(**ids).logits, atol=1e-5)
    for student in (same, small):
        tied = student.config.tie_word_embeddings
        assert (student.get_output_embeddings().weight is student.get_input_embeddings().weight) == tied
        student(**ids).logits.sum().backward()
        assert all(one.grad is not None for one in student.get_output_embeddings().parameters())

"""A teacher reads what its rows have for it, live as stored, whatever its student reads of them."""

import random

import pytest
import torch
from datasets import Dataset
from tiny import WORDS, make_args, make_model, make_tokenizer, make_trainer, naive_soft_target_loss
from tiny_seq2seq import make_pairs, make_seq2seq, make_seq2seq_trainer, token_logits
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    DataCollatorWithPadding,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    LEDConfig,
    LEDForConditionalGeneration,
    LongformerConfig,
    LongformerForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMConfig,
    XLMForSequenceClassification,
)

from hfdistill import DistillationTrainer, OnlineTrainer, Peers, soft_targets
from hfdistill.models.inputs import pad_rows, token_inputs
from hfdistill.soft_targets.store import row_key
from hfdistill.teachers import EnsembleModel, EnsembleTeacher

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
SIZES |= {"vocab_size": len(WORDS), "num_labels": 3, "initializer_range": 0.4, "pad_token_id": 0}
COLUMNS = ("token_type_ids", "global_attention_mask", "position_ids", "langs")

TEACHERS = {
    "bert": lambda: make_model(2),
    "electra": lambda: ElectraForSequenceClassification(ElectraConfig(embedding_size=16, **SIZES)),
    "albert": lambda: AlbertForSequenceClassification(AlbertConfig(embedding_size=16, **SIZES)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(type_vocab_size=2, **SIZES)),
    "longformer": lambda: LongformerForSequenceClassification(
        LongformerConfig(attention_window=[4], type_vocab_size=2, max_position_embeddings=64, **SIZES)
    ),
    "xlm": lambda: XLMForSequenceClassification(
        XLMConfig(emb_dim=16, n_layers=1, n_heads=2, n_langs=2, vocab_size=len(WORDS), num_labels=3, pad_index=0)
    ),
}


def distilbert(seed=1):
    """A student that takes token ids and a mask, and no more."""
    torch.manual_seed(seed)
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24, "vocab_size": len(WORDS)}
    return DistilBertForSequenceClassification(
        DistilBertConfig(num_labels=3, initializer_range=0.4, dropout=0.0, attention_dropout=0.0, **sizes)
    ).eval()


def rows_with(columns, seed=0, count=8):
    """Rows of unequal length with these columns."""
    rng = random.Random(seed)
    ids = [[2, *rng.choices(range(4, len(WORDS)), k=rng.randint(2, 9)), 3] for _ in range(count)]
    made = {
        name: [[rng.randrange(2) for _ in row] for row in ids]
        if name != "position_ids"
        else [rng.sample(range(2, 2 + len(row)), len(row)) for row in ids]
        for name in columns
    }
    masks = [[1] * len(row) for row in ids]
    return Dataset.from_dict({"input_ids": ids, "attention_mask": masks, **made, "labels": [1] * count})


@torch.no_grad()
def one_by_one(model, rows):
    """The logits of each row, given to the model alone, without padding."""
    taken = token_inputs(model)
    return torch.cat(
        [model.eval()(**{name: torch.tensor([row[name]]) for name in row if name in taken}).logits for row in rows]
    )


def evaluated(tmp_path, rows, teacher, student=None):
    given = {"eval_dataset": rows}
    student = distilbert() if student is None else student
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, given=given, temperature=2.0)
    return trainer.evaluate()["eval_soft_target_loss"]


@pytest.mark.parametrize("family", TEACHERS)
@pytest.mark.parametrize("seed", range(2))
def test_live_and_stored_are_the_teachers_logits_of_whole_rows(tmp_path, family, seed):
    """A column that the student does not take was dropped for the teacher, too, and never stored."""
    torch.manual_seed(seed)
    columns = random.Random(f"{family} {seed}").sample(COLUMNS, 2 + seed)
    teacher, rows, student = TEACHERS[family]().eval(), rows_with(columns, seed), distilbert()
    expected = naive_soft_target_loss(one_by_one(student, rows), one_by_one(teacher, rows), temperature=2.0)
    stored = soft_targets(teacher, rows, make_tokenizer())
    assert evaluated(tmp_path, rows, teacher) == pytest.approx(expected, abs=1e-4)
    assert evaluated(tmp_path, stored, None) == pytest.approx(expected, abs=1e-4)


def test_a_column_changes_a_teachers_logits():
    for family, column in (("bert", "token_type_ids"), ("longformer", "global_attention_mask"), ("xlm", "langs")):
        torch.manual_seed(0)
        teacher, rows = TEACHERS[family]().eval(), rows_with([column])
        other = one_by_one(teacher, rows.remove_columns(column))
        assert (one_by_one(teacher, rows) - other).abs().max() > 1e-3, family


def test_each_member_of_an_ensemble_reads_its_own(tmp_path):
    rows = rows_with(["token_type_ids", "global_attention_mask"])
    members = [TEACHERS["bert"](), TEACHERS["longformer"](), distilbert(7)]
    student = distilbert()
    alone = torch.stack([one_by_one(member, rows).softmax(-1) for member in members])
    # At temperature 1 the mean of probabilities, as logits, is its logarithm.
    expected = naive_soft_target_loss(one_by_one(student, rows), alone.mean(0).log(), temperature=1.0)
    given = {"eval_dataset": rows}
    for teacher in (members, EnsembleTeacher(members), EnsembleModel(members)):
        trainer = make_trainer(tmp_path, student, rows, teacher=teacher, given=given, temperature=1.0)
        assert trainer.evaluate()["eval_soft_target_loss"] == pytest.approx(expected, abs=1e-4)
    trainer.train()


def test_training_reads_them_as_well(tmp_path):
    """Only what evaluation reads was tested above."""
    losses = []
    for stored in (False, True):
        torch.manual_seed(0)
        teacher, rows = TEACHERS["longformer"](), rows_with(["token_type_ids", "global_attention_mask"], count=16)
        rows, teacher = (soft_targets(teacher, rows, make_tokenizer()), None) if stored else (rows, teacher)
        trainer = make_trainer(tmp_path, distilbert(), rows, teacher=teacher)
        trainer.train()
        losses.append([log["soft_target_loss"] for log in trainer.state.log_history if "loss" in log])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_students_that_teach_one_another_read_their_own(tmp_path):
    """The first one's columns were those of all."""
    torch.manual_seed(0)
    rows, students = rows_with(["token_type_ids", "global_attention_mask"]), [distilbert(), TEACHERS["longformer"]()]
    expected = torch.stack([one_by_one(student, rows) for student in students])
    trainer = make_trainer(tmp_path, Peers(students), rows, cls=OnlineTrainer, given={"eval_dataset": rows})
    predictions = trainer.predict(rows).predictions
    torch.testing.assert_close(torch.tensor(predictions[1]), expected[1], atol=1e-4, rtol=1e-4)


def test_a_translating_teacher_reads_global_attention(tmp_path):
    rows, rng, student = make_pairs(8), random.Random(0), make_seq2seq("bart", 1).eval()
    marks = [[rng.randrange(2) for _ in ids] for ids in rows["input_ids"]]
    marked = rows.add_column("global_attention_mask", marks)
    sizes = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("attention_heads", "layers")}
    sizes |= {"max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64, "attention_window": 4}
    tokens = {name: getattr(student.config, name) for name in ("vocab_size", "pad_token_id", "decoder_start_token_id")}
    teacher = LEDForConditionalGeneration(LEDConfig(d_model=16, init_std=0.4, dropout=0.0, **sizes, **tokens)).eval()
    expected, count = 0.0, 0
    for row in marked:
        student_logits = token_logits(student, "bart", row)
        shifted = torch.tensor([[student.config.decoder_start_token_id, *row["labels"][:-1]]])
        read = {name: torch.tensor([row[name]]) for name in ("input_ids", "global_attention_mask")}
        with torch.no_grad():
            teacher_logits = teacher(**read, decoder_input_ids=shifted).logits[0]
        expected += naive_soft_target_loss(student_logits, teacher_logits, temperature=2.0) * len(student_logits)
        count += len(student_logits)
    losses = [
        make_seq2seq_trainer(tmp_path, student, data, teacher=teacher, given={"eval_dataset": data}).evaluate()
        for data in (marked, rows)
    ]
    assert losses[0]["eval_soft_target_loss"] == pytest.approx(expected / count, abs=1e-4)
    assert abs(losses[1]["eval_soft_target_loss"] - expected / count) > 1e-3


@pytest.mark.parametrize("side", ["right", "left"])
def test_columns_of_tokens_are_padded_beside_them(side):
    """The tokenizer's `pad` would fail on them, or leave them at the other side."""
    tokenizer = make_tokenizer()
    tokenizer.padding_side = side
    rows = [
        {"input_ids": [2, 5, 3], "global_attention_mask": [1, 0, 1], "bbox": [[1, 2], [3, 4], [5, 6]], "page": [1.5]},
        {"input_ids": [2], "global_attention_mask": [1], "bbox": [[7, 8]], "page": [2.5]},
        {"input_ids": [], "global_attention_mask": [], "bbox": [], "page": [3.5]},
    ]
    batch = pad_rows(tokenizer, rows)
    second = [1, 0, 0] if side == "right" else [0, 0, 1]
    assert batch["global_attention_mask"].tolist() == [[1, 0, 1], second, [0, 0, 0]]
    assert batch["bbox"][1].tolist() == ([[7, 8], [0, 0], [0, 0]] if side == "right" else [[0, 0], [0, 0], [7, 8]])
    assert batch["page"].tolist() == [[1.5], [2.5], [3.5]]
    assert batch["attention_mask"][1].tolist() == second


@pytest.mark.parametrize("values", [[[1], [1, 2, 3, 4, 5]], ["one", "two"]], ids=["ragged", "text"])
def test_a_column_that_cannot_be_padded_is_named(values):
    """torch's own error says to turn padding on."""
    rows = [{"input_ids": [2, 3], "boxes": values[0]}, {"input_ids": [2, 5, 3], "boxes": values[1]}]
    with pytest.raises(ValueError, match="the column boxes, which the model reads, cannot be padded.*data_collator"):
        pad_rows(make_tokenizer(), rows)


def test_a_collator_of_the_users_own_may_know_the_students_columns_only(tmp_path):
    """What it leaves out for the student, the teacher still reads; what it pads itself stays as it is."""

    def for_the_student(features):
        kept = [{name: row[name] for name in ("input_ids", "attention_mask", "labels")} for row in features]
        return DataCollatorWithPadding(make_tokenizer())(kept)

    torch.manual_seed(0)
    teacher, rows = TEACHERS["longformer"](), rows_with(["token_type_ids", "global_attention_mask"])
    expected = evaluated(tmp_path, rows, teacher)
    trainer = DistillationTrainer(
        distilbert(),
        make_args(tmp_path, temperature=2.0),
        teacher=teacher,
        eval_dataset=rows,
        processing_class=make_tokenizer(),
        data_collator=for_the_student,
    )
    assert trainer.evaluate()["eval_soft_target_loss"] == pytest.approx(expected, abs=1e-5)


def test_what_is_read_is_part_of_a_rows_key():
    """Rows that differ in a column only, or in the fractions of one, would get each other's soft targets."""
    keys = [
        row_key({"input_ids": [1, 2]}),
        row_key({"input_ids": [1, 2], "global_attention_mask": [0, 0]}),
        row_key({"input_ids": [1, 2], "global_attention_mask": [0, 1]}),
        row_key({"input_ids": [1, 2], "weights": [0.25, 0.5]}),
        row_key({"input_ids": [1, 2], "weights": [0.75, 0.5]}),
    ]
    assert len(set(keys)) == len(keys)

"""A teacher with a tokenizer of its own: its columns, from the dataset to the batch."""

import pickle

import numpy as np
import pytest
import torch
from datasets import DatasetDict, concatenate_datasets
from transformers import DataCollatorWithPadding

from hfdistill import DistillationTrainer, DistillationTrainingArguments, ModelTeacher, soft_targets
from hfdistill.teachers import StoredTeacher
from hfdistill.teachers.columns import TeacherCollator, add_teacher_columns

COLUMNS = ["teacher_input_ids", "teacher_token_type_ids"]


@pytest.fixture
def teacher(tiny_bert, other_tokenizer):
    """A teacher of another vocabulary than the student's, that reads the sentences itself."""
    return ModelTeacher(tiny_bert(vocab_size=80), other_tokenizer, ["sentence"])


@pytest.fixture
def tokenized(text_dataset, tokenizer):
    """The text dataset with the student's token ids."""
    return text_dataset.map(lambda rows: tokenizer(rows["sentence"]), batched=True)


def make_trainer(student, teacher, tokenizer, folder, train_dataset=None, **kwargs):
    args = DistillationTrainingArguments(
        str(folder), report_to=[], max_steps=2, save_strategy="no", disable_tqdm=True, use_cpu=True, logging_steps=1
    )
    return DistillationTrainer(
        student, args, teacher=teacher, train_dataset=train_dataset, processing_class=tokenizer, **kwargs
    )


def plain_logits(teacher, texts):
    return torch.stack(
        [teacher.model(**teacher.processing_class(text, return_tensors="pt")).logits[0] for text in texts]
    )


# ---- Making the columns ----


@pytest.mark.parametrize("form", [{}, {"type": "torch"}, {"type": "numpy", "columns": ["input_ids", "label"]}])
def test_the_teachers_tokens_stand_beside_the_students(teacher, tokenized, other_tokenizer, form):
    """The teacher would read the student's ids, which mean other words to it."""
    result = add_teacher_columns(tokenized.with_format(**form), teacher)
    assert set(result.column_names) == {*tokenized.column_names, *COLUMNS}
    assert set(COLUMNS) <= set(result[0])  # shown, whatever the format hides
    ids = other_tokenizer(list(tokenized["sentence"]))["input_ids"]
    assert [list(row) for row in result.with_format(None)["teacher_input_ids"]] == ids
    assert result.with_format(None)["input_ids"][:] == tokenized["input_ids"][:]


def test_every_split_gets_its_columns(teacher, tokenized):
    """An evaluation split without them would stop the run at its first evaluation."""
    result = add_teacher_columns(DatasetDict(a=tokenized, b=tokenized.select(range(3))), teacher)
    assert isinstance(result, DatasetDict)
    assert all(set(COLUMNS) <= set(split.column_names) for split in result.values())


@pytest.mark.parametrize("known", [True, False])
def test_a_stream_gets_its_columns_too(teacher, tokenized, known):
    """A stream that does not know its columns yet would be passed over."""
    stream = tokenized.to_iterable_dataset()
    stream = stream if known else stream.map(lambda row: row)
    row = next(iter(add_teacher_columns(stream, teacher)))
    assert set(row) == {*tokenized.column_names, *COLUMNS}


def test_others_are_left_alone(teacher, tokenized, tiny_bert, tokenizer):
    """Columns that nobody reads cost a pass over the data."""
    stored = soft_targets(tiny_bert(), tokenized, tokenizer)
    for dataset, anyone in [
        (tokenized, None),
        (tokenized, ModelTeacher(tiny_bert())),
        (stored, teacher),
        (None, teacher),
    ]:
        assert add_teacher_columns(dataset, anyone) is dataset
    rows = [{"input_ids": [1]}]
    assert add_teacher_columns(rows, teacher) is rows


def test_missing_text_is_named(teacher, tokenized):
    """Datasets usually lose their text in tokenization: a KeyError would not say what to keep."""
    with pytest.raises(ValueError, match="columns sentence, which the dataset lacks; it has label, input_ids"):
        add_teacher_columns(tokenized.remove_columns("sentence"), teacher)


def test_longer_texts_are_counted(tiny_bert, other_tokenizer, tokenized, caplog):
    """The teacher would judge half a text in silence."""
    teacher = ModelTeacher(tiny_bert(vocab_size=80, max_position_embeddings=20), other_tokenizer, ["sentence"])
    result = add_teacher_columns(tokenized, teacher)
    longer = sum(len(ids) > 20 for ids in other_tokenizer(list(tokenized["sentence"]))["input_ids"])
    assert 0 < longer < 30 and max(map(len, result["teacher_input_ids"])) == 20
    assert f"{longer} of 30 rows are longer than the teacher's 20 tokens" in caplog.text


def test_fingerprinting_does_not_touch_the_model(teacher, tokenized, monkeypatch):
    """`datasets.map` names its result by a pickle of its function: with the model in it, gigabytes for every split."""

    def hashed(*_):
        raise AssertionError("the model was pickled")

    monkeypatch.setattr(type(teacher.model), "__reduce_ex__", hashed)
    monkeypatch.setattr(torch.Tensor, "__reduce_ex__", hashed)
    first, again = (add_teacher_columns(tokenized, teacher) for _ in range(2))
    assert first._fingerprint == again._fingerprint  # and the second time it is found again


def test_a_misnamed_column_is_pointed_out(tokenized, caplog):
    """transformers' heads swallow unknown arguments: the soft targets would be ignored in silence."""
    add_teacher_columns(tokenized.add_column("teacher_logit", [0.0] * 30), None)
    assert "column teacher_logit is not read by the teacher; is teacher_logits meant?" in caplog.text
    caplog.clear()
    add_teacher_columns(tokenized.add_column("school", [0] * 30), None)
    assert not caplog.records


def test_rows_without_soft_targets_among_others_are_refused(tiny_bert, tokenizer, tokenized):
    """Put together from two parts, only one of them answered: the collator would fail in the middle of an epoch."""
    stored = soft_targets(tiny_bert(), tokenized.select(range(20)), tokenizer)
    mixed = concatenate_datasets([stored, tokenized.select(range(20, 30))])
    with pytest.raises(ValueError, match="row 20 and 9 more have no teacher_logits while others do"):
        add_teacher_columns(mixed, None)
    with pytest.raises(ValueError, match="row 0 and 9 more"):
        add_teacher_columns(mixed.select(range(29, -1, -1)), None)
    answered = mixed.filter(lambda row: row["teacher_logits"] is not None)
    assert add_teacher_columns(answered, None) is answered  # the others are filtered out


# ---- From the dataset to the batch ----


def test_each_is_padded_by_its_own_tokenizer(teacher, tokenized, tokenizer, other_tokenizer):
    """Padded with the student's id or length, the teacher reads words that are not there."""
    other_tokenizer.pad_token = "[MASK]"  # another id than the student's
    rows = add_teacher_columns(tokenized, teacher).remove_columns(["sentence", "label"]).select(range(4))
    batch = TeacherCollator(DataCollatorWithPadding(tokenizer), teacher)(list(rows))
    own = other_tokenizer(list(tokenized["sentence"][:4]), padding=True, return_tensors="pt")
    student = tokenizer(list(tokenized["sentence"][:4]), padding=True, return_tensors="pt")
    expected = {**student, **{f"teacher_{name}": tensor for name, tensor in own.items()}}
    assert set(batch) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(batch[name], tensor)
    assert batch["teacher_input_ids"].shape != batch["input_ids"].shape
    torch.testing.assert_close(teacher(batch).logits, plain_logits(teacher, tokenized["sentence"][:4]))


def test_stored_soft_targets_reach_the_batch(tokenizer):
    """Named as a teacher, `StoredTeacher` would take its column out of the rows and never put it back."""
    rows = [{"input_ids": [2, 3], "teacher_logits": [0.5, 1.5]}, {"input_ids": [2], "teacher_logits": [2.5, 3.5]}]
    batch = TeacherCollator(DataCollatorWithPadding(tokenizer), StoredTeacher())(rows)
    torch.testing.assert_close(StoredTeacher()(batch).logits, torch.tensor([[0.5, 1.5], [2.5, 3.5]]))


@pytest.mark.parametrize("stream", [False, True])
def test_a_live_teacher_of_another_vocabulary_teaches_as_its_soft_targets_do(
    teacher, tiny_bert, tokenizer, text_dataset, tokenized, tmp_path, stream
):
    """Its columns could be dropped as unused, given to the student, or padded into another text."""
    stored = soft_targets(teacher, tokenized)
    data = tokenized.to_iterable_dataset() if stream else tokenized
    logs = []
    for who, dataset in [(teacher, data), (None, stored.to_iterable_dataset() if stream else stored)]:
        trainer = make_trainer(tiny_bert(seed=1), who, tokenizer, tmp_path, dataset)
        trainer.train()
        logs.append([[log["soft_target_loss"], log["grad_norm"]] for log in trainer.state.log_history[:-1]])
    np.testing.assert_allclose(*logs, atol=1e-5)
    assert len(logs[0]) == 2 and logs[0][0][0] > 0.01


def test_a_dataset_given_at_evaluation_gets_its_columns(teacher, tiny_bert, tokenizer, tokenized, tmp_path):
    """`evaluate(dataset)` and `predict(dataset)` would run the teacher on columns that were never made."""
    trainer = make_trainer(tiny_bert(seed=1), teacher, tokenizer, tmp_path, eval_dataset=tokenized)
    expected = trainer.evaluate()["eval_soft_target_loss"]
    assert expected > 0.01
    assert trainer.evaluate(tokenized)["eval_soft_target_loss"] == pytest.approx(expected)
    assert trainer.evaluate({"own": tokenized})["eval_own_soft_target_loss"] == pytest.approx(expected)
    assert trainer.predict(tokenized).metrics["test_soft_target_loss"] == pytest.approx(expected)


def test_datasets_that_take_the_places_of_others_get_their_columns(tmp_path, teacher, tokenized, tiny_bert, tokenizer):
    """A trainer's rows may be replaced between two trainings; each set is tokenized once."""
    one, two = tokenized.select(range(8)), tokenized.select(range(8, 16))
    trainer = make_trainer(tiny_bert(), teacher, tokenizer, tmp_path, one, eval_dataset={"a": one})
    trainer.train_dataset = trainer.eval_dataset = two
    trainer.train()
    assert "eval_agreement" in trainer.evaluate()
    for dataset in (trainer.train_dataset, trainer.eval_dataset):
        assert set(COLUMNS) <= set(dataset.column_names) and dataset["sentence"][:] == two["sentence"][:]
    kept = trainer.eval_dataset
    trainer.evaluate()
    assert trainer.eval_dataset is kept


@pytest.mark.parametrize("several", [False, True])
def test_workers_get_what_pads_and_no_model(tmp_path, teacher, tokenized, tiny_bert, tokenizer, several):
    """On macOS and Windows workers get a pickle, and a teacher that has been run once holds what has none."""
    teachers = [teacher, ModelTeacher(tiny_bert(seed=2))] if several else teacher
    trainer = make_trainer(tiny_bert(seed=1), teachers, tokenizer, tmp_path, tokenized)
    trainer.train()
    rows = trainer.train_dataset.remove_columns("sentence").select(range(4)).to_list()
    sent = pickle.dumps(trainer.data_collator)
    assert b"modeling_bert" not in sent
    batch, expected = pickle.loads(sent)(rows), trainer.data_collator(rows)
    assert batch.keys() == expected.keys() and any(name.startswith("teacher_") for name in batch)
    assert all(torch.equal(batch[name], expected[name]) for name in batch)
    assert trainer.evaluate(tokenized)["eval_agreement"] >= 0  # the teacher itself can still be asked

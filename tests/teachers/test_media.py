"""A teacher that sees or hears, and a student that reads; or the other way round."""

import pickle

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image as Pictures
from tiny import logs_of, make_model, make_tokenizer, make_trainer
from tiny_media import hearer, make_media_rows, make_vit, seer
from transformers import ViTImageProcessorPil, default_data_collator

from hfdistill import DistillationTrainer, MediaTeacher, ModelTeacher, soft_targets
from hfdistill.teachers.columns import add_teacher_columns


@pytest.fixture
def rows():
    return make_media_rows()


@torch.no_grad()
def alone(teacher, one):
    """The reference: one picture or sound by itself, through nothing but the processor and the model."""
    if isinstance(one, Pictures.Image):
        return teacher.model.eval()(**teacher.processor([one.convert("RGB")], return_tensors="pt")).logits[0].numpy()
    made = teacher.processor([np.asarray(one)], sampling_rate=16000, return_tensors="pt")
    return teacher.model.eval()(**made).logits[0].numpy()


KINDS = pytest.mark.parametrize("make", [seer, hearer])


@KINDS
@pytest.mark.parametrize("stream", [False, True])
def test_each_row_gets_the_logits_of_its_own_media(make, rows, stream, tmp_path):
    teacher = make()
    rows = rows.select([*range(11), 4, 2])
    given = rows.to_iterable_dataset() if stream else rows
    found = [row["teacher_logits"] for row in soft_targets(teacher, given, batch_size=4, store=tmp_path / "kept")]
    expected = [alone(teacher, one) for one in rows[teacher.media_column]]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert len({tuple(np.round(one, 3)) for one in expected}) == 11


@KINDS
def test_stored_logits_are_not_recomputed(make, rows, tmp_path):
    """By what is in the picture: in another order, under another name, beside other columns."""
    teacher, forwarded = make(), []
    teacher.model.register_forward_pre_hook(
        lambda _, args, inputs: forwarded.append(len(next(iter(inputs.values())))), with_kwargs=True
    )
    first = soft_targets(teacher, rows.select(range(7)), store=tmp_path / "kept")
    again = soft_targets(teacher, rows.select(range(10, -1, -1)).remove_columns("labels"), store=tmp_path / "kept")
    assert sum(forwarded) == 11
    assert again["teacher_logits"][4:] == first["teacher_logits"][::-1]


def test_another_processor_is_another_teacher(rows, tmp_path):
    model, _ = make_vit()
    soft_targets(seer(), rows, store=tmp_path / "kept")
    other = MediaTeacher(model, ViTImageProcessorPil(size={"height": 8, "width": 8}, image_mean=[0.1] * 3), "picture")
    with pytest.raises(ValueError, match="differ in processor"):
        soft_targets(other, rows, store=tmp_path / "kept")


@KINDS
def test_live_and_stored_teach_the_same(make, rows, tmp_path):
    """The media go to the teacher, as its inputs, and never to the student."""
    losses = []
    for teacher, given in [(make(), rows), (None, soft_targets(make(), rows, store=tmp_path / "kept"))]:
        trainer = make_trainer(tmp_path, make_model(), given, teacher=teacher, alpha=0.7)
        trainer.train()
        losses.append(logs_of(trainer, "loss", "soft_target_loss", "label_loss"))
    np.testing.assert_allclose(*losses, atol=1e-4)
    assert np.ptp(losses[0]) > 0


def test_an_ensemble_of_three_senses(rows, tmp_path):
    reader = ModelTeacher(make_model(3), make_tokenizer())
    losses = []
    for teacher, given in [
        ([reader, seer(), hearer()], rows),
        (None, soft_targets([reader, seer(), hearer()], rows, store=tmp_path / "kept")),
    ]:
        trainer = make_trainer(tmp_path, make_model(), given, teacher=teacher)
        trainer.train()
        losses.append(logs_of(trainer, "soft_target_loss"))
    np.testing.assert_allclose(*losses, atol=1e-4)


def test_relations_between_examples_need_no_common_sense(rows, tmp_path):
    """What is compared token by token is refused."""
    terms = {"terms": ["labels", "rkd_distance"]}
    trainer = make_trainer(tmp_path, make_model(), rows, teacher=seer(), **terms)
    trainer.train()
    assert all(value > 0 for (value,) in logs_of(trainer, "rkd_distance_loss"))
    with pytest.raises(ValueError, match="minilm"):
        make_trainer(tmp_path, make_model(), rows, teacher=seer(), terms=["labels", "minilm"]).train()


def test_a_student_may_see_what_its_teacher_reads(rows, tmp_path):
    """A captioned picture: the teacher of captions teaches a classifier of pictures."""
    student, processor = make_vit()
    pixels = [processor([one.convert("RGB")])["pixel_values"][0] for one in rows["picture"]]
    given = Dataset.from_dict(
        {
            "pixel_values": [np.asarray(one).tolist() for one in pixels],
            "labels": rows["labels"][:],
            "text": [" ".join(f"w{id_ - 4}" for id_ in ids[1:-1]) for ids in rows["input_ids"]],
        }
    )
    losses = []
    for teacher, seen in [
        (ModelTeacher(make_model(3), make_tokenizer(), ["text"]), given),
        (None, soft_targets(make_model(3), given, make_tokenizer(), text_columns=["text"], store=tmp_path / "kept")),
    ]:
        args = make_trainer(tmp_path, make_model(), rows).args
        student, processor = make_vit()
        trainer = DistillationTrainer(
            student,
            args,
            teacher=teacher,
            train_dataset=seen,
            processing_class=processor,
            data_collator=default_data_collator,
        )
        trainer.train()
        losses.append(logs_of(trainer, "soft_target_loss"))
    np.testing.assert_allclose(*losses, atol=1e-4)


def test_a_missing_column_is_named(rows, tmp_path):
    with pytest.raises(ValueError, match=r"reads the columns picture, which the dataset lacks"):
        add_teacher_columns(rows.remove_columns("picture"), seer())
    with pytest.raises(ValueError, match=r"reads the columns sound, which the dataset lacks"):
        soft_targets(hearer(), rows.remove_columns("sound"), store=tmp_path / "kept")


def test_what_is_for_a_reader_is_refused(rows, tmp_path):
    """It would be passed over in silence, or load a classifier of texts."""
    with pytest.raises(ValueError, match="looks at its media_column"):
        soft_targets(seer(), rows, text_columns=["input_ids"], store=tmp_path / "kept")
    with pytest.raises(TypeError, match="load both parts"):
        MediaTeacher.from_pretrained("name")


def test_sound_that_is_not_decoded_is_refused():
    """What `datasets` gives of a column of `Audio`: a decoder, which is no array of samples."""

    class Decoder:
        def get_all_samples(self):
            raise AssertionError("at whatever rate the file has")

    with pytest.raises(ValueError, match="the column sound holds sound that is not decoded: map it to arrays first"):
        hearer().model_inputs([Decoder()])


def test_logits_that_are_not_finite_name_the_row(rows, tmp_path):
    teacher = seer()
    teacher.model.classifier.bias.data[0] = torch.nan
    with pytest.raises(ValueError, match=r"logits for row \d+ \(picture\) are not finite"):
        soft_targets(teacher, rows, store=tmp_path / "kept")


@KINDS
def test_half_precision(make, rows, tmp_path):
    """Pixels and samples are float32, which such a model does not take."""
    teacher = make("bfloat16")
    make_trainer(tmp_path, make_model(), rows, teacher=teacher).train()
    kept = soft_targets(teacher, rows, store=tmp_path / "kept")
    expected = [alone(make(), one) for one in rows[teacher.media_column]]
    np.testing.assert_allclose(kept["teacher_logits"][:], expected, atol=0.2)


@KINDS
def test_workers_make_its_inputs_without_it(make, rows, tmp_path):
    """Where workers are started afresh they get a pickle, and a model is large."""
    trainer = make_trainer(tmp_path, make_model(1), rows, teacher=make(), max_steps=1)
    trainer.train()
    features = list(trainer._remove_unused_columns(trainer.train_dataset.select(range(4))))
    sent = pickle.dumps(trainer.data_collator)
    batch, expected = pickle.loads(sent)(features), trainer.data_collator(features)
    assert len(sent) < 100_000
    assert batch.keys() == expected.keys()
    assert all(torch.equal(batch[name], expected[name]) for name in batch)

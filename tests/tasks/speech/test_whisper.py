"""A Whisper through the whole: told what to write, its distributions and transcripts kept, its student used."""

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from tiny import IN_ORDER, assert_logs_alike, distance, weights
from tiny_media import make_writer
from tiny_seq2seq import make_seq2seq_args
from transformers import pipeline

from hfdistill import (
    Seq2SeqDistillationTrainer,
    SpeechData,
    StaleSoftTargets,
    make_student,
    pseudo_transcripts,
    set_speech_task,
    token_soft_targets,
)
from hfdistill.soft_targets.packing import unpack_row
from hfdistill.tasks.speech.demo import RATE
from hfdistill.tasks.speech.whisper_demo import demo_whisper, demo_whisper_processor
from hfdistill.teachers.seq2seq import Seq2SeqTeacher, decoder_inputs

TEXTS = ("tea rat", "sea", "tin nose", "star rain", "rain", "sir tea rat", "ear", "oar ant")


@pytest.fixture(scope="module")
def processor():
    return demo_whisper_processor()


def make_whisper(processor, seed=1, decoder_layers=2):
    torch.manual_seed(seed)
    model = demo_whisper(32, 1, decoder_layers, processor)
    for name in ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop"):
        assert getattr(model.config, name) == 0.0
    return model.eval()


def spoken(texts=TEXTS, seconds=0.5, rate=16_000):
    rng = np.random.default_rng(1)
    cells = [{"array": rng.normal(size=int(seconds * rate)).astype("float32"), "sampling_rate": rate} for _ in texts]
    return DatasetDict(train=Dataset.from_dict({"audio": cells, "text": list(texts)}))


@pytest.fixture(scope="module")
def rows(processor):
    return SpeechData(spoken(), "audio").processed(processor)["train"].remove_columns("row").with_format(None)


def train(out, processor, rows, teacher=None, resume=None, **changes):
    student = make_whisper(processor, seed=2, decoder_layers=1)
    settings = {"per_device_train_batch_size": 4, "num_train_epochs": 2, **IN_ORDER, **changes}
    trainer = Seq2SeqDistillationTrainer(
        student, make_seq2seq_args(out, **settings), teacher=teacher, train_dataset=rows, processing_class=processor
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def begun(model, call):
    """What a model's decoder reads first in a call."""
    seen = []
    hook = model.get_decoder().register_forward_pre_hook(
        lambda _, args, given: seen.append(given["input_ids"]), with_kwargs=True
    )
    call()
    hook.remove()
    return next(ids[0].tolist() for ids in seen if ids.shape[1] > 1)


# ---- What it is told to write ----


@pytest.mark.parametrize(("language", "task"), [("en", "transcribe"), ("german", "translate")])
def test_labels_generation_and_the_student_begin_alike(tmp_path, processor, rows, language, task):
    """Speech translation is a token: forgotten on one side a student learns one task and does another."""
    teacher, processor = make_whisper(processor), demo_whisper_processor()
    set_speech_task(teacher, processor, language, task)
    wanted = processor.tokenizer.convert_tokens_to_ids(
        ["<|startoftranscript|>", {"en": "<|en|>", "german": "<|de|>"}[language], f"<|{task}|>", "<|notimestamps|>"]
    )
    labels = SpeechData(spoken(TEXTS[:2]), "audio").processed(processor)["train"]["labels"][0]
    student = make_student(teacher, num_decoder_layers=1)
    [read] = decoder_inputs(student, torch.as_tensor(labels)[None])
    assert read[:4].tolist() == wanted and labels[:3].tolist() == wanted[1:]
    sounds = torch.tensor(rows["input_features"][:2])
    for model in (teacher, student):
        assert begun(model, lambda model=model: model.generate(sounds)) == wanted
    for part in (student, processor):
        part.save_pretrained(tmp_path)
    writer = pipeline("automatic-speech-recognition", str(tmp_path))
    sound = {"raw": np.zeros(8000, "float32"), "sampling_rate": 16_000}
    assert begun(writer.model, lambda: writer(sound)) == wanted


def test_what_a_whisper_cannot_be_told_is_refused(processor, rows):
    teacher, processor = make_whisper(processor), demo_whisper_processor()
    for language, task, said in (
        (None, "transcribe", "no language None; name what is spoken: it knows en, zh, de"),
        ("klingon", "transcribe", "no language 'klingon'"),
        ("fr", "translate", "no language 'fr'"),
        ("de", "sing", "task must be transcribe or translate, got 'sing'"),
    ):
        with pytest.raises(ValueError, match=said):
            set_speech_task(teacher, processor, language, task)
        assert processor.tokenizer.language == "en"
    with pytest.raises(ValueError, match=r"begins to write .*<\|de\|>.* labels of its tokenizer begin .*<\|en\|>"):
        pseudo_transcripts(teacher, rows, processor, language="de")
    teacher.generation_config.language = None
    with pytest.raises(ValueError, match="as each recording's language wants .*set_speech_task"):
        pseudo_transcripts(teacher, rows, processor)
    teacher.generation_config.lang_to_id = None
    with pytest.raises(ValueError, match="this Whisper writes down English alone"):
        set_speech_task(teacher, processor, "en")
    with pytest.raises(ValueError, match="is not told what to write by tokens"):
        set_speech_task(make_writer(), processor, "en")


def test_labels_that_begin_otherwise_than_the_student_writes_are_warned_of(tmp_path, processor, rows, caplog):
    plain = rows.map(lambda row: {"labels": row["labels"][3:]})
    with caplog.at_level("WARNING", "hfdistill"):
        train(tmp_path, processor, plain, alpha=0.0, max_steps=1)
    assert "row 0 of train_dataset begin otherwise than the student begins to write" in caplog.text


def test_heads_that_tell_the_time_of_words_are_those_of_kept_layers(processor):
    teacher = make_whisper(processor, decoder_layers=4)
    teacher.generation_config.alignment_heads = [[1, 0], [3, 0]]
    student = make_student(teacher, num_decoder_layers=2, decoder_layers=[0, 3])
    assert student.generation_config.alignment_heads == [[1, 0]]
    assert not hasattr(make_student(teacher, decoder_layers=[0, 2]).generation_config, "alignment_heads")
    assert teacher.generation_config.alignment_heads == [[1, 0], [3, 0]]


# ---- Stored predictions ----


def test_stored_predictions_are_the_teachers(tmp_path, processor, rows):
    """Each token of each row its own distribution, kept in half precision and otherwise the same."""
    teacher, count = make_whisper(processor), len(processor.tokenizer)
    settings = {"k": count, "method": "top_k", "batch_size": 3, "store": tmp_path / "store"}
    stored = token_soft_targets(teacher, rows, processor, **settings)
    for row in stored:
        made, entries, _ = unpack_row(row["teacher_tokens"])
        dense = np.zeros((len(row["labels"]), made.classes))
        np.put_along_axis(dense, entries.ids.reshape(-1, made.k), entries.weights.reshape(-1, made.k), axis=1)
        labels, sound = (torch.tensor(row[name])[None] for name in ("labels", "input_features"))
        with torch.no_grad():
            logits = teacher(input_features=sound, decoder_input_ids=decoder_inputs(teacher, labels)).logits[0]
        expected = (logits[:, :count] / 2.0).log_softmax(-1).numpy()
        np.testing.assert_allclose(dense, expected, rtol=2**-10, atol=1e-5)
    forwarded = []
    teacher.register_forward_pre_hook(lambda *_: forwarded.append(1))
    again = token_soft_targets(teacher, rows.select([3, 1]), processor, **settings)
    assert not forwarded and again["teacher_tokens"][:] == [stored["teacher_tokens"][row] for row in (3, 1)]
    with pytest.raises(StaleSoftTargets):
        token_soft_targets(make_whisper(processor, 5), rows, processor, **settings)


def test_training_from_them_is_training_with_the_teacher_also_resumed(tmp_path, processor, rows):
    teacher = make_whisper(processor)
    kept = {"k": len(processor.tokenizer), "method": "top_k", "store": tmp_path / "store"}
    stored = token_soft_targets(teacher, rows, processor, **kept)
    live, run = train(tmp_path / "live", processor, rows, teacher), train(tmp_path / "stored", processor, stored)
    names = ("loss", "label_loss", "soft_target_loss", "grad_norm")
    assert_logs_alike(run, live, *names, rel=1e-3)
    assert distance(weights(run.model), weights(live.model)) < 1e-3
    assert distance(weights(make_whisper(processor, 2, 1)), weights(run.model)) > 0.01
    saved = {"save_strategy": "steps", "save_steps": 2}
    train(tmp_path / "killed", processor, stored, **saved, num_train_epochs=1)
    resumed = train(tmp_path / "killed", processor, stored, resume=True, **saved)
    assert distance(weights(resumed.model), weights(run.model)) < 1e-6


def test_a_whisper_by_its_name(tmp_path, processor, rows):
    teacher = make_whisper(processor)
    for part in (teacher, processor):
        part.save_pretrained(tmp_path / "teacher")
    assert type(Seq2SeqTeacher.from_pretrained(tmp_path / "teacher").model) is type(teacher)
    made = [token_soft_targets(one, rows, processor, k=4) for one in (teacher, str(tmp_path / "teacher"))]
    assert made[0]["teacher_tokens"][:] == made[1]["teacher_tokens"][:]


# ---- Its transcripts ----


def test_transcripts_are_made_once_and_begin_as_all_labels(tmp_path, processor, rows):
    teacher, store = make_whisper(processor), tmp_path / "store"
    forwarded = []
    teacher.get_encoder().register_forward_pre_hook(lambda _, args: forwarded.append(1))
    kept = pseudo_transcripts(teacher, rows, processor, max_wer=None, batch_size=3, store=store)
    ran = len(forwarded)
    again = pseudo_transcripts(teacher, rows.select([5, 2]), processor, max_wer=None, store=store)
    assert ran == 3 and len(forwarded) == ran
    assert again["labels"][:] == [kept["labels"][row] for row in (5, 2)]
    written = teacher.generate(torch.tensor(rows["input_features"][:]))
    texts = [text.strip() for text in processor.batch_decode(written, skip_special_tokens=True)]
    assert kept["labels"][:] == [processor.tokenizer(text).input_ids[1:] for text in texts]
    train(tmp_path / "out", processor, kept, teacher, max_steps=1)
    with pytest.raises(StaleSoftTargets, match="transcripts"):
        pseudo_transcripts(teacher, rows, processor, num_beams=2, store=store)


# ---- Bad inputs ----


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        ({"rate": RATE}, "row 0 of train: it has 4,000 samples a second and the model hears 16,000: resample it"),
        ({"seconds": 0.0}, "row 0 of train: the recording holds no samples: leave it out, or leave out all such rows"),
        ({"seconds": 1.5}, "row 0 of train: it is 1.5 seconds long and the model hears 1.*leave out all such rows"),
    ],
)
def test_recordings_that_it_cannot_hear_are_named(processor, sound, said):
    with pytest.raises(ValueError, match=said):
        SpeechData(spoken(**sound), "audio").processed(processor)


def test_target_texts_that_its_decoder_cannot_read_are_named(tmp_path, processor, rows):
    long, twice = rows["labels"][:], rows["labels"][:]
    long[2] = [5] * 30
    start = processor.tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    twice[1] = [start, *twice[1]]
    others, teacher = rows.remove_columns("labels"), make_whisper(processor)
    for labels, said in (
        (long, "labels of row 2 .*30 tokens, more than the 16 positions"),
        (twice, "row 1 begin with"),
    ):
        broken = others.add_column("labels", [list(row) for row in labels])
        with pytest.raises(ValueError, match=said):
            train(tmp_path, processor, broken, teacher)
        with pytest.raises(ValueError, match=said):
            token_soft_targets(teacher, broken, processor, store=tmp_path / "store")
    short = rows.map(lambda row: {"input_features": np.asarray(row["input_features"])[:, :30]})
    with pytest.raises(ValueError, match="expects the mel input features to be of length 50"):
        token_soft_targets(teacher, short, processor, store=tmp_path / "store")

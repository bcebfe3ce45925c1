"""Speech from recordings to transcripts: error rates, letters, reports side by side, and plain pipelines."""

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from tiny import distance, make_args, weights
from tiny_media import make_speaker, make_writer, make_writer_tokenizer, writer_rows
from tiny_seq2seq import make_seq2seq_args
from transformers import EvalPrediction, pipeline

from hfdistill import (
    DistillationTrainer,
    Seq2SeqDistillationTrainer,
    compare,
    pseudo_transcripts,
    soft_targets,
    speech_metrics,
)
from hfdistill.tasks.speech.data import SpeechData
from hfdistill.tasks.speech.demo import LETTERS, RATE, demo_speech, demo_speech_model, demo_speech_processor
from hfdistill.tasks.speech.metrics import edits, error_counts, error_rates

PAIRS = [("a tin rat", "a tin rat"), ("tin rats", "a tin rat"), ("", "sea"), ("a a a", "a")]


@pytest.mark.parametrize(("heard", "said", "count"), [("kitten", "sitting", 3), ("", "abc", 3), ("ab", "ba", 2)])
def test_edits_are_counted_as_by_hand(heard, said, count):
    assert edits(heard, said) == edits(said, heard) == count


def test_error_rates_add_up_over_rows():
    heard, said = zip(*PAIRS, strict=True)
    counts = error_counts(heard, said)
    assert counts[:, :2].tolist() == [[0, 3], [2, 3], [1, 1], [2, 1]]
    assert error_rates(counts.sum(0)) == {"word_accuracy": 1 - 5 / 8, "wer": 5 / 8, "cer": (0 + 3 + 3 + 4) / 22}


def test_error_rates_are_those_of_jiwer():
    jiwer = pytest.importorskip("jiwer")
    rng = np.random.default_rng(0)
    heard, said = (
        [" ".join(rng.choice(["tin", "rat", "sea"], size=rng.integers(1, 6))) for _ in range(30)] for _ in "ab"
    )
    found = error_rates(error_counts(heard, said).sum(0))
    assert found["wer"] == pytest.approx(jiwer.wer(said, heard))
    assert found["cer"] == pytest.approx(jiwer.cer(said, heard))


def spoken(texts=("tea rat", "sea", "tin nose", "star", "rain", "sir")):
    rng = np.random.default_rng(1)
    cells = [{"array": rng.normal(size=2400).astype("float32"), "sampling_rate": RATE} for _ in texts]
    rows = Dataset.from_dict({"audio": cells, "text": list(texts)})
    return SpeechData(DatasetDict(train=rows, validation=rows), "audio")


def test_transcripts_become_letters_whatever_their_case_and_come_back():
    processor = demo_speech_processor()
    rows = spoken(("TEA RAT", "sea")).processed(processor)["train"]
    assert processor.tokenizer.decode(rows[0]["labels"], group_tokens=False) == "tea rat"
    logits = np.full((1, 9, 11), -9.0)
    for frame, letter in enumerate(["t", "t", "<pad>", "t", "e", "|", "s", "s", "<pad>"]):
        logits[0, frame, processor.tokenizer.get_vocab()[letter]] = 9.0
    padded = np.concatenate([logits, np.full((1, 4, 11), -100.0)], axis=1)
    labels = np.array([[*processor.tokenizer("tte s").input_ids, -100]])
    assert speech_metrics(processor)(EvalPrediction(padded, labels))["wer"] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [("tea für", r"row 1 of train: its transcript 'tea für' has f ü"), (" ", "there is no transcript")],
)
def test_transcripts_in_other_letters_and_empty_ones_are_named(text, said):
    with pytest.raises(ValueError, match=said):
        spoken(("tea", text)).processed(demo_speech_processor())


def test_speech_from_recordings_to_a_report_and_a_pipeline(tmp_path):
    processor, data = demo_speech_processor(), spoken()
    rows = data.processed(processor)
    torch.manual_seed(0)
    teacher, student = demo_speech_model(16, 2, processor), demo_speech_model(8, 1, processor)
    stored = soft_targets(teacher, rows, store=tmp_path / "store")
    trainer = DistillationTrainer(
        student, make_args(tmp_path / "out", alpha=0.5, max_steps=3, learning_rate=1e-2),
        train_dataset=stored["train"], eval_dataset=stored["validation"], processing_class=processor,
        compute_metrics=speech_metrics(processor),
    )  # fmt: skip
    trainer.train()
    trainer.save_model()
    found = trainer.evaluate()
    comparison = compare(teacher, student, rows["validation"], processor, shown=data.shown(rows))
    assert comparison.models["student"].metrics["wer"] == pytest.approx(found["eval_wer"])
    assert comparison.models["student"].metrics["cer"] == pytest.approx(found["eval_cer"])
    heard = pipeline("automatic-speech-recognition", str(tmp_path / "out"))
    array = np.asarray(data.dataset["train"][0]["audio"]["array"], "float32")
    with torch.no_grad():
        made = student.eval()(torch.tensor(rows["train"][0]["input_values"])[None]).logits.argmax(-1)
    assert heard({"raw": array, "sampling_rate": RATE})["text"] == processor.batch_decode(made)[0]


def test_the_generated_recordings_spell_words_of_their_letters():
    rows = demo_speech()
    assert set("".join(rows["test"]["text"][:])) <= {*LETTERS, " "}
    assert rows["test"][3] == demo_speech()["test"][3]


@pytest.mark.parametrize(
    ("samples", "labels", "said"),
    [
        (60, [1, 1, 1, 1, 2, 2], "row 0 of train_dataset has 6 labels, which need 10 frames"),
        (60, [1, 0], "row 0 of train_dataset has the label 0, which is the blank and no letter"),
        (4, [1], "row 0 of train_dataset has 4 samples of sound, too few for one frame"),
    ],
)
def test_transcripts_that_no_student_can_learn_are_named(tmp_path, samples, labels, said):
    rows = Dataset.from_dict({"input_values": [[0.5] * samples, [0.5] * 90], "labels": [labels, [1]]})
    with pytest.raises(ValueError, match=said):
        DistillationTrainer(make_speaker(1), make_args(tmp_path), teacher=make_speaker(2), train_dataset=rows)


def train_writer(tmp_path, rows, student=None, **changes):
    trainer = Seq2SeqDistillationTrainer(
        student or make_writer(1), make_seq2seq_args(tmp_path, **changes), teacher=make_writer(2), train_dataset=rows,
        eval_dataset=rows, compute_metrics=speech_metrics(make_writer_tokenizer()),
    )  # fmt: skip
    trainer.train()
    return trainer


def test_a_whisper_learns_each_token_of_its_teacher_and_its_layers_however_a_batch_is_cut(tmp_path):
    rows, terms = writer_rows(), ["labels", "soft_targets", "encoder_hidden_states", "decoder_minilm"]
    whole = train_writer(tmp_path, rows, num_train_epochs=1, terms=terms)
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "num_train_epochs": 1}
    other = train_writer(tmp_path, rows, terms=terms, **cut)
    assert distance(weights(whole.model), weights(other.model)) < 1e-5
    assert distance(weights(whole.model), weights(train_writer(tmp_path, rows, num_train_epochs=1).model)) > 1e-4


def test_a_whisper_is_evaluated_by_what_it_writes_and_compared(tmp_path):
    rows, tokenizer = writer_rows(), make_writer_tokenizer()
    trainer = train_writer(tmp_path, rows, max_steps=1, predict_with_generate=True)
    found = trainer.evaluate(max_length=8)
    trainer.model.generation_config.max_length = 8
    teacher = make_writer(2)
    teacher.generation_config.max_length = 8
    comparison = compare(teacher, trainer.model, rows, tokenizer)
    assert comparison.models["student"].metrics["wer"] == pytest.approx(found["eval_wer"])
    assert comparison.models["teacher"].metrics.keys() == {"word_accuracy", "wer", "cer"}


def test_the_teacher_writes_the_labels_where_people_agree_with_it(capsys):
    rows, teacher, tokenizer = writer_rows(), make_writer(2), make_writer_tokenizer()
    with torch.no_grad():
        made = teacher.eval().generate(torch.tensor(rows["input_features"][:]), max_length=8)
    written = [text.strip() for text in tokenizer.batch_decode(made, skip_special_tokens=True)]
    labels = [tokenizer(text).input_ids if row < 5 else [4, 2] for row, text in enumerate(written)]
    mixed = rows.remove_columns("labels").add_column("labels", labels)
    kept = pseudo_transcripts(teacher, mixed, tokenizer, max_length=8, batch_size=5)
    assert kept["labels"][:] == labels[:5] and "7 of 12 rows are left out" in capsys.readouterr().out
    everything = pseudo_transcripts(teacher, rows.remove_columns("labels"), tokenizer, max_length=8)
    assert everything["labels"][:] == [tokenizer(text).input_ids for text in written]


def test_what_a_listener_cannot_do_is_refused():
    with pytest.raises(ValueError, match="Wav2Vec2ForCTC writes no texts"):
        pseudo_transcripts(make_speaker(), writer_rows(), make_writer_tokenizer())
    with pytest.raises(ValueError, match="the teacher reads input_values, which the rows lack"):
        compare(make_speaker(), make_speaker(), writer_rows(), demo_speech_processor())

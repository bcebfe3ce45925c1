"""Pictures and recordings from folders and tables to rows, a report with thumbnails, and plain pipelines."""

import numpy as np
import pytest
import torch
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Image
from PIL import Image as Pictures
from tiny import make_args
from tiny_media import SIZES, make_listener, make_vit
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    ResNetConfig,
    ResNetForImageClassification,
    pipeline,
)

from hfdistill import DistillationTrainer, MediaTeacher, compare, media_data, soft_targets
from hfdistill.report.page import report_page
from hfdistill.tasks.media.data import MediaData
from hfdistill.tasks.media.demo import demo_pictures, demo_sounds

NAMES = ["cat", "dog", "eel"]


def write_pictures(folder, count=9, broken=None):
    rng = np.random.default_rng(1)
    for row in range(count):
        path = folder / NAMES[row % 3] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pictures.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(path)
        if row == broken:
            path.write_bytes(path.read_bytes()[:40])
    return str(folder)


def test_a_folder_of_pictures_is_read_with_its_subfolders_as_classes(tmp_path):
    data = media_data(write_pictures(tmp_path / "train", 20), test_file=write_pictures(tmp_path / "test"))
    rows = data.processed(make_vit()[1])
    assert data.label_names == NAMES and {name: len(one) for name, one in rows.items()} == {
        "train": 18, "validation": 2, "test": 9,
    }  # fmt: skip
    assert rows["train"][0]["pixel_values"].shape == (3, 8, 8)
    assert [NAMES[label] for label in rows["test"]["labels"]] == sorted(NAMES * 3)


def test_a_picture_that_cannot_be_read_is_named_or_left_out_and_counted(tmp_path, capsys):
    path = write_pictures(tmp_path / "train", 20, broken=4)
    with pytest.raises(
        ValueError, match=r"row \d+ of train \(.*4\.png\): the picture cannot be read .*skip_unreadable"
    ):
        media_data(path, path).processed(make_vit()[1])
    rows = media_data(path, path, skip_unreadable=True).processed(make_vit()[1])
    assert len(rows["train"]) == len(set(rows["train"]["row"][:].tolist())) == 19
    assert "1 of 20 rows of train cannot be read and are left out" in capsys.readouterr().out


def test_columns_of_the_hub_are_read_undecoded(tmp_path):
    files = sorted((tmp_path / "pictures").glob("*/*")) if write_pictures(tmp_path / "pictures") else []
    dataset = Dataset.from_dict({"image": list(map(str, files)), "label": [0, 1, 2] * 3}).cast_column("image", Image())
    dataset = dataset.cast_column("label", ClassLabel(names=NAMES))
    rows = MediaData(DatasetDict(train=dataset), "pictures", "image").processed(make_vit()[1])
    assert rows["train"]["pixel_values"][:].shape == (9, 3, 8, 8)


def sounds(length=90, **changes):
    cells = [
        {"array": np.sin(np.arange(length) / (3 + row)).astype("float32"), "sampling_rate": 16000} for row in range(6)
    ]
    cells[2].update(changes)
    dataset = Dataset.from_dict({"audio": cells, "label": [0, 1, 2] * 2}).cast_column("label", ClassLabel(names=NAMES))
    return DatasetDict(train=dataset, validation=dataset)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sampling_rate": 8000}, "row 2 of train: it has 8,000 samples a second and the model hears 16,000: resample"),
        ({"array": np.zeros(0, "float32")}, "row 2 of train: the recording holds no samples"),
        ({"array": np.full(90, np.nan, "float32")}, "row 2 of train: .* no finite numbers"),
    ],
)
def test_recordings_that_a_model_cannot_hear_are_named(changes, said):
    data = MediaData(sounds(**changes), "sounds", "audio")
    with pytest.raises(ValueError, match=said):
        data.processed(make_listener()[1])


def test_recordings_are_resampled_where_that_is_asked_for():
    data = MediaData(sounds(sampling_rate=8000), "sounds", "audio", resample=True)
    rows = data.processed(make_listener()[1])["train"]
    assert [len(row) for row in rows["input_values"]] == [90, 90, 180, 90, 90, 90]


def test_a_recording_longer_than_the_model_hears_is_not_cut_in_silence():
    extractor = ASTFeatureExtractor(max_length=40, num_mel_bins=16)
    long = sounds(2000, array=np.ones(16000, "float32"))
    with pytest.raises(ValueError, match="row 0 of train: its 90 samples are too few"):
        MediaData(sounds(), "sounds", "audio").processed(extractor)
    with pytest.raises(ValueError, match=r"row 2 of train: it is 1.0 seconds long and the model hears 0.4: cut it"):
        MediaData(long, "sounds", "audio").processed(extractor)
    rows = MediaData(long, "sounds", "audio", cut_seconds=0.4).processed(extractor)["train"]
    assert rows["input_values"][:].shape == (6, 40, 16)
    model = ASTForAudioClassification(
        ASTConfig(**SIZES, max_length=40, num_mel_bins=16, patch_size=4, time_stride=4, frequency_stride=4)
    )
    assert model(torch.tensor(rows["input_values"][:2])).logits.shape == (2, 2)


def test_files_of_sound_are_read(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    for row in range(12):
        soundfile.write(tmp_path / f"{row}.wav", np.random.default_rng(row).uniform(-1, 1, (120, 2)), 16000)
    table = "file,label\n" + "".join(f"{row}.wav,{NAMES[row % 3]}\n" for row in range(12))
    (tmp_path / "rows.csv").write_text(table)
    data = media_data(str(tmp_path / "rows.csv"), kind="sounds")
    assert all(len(row) == 120 for row in data.processed(make_listener()[1])["train"]["input_values"])
    (tmp_path / "3.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"3\.wav\): the recording cannot be read"):
        data.processed(make_listener()[1])
    columns = data.dataset["train"].rename_column("file", "audio").cast_column("audio", Audio())
    assert MediaData(DatasetDict(train=columns), "sounds", "audio", skip_unreadable=True).processed(make_listener()[1])


def test_labels_take_the_order_of_the_teacher_and_others_are_refused(tmp_path):
    vit, processor = make_vit()
    vit.config.id2label = dict(enumerate(["dog", "cat", "eel"]))
    for part in (vit, processor):
        part.save_pretrained(tmp_path / "teacher")
    path = write_pictures(tmp_path / "train")
    assert media_data(path, path, teacher=str(tmp_path / "teacher")).label_names == ["dog", "cat", "eel"]
    vit.config.id2label = dict(enumerate(["dog", "cat", "owl"]))
    vit.save_pretrained(tmp_path / "teacher")
    with pytest.raises(ValueError, match="label 'eel', which is none of dog, cat, owl"):
        media_data(path, path, teacher=str(tmp_path / "teacher"))


def train(tmp_path, student, teacher, processor, rows):
    trainer = DistillationTrainer(
        student, make_args(tmp_path, alpha=0.5, max_steps=2), teacher=teacher, train_dataset=rows["train"],
        eval_dataset=rows["validation"], processing_class=processor,
    )  # fmt: skip
    trainer.train()
    trainer.save_model()
    return trainer


def test_pictures_from_a_folder_to_a_report_and_a_pipeline(tmp_path):
    teacher, processor = make_vit(1)
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    names = {"id2label": dict(enumerate(NAMES)), "label2id": {name: number for number, name in enumerate(NAMES)}}
    student = ResNetForImageClassification(ResNetConfig(**sizes, **names))
    teacher.config.update(names)
    path = write_pictures(tmp_path / "train", 24)
    data = media_data(path, path)
    rows = data.processed(processor)
    train(tmp_path / "out", student, teacher, processor, rows)
    comparison = compare(teacher, student, rows["validation"], shown=data.shown(rows), split="validation")
    with torch.no_grad():
        made = student.eval()(torch.tensor(rows["validation"]["pixel_values"][:])).logits.argmax(-1)
    right = (made.numpy() == rows["validation"]["labels"][:]).mean()
    assert comparison.models["student"].metrics["accuracy"] == pytest.approx(right)
    assert comparison.disagreements[0].text.endswith(".png")
    assert 'class="thumbnail"' in report_page(comparison, {})
    said = pipeline("image-classification", str(tmp_path / "out"))(str(tmp_path / "train" / "cat" / "0.png"))
    assert {one["label"] for one in said} == set(NAMES)


def test_a_teacher_that_looks_at_the_pictures_themselves_says_the_same_live_and_stored(tmp_path):
    (teacher, processor), (student, _) = make_vit(1), make_vit(2)
    data = media_data(*[write_pictures(tmp_path / "train", 12)] * 2)
    files = data.dataset["validation"]
    rows = data.processed(processor)["validation"]
    rows = rows.with_format(None).add_column("file", files["file"][:]).cast_column("file", Image())
    looking = MediaTeacher(teacher, processor, "file")
    stored = soft_targets(looking, rows, store=tmp_path / "store").remove_columns("file")
    found = [
        DistillationTrainer(
            student, make_args(tmp_path), teacher=teaches, train_dataset=given, eval_dataset=given
        ).evaluate()["eval_soft_target_loss"]
        for teaches, given in ((looking, rows), (teacher, rows), (None, stored))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5) and found[0] == pytest.approx(found[2], rel=1e-5)


def test_sounds_from_arrays_to_a_report_and_a_pipeline(tmp_path):
    teacher, extractor = make_listener(1)
    student, _ = make_listener(2)
    for model in (teacher, student):
        model.config.update({"id2label": dict(enumerate(NAMES))})
    data = MediaData(sounds(), "sounds", "audio")
    rows = data.processed(extractor)
    train(tmp_path / "out", student, teacher, extractor, rows)
    comparison = compare(teacher, student, rows["validation"], shown=data.shown(rows))
    assert set(comparison.models["student"].metrics) == {"accuracy", "f1_macro"}
    said = pipeline("audio-classification", str(tmp_path / "out"))(
        np.asarray(data.dataset["train"][0]["audio"]["array"])
    )
    assert {one["label"] for one in said} <= set(NAMES)


def test_the_generated_sets_are_the_same_each_time_and_their_training_labels_are_not_all_right():
    one, other = demo_sounds(), demo_sounds()
    assert one["test"][3] == other["test"][3] and one["test"][3] != one["test"][4]
    assert len(set(demo_pictures()["train"]["label"])) == 8

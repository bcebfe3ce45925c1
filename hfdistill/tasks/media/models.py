"""Teachers and students that see or hear: loaded by name, cut from one another, or the demo's."""

from __future__ import annotations

from typing import Any

from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    PreTrainedModel,
    set_seed,
)

from hfdistill.models.adapters import load_model, load_processor
from hfdistill.models.labels import name_classes
from hfdistill.report.terminal import print_main
from hfdistill.students.factory import make_student
from hfdistill.tasks.media.data import PICTURES, MediaData
from hfdistill.tasks.media.demo import demo_picture_model, demo_sound_model
from hfdistill.tasks.models import default_depth

_CLASSES: dict[bool, tuple[Any, Any]] = {
    True: (AutoModelForImageClassification, AutoImageProcessor),
    False: (AutoModelForAudioClassification, AutoFeatureExtractor),
}
#: Width and depth of the demo's teacher and student.
_DEMO = {True: ((20, 1), (8, 1)), False: ((64, 2), (32, 1))}


def load_media_teacher(name: str, data: MediaData, train: bool = False, seed: int = 42) -> tuple[PreTrainedModel, Any]:
    """A teacher and its image processor or feature extractor.

    Args:
        name: Name or path of a classifier; for the demo's data a small untrained one is made, whatever it is.
        data: What it is to predict for.
        train: Whether it will be fine-tuned on the labels: it gets a new head where its own does not fit.
        seed: Of what is initialized.

    Raises:
        HubUnreachableError, OSError: when it cannot be had.
        ValueError: when it is one for other labels, or an adapter that does not fit.
    """
    set_seed(seed)
    teacher, processor = _demo(data, 0) if data.demo else _load(name, data, train)
    if teacher.config.num_labels != len(data.label_names):
        raise ValueError(
            f"{name} predicts {teacher.config.num_labels} labels and the {data.kind} have {len(data.label_names)}: "
            "take a teacher of these labels, or fine-tune it on them first with --train_teacher true."
        )
    name_classes(teacher.config, data.label_names)
    rows = len(data.dataset["train"])
    print_main(f"{rows:,} {data.kind} to train on; the teacher has {teacher.num_parameters():,} parameters.")
    return teacher, processor


def load_media_student(
    teacher: PreTrainedModel, data: MediaData, name: str | None = None, *, seed: int = 42, **shape: Any
) -> PreTrainedModel:
    """The untrained student, which reads what the teacher's processor makes.

    Args:
        teacher: Its labels are the student's.
        data: For the demo's data, and without a name or a shape, the student is a small model of random weights.
        name: A small model to start from, with a new head where its own does not fit.
        seed: Of what is initialized.
        **shape: As in `make_student`, such as `num_hidden_layers` (default: half of the teacher's).
    """
    set_seed(seed)
    given = {key: value for key, value in shape.items() if value is not None}
    if name is not None:
        return _load(name, data, True)[0]
    if data.demo and not given:
        return _demo(data, 1)[0]
    return make_student(teacher, **{"num_hidden_layers": default_depth(teacher), **given})


def _demo(data: MediaData, place: int) -> tuple[PreTrainedModel, Any]:
    pictures = data.kind == PICTURES
    make = demo_picture_model if pictures else demo_sound_model
    return make(*_DEMO[pictures][place])


def _load(name: str, data: MediaData, new_head: bool) -> tuple[PreTrainedModel, Any]:
    model_class, processor_class = _CLASSES[data.kind == PICTURES]
    names = dict(enumerate(data.label_names))
    head: dict[str, Any] = (
        {"id2label": names, "label2id": {label: number for number, label in names.items()}} if new_head else {}
    )
    model = load_model(model_class, name, ignore_mismatched_sizes=new_head, **head)
    return model, load_processor(processor_class, name)

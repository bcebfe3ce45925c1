"""Teachers and students that write down speech: loaded by name, cut from one another, or the demo's."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoProcessor, PreTrainedModel, set_seed

from hfdistill.models.adapters import load_model, load_processor
from hfdistill.models.speech_prompts import set_speech_task
from hfdistill.report.terminal import print_main
from hfdistill.students.factory import make_student
from hfdistill.tasks.models import default_depth
from hfdistill.tasks.speech.data import SpeechData
from hfdistill.tasks.speech.demo import demo_speech_model, demo_speech_processor
from hfdistill.tasks.speech.whisper_demo import demo_whisper, demo_whisper_processor

#: Width and depth of the demo's teacher and student.
_DEMO = (48, 2), (24, 1)
#: Width of the demo's Whisper, and the layers of its encoder and decoder.
_DEMO_WHISPER = (64, 2, 4)


def load_speech_teacher(name: str, data: SpeechData, seed: int = 42) -> tuple[PreTrainedModel, Any]:
    """A teacher that writes letter by letter (CTC), and its processor.

    Args:
        name: Its name or path; for the demo's data a small untrained one is made, whatever it is.
        data: What it is to write down.
        seed: Of what is initialized.

    Raises:
        HubUnreachableError, OSError: when it cannot be had.
        ValueError: when its processor has no tokenizer, so that nobody knows its letters.
    """
    set_seed(seed)
    if data.demo:
        processor: Any = demo_speech_processor()
        teacher: Any = demo_speech_model(*_DEMO[0], processor)
    else:
        teacher, processor = _loaded(AutoModelForCTC, name)
        if not hasattr(processor, "tokenizer"):
            raise ValueError(f"{name} comes without a tokenizer, so that nobody knows its letters: save one beside it.")
    _tell(teacher, data)
    return teacher, processor


def load_whisper(
    name: str, data: SpeechData, *, language: str | None = None, task: str = "transcribe", seed: int = 42
) -> tuple[PreTrainedModel, Any]:
    """A Whisper as the teacher, and its processor, both set to what it is to write.

    Args:
        name: Its name or path; for the demo's data a small untrained one is made, whatever it is.
        data: What it is to write down.
        language: What is spoken, as for `set_speech_task`; of one that knows English alone it is left out.
        task: `transcribe`, or `translate` into English.
        seed: Of what is initialized.

    Raises:
        HubUnreachableError, OSError: when it cannot be had.
        ValueError: when it is no Whisper, or does not know the language, or one of many languages is not told it.
    """
    set_seed(seed)
    if data.demo:
        processor: Any = demo_whisper_processor()
        teacher: Any = demo_whisper(*_DEMO_WHISPER, processor)
    else:
        teacher, processor = _loaded(AutoModelForSpeechSeq2Seq, name)
        if language is not None or getattr(teacher.generation_config, "lang_to_id", None):
            set_speech_task(teacher, processor, language, task)
    _tell(teacher, data)
    return teacher, processor


def _loaded(auto_class: Any, name: str) -> tuple[Any, Any]:
    return load_model(auto_class, name), load_processor(AutoProcessor, name)


def _tell(teacher: PreTrainedModel, data: SpeechData) -> None:
    rows = len(data.dataset["train"])
    print_main(f"{rows:,} recordings to train on; the teacher has {teacher.num_parameters():,} parameters.")


def load_speech_student(
    teacher: PreTrainedModel, processor: Any, data: SpeechData, name: str | None = None, *, seed: int = 42, **shape: Any
) -> PreTrainedModel:
    """The untrained student, which hears and writes as the teacher does.

    Args:
        teacher: The teacher.
        processor: Its processor.
        data: For the demo's data, and without a name or a shape, the student is a small model of random weights.
        name: A small model to start from, with a new head for the teacher's letters.
        seed: Of what is initialized.
        **shape: As in `make_student`, such as `num_hidden_layers` (default: half of the teacher's).
    """
    set_seed(seed)
    given = {key: value for key, value in shape.items() if value is not None}
    if name is not None:
        letters = {key: getattr(teacher.config, key) for key in ("vocab_size", "pad_token_id")}
        return load_model(AutoModelForCTC, name, ignore_mismatched_sizes=True, **letters)
    if data.demo and not given:
        return demo_speech_model(*_DEMO[1], processor)
    return make_student(teacher, **{"num_hidden_layers": default_depth(teacher), **given})

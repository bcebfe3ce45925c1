"""Language models and entailment models as the teachers of a run, asked for the labels of its texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hfdistill.models.labels import NO_LABEL, some_names
from hfdistill.tasks.classification.data import TextClassificationData
from hfdistill.tasks.models import print_sizes
from hfdistill.teachers.model import ModelTeacher
from hfdistill.teachers.prompted.entailment import EntailmentTeacher
from hfdistill.teachers.prompted.teacher import PromptTeacher
from hfdistill.teachers.prompted.verbalizer import words_by_name

#: The most labeled rows that a calibration is fitted to: it has a scale and a bias for each label to find.
CALIBRATED_ON = 256


def load_prompted_teachers(
    names: Sequence[str],
    data: TextClassificationData,
    *,
    template: str | None = None,
    verbalizer: Sequence[str] | None = None,
    hypothesis_template: str | None = None,
    dtype: str | None = None,
    trusted: bool = False,
) -> list[ModelTeacher]:
    """Load models that are asked for the labels of these texts, by the labels' names.

    Args:
        names: Names or paths of language models, or of entailment models.
        data: The texts; their labels have names.
        template: The prompt of a language model, in which a backslash and an n are a line break.
        verbalizer: The words of each label, such as `positive=good,great`; by default the labels' names.
        hypothesis_template: What an entailment model is asked, with `{}` for the label; in place of a template.
        dtype: The dtype to run them in; `None` or `auto` keeps their own.
        trusted: Whether code that is kept with a model is run.

    Raises:
        HubUnreachableError, OSError: when a model cannot be had.
        ValueError: when the labels have no names, the verbalizer has others, or a model cannot be asked.
    """
    if not data.label_names:
        raise ValueError(
            "a language model is asked for labels by their names, and the texts' have none: name them with "
            "--class_names, or --verbalizer (labels.txt beside the texts does it, too)."
        )
    words = _words(data.label_names, verbalizer)
    how: dict[str, Any] = {"dtype": dtype, "trust_remote_code": trusted}
    teachers: list[ModelTeacher] = []
    for name in names:
        if template:
            prompt = template.replace("\\n", "\n")
            teachers.append(PromptTeacher.from_pretrained(name, prompt, words, data.text_columns, **how))
        else:
            how["hypothesis_template"] = hypothesis_template
            teachers.append(EntailmentTeacher.from_pretrained(name, list(words), *data.text_columns, **how))
    print_sizes(teachers, data)
    return teachers


def _words(label_names: Sequence[str], verbalizer: Sequence[str] | None) -> dict[str, Sequence[str]]:
    """The words of each label, in the order of the labels."""
    if verbalizer is None:
        return {name: [name] for name in label_names}
    given = {name.casefold(): words for name, words in words_by_name(verbalizer).items()}
    if given.keys() != {name.casefold() for name in label_names}:
        raise ValueError(
            f"--verbalizer has words for {some_names(list(given))}, and the labels of the texts are "
            f"{some_names(label_names)}: name the labels alike."
        )
    return {name: given[name.casefold()] for name in label_names}


def calibrated(teachers: Sequence[ModelTeacher], data: TextClassificationData, seed: int) -> list[ModelTeacher]:
    """The language models without their liking for some words: fitted to labels, where the training texts have any."""
    train = data.dataset["train"].rename_column(data.label_column, "labels")
    labeled = train.filter(lambda label: label != NO_LABEL, input_columns="labels")
    some = labeled.shuffle(seed).select(range(min(CALIBRATED_ON, len(labeled))))
    return [one.calibrate(some if len(some) else None) for one in teachers if isinstance(one, PromptTeacher)]

"""Which options go with a language model as teacher; read before torch is imported, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The options that ask a model for labels it was not trained on.
KINDS = ("template", "hypothesis_template")
#: What has no meaning for such a teacher, and why.
_NOT_WITH = {
    "train_teacher": "fine-tunes a classifier",
    "online": "has no teacher",
    "demo": "trains a classifier of its own (recipes/llm_teacher.py --demo has a language model)",
}


def check_prompts(given: Mapping[str, Any]) -> None:
    """Refuses options that do not go together where a language model or an entailment model teaches.

    Args:
        given: The options with a value of their own, by name.

    Raises:
        ValueError: naming two options.
    """
    kinds = [name for name in KINDS if given.get(name)]
    for name in ("verbalizer", "calibrate"):
        if given.get(name) and not given.get("template"):
            raise ValueError(f"--{name} does nothing without --template: give both, or neither.")
    if not kinds:
        return
    kind = kinds[0]
    if len(kinds) > 1:
        raise ValueError("--template and --hypothesis_template are two kinds of teachers: give one of them.")
    for name, reason in _NOT_WITH.items():
        if given.get(name):
            raise ValueError(f"--{name} {reason}, and --{kind} asks one that is there: leave one of the two out.")
    if not given.get("teacher_name_or_path"):
        model = "a language model" if kind == "template" else "an entailment (NLI) model"
        raise ValueError(f"--{kind} asks {model}: name one with --teacher_name_or_path.")
    if not given.get("student_name_or_path"):
        raise ValueError(
            f"a student is made of a classifier's layers, and --{kind} has none: name a small model to start from with "
            "--student_name_or_path."
        )
    place = "{text}" if kind == "template" else "{}"
    if place not in str(given[kind]):
        raise ValueError(f"--{kind} {str(given[kind])!r} has no place for the {_what(kind)}: write {place} there.")


def _what(kind: str) -> str:
    return "text" if kind == "template" else "label"

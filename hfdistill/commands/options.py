"""Options of recipes and commands, and which go together. They are known by names that mean the same everywhere."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, field, fields
from typing import Any

from hfdistill.training.ranges import COUNT, Range, check_numbers

#: Which numbers these may be.
RANGES = {
    **dict.fromkeys(("num_teachers", "augment_copies", "student_num_hidden_layers", "student_hidden_size"), COUNT),
    "max_unlabeled": COUNT,
    **dict.fromkeys(("num_students", "student_embedding_size"), Range(2, whole=True)),
    **dict.fromkeys(("teacher_size", "student_num_encoder_layers", "student_num_decoder_layers"), COUNT),
    **dict.fromkeys(("num_beams", "n_best"), COUNT),
    **dict.fromkeys(("vocab_size", "student_vocab_size"), Range(10, whole=True)),
    **dict.fromkeys(("teacher_dropout", "student_dropout"), Range(0, 1, "[)")),
    "min_score": Range(-1e300),
    **dict.fromkeys(("label_fraction", "unlabeled_fraction"), Range(0, 1, "(]")),
    "max_length": Range(3, whole=True, advice=": a word between the tokens that begin and end a text"),
    **dict.fromkeys(("search_trials", "folds"), Range(0, whole=True)),
    "rows": COUNT,
}

#: What a student that is made of its teacher has, and a named one brings along.
SHAPE = (
    *("student_num_hidden_layers", "student_hidden_size", "student_embedding_size"),
    *("student_num_encoder_layers", "student_num_decoder_layers", "student_vocab_size", "size"),
)

#: Of these the demo, whose texts and models are generated, has no use.
NAMED = (
    *("train_file", "validation_file", "test_file", "unlabeled_file", "dataset_name", "dataset_config_name"),
    *("class_names", "corrections", "text_column", "text_pair_column", "label_column", "source_lang", "target_lang"),
    *("teacher_name_or_path", "student_name_or_path", "probe_file", "probe_test_file"),
)


def option(default: Any, help: str, choices: Sequence[str] | None = None) -> Any:
    """A field of a dataclass of options, with its text in `--help`.

    Args:
        default: Its default; a list is copied for each instance.
        help: A sentence.
        choices: The values that it may have, if not any.
    """
    metadata = {"help": help} if choices is None else {"help": help, "choices": list(choices)}
    if isinstance(default, list):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def check_options(options: Any) -> None:
    """Refuses numbers out of range, and a shape for a student that has one of its own.

    Raises:
        ValueError: naming the option.
    """
    own = {option.name for option in fields(options)}
    check_numbers(options, {name: bounds for name, bounds in RANGES.items() if name in own}, "--")
    shape = [name for name in SHAPE if getattr(options, name, None)]
    if shape and getattr(options, "student_name_or_path", None):
        raise ValueError(f"--student_name_or_path has a shape of its own: leave --{shape[0]} out.")


def not_default(options: Any, names: Iterable[str]) -> list[str]:
    """Those of a recipe's options that are given another value than their default."""
    own = {option.name: option for option in fields(options)}
    makers = {name: option.default_factory for name, option in own.items() if option.default_factory is not MISSING}
    usual = {name: makers[name]() if name in makers else own[name].default for name in names if name in own}
    return [name for name, value in usual.items() if getattr(options, name) != value]


def check_demo(options: Any, names: Iterable[str] = NAMED) -> None:
    """Refuses options of which `--demo` has no use.

    Raises:
        ValueError: naming the first of them.
    """
    own = not_default(options, names)
    if options.demo and own:
        raise ValueError(f"--{own[0]} does nothing with --demo, which generates what it needs: leave one of them out.")

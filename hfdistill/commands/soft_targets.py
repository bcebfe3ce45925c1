"""`hfdistill soft-targets`: a teacher's predictions for texts, or predictions made elsewhere, as columns of a file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from hfdistill.commands.compare_card import run_action
from hfdistill.models.loading import load_classifier
from hfdistill.soft_targets import soft_targets
from hfdistill.soft_targets.probabilities import COMBINE, from_probabilities
from hfdistill.tasks.classification.data import plain_texts
from hfdistill.teachers.prompted.entailment import EntailmentTeacher
from hfdistill.teachers.prompted.teacher import PromptTeacher
from hfdistill.teachers.prompted.verbalizer import words_by_name


def main(words: Sequence[str]) -> None:
    """Runs `hfdistill soft-targets` with these words."""
    run_action("soft-targets", _soft_targets, words)


def _soft_targets(options: argparse.Namespace) -> None:
    if Path(options.output).suffix != ".parquet":
        raise ValueError(f"{options.output} should end in .parquet.")
    _check(options)
    rows = _given(options) if options.kind else _predicted(options)
    rows.to_parquet(options.output)
    print(f"{len(rows):,} rows with teacher_logits: {options.output}")  # noqa: T201


def _check(options: argparse.Namespace) -> None:
    """Refuses options that would do nothing, and those that miss another."""
    kind, hypothesis = options.kind, options.hypothesis_template
    for name, needed, there in (
        ("calibrate", "--template", options.template),
        ("columns", "--from", kind),
        ("combine", "--from votes", kind == "votes"),
        ("label_names", "--from or --hypothesis_template", kind or hypothesis),
        ("verbalizer", "--template or --from top_logprobs", options.template or kind == "top_logprobs"),
    ):
        if getattr(options, name) and not there:
            raise ValueError(f"--{name} does nothing without {needed}: give both, or neither.")
    for name, needed, there in (
        (options.template, "--verbalizer", options.verbalizer),
        (kind, "--columns", options.columns),
        (hypothesis, "--label_names", options.label_names),
    ):
        if name and not there:
            raise ValueError(f"{needed} is missing, which {name!r} goes with: see hfdistill soft-targets --help.")
    if sum(map(bool, (kind, options.template, hypothesis))) > 1:
        raise ValueError("--from, --template and --hypothesis_template are three kinds of teachers: give one of them.")
    if bool(kind) == bool(options.teacher):
        raise ValueError("name the TEACHER before FILE, or say with --from what FILE has in place of one.")


def _given(options: argparse.Namespace) -> Dataset:
    columns = options.columns[0] if len(options.columns) == 1 else options.columns
    words = words_by_name(options.verbalizer) if options.verbalizer else None
    how = {"kind": options.kind, "combine": options.combine or COMBINE[0]}
    return from_probabilities(options.file, columns, options.label_names, words=words, **how)


def _predicted(options: argparse.Namespace) -> Dataset:
    texts, columns = plain_texts(options.file, options.text_column, options.text_pair_column)
    trusted: Any = {"trust_remote_code": options.trust_remote_code}
    if options.template:
        template = options.template.replace("\\n", "\n")
        teacher = PromptTeacher.from_pretrained(options.teacher, template, options.verbalizer, columns, **trusted)
        return soft_targets(teacher.calibrate() if options.calibrate else teacher, texts)
    if options.hypothesis_template:
        asked: Any = {"hypothesis_template": options.hypothesis_template, **trusted}
        return soft_targets(
            EntailmentTeacher.from_pretrained(options.teacher, options.label_names, *columns, **asked), texts
        )
    tokenizer, model = load_classifier(options.teacher, **trusted)
    return soft_targets(model, texts, tokenizer, text_columns=columns)

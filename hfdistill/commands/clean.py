"""`hfdistill clean`: a parallel corpus without the pairs that are no translations, and a report on these."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset

from hfdistill.commands.compare_card import run_action
from hfdistill.tasks.translation.cleaning.clean import clean_pairs
from hfdistill.tasks.translation.cleaning.quick_check import warn_of_mismatch
from hfdistill.tasks.translation.reading import read_pairs, text_tuples
from hfdistill.training.run import claim_folder


def main(words: Sequence[str]) -> None:
    """Runs `hfdistill clean` with these words."""
    run_action("clean", _clean, words)


def _clean(options: argparse.Namespace) -> None:
    names = (options.source_lang, options.target_lang)
    rows = read_pairs(options.file, "train", names, None if options.min_score is None else options.score_column)
    held_out = read_pairs(options.held_out, "test", names) if options.held_out else None
    if held_out:
        warn_of_mismatch(held_out, *names)
    folder = claim_folder(options.output_dir, resume=False)
    kept, report = clean_pairs(
        rows.dataset,
        *names,
        skip=options.skip,
        min_score=options.min_score,
        unique_sources=options.unique_sources,
        held_out={"test": held_out.dataset} if held_out else None,
        where=rows.where,
    )
    for name in names:
        _write_lines(kept, name, folder / f"clean.{name}")
    report.write(folder)
    print(f"{report}\n{folder}/clean.{names[0]} and clean.{names[1]}; cleaning.md says what was dropped.")  # noqa: T201


def _write_lines(rows: Dataset, name: str, path: Path) -> None:
    """A text a line; a text of several lines in one."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{' '.join(text.split(chr(10)))}\n" for (text,) in text_tuples(rows, (name,)))

"""`hfdistill clean`: a parallel corpus without the pairs that are no translations, and a report on these."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState
from datasets import Dataset

from hfdistill.commands.compare_card import run_action
from hfdistill.data.parallel import SCORE
from hfdistill.models.dispatched import placed
from hfdistill.tasks.translation.cleaning.clean import clean_pairs
from hfdistill.tasks.translation.cleaning.cross_entropy import Translators
from hfdistill.tasks.translation.cleaning.quick_check import warn_of_mismatch
from hfdistill.tasks.translation.models import load_translator
from hfdistill.tasks.translation.reading import read_pairs, text_tuples
from hfdistill.training.run import claim_folder


def main(words: Sequence[str]) -> None:
    """Runs `hfdistill clean` with these words."""
    run_action("clean", _clean, words)


def _clean(options: argparse.Namespace) -> None:
    idle = [name for name in ("min_adequacy", "source_tag", "target_tag") if getattr(options, name)]
    if idle and not options.translators:
        raise ValueError(f"--{idle[0]} is of the rule that needs --translators: give both.")
    if options.score_column != SCORE and options.min_score is None:
        raise ValueError("--score_column is of the rule that needs --min_score: give both.")
    names = (options.source_lang, options.target_lang)
    rows = read_pairs(options.file, "train", names, None if options.min_score is None else options.score_column)
    held_out = read_pairs(options.held_out, "test", names) if options.held_out else None
    if held_out:
        warn_of_mismatch(held_out, *names)
    folder = claim_folder(options.output_dir, resume=None)
    kept, report = clean_pairs(
        rows.dataset,
        *names,
        skip=options.skip,
        min_score=options.min_score,
        unique_sources=options.unique_sources,
        held_out={"test": held_out.dataset} if held_out else None,
        translators=_translators(options),
        min_adequacy=options.min_adequacy,
        where=rows.where,
    )
    for name in names:
        _write_lines(kept, name, folder / f"clean.{name}")
    report.write(folder)
    print(f"{report}\n{folder}/clean.{names[0]} and clean.{names[1]}; cleaning.md says what was dropped.")  # noqa: T201


def _translators(options: argparse.Namespace) -> Translators | None:
    """Those of both directions, where there are such."""
    if not options.translators:
        return None
    tags = options.source_tag, options.target_tag
    loaded = []
    for name, (source, target) in zip(options.translators, (tags, tags[::-1]), strict=True):
        how = {"source_tag": source, "target_tag": target, "trust_remote_code": options.trust_remote_code}
        tokenizer, model = load_translator(name, max_length=1, **how)  # texts are cut to what it has positions for
        loaded.append((tokenizer, placed(model, PartialState().device)))
    return Translators(*loaded)


def _write_lines(rows: Dataset, name: str, path: Path) -> None:
    """A text a line; a text of several lines in one."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{' '.join(text.split(chr(10)))}\n" for (text,) in text_tuples(rows, (name,)))

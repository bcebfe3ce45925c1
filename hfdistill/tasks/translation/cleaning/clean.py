"""Dropping pairs of texts that are no translations, by rules whose effect is counted."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from datasets import Dataset
from huggingface_hub.utils import WeakFileLock

from hfdistill.data.parallel import SCORE
from hfdistill.models.fingerprints import hash_of, hash_of_tensors
from hfdistill.soft_targets import store
from hfdistill.soft_targets.part_files import write_whole
from hfdistill.tasks.translation.cleaning.cross_entropy import Translators
from hfdistill.tasks.translation.cleaning.decisions import MAX_DEVIATION, RULES, Settings, Work, decide
from hfdistill.tasks.translation.cleaning.given import check_given
from hfdistill.tasks.translation.cleaning.report import SAMPLED, CleaningReport, DroppedPair
from hfdistill.tasks.translation.cleaning.text_rules import MAX_WORDS, MIN_LETTERS
from hfdistill.tasks.translation.reading import text_tuples

#: Raised when the same rules decide otherwise, so that no earlier decision is taken for theirs.
_VERSION = 3


def clean_pairs(
    dataset: Dataset,
    source: str = "en",
    target: str = "de",
    *,
    languages: tuple[str, str] | None = None,
    skip: Sequence[str] = (),
    min_letters: float = MIN_LETTERS,
    max_words: int = MAX_WORDS,
    max_deviation: float = MAX_DEVIATION,
    min_score: float | None = None,
    unique_sources: bool = False,
    held_out: Mapping[str, Dataset] | None = None,
    translators: Translators | None = None,
    min_adequacy: float = 0.0,
    where: Callable[[int], str] | None = None,
) -> tuple[Dataset, CleaningReport]:
    """Drop pairs of texts that are no translations of one another, each rule with its count.

    In this order; a pair counts for the first rule that it breaks:

    - `empty`: a side without text.
    - `encoding`: a side with U+FFFD, or of UTF-8 that was read as Latin-1 or Windows-1252 ("fÃ¼r" for "für").
    - `not text`: less than `min_letters` of a side's characters are letters; web and mail addresses are none.
    - `markup`: a side with tags, such as `<br>`.
    - `too long`: more than `max_words` words, or 2,000 characters.
    - `misaligned`: in a block of rows whose sides are shifted against one another, as from where a line is missing, or
      do not belong together; by lengths and by what both have in common. The rows must be in the order of the corpus.
    - `copy`: the same words on both sides (Khayrallah & Koehn 2018, https://huggingface.co/papers/1805.12282, on why).
    - `length`: a target more than `max_deviation` standard deviations longer or shorter than is usual for its source in
      this corpus, as Gale & Church (1993) measure it, https://aclanthology.org/J93-1004, in characters; what is usual
      is estimated by medians.
    - `swapped`: the source is in the target language and the other way round.
    - `wrong language`: a side in another language. Texts of fewer than 20 characters are not judged.
    - `score`: in the column `score`, less than `min_score`, or NaN.
    - `held out`: a side that is a text of `held_out`, or half of whose runs of eight words are in such texts; or two
      sides of five words or more that each differ from such a text by one word.
    - `duplicate`: a pair that was there before, and with `unique_sources` a source (`duplicate source`).
    - `adequacy`: with `translators`, less than `min_adequacy` by dual conditional cross-entropy; see `adequacies`.

    All rules but `misaligned`, `duplicate` and `length`, which compare a pair with others, decide on each pair alone.
    Decisions are kept in the cache, so that of several processes the first decides for all.

    Args:
        dataset: Columns of source and target texts.
        source: The column of the source texts.
        target: The column of the target texts.
        languages: The languages of both; default the names of the columns.
        skip: Rules that are not asked.
        min_letters: See `not text`.
        max_words: See `too long`.
        max_deviation: See `length`.
        min_score: See `score`.
        unique_sources: Whether a source may be there once only.
        held_out: The splits that models are measured on, `validation` and `test`.
        translators: A translator for each direction; see `adequacy`.
        min_adequacy: From 0 to 1. Which is right depends on the translators; the report has the range of nine pairs
            in ten.
        where: What the report calls the place of a row; default its number.

    Returns:
        The rows that are left, and what was dropped.

    Raises:
        ImportError: without py3langid, unless `swapped` and `wrong language` are skipped.
        TypeError: for anything but a `Dataset` and a list of rules, or a dataset as `held_out`, in place of splits.
        ValueError: for a language that it does not know, an unknown rule or split, a missing column; when most pairs
            are swapped or shifted, so that the corpus as a whole is to be mended; when nothing is left.
    """
    check_given(dataset, RULES, skip, held_out)
    if source == target:
        raise ValueError(f"source and target are both {source!r}: name two columns.")
    needed = [source, target, *([SCORE] if min_score is not None else [])]
    missing = [name for name in needed if name not in dataset.column_names]
    if missing:
        way = "rename yours, or leave min_score out" if missing == [SCORE] else "name yours with source and target"
        raise ValueError(f"cleaning needs a column {missing[0]!r}; there are {', '.join(dataset.column_names)}; {way}.")
    limits = (min_letters, max_words, max_deviation, min_score, unique_sources, min_adequacy)
    settings = Settings(languages or (source, target), tuple(sorted(skip)), *limits)
    work = Work(dataset, source, target, settings, held_out or {}, translators, where or (lambda row: f"Row {row + 1}"))
    reasons, notes = _decided_once(work)
    numbers = {rule: number for number, rule in enumerate(RULES, start=1) if work.asks(rule)}
    rows = {rule: np.flatnonzero(reasons == number) for rule, number in numbers.items()}
    report = CleaningReport(len(dataset), rows, notes, _samples(work, rows))
    kept = np.flatnonzero(reasons == 0)
    if not len(kept):
        raise ValueError(f"no pair is left after cleaning: {report}")
    return dataset if len(kept) == len(dataset) else dataset.select(kept), report


def _decided_once(work: Work) -> tuple[np.ndarray, list[str]]:
    """The decisions on all rows, and what was found; from the cache, where they were made before."""
    place = Path(store.HF_HOME) / "hfdistill" / "cleaning"
    folder = place / hash_of({"version": _VERSION, **_fingerprint(work)})
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "decisions.npz"
    with WeakFileLock(folder / "lock"):
        if not file.exists():
            decide(work)
            content = io.BytesIO()
            np.savez_compressed(content, reasons=work.reasons, notes=np.array(json.dumps(work.notes)))
            write_whole(file, content.getvalue())
        with np.load(file) as kept:
            return kept["reasons"], json.loads(str(kept["notes"]))


def _fingerprint(work: Work) -> dict[str, Any]:
    """What the decisions depend on."""
    texts = xxhash.xxh3_128()
    for rows in (work.dataset, *(work.held_out[name] for name in sorted(work.held_out))):
        for pair in text_tuples(rows, work.names):
            texts.update("\n\t".join(pair).encode())
        texts.update(b"\n\n")
    if work.settings.min_score is not None:
        texts.update(np.asarray(work.dataset[SCORE][:], float).tobytes())
    models = [
        # With a text as it is read: a model of many languages has no other weights for others.
        (hash_of_tensors(model.state_dict(), quick=True), [*tokenizer("a", text_target="a").values()])
        for tokenizer, model in work.translators or ()
    ]
    return {"texts": texts.hexdigest(), "place": work.where(0), "translators": models, **asdict(work.settings)}


def _samples(work: Work, dropped: Mapping[str, np.ndarray]) -> list[DroppedPair]:
    """Some pairs of each rule, from all over the corpus."""
    chosen: list[DroppedPair] = []
    for rule, rows in dropped.items():
        for row in rows[np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).astype(int)].tolist():
            pair = work.dataset[row]
            chosen.append(DroppedPair(rule, work.where(row), pair[work.source], pair[work.target]))
    return chosen

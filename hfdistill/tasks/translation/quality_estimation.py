"""How good each of a teacher's translations is, as a program of its own says: quality estimation, such as COMET's."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, List, Value
from huggingface_hub.utils import WeakFileLock

from hfdistill.data.shortening import cut
from hfdistill.soft_targets.store import own_folder
from hfdistill.tasks.translation.pseudo_translations import TRANSLATIONS
from hfdistill.tasks.translation.reading import text_tuples

#: The column of the scores: for each row a number for each of its candidates.
QUALITY = "teacher_translation_quality"
#: Where a command names the files that it reads and the one that it writes.
PLACES = ("{sources}", "{translations}", "{scores}")
#: What one run of the program scores: enough that loading its model takes little of the time.
CANDIDATES_A_RUN = 100_000
#: How a launcher tells its processes of one another; the program would wait for the others.
_LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_", "ACCELERATE_")


def quality_scores(
    dataset: Dataset, command: str, *, source_column: str, store: str | os.PathLike[str] | None = None
) -> Dataset:
    """Let a program score a teacher's translations: the rows, with a column for `transfer_set(choose="quality")`.

    The program runs in a process of its own, so that it may have other packages: `comet-score -s {sources}
    -t {translations} --to_json {scores} --model Unbabel/wmt22-cometkiwi-da --quiet --only_system`, or any other that
    reads a text a line and writes JSON in the form of COMET's, `{"...": [{"COMET": 0.83}, ...]}`. It is run on 100,000
    candidates at a time, whose scores are kept on disk under command and texts: a killed call goes on where it was, and
    a second one runs nothing. Of several processes the first runs it.

    Args:
        dataset: Rows as from `pseudo_translations` or `api_translations`.
        command: The program and its options, with `{sources}`, `{translations}` and `{scores}` for its files.
        source_column: The column of the source texts.
        store: The folder to keep scores in; by default one in the Hugging Face cache.

    Returns:
        The rows with a list of scores in each, in the order of the candidates; more is better.

    Raises:
        ValueError: when the command names no such program or not its files, the program fails, its scores are others
            in number than the candidates or not finite, or a column is missing.
    """
    check_quality_command(command)
    if missing := [name for name in (source_column, TRANSLATIONS) if name not in dataset.column_names]:
        raise ValueError(f"quality needs the columns {', '.join(missing)}; there are {dataset.column_names}.")
    folder = own_folder({"quality command": command}) if store is None else Path(store)
    folder.mkdir(parents=True, exist_ok=True)
    scores, counts = [np.zeros(0)], [0]
    with WeakFileLock(folder / "lock"):  # not a barrier, which gives up after half an hour
        for pairs, some in _runs(dataset, source_column):
            scores.append(_stored_scores(pairs, command, folder))
            counts += some
    lists = pa.LargeListArray.from_arrays(np.cumsum(counts), np.concatenate(scores))
    if QUALITY in dataset.column_names:
        dataset = dataset.remove_columns(QUALITY)
    return dataset.add_column(QUALITY, lists.cast(pa.list_(pa.float64())), feature=List(Value("float64")))


def check_quality_command(command: str) -> None:
    """Refuses a command that cannot be run, before anything is translated.

    Raises:
        ValueError: saying what to install, or to write.
    """
    program = next(iter(shlex.split(command)), "")
    if absent := [place for place in PLACES if place not in command]:
        raise ValueError(
            f"the quality command {cut(command)!r} does not say where {' and '.join(absent)} go: write them where the "
            "program takes its files, as in comet-score -s {sources} -t {translations} --to_json {scores}."
        )
    if shutil.which(program) is None:
        raise ValueError(
            f"there is no program {program!r} to estimate quality: install it in an environment of its own, for COMET "
            "pins its own torch (python -m venv comet; comet/bin/pip install unbabel-comet), and name it by its path, "
            "comet/bin/comet-score."
        )


def _runs(dataset: Dataset, source_column: str) -> Iterator[tuple[list[tuple[str, str]], list[int]]]:
    """What the program scores at once: pairs of a source and a candidate, and how many candidates each row has."""
    pairs: list[tuple[str, str]] = []
    counts: list[int] = []
    for source, candidates in text_tuples(dataset, (source_column, TRANSLATIONS)):
        found: Sequence[Any] = candidates
        pairs += [(_line(source), _line(candidate["text"])) for candidate in found]
        counts.append(len(found))
        if len(pairs) >= CANDIDATES_A_RUN:
            yield pairs, counts
            pairs, counts = [], []
    yield pairs, counts


def _line(text: str) -> str:
    return " ".join(text.split())


def _stored_scores(pairs: list[tuple[str, str]], command: str, folder: Path) -> np.ndarray:
    """The scores of one run, which is not made where they are known."""
    if not pairs:
        return np.zeros(0)
    file = folder / f"{hashlib.sha256(json.dumps([command, pairs]).encode()).hexdigest()[:32]}.npy"
    if not file.exists():
        scores = _run(pairs, command)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as unfinished:
            np.save(unfinished, scores)
        os.replace(unfinished.name, file)
    return np.asarray(np.load(file))


def _run(pairs: list[tuple[str, str]], command: str) -> np.ndarray:
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / file for file in ("sources.txt", "translations.txt", "scores.json")]
        for file, texts in zip(files, zip(*pairs, strict=True), strict=False):
            file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8", newline="\n")
        program, *words = shlex.split(command)
        for place, file in zip(PLACES, files, strict=True):
            words = [word.replace(place, str(file)) for word in words]
        complaints = Path(name) / "stderr.txt"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHED)}
        with open(complaints, "wb") as stderr:
            ended = subprocess.run([program, *words], stdout=subprocess.DEVNULL, stderr=stderr, env=environment)
        if ended.returncode:
            last = complaints.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
            raise ValueError(f"{program} ended with exit code {ended.returncode}: {cut(last, 300)}")
        return _checked(_read(files[2], program), pairs, program)


def _read(file: Path, program: str) -> np.ndarray:
    try:
        (rows,) = json.loads(file.read_text(encoding="utf-8")).values()
        return np.array([row["COMET"] for row in rows], float)
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        raise ValueError(
            f'{program} has not written {{"...": [{{"COMET": 0.83}}, ...]}} to {{scores}}, as --to_json of comet-score '
            "does."
        ) from None


def _checked(scores: np.ndarray, pairs: Sequence[tuple[str, str]], program: str) -> np.ndarray:
    if len(scores) != len(pairs):
        raise ValueError(
            f"{program} has written {len(scores):,} scores for {len(pairs):,} candidates: one each is due."
        )
    if not np.isfinite(scores).all():
        first = int(np.flatnonzero(~np.isfinite(scores))[0])
        source, candidate = map(cut, pairs[first])
        raise ValueError(
            f"{program} gives {scores[first]} to {candidate!r}, a translation of {source!r}: a score must be finite; "
            "leave such rows out, or choose 'mbr'."
        )
    return scores

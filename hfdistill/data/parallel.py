"""Corpora of translations as they come, streamed into datasets: two files with a sentence a line, columns, TMX."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value

from hfdistill.data.files import ending_of, recognized_pairs
from hfdistill.data.lines import decoded_lines, text_lines
from hfdistill.data.shortening import shortened
from hfdistill.data.streamed import streamed_dataset
from hfdistill.data.tmx import tmx_pairs
from hfdistill.models.languages import language_of

#: Where a row stands: its line, or the number of its unit.
LINE = "_line"
#: What a corpus says of how good a pair is.
SCORE = "score"
#: Raised when rows are read otherwise, so that none that were read before are taken for them.
_VERSION = 1
#: Where another program may split a line.
_SEPARATORS = re.compile("[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_NAME = re.compile(r"[a-z][a-z0-9_]+", re.ASCII)

#: A line's number, the texts, and perhaps a score.
Row = tuple[int | str | float, ...]


def pairs_dataset(files: Sequence[str | Path], source: str, target: str) -> Dataset:
    """Pairs of texts as rows on disk, in the cache of `datasets`; memory does not grow with the corpus.

    Args:
        files: The two files of a corpus (`corpus.en corpus.de`: a sentence a line, and as many in both), a `.tmx` file,
            or one with tabs between source, target and, where there is one, a score before or behind them, and no
            header. All may be compressed.
        source: The column of the source texts, and their language.
        target: Likewise of the target texts.

    Returns:
        The columns `source`, `target`, `_line` (or the number of a unit), and `score` where there is one. Texts are as
        they were written: only `\\n` and `\\r\\n` end a line.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read in full, or two files have not as many lines; names file and line.
    """
    kind = recognized_pairs(files)
    paths = [Path(file) for file in files]
    names = [source, target]
    if kind == "tmx":
        return streamed_rows(lambda: _units(paths[0], source, target), paths, names)
    if kind == "two files":
        paths = _by_language(paths, source, target)
        return streamed_rows(lambda: _two_files(*paths), paths, names)
    place = _score_place(paths[0])
    return streamed_rows(lambda: _columns(paths[0], place), paths, names, place is not None)


def lines_dataset(path: str | Path, column: str) -> Dataset:
    """The lines of a text file as rows on disk, in the column named, and `_line`; see `pairs_dataset`."""
    return streamed_rows(lambda: enumerate(text_lines(Path(path)), start=1), [Path(path)], [column])


def has_header(path: Path, names: Sequence[str]) -> bool:
    """Whether a `.tsv` file begins with the names of its columns: with one of `names`, or with what may be names."""
    cells = next((line for line in decoded_lines(path) if line.strip()), "").rstrip("\r\n").split("\t")
    is_pair = len(cells) in (2, 3) and not all(map(_NAME.fullmatch, cells)) and "\0" not in "".join(cells)
    return bool(set(cells) & set(names)) or not is_pair


def streamed_rows(
    rows: Callable[[], Iterable[Row]],
    source: Sequence[Path] | Dataset,
    names: Sequence[str],
    scored: bool = False,
    **more: Any,
) -> Dataset:
    """Rows of a line's number, texts and perhaps a score, on disk; see `streamed_dataset`."""
    columns = {LINE: Value("int64"), **dict.fromkeys(names, Value("string"))}
    features = Features({**columns, SCORE: Value("float64")} if scored else columns)
    return streamed_dataset(rows, features, {"files": _stamps(source), "version": _VERSION, **more})


def _stamps(source: Sequence[Path] | Dataset) -> Any:
    """What changes with the rows: a file that has changed since is read anew."""
    if isinstance(source, Dataset):
        return source._fingerprint
    return [(os.path.abspath(path), path.stat().st_size, path.stat().st_mtime_ns) for path in source]


def _two_files(source: Path, target: Path) -> Iterator[Row]:
    pairs = zip_longest(text_lines(source), text_lines(target))
    for number, (one, other) in enumerate(pairs, start=1):
        if one is None or other is None:
            counts = [_lines_of(path) for path in (source, target)]
            hints = " ".join(filter(None, map(_separators_of, (source, target))))
            raise ValueError(
                f"{source} has {counts[0]:,} lines and {target} {counts[1]:,}: from where one is missing on, no line "
                f"stands beside its translation; take files whose lines belong together. {hints}".strip()
            )
        yield number, one, other


def _lines_of(path: Path) -> int:
    return sum(1 for _ in decoded_lines(path))


def _separators_of(path: Path) -> str:
    """A sentence on lines that another program would have split, which may be why there are fewer."""
    found = [
        (number, separators[0])
        for number, text in enumerate(text_lines(path), 1)
        if (separators := _SEPARATORS.findall(text))
    ]
    if not found:
        return ""
    number, separator = found[0]
    return f"({path} has {len(found):,} lines with other separators within, the first, {number}, with {separator!r}.)"


def _by_language(paths: list[Path], source: str, target: str) -> list[Path]:
    """The two files, that of the source first where their names say which it is."""
    asked = [name.lower() for name in (source, target)]
    endings = [ending_of(path) for path in paths]
    known = [language_of(ending) for ending in endings]
    if asked in (endings, endings[::-1]):
        return paths if asked == endings else paths[::-1]
    wanted = [language_of(name) for name in asked]
    if not all(known) or not all(wanted) or known == wanted:
        return paths
    if known == wanted[::-1]:
        return paths[::-1]
    raise ValueError(
        f"{paths[0]} and {paths[1]} are {' and '.join(map(repr, endings))} by their names, and the languages are "
        f"{source!r} and {target!r}: name those of the files with source_lang and target_lang."
    )


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not blank, cut at their tabs."""
    return ((number, text.split("\t")) for number, text in enumerate(text_lines(path), start=1) if text.strip())


def _units(path: Path, source: str, target: str) -> Iterator[Row]:
    return ((number, *pair) for number, pair in enumerate(tmx_pairs(path, source, target), start=1))


def _columns(path: Path, place: int | None) -> Iterator[Row]:
    width = 2 if place is None else 3
    for number, cells in _cells(path):
        if len(cells) != width:
            raise ValueError(
                f"Line {number} of {path} has {len(cells)} columns, expected {width}: source and target"
                f"{' and a score' if place is not None else ''}, one tab between them and none within."
            )
        scores = [] if place is None else [_number(cells.pop(place), number, path)]
        yield number, *cells, *scores


def _score_place(path: Path) -> int | None:
    """Which of the columns is the score, of the first line; `None` where there is none."""
    cells = next(_cells(path), (1, ["", ""]))[1]
    if len(cells) == 3:
        for place in (2, 0):
            if _is_number(cells[place]):
                return place
        raise ValueError(f"Line 1 of {path} has three columns, and neither the last nor the first is a score.")
    return None


def _is_number(cell: str) -> bool:
    try:
        return float(cell) is not None
    except ValueError:
        return False


def _number(cell: str, number: int, path: Path) -> float:
    if not _is_number(cell):
        raise ValueError(f"Line {number} of {path} has {shortened(cell)} where the score stands; expected a number.")
    return float(cell)

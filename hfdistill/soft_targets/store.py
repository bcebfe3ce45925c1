"""Where soft targets are kept: a folder of parts, each row under a key of what the teacher read.

A row's key is a hash of its token ids, so shuffling, filtering or batching the dataset cannot misalign anything, equal
texts are computed once, and an edited text is a new row. The folder belongs to one teacher and one tokenization,
written in `manifest.json`. Parts are written whole or not at all, and are on the disk before they have their name, so
that a killed run loses at most its last part; what it leaves behind is removed when the folder is opened an hour later.
A part that the disk has damaged since is passed over with a warning, and its rows are recomputed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import time
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub.constants import HF_HOME
from transformers.utils import logging

from hfdistill.data.streamed import ROWS_AT_ONCE
from hfdistill.models.fingerprints import QUICK, WeightsHash, hash_of
from hfdistill.models.ragged import Column, Ragged, ragged_of
from hfdistill.soft_targets.part_files import age, mapped_arrays, write_whole

logger = logging.get_logger(__name__)

KEY_BYTES = 16
#: A key in an array. (What numpy leaves out of `bytes`, zeros at the end, it leaves out of both that it compares.)
KEY = np.dtype(f"S{KEY_BYTES}")
Keys = np.ndarray | Sequence[bytes]
MANIFEST = "manifest.json"
PARTS = "part-*.npz"
#: How a file is called while it is written: so that what a killed run leaves behind is not taken for a part.
_UNFINISHED = re.compile(r"(manifest\.json|part-[0-9a-f]{32}\.npz)\.[0-9a-f]{32}")
#: After so long nobody writes to a file any more; and one who does all the same writes it again.
_STALE_SECONDS = 3600.0
#: How long a process waits for another's file: network file systems remember for some seconds what is missing.
SECONDS_TO_SEE = 10.0


class StaleSoftTargets(ValueError):
    """Stored soft targets were made by another teacher, or from another tokenization, than the one at hand."""


class SoftTargetStore:
    """Logits by row key: the logits in a folder, their keys in memory, 24 bytes a row.

    Another kind of prediction is a subclass with another `to_arrays`, `from_arrays`, `joined` and `gathered`: logits
    for each token are in `TokenLogitStore`.

    Args:
        folder: Where to keep them; made when it is not there.
        manifest: What they depend on: equal for all who share the folder.

    Raises:
        StaleSoftTargets: when the folder holds others, saying what differs.
        ValueError: when the folder holds something else altogether, or its manifest is damaged.
    """

    what = "soft targets"

    def __init__(self, folder: str | os.PathLike[str], manifest: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._runs: list[_Run] = []
        #: The parts that were read, in the order of the places of their rows, and where each of them ends.
        self._parts: dict[Path, int] = {}
        self._check(dict(manifest))
        self._sweep()
        self.load()

    def _check(self, manifest: dict[str, Any]) -> None:
        path = self.folder / MANIFEST
        if path.exists():
            _refuse_stale(self.what, self.folder, read_manifest(path, self.what), manifest)
        elif self.folder.exists() and any(not other.name.startswith(MANIFEST) for other in self.folder.iterdir()):
            raise ValueError(f"{self.folder} is not empty and holds no {self.what}: name another folder for them.")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(manifest, indent=2, sort_keys=True).encode())

    def _sweep(self) -> None:
        """Removes what writers that were killed have left behind."""
        for path in self.folder.iterdir():
            if _UNFINISHED.fullmatch(path.name) and age(path) > _STALE_SECONDS:
                path.unlink(missing_ok=True)

    def new_mark(self) -> str:
        """Writes an empty file for other processes to look for; one that is left behind is swept."""
        mark = f"{MANIFEST}.{uuid.uuid4().hex}"
        (self.folder / mark).touch()
        return mark

    def sees(self, mark: str) -> bool:
        """Whether another process's file is there; a shared disk may take a while to show it."""
        deadline = time.monotonic() + SECONDS_TO_SEE
        while not (self.folder / mark).exists():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def remove_mark(self, mark: str) -> None:
        """Removes it."""
        (self.folder / mark).unlink(missing_ok=True)

    def load(self) -> None:
        """Reads the parts that are new since the last look, of whichever process wrote them."""
        for path in sorted(self.folder.glob(PARTS)):
            if path not in self._parts:
                self._keep(path, self._read_keys(path))

    def to_arrays(self, predictions: Any) -> dict[str, np.ndarray]:
        """The predictions for some rows as a part keeps them."""
        return {"logits": np.asarray(predictions)}

    def from_arrays(self, part: Mapping[str, np.ndarray]) -> Any:
        """The predictions that a part keeps, in their order."""
        return part["logits"]

    def joined(self, predictions: Sequence[Any]) -> Any:
        """Predictions of several batches or parts, one after the other."""
        return np.concatenate(predictions)

    def gathered(self, pieces: Sequence[Piece]) -> Any:
        """What was found in each part, put together: written to its place at once, in memory that is touched once."""
        count = sum(len(piece.rows) for piece in pieces)
        dtype = np.result_type(*(piece.predictions.dtype for piece in pieces))  # texts are as long as the longest
        given = np.empty((count, *pieces[0].predictions.shape[1:]), dtype)
        for piece in pieces:
            given[piece.rows] = piece.predictions[piece.places]
        return given

    def add(self, keys: Keys, predictions: Any) -> None:
        """Keeps the predictions for these keys as one part."""
        path = self.folder / f"part-{uuid.uuid4().hex}.npz"
        content, keys = io.BytesIO(), as_keys(keys)
        arrays: dict[str, Any] = {"keys": keys.view(np.uint8), **self.to_arrays(predictions)}
        np.savez(content, **arrays)
        write_whole(path, content.getvalue())
        self._keep(path, keys)

    def _read_keys(self, path: Path) -> np.ndarray:
        """The keys of a part, once all of it was looked at; none of one that is damaged."""
        try:
            with zipfile.ZipFile(path) as archive:
                if (name := archive.testzip()) is not None:  # read in part, an array's checksum would not be looked at
                    raise zipfile.BadZipFile(f"the checksum of {name} is another")
            with np.load(path) as part:
                keys = part["keys"].view(KEY)
            predictions = self._predictions(path)
            if len(keys) != len(predictions):
                raise zipfile.BadZipFile(f"it has {len(keys)} keys and {len(predictions)} predictions")
        except Exception as error:  # noqa: BLE001 (a damaged archive may end in any: of compression, of a password, ...)
            logger.warning("%s is damaged (%s): delete it. The teacher is run on its rows again.", path, error)
            return np.empty(0, KEY)
        return keys

    def _predictions(self, path: Path) -> Any:
        return self.from_arrays(mapped_arrays(path))

    def _keep(self, path: Path, keys: np.ndarray) -> None:
        """Adds them to those in memory: runs of keys in order, each at least twice as long as the next."""
        start = max(self._parts.values(), default=0)
        self._parts[path] = start + len(keys)
        if len(keys):
            self._runs.append(_Run.of(*_halves(keys), np.arange(start, start + len(keys))))
        while len(self._runs) > 1 and len(self._runs[-2].heads) < 2 * len(self._runs[-1].heads):
            two = self._runs[-2:]
            self._runs[-2:] = [_Run.of(*(np.concatenate(both) for both in zip(*map(_Run.columns, two), strict=True)))]

    def places(self, keys: Keys) -> np.ndarray:
        """Where the predictions of these keys stand among all, part after part; -1 where there are none."""
        heads, tails = _halves(as_keys(keys))
        order = np.argsort(heads)  # one after the other they are found in the processor's caches
        heads, tails, places = heads[order], tails[order], np.full(len(heads), -1)
        for run in self._runs:
            places = np.where(places < 0, run.find(heads, tails), places)
        given = np.empty_like(places)
        given[order] = places
        return given

    def content(self, keys: np.ndarray) -> dict[str, Any]:
        """What changes with the predictions of these keys, for JSON: no more than that, however the store grows."""
        ends = list(self._parts.values())
        parts = [path.name for path in self._parts]
        used = np.unique(np.searchsorted(ends, self.places(keys), side="right"))
        return {"parts": sorted(parts[one] for one in used), "keys": hashlib.blake2b(keys.tobytes()).hexdigest()}

    def __contains__(self, key: bytes) -> bool:
        return bool(self.places([key])[0] >= 0)

    def each(self, keys: Keys) -> Iterator[Any]:
        """The prediction of each of these keys, read a few at a time; raises as `rows`."""
        for start in range(0, len(keys), ROWS_AT_ONCE):
            yield from self.rows(keys[start : start + ROWS_AT_ONCE])

    def rows(self, keys: Keys) -> Any:
        """The logits of these keys, shape `(rows, classes)`, float32.

        Raises:
            KeyError: when one is missing.
        """
        places = self.places(keys)
        if (places < 0).any():
            raise KeyError(
                f"{self.folder} lacks {self.what} that another process should have written: with several machines, "
                "name a folder that all of them share with store=..."
            )
        order = np.argsort(places)  # each part is read once, from its beginning to its end
        ends = np.searchsorted(places[order], list(self._parts.values()))
        found, start, taken = [], 0, 0
        for (path, next_start), end in zip(self._parts.items(), ends, strict=True):
            if end > taken:
                rows = order[taken:end]
                found.append(Piece(self._predictions(path), places[rows] - start, rows))
            start, taken = next_start, end
        return self.gathered(found)


@dataclass(frozen=True)
class Piece:
    """What was asked for of one part.

    Args:
        predictions: All that the part keeps.
        places: Where in it the rows' predictions are.
        rows: Which of the rows that were asked for they are.
    """

    predictions: Any
    places: np.ndarray
    rows: np.ndarray


class UnequalStore(SoftTargetStore):
    """Predictions of unequal length; each kind is a subclass with a `taken`."""

    def taken(self, predictions: Any, places: np.ndarray) -> Any:
        """The predictions at some places."""
        raise NotImplementedError

    def gathered(self, pieces: Sequence[Piece]) -> Any:
        found = self.joined([self.taken(piece.predictions, piece.places) for piece in pieces])
        order = np.concatenate([piece.rows for piece in pieces])
        given = np.empty_like(order)
        given[order] = np.arange(len(order))
        return self.taken(found, given)


class TokenLogitStore(UnequalStore):
    """Logits for each token, of rows of unequal length."""

    def to_arrays(self, predictions: Ragged) -> dict[str, np.ndarray]:
        return {"logits": predictions.values, "lengths": predictions.lengths}

    def from_arrays(self, part: Mapping[str, np.ndarray]) -> Ragged:
        if len(part["logits"]) != part["lengths"].sum():
            raise ValueError("its lengths are not those of its predictions")
        return Ragged(part["logits"], part["lengths"])

    def joined(self, predictions: Sequence[Ragged]) -> Ragged:
        return Ragged.joined(predictions)

    def taken(self, predictions: Ragged, places: np.ndarray) -> Ragged:
        return predictions.taken(places)


@dataclass(frozen=True)
class _Run:
    """Keys in the order of their first halves, as numbers, and the place of each one's prediction."""

    heads: np.ndarray
    tails: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, *columns: np.ndarray) -> _Run:
        order = np.argsort(columns[0], kind="stable")
        return cls(*(column[order] for column in columns))

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.heads, self.tails, self.places

    def find(self, heads: np.ndarray, tails: np.ndarray) -> np.ndarray:
        """The places of other keys; -1 where one is missing."""
        last = len(self.heads) - 1
        found = np.searchsorted(self.heads, heads).clip(max=last)
        while True:  # keys that begin alike stand side by side
            alike = self.heads[found] == heads
            other = alike & (self.tails[found] != tails) & (found < last)
            if not other.any():
                return np.where(alike & (self.tails[found] == tails), self.places[found], -1)
            found = found + other


def as_keys(keys: Keys) -> np.ndarray:
    """Row keys as one array."""
    return keys if isinstance(keys, np.ndarray) else np.frombuffer(b"".join(keys), KEY)


def _halves(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first half of each key and the second as numbers."""
    both = keys.view(">u8").astype(np.uint64)
    return both[::2].copy(), both[1::2].copy()


def row_key(row: Mapping[str, Sequence[int]]) -> bytes:
    """The key of one row: a hash of what the teacher reads of it, padding aside."""
    return row_keys({name: ragged_of([values]) for name, values in row.items()}).tobytes()


def row_keys(columns: Mapping[str, Column]) -> np.ndarray:
    """The keys of rows that are read by columns."""
    named = sorted(columns.items())
    rows = zip(*(_row_bytes(column) for _, column in named), strict=True)
    heads = [name.encode() + b"\0" for name, _ in named]
    keys = bytearray()
    for values in rows:
        digest = hashlib.blake2b(digest_size=KEY_BYTES)
        for head, value in zip(heads, values, strict=True):
            digest.update(head)
            digest.update(value)
        keys += digest.digest()
    return np.frombuffer(bytes(keys), KEY)


def _row_bytes(column: Column) -> Iterable[bytes | memoryview]:
    """What of each row is hashed: integers as int64; other kinds have their name before them."""
    if not isinstance(column, Ragged):
        return map(_value_bytes, column)
    values = column.values.astype(np.float64 if column.values.dtype.kind == "f" else np.int64, copy=False)
    ends = np.cumsum(column.lengths * (values.nbytes // max(1, len(values)))).tolist()
    content = memoryview(values.tobytes())
    parts = (content[start:end] for start, end in zip([0, *ends], ends, strict=False))
    if values.dtype.kind != "f":
        return parts
    return (b"float64" + part if len(part) else part for part in parts)


def _value_bytes(value: Any) -> bytes:
    array = np.asarray(value)
    if array.dtype.kind in "bui" or not array.size:
        return array.astype(np.int64).tobytes()
    return str(array.dtype).encode() + (array.tobytes() if array.dtype.kind == "f" else repr(value).encode())


def own_folder(manifest: Mapping[str, Any], parent: str | os.PathLike[str] | None = None) -> Path:
    """A folder named by what its contents depend on, so that it can never be another's; in the cache, or in `parent`.

    One that was written when weights were hashed otherwise is found as well.
    """
    place = Path(HF_HOME) / "hfdistill" / "soft_targets" if parent is None else Path(parent)
    folder = place / hash_of(manifest)
    if not folder.exists() and place.exists() and any(place.iterdir()):
        older = place / hash_of(_as_before(manifest))
        folder = older if older.exists() else folder
    return folder


def read_manifest(path: Path, what: str) -> dict[str, Any]:
    """What the contents of a folder depend on.

    Raises:
        ValueError: when the file is damaged.
    """
    try:
        kept = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        kept = None
    if not isinstance(kept, dict):
        raise ValueError(
            f"{path} is damaged, so that nobody knows whose {what} these are: delete {path.parent}, and they are made "
            "again, or name another folder."
        )
    return kept


def _as_before(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.older() if isinstance(value, WeightsHash) else value for name, value in manifest.items()}


def _refuse_stale(what: str, folder: Path, kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if not str(kept.get("teacher weights", QUICK)).startswith(QUICK):
        wanted = _as_before(wanted)
    if differing := differences(kept, wanted):
        raise StaleSoftTargets(
            f"the {what} in {folder} are stale: they differ in {differing}. Name another folder for the new ones, or "
            "delete this one."
        )


def differences(kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """In what two manifests differ, in words; empty where they are alike."""
    there, now = _settings(kept), _settings(wanted)
    return "; ".join(
        f"{name} ({there.get(name, 'default')} there, {now.get(name, 'default')} now)"
        for name in sorted({*there, *now})
        if there.get(name) != now.get(name)
    )


def _settings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Its entries; of one that holds settings as JSON, each of them."""
    found: dict[str, Any] = {}
    for name, value in manifest.items():
        try:
            settings = json.loads(value)
        except (TypeError, ValueError):
            settings = None
        found |= {f"{name} {one}": settings[one] for one in settings} if isinstance(settings, dict) else {name: value}
    return found

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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub.constants import HF_HOME
from transformers.utils import logging

from hfdistill.models.fingerprints import hash_of

logger = logging.get_logger(__name__)

KEY_BYTES = 16
_MANIFEST = "manifest.json"
#: How a file is called while it is written: so that what a killed run leaves behind is not taken for a part.
_UNFINISHED = re.compile(r"(manifest\.json|part-[0-9a-f]{32}\.npz)\.[0-9a-f]{32}")
#: After so long nobody writes to a file any more; and one who does all the same writes it again.
_STALE_SECONDS = 3600.0


class StaleSoftTargets(ValueError):
    """Stored soft targets were made by another teacher, or from another tokenization, than the one at hand."""


class SoftTargetStore:
    """Logits by row key, in memory and in a folder.

    Another kind of prediction is a subclass with another `to_arrays`, `from_arrays` and `rows`.

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
        self._predictions: dict[bytes, Any] = {}
        self._read: set[str] = set()
        self._check(dict(manifest))
        self._sweep()
        self.load()

    def _check(self, manifest: dict[str, Any]) -> None:
        path = self.folder / _MANIFEST
        if path.exists():
            _refuse_stale(self.what, self.folder, self._read_manifest(path), manifest)
        elif self.folder.exists() and any(not other.name.startswith(_MANIFEST) for other in self.folder.iterdir()):
            raise ValueError(f"{self.folder} is not empty and holds no {self.what}: name another folder for them.")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_whole(path, json.dumps(manifest, indent=2, sort_keys=True).encode())

    def _read_manifest(self, path: Path) -> dict[str, Any]:
        try:
            kept = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            kept = None
        if not isinstance(kept, dict):
            raise ValueError(
                f"{path} is damaged, so that nobody knows whose {self.what} these are: delete {self.folder}, and they "
                "are made again, or name another folder."
            )
        return kept

    def _sweep(self) -> None:
        """Removes what writers that were killed have left behind."""
        for path in self.folder.iterdir():
            if _UNFINISHED.fullmatch(path.name) and _age(path) > _STALE_SECONDS:
                path.unlink(missing_ok=True)

    def load(self) -> None:
        """Reads the parts that are new since the last look, of whichever process wrote them."""
        for path in sorted(self.folder.glob("part-*.npz")):
            if path.name not in self._read:
                self._predictions.update(self._read_part(path))
                self._read.add(path.name)

    def to_arrays(self, predictions: Sequence[Any]) -> dict[str, np.ndarray]:
        """The predictions for some rows as a part keeps them."""
        return {"logits": np.stack(predictions)}

    def from_arrays(self, part: Mapping[str, np.ndarray]) -> Iterable[Any]:
        """The predictions that a part keeps, in their order."""
        return part["logits"]

    def add(self, keys: Sequence[bytes], predictions: Sequence[Any]) -> None:
        """Keeps the predictions for these keys as one part."""
        path = self.folder / f"part-{uuid.uuid4().hex}.npz"
        content = io.BytesIO()
        arrays: dict[str, Any] = {"keys": np.frombuffer(b"".join(keys), dtype=np.uint8), **self.to_arrays(predictions)}
        np.savez(content, **arrays)
        _write_whole(path, content.getvalue())
        self._predictions.update(zip(keys, predictions, strict=True))
        self._read.add(path.name)

    def _read_part(self, path: Path) -> dict[bytes, Any]:
        content = path.read_bytes()
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if (name := archive.testzip()) is not None:  # read in part, an array's checksum would not be looked at
                    raise zipfile.BadZipFile(f"the checksum of {name} is another")
            with np.load(io.BytesIO(content)) as part:
                return dict(zip(_split(part["keys"].tobytes()), self.from_arrays(part), strict=True))
        except Exception as error:  # noqa: BLE001 (a damaged archive may end in any: of compression, of a password, ...)
            logger.warning("%s is damaged (%s): delete it. The teacher is run on its rows again.", path, error)
            return {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._predictions

    def rows(self, keys: Iterable[bytes]) -> np.ndarray:
        """The logits of these keys, shape `(rows, classes)`, float32.

        Raises:
            KeyError: when one is missing.
        """
        return np.stack(self.found(keys))

    def found(self, keys: Iterable[bytes]) -> list[Any]:
        """The predictions for these keys.

        Raises:
            KeyError: when one is missing.
        """
        try:
            return [self._predictions[key] for key in keys]
        except KeyError:
            raise KeyError(
                f"{self.folder} lacks {self.what} that another process should have written: with several machines, "
                "name a folder that all of them share with store=..."
            ) from None


def row_key(row: Mapping[str, Sequence[int]]) -> bytes:
    """The key of one row: a hash of what the teacher reads of it, padding aside."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for name in sorted(row):
        digest.update(name.encode() + b"\0" + _row_bytes(row[name]))
    return digest.digest()


def _row_bytes(value: Any) -> bytes:
    array = np.asarray(value)
    if array.dtype.kind in "bui" or not array.size:
        return array.astype(np.int64).tobytes()
    return str(array.dtype).encode() + (array.tobytes() if array.dtype.kind == "f" else repr(value).encode())


def default_folder(manifest: Mapping[str, Any]) -> Path:
    """A folder in the Hugging Face cache, named by its contents' manifest, so that it can never be another's."""
    return Path(HF_HOME) / "hfdistill" / "soft_targets" / hash_of(manifest)


def _refuse_stale(what: str, folder: Path, kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = [
        f"{name} ({kept.get(name)} there, {wanted.get(name)} now)"
        for name in sorted({*kept, *wanted})
        if kept.get(name) != wanted.get(name)
    ]
    if differing:
        raise StaleSoftTargets(
            f"the {what} in {folder} are stale: they differ in {'; '.join(differing)}. Delete the folder, or "
            "name another one."
        )


def _write_whole(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all, also after a power cut.

    Raises:
        ValueError: when the folder cannot be written to, or the disk is full.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        _write_durably(temporary, content)
        try:
            temporary.replace(path)
        except FileNotFoundError:  # whoever slept for an hour in between finds it swept away
            _write_durably(temporary, content)
            temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise ValueError(
            f"{path.parent} cannot be written to ({error.strerror}): make room there, or name another folder."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Brings the names in a folder to the disk, where the system lets a folder be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:  # its writer is done with it
        return 0.0


def _split(keys: bytes) -> Iterable[bytes]:
    return (keys[start : start + KEY_BYTES] for start in range(0, len(keys), KEY_BYTES))

"""Answers of an API on disk: one line each, written as soon as it is there, so that nothing is paid for twice."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub.constants import HF_HOME

from hfdistill.models.fingerprints import hash_of

_MANIFEST, _ANSWERS = "manifest.json", "answers.jsonl"


class AnswerStore:
    """Answers by the hash of what was asked, in a folder; in memory is where each of them stands, 200 bytes.

    Args:
        folder: Where to keep them; by default one in the Hugging Face cache, named by the manifest.
        manifest: What they depend on beside the text.

    Raises:
        ValueError: when the folder holds answers to other questions, saying what differs.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, manifest: Mapping[str, Any]) -> None:
        usual = Path(HF_HOME) / "hfdistill" / "api_answers" / hash_of(manifest)
        self.folder = usual if folder is None else Path(folder)
        self._file = self.folder / _ANSWERS
        #: Where the line of each key begins, and how far the file was read.
        self._places: dict[str, int] = {}
        self._read = 0
        self._lock = threading.Lock()
        self._check(json.loads(json.dumps(manifest)))
        self.load()

    def _check(self, manifest: dict[str, Any]) -> None:
        path = self.folder / _MANIFEST
        self.folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
            return
        kept = json.loads(path.read_text(encoding="utf-8"))
        differing = [name for name in sorted({*kept, *manifest}) if kept.get(name) != manifest.get(name)]
        if differing:
            raise ValueError(
                f"the answers in {self.folder} are to other questions: they differ in {', '.join(differing)}. Name "
                "another folder, or delete this one."
            )

    def load(self) -> None:
        """Reads what is new; a line that a killed process has not written to its end is left out."""
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            file.seek(self._read)
            for line in file:
                with suppress(ValueError):
                    key, _ = json.loads(line)
                    self._places[key] = self._read
                if not line.endswith(b"\n"):  # perhaps it is being written
                    break
                self._read += len(line)

    def add(self, key: str, answer: Any) -> None:
        """Keeps one answer; safe from several threads."""
        line = json.dumps([key, answer]).encode() + b"\n"
        with self._lock, self._file.open("ab") as file:
            file.write(b"\n" + line)  # behind a line that was cut off a new one begins
            file.flush()
            os.fsync(file.fileno())
            self._places[key] = file.tell() - len(line)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> Any:
        return json.loads(self._line(key))[1]

    def digest(self, keys: Iterable[str]) -> str:
        """What changes with the answers to these."""
        found = hashlib.blake2b()
        for key in keys:
            found.update(self._line(key))
        return found.hexdigest()

    def _line(self, key: str) -> bytes:
        with self._file.open("rb") as file:
            file.seek(self._places[key])
            return file.readline()

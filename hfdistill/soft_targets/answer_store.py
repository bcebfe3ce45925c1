"""Answers of an API on disk: one line each, written as soon as it is there, so that nothing is paid for twice."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.constants import HF_HOME

from hfdistill.models.fingerprints import hash_of

_MANIFEST, _ANSWERS = "manifest.json", "answers.jsonl"


class AnswerStore:
    """Answers by the hash of what was asked, in a folder.

    Args:
        folder: Where to keep them; by default one in the Hugging Face cache, named by the manifest.
        manifest: What they depend on beside the text.

    Raises:
        ValueError: when the folder holds answers to other questions, saying what differs.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, manifest: Mapping[str, Any]) -> None:
        usual = Path(HF_HOME) / "hfdistill" / "api_answers" / hash_of(manifest)
        self.folder = usual if folder is None else Path(folder)
        self._answers: dict[str, Any] = {}
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
        """Reads what is there; a line that a killed process has not written to its end is left out."""
        path = self.folder / _ANSWERS
        lines = path.read_bytes().splitlines() if path.exists() else []
        for line in lines:
            try:
                key, answer = json.loads(line)
            except ValueError:
                continue
            self._answers[key] = answer

    def add(self, key: str, answer: Any) -> None:
        """Keeps one answer; safe from several threads."""
        with self._lock, (self.folder / _ANSWERS).open("ab") as file:
            # Behind a line that was cut off a new one begins.
            file.write(b"\n" + json.dumps([key, answer]).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            self._answers[key] = answer

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def __getitem__(self, key: str) -> Any:
        return self._answers[key]

"""Independent machines that share the work: which rows each of them has, and its folder put together with others."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfdistill.soft_targets.part_files import write_whole
from hfdistill.soft_targets.store import MANIFEST, PARTS, SoftTargetStore, StaleSoftTargets, differences, read_manifest

_WRITTEN = re.compile(r"([0-9]{1,9})/([1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Shard:
    """One of several parts of a dataset, each row in the one that its content falls into.

    Args:
        number: Which, counted from 1.
        count: Of how many.
    """

    number: int
    count: int

    @classmethod
    def of(cls, text: str) -> Shard:
        """The shard that is written as `3/16`.

        Raises:
            ValueError: for anything else, or a number that is none of so many.
        """
        written = _WRITTEN.fullmatch(text)
        if written is None:
            raise ValueError(f"a shard is written as its number and how many there are, such as 3/16; got {text!r}.")
        shard = cls(*map(int, written.groups()))
        if not 1 <= shard.number <= shard.count:
            raise ValueError(
                f"there is no shard {text}: number them from 1/{shard.count} to {shard.count}/{shard.count}."
            )
        return shard

    def has(self, keys: np.ndarray) -> np.ndarray:
        """Which of these row keys are in it, shape `(rows,)`."""
        # By the half of a key that the processes of one machine are not told apart by.
        found: np.ndarray = keys.view(">u8")[0::2] % self.count == self.number - 1
        return found

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def merge_stores(folders: Sequence[str | os.PathLike[str]], into: str | os.PathLike[str]) -> None:
    """Put together what several machines have made: translations or soft targets of one teacher and settings.

    What is there already stays; to do it again adds only what is new. Of a row that two of them have, one is read.

    Args:
        folders: The `store` of each, as it was copied from its machine.
        into: The folder that gets all of it; made when it is not there, and then the `store` of the next call.

    Raises:
        ValueError: when there are none, or one holds nothing of the kind or is damaged.
        StaleSoftTargets: when one was made by another teacher, or with other settings, saying what differs.
    """
    if not folders:
        raise ValueError("there is nothing to put together: name the folder that each machine's store was.")
    manifests = {Path(folder): _manifest_of(Path(folder)) for folder in folders}
    whole = Path(into)
    if (whole / MANIFEST).exists():
        manifests = {whole: _manifest_of(whole), **manifests}
    (first, wanted), *others = manifests.items()
    for folder, manifest in others:
        if differing := differences(manifest, wanted):
            raise StaleSoftTargets(
                f"what is in {folder} was made otherwise than in {first}: they differ in {differing}. Name the folders "
                "of one teacher and settings."
            )
    _Anything(whole, wanted)
    for folder in manifests:
        for part in folder.glob(PARTS):
            if not (whole / part.name).exists():
                write_whole(whole / part.name, part.read_bytes())


class _Anything(SoftTargetStore):
    """A folder whose parts are of any kind, and are not looked at."""

    def load(self) -> None:
        """Reads nothing."""


def _manifest_of(folder: Path) -> dict[str, Any]:
    if not (folder / MANIFEST).exists():
        raise ValueError(f"{folder} holds no translations or soft targets: name the folder that a machine's store was.")
    return read_manifest(folder / MANIFEST, "translations or soft targets")

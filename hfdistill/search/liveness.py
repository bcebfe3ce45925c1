"""Which of the processes that share a search are still there, on whichever machine and in whichever container.

Each has a file beside the search's own. It holds a lock on it, which the system lets go of when the process is gone,
however it ended: on one machine that is all, and process numbers, which every container counts anew, are no matter.
Locks of another machine are not seen on every network disk, so that there the file's age decides: its process touches
it every few seconds, and both times are the disk's own.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import uuid
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # on Windows ages decide
    fcntl = None  # type: ignore[assignment]

BEAT_SECONDS = 15.0
#: A process of another machine that has not touched its file for so long is gone.
STALE_SECONDS = 300.0


class Presence:
    """That this process takes part in a search, for as long as a `with` block lasts.

    Args:
        storage: The search's file.
    """

    def __init__(self, storage: str | os.PathLike[str]) -> None:
        self.storage = Path(storage)
        #: How the trials of this process name it.
        self.name = f"{_machine()}.{uuid.uuid4().hex}"
        self._done = threading.Event()

    def __enter__(self) -> Presence:
        path = self._path(self.name)
        unlocked = path.with_suffix(".starting")  # which nobody takes for that of a process that is gone
        self._file = unlocked.open("wb")
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a disk without locks
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlocked.rename(path)
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._path(self.name).unlink(missing_ok=True)
        self._file.close()

    def is_gone(self, name: str) -> bool:
        """Whether the process of this name has ended or was killed."""
        path = self._path(name)
        if name.startswith(f"{_machine()}.") and fcntl is not None:
            with contextlib.suppress(OSError):
                return not _is_locked(path)
        try:
            written = path.stat().st_mtime
        except FileNotFoundError:
            return True
        self._touch()
        return self._path(self.name).stat().st_mtime - written > STALE_SECONDS

    def sweep(self) -> None:
        """Removes the files of processes that are gone."""
        for path in self.storage.parent.glob(f"{self.storage.name}.*.running"):
            if self.is_gone(path.name.removeprefix(f"{self.storage.name}.").removesuffix(".running")):
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.storage.with_name(f"{self.storage.name}.{name}.running")

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                self._touch()

    def _touch(self) -> None:
        os.utime(self._path(self.name))


def _is_locked(path: Path) -> bool:
    """Whether a process of this machine holds the file's lock.

    Raises:
        OSError: where the disk knows no locks.
    """
    assert fcntl is not None
    try:
        file: Any = path.open("r+b")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _machine() -> str:
    """The running system: one for all its containers, and another after it was started anew."""
    try:
        system = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        system = platform.node()
    return uuid.uuid5(uuid.NAMESPACE_OID, system).hex

"""Files that are there whole or not at all, and arrays in them that are read where they are looked at."""

from __future__ import annotations

import math
import os
import struct
import time
import uuid
import zipfile
from pathlib import Path

import numpy as np


def write_whole(path: Path, content: bytes) -> None:
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


def age(path: Path) -> float:
    """Seconds since a file was written; 0 where it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:  # its writer is done with it
        return 0.0


def mapped_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a part, which `np.savez` keeps as they are: read from the disk where they are looked at."""
    arrays = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for info in archive.infolist():
            file.seek(info.header_offset + 26)  # where a zip's entry says how long its name and its notes are
            name, notes = struct.unpack("<HH", file.read(4))
            file.seek(name + notes, os.SEEK_CUR)
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            empty = not math.prod(shape)
            array = np.empty(shape, dtype) if empty else np.memmap(file, dtype, "r", file.tell(), shape)
            arrays[info.filename.removesuffix(".npy")] = array
    return arrays

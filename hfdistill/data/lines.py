"""The lines of a text file, compressed or not, with complaints that name the line."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from hfdistill.data.files import compression_of
from hfdistill.models.extras import install_hint


def opened(path: Path) -> BinaryIO:
    """A file's bytes, uncompressed; where they break off in the middle, reading raises one of `broken_file_errors`.

    Raises:
        ImportError: where `.zst` cannot be read; says what to install.
    """
    compression = compression_of(path)
    if compression == ".zst":
        return cast(BinaryIO, _zstd().open(path))
    return cast(BinaryIO, gzip.open(path)) if compression == ".gz" else open(path, "rb")


def broken_file_errors(path: Path) -> tuple[type[Exception], ...]:
    """What reading a damaged file raises, by its compression."""
    compression = compression_of(path)
    if compression == ".zst":
        return (EOFError, _zstd().ZstdError)
    return (gzip.BadGzipFile, EOFError, zlib.error) if compression == ".gz" else ()


def decoded_lines(path: Path) -> Iterator[str]:
    """The lines with their ends, which are `\\n` alone: texts may hold other separators that Unicode knows.

    Raises:
        ValueError: If the file is damaged, is no UTF-8, or ends its lines with a carriage return alone.
    """
    try:
        with opened(path) as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and b"\r" in line.rstrip(b"\r") and not line.endswith(b"\n"):
                    raise ValueError(f"{path} ends its lines with a carriage return alone; save it with line feeds.")
                yield _decoded(line, number, path)
    except broken_file_errors(path) as error:
        kind = "Zstandard" if compression_of(path) == ".zst" else "gzip"
        raise ValueError(f"{path} is not a whole {kind} file: {error}") from None


def text_lines(path: Path) -> Iterator[str]:
    """The texts of a file with one a line, without the lines' ends; see `decoded_lines`.

    Raises:
        ValueError: Also if the first line holds NUL.
    """
    for number, line in enumerate(decoded_lines(path), start=1):
        if number == 1 and "\0" in line:
            raise ValueError(f"{path} has NUL in its first line, as UTF-16 has it; save the file as UTF-8.")
        yield line.removesuffix("\n").removesuffix("\r")


def _decoded(line: bytes, number: int, path: Path) -> str:
    try:
        # Spreadsheets mark UTF-8 by a byte order mark, which is no part of the first column's name.
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise ValueError(f"Line {number} of {path} is not UTF-8 (byte 0x{byte:02x}); save the file as UTF-8.") from None


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        try:
            from backports import zstd
        except ImportError as error:
            raise ImportError(f"files that end in .zst need backports.zstd: {install_hint('zstd')}.") from error
    return zstd

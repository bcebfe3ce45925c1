"""Pictures and recordings as they are kept (files, bytes, arrays), read, with errors that name the row and the file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pictures
from scipy.signal import resample_poly

from hfdistill.models.extras import install_hint


class UnreadableError(ValueError):
    """A picture or a recording that cannot be read, or holds nothing."""


def read_picture(cell: Any) -> Any:
    """A picture in RGB: of a path, of a `datasets.Image` (decoded or not), or of an array.

    Raises:
        UnreadableError: saying why.
    """
    try:
        if isinstance(cell, Pictures.Image):
            return cell.convert("RGB")
        if isinstance(cell, (str, Path, Mapping)):
            with Pictures.open(_file_of(cell)) as picture:
                return picture.convert("RGB")
        return Pictures.fromarray(np.asarray(cell, np.uint8)).convert("RGB")
    except (OSError, SyntaxError, TypeError, ValueError, Pictures.DecompressionBombError) as error:
        raise UnreadableError(f"the picture cannot be read ({error})") from error


def thumbnail(cell: Any) -> bytes:
    """A picture of at most 64 pixels a side, as PNG."""
    picture, content = read_picture(cell), io.BytesIO()
    picture.thumbnail((64, 64))
    picture.save(content, "PNG")
    return content.getvalue()


def read_sound(cell: Any) -> tuple[np.ndarray, int]:
    """A recording as samples of one channel, and how many of them are a second.

    Args:
        cell: A path, a `datasets.Audio` (decoded or not), or `{"array": ..., "sampling_rate": ...}`.

    Raises:
        UnreadableError: saying why.
        ImportError: for files, without soundfile.
    """
    if hasattr(cell, "get_all_samples"):  # as `datasets` decodes it
        decoded = cell.get_all_samples()
        samples, rate = decoded.data.numpy().T, decoded.sample_rate
    elif isinstance(cell, Mapping) and cell.get("array") is not None:
        samples, rate = np.asarray(cell["array"], np.float32), int(cell["sampling_rate"])
    else:
        samples, rate = _decoded(cell)
    if samples.ndim == 2:
        samples = samples.mean(1)
    if samples.ndim != 1 or not len(samples):
        raise UnreadableError("the recording holds no samples")
    if not np.isfinite(samples).all():
        raise UnreadableError("the recording holds samples that are no finite numbers")
    return samples.astype(np.float32), rate


def resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """The same sound at another sampling rate."""
    common = gcd(rate, wanted)
    return resample_poly(samples, wanted // common, rate // common).astype(np.float32)


def _decoded(cell: Any) -> tuple[np.ndarray, int]:
    try:
        import soundfile  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(f"recordings in files are read with soundfile: {install_hint('audio')}.") from error
    try:
        samples, rate = soundfile.read(_file_of(cell), dtype="float32", always_2d=True)
    except (OSError, TypeError, RuntimeError) as error:
        raise UnreadableError(f"the recording cannot be read ({error})") from error
    return samples, rate


def _file_of(cell: Any) -> Any:
    """What a picture or a recording is read from: the bytes of a cell, or a path."""
    if not isinstance(cell, Mapping):
        return cell
    return io.BytesIO(cell["bytes"]) if cell.get("bytes") is not None else cell["path"]


def name_of(cell: Any) -> str:
    """The file that a cell names; empty where it holds the content itself."""
    found = cell.get("path") if isinstance(cell, Mapping) else cell
    return str(found) if isinstance(found, (str, Path)) else ""
